"""What people ask of a run, inside its process: knobs, commands, hooks, stop."""

import threading
from pathlib import Path
from typing import Any, Literal

import pytest

import farwatch
from farwatch.errors import UsageError
from farwatch.wire import segment
from farwatch.wire.records import Kind

from .asking import Asked

# --- knobs


def test_knob_changes_at_the_next_new_step_and_says_old_and_new(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1e-3, min=1e-6, max=1.0, log=True)
    asked.steps(3)
    wish = asked.ask("set", name="lr", value="3e-4")

    asked.steps()

    assert lr.value == 3e-4
    told = asked.ended(wish)
    assert (told["state"], told["old"], told["new"], told["actor"], told["channel"]) == ("applied", 1e-3, 3e-4, "Ann", "page")


def test_knob_keeps_still_within_a_step(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.run.log({"a": 1.0}, step=5)
    asked.ask("set", name="lr", value=2.0)

    seen = []
    for step in (5, 5, 6, 6):
        asked.run.log({"b": 1.0}, step=step)
        seen.append(lr.value)

    assert seen == [1.0, 1.0, 2.0, 2.0]


def test_calls_that_do_not_commit_are_one_step_with_the_one_that_does(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.run.log({"a": 1.0}, commit=False)
    asked.ask("set", name="lr", value=2.0)

    asked.run.log({"b": 1.0})
    within = lr.value
    asked.run.log({"a": 1.0}, commit=False)

    assert (within, lr.value) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("declared", "value", "says"),
    [
        ({"default": 1e-3, "max": 1.0}, 5, "lr is at most 1, not: `5`"),
        ({"default": 1e-3, "min": 0.0, "max": 1.0}, -1, "lr is from 0 to 1, not: `-1`"),
        ({"default": 1e-3}, "abc", "lr is a number, not: `abc`"),
        ({"default": 1e-3}, "nan", "lr is a finite number, not: `nan`"),
        ({"default": 4}, 4.5, "lr is a whole number, not: `4.5`"),
        ({"default": True}, "perhaps", "lr is on or off, not: `perhaps`"),
        ({"default": "adam", "choices": ["adam", "sgd"]}, "lion", "lr is one of adam, sgd, not: `lion`"),
        ({"default": 1e-3}, [1], "lr is a number, not: `[1]`"),
    ],
)
def test_knob_refuses_what_it_does_not_take(asked: Asked, declared: dict[str, Any], value: Any, says: str) -> None:
    lr = asked.run.knob("lr", **declared)
    wish = asked.ask("set", name="lr", value=value)

    asked.steps(2)

    told = asked.ended(wish)
    assert (told["state"], told["reason"], lr.value) == ("refused", says, declared["default"])


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [(1.0, "３ｅ－４", 3e-4), (1.0, " 0.01 ", 0.01), (1, "１２", 12), (1, 3.0, 3), (False, "on", True), ("a", "鸟", "鸟")],
)
def test_knob_reads_values_as_people_type_them(asked: Asked, default: Any, text: Any, value: Any) -> None:
    knob = asked.run.knob("it", default)
    asked.ask("set", name="it", value=text)

    asked.steps(2)

    assert knob.value == value and type(knob.value) is type(default)


def test_knob_that_is_unknown_is_refused_with_those_that_are(asked: Asked) -> None:
    asked.run.knob("lr", 1.0)
    wish = asked.ask("set", name="rl", value=1)

    asked.steps(2)

    assert asked.ended(wish)["reason"] == "no knob is called `rl`; there are: lr"


def test_setter_is_called_with_the_new_value_and_may_refuse_it(asked: Asked) -> None:
    def setter(value: float) -> str:
        if value > 1:
            raise RuntimeError("the optimizer says no")
        return "the schedule goes on from there"

    lr = asked.run.knob("lr", 0.5, set=setter)
    taken = asked.ask("set", name="lr", value=0.25)
    asked.steps(2)
    refused = asked.ask("set", name="lr", value=2)
    asked.steps(2)

    assert asked.ended(taken)["reason"] == "the schedule goes on from there"
    assert asked.ended(refused)["reason"] == "its setter raised RuntimeError: the optimizer says no"
    assert lr.value == 0.25


def test_of_several_wishes_for_one_knob_the_last_counts(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    wishes = [asked.ask("set", name="lr", value=value) for value in (0.1, 0.2, 0.3)]

    asked.steps(2)

    assert [asked.ended(wish)["state"] for wish in wishes] == ["superseded", "superseded", "applied"]
    assert lr.value == 0.3


def test_knob_set_by_a_person_keeps_its_value_when_the_run_resumes(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.run.knob("lr", 1.0)
    asked.ask("set", name="lr", value=0.125)
    asked.steps(2)
    run_id = asked.run.id
    asked.run.finish()

    again = Asked(asked.folder, id=run_id)
    lr = again.run.knob("lr", 1.0)
    again.run.finish()

    assert lr.value == 0.125
    assert "knob lr keeps 0.125, set by Ann (page)" in capsys.readouterr().err


def test_knob_that_a_person_set_back_stays_so_where_the_program_declares_it_again(asked: Asked) -> None:
    """The first value is what the person wants now, and not what somebody wanted in an attempt before."""
    asked.run.knob("lr", 1.0)
    asked.ask("set", name="lr", value=0.125)
    asked.steps(2)
    run_id = asked.run.id
    asked.run.finish()
    again = Asked(asked.folder, id=run_id)
    again.seq = 10
    again.run.knob("lr", 1.0)
    again.ask("set", name="lr", value=1.0)
    again.steps(2)

    lr = again.run.knob("lr", 1.0)
    again.run.finish()

    assert lr.value == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "", "default": 1.0},
        {"name": "x", "default": None},
        {"name": "x", "default": [1]},
        {"name": "x", "default": 5.0, "max": 1.0},
        {"name": "x", "default": 1.0, "min": 2, "max": 1},
        {"name": "x", "default": "a", "min": 1},
        {"name": "x", "default": "a", "choices": ["b"]},
        {"name": "x", "default": "a", "choices": []},
        {"name": "x", "default": 0.0, "log": True},
        {"name": "x", "default": 1.0, "set": 5},
    ],
)
def test_knob_that_cannot_be_right_raises(asked: Asked, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"knob|`x`"):
        asked.run.knob(**wrong)


# --- commands and hooks


def test_command_gets_typed_arguments_and_its_return_value_comes_back(asked: Asked) -> None:
    @asked.run.command
    def evaluate(n: int = 100, split: Literal["val", "test"] = "val", deep: bool = False) -> str:
        """Evaluate on n batches."""
        return f"{n} {split} {deep}"

    call = asked.ask("call", name="evaluate", args={"n": "5", "deep": "yes"})
    wrong = asked.ask("call", name="evaluate", args={"split": "train"})
    unknown = asked.ask("call", name="evaluate", args={"m": 1})

    asked.steps(2)

    assert asked.ended(call)["result"] == "5 val True"
    assert asked.ended(wrong)["reason"] == "split is one of val, test, not: `train`"
    assert asked.ended(unknown)["reason"] == "evaluate has no argument `m`; it has: n, split, deep"
    declared = [r.body()["steer"] for r in segment.read_journal(asked.journal) if r.kind == Kind.PATCH and "steer" in r.body()]
    assert declared[0]["commands"]["evaluate"]["doc"] == "Evaluate on n batches."
    assert [one["type"] for one in declared[0]["commands"]["evaluate"]["args"]] == ["int", "str", "bool"]


def test_command_that_raises_is_refused_and_the_training_goes_on(asked: Asked) -> None:
    @asked.run.command
    def broken() -> None:
        raise KeyError("gone")

    call = asked.ask("call", name="broken")
    asked.steps(3)

    assert asked.ended(call)["reason"] == "broken raised KeyError: 'gone'"
    assert [e["event"] for e in asked.events() if e.get("command") == call] == ["started", "ended"]


def test_command_that_logs_and_asks_for_another_is_not_entered_twice(asked: Asked) -> None:
    depth: list[int] = []

    @asked.run.command
    def nested() -> str:
        depth.append(1)
        asked.run.log({"inside": 1.0})
        asked.run.log({"inside": 2.0})
        return f"{len(depth)}"

    first, second = asked.ask("call", name="nested"), asked.ask("call", name="nested")
    asked.steps(3)

    assert [asked.ended(one)["result"] for one in (first, second)] == ["1", "2"]


@pytest.mark.parametrize("function", [lambda *args: None, lambda x=object(): None, 5])
def test_command_that_people_cannot_type_raises(asked: Asked, function: Any) -> None:
    if callable(function):
        function.__name__ = "odd"

    with pytest.raises(UsageError, match="command"):
        asked.run.command(function)


def test_result_that_is_too_long_is_cut_and_says_so(asked: Asked) -> None:
    @asked.run.command
    def talk() -> str:
        return "x" * 100_000

    call = asked.ask("call", name="talk")
    asked.steps(2)

    result = asked.ended(call)["result"]
    assert len(result) < 8_192 and result.endswith("(100002 characters in all)")


def test_checkpoint_answers_with_what_the_hook_returned(asked: Asked) -> None:
    before = asked.ask("checkpoint")
    asked.steps(2)

    @asked.run.on("checkpoint")
    def save() -> Path:
        return Path("out") / "step-3.pt"

    after = asked.ask("checkpoint")
    asked.steps(2)

    assert asked.ended(before)["reason"] == 'the program says nowhere how to save: it needs @run.on("checkpoint")'
    assert asked.ended(after)["result"] == "out/step-3.pt"


def test_program_with_poll_does_nothing_large_inside_log(asked: Asked) -> None:
    asked.run.on("checkpoint")(lambda: "saved")
    asked.run.poll()
    wish = asked.ask("checkpoint")

    asked.steps(3)
    inside = [e for e in asked.events() if e.get("command") == wish]
    asked.run.poll()

    assert inside == []
    assert asked.ended(wish)["result"] == "saved"


def test_another_thread_applies_nothing(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.ask("set", name="lr", value=2.0)

    thread = threading.Thread(target=lambda: (asked.steps(5), asked.run.poll()))
    thread.start()
    thread.join()
    before = lr.value
    asked.steps(2)

    assert (before, lr.value) == (1.0, 2.0)


def test_command_that_comes_too_late_expires(asked: Asked) -> None:
    asked.run.knob("lr", 1.0)
    wish = asked.ask("set", name="lr", value=2.0, expires_us=-1)

    asked.steps(2)

    assert asked.ended(wish)["state"] == "expired"


def test_end_of_the_run_answers_what_is_left(asked: Asked) -> None:
    asked.run.on("checkpoint")(lambda: "saved")
    asked.run.poll()
    wish = asked.ask("checkpoint")

    asked.run.finish()

    assert (asked.ended(wish)["state"], asked.ended(wish)["reason"]) == ("refused", "the run has ended")


# --- stop


def test_stop_raises_stopped_behind_the_hooks_and_except_exception_does_not_catch_it(asked: Asked) -> None:
    saved = []
    asked.run.on("stop")(lambda: saved.append(asked.run.step))
    asked.ask("stop")

    with pytest.raises(farwatch.Stopped) as caught:
        for _ in range(5):
            try:
                asked.steps()
            except Exception:
                pytest.fail("Stopped is no Exception")

    assert (caught.value.code, str(caught.value), len(saved)) == (0, "stopped by Ann (page)", 1)
    asked.run.finish()
    goodbye = next(r.body() for r in segment.read_journal(asked.journal) if r.kind == Kind.GOODBYE)
    assert (goodbye["state"], goodbye["reason"]) == ("stopped", "stopped by Ann (page)")


def test_stop_of_a_program_that_asks_raises_nothing_and_its_final_evaluation_is_kept(asked: Asked) -> None:
    steps = 0
    while not asked.run.should_stop:
        asked.steps()
        steps += 1
        if steps == 3:
            asked.ask("stop")
        assert steps < 10
    asked.run.log({"final": 1.0})
    asked.run.log({"final": 2.0})
    asked.run.finish()

    goodbye = next(r.body() for r in segment.read_journal(asked.journal) if r.kind == Kind.GOODBYE)
    assert (steps, goodbye["state"]) == (3, "stopped")


def test_program_that_asked_once_and_never_again_is_stopped_all_the_same(asked: Asked) -> None:
    assert asked.run.should_stop is False
    asked.ask("stop")

    with pytest.raises(farwatch.Stopped):
        asked.steps(6)


def test_stop_hook_that_raises_does_not_keep_the_run_alive(asked: Asked) -> None:
    @asked.run.on("stop")
    def save() -> None:
        raise OSError("disk full")

    wish = asked.ask("stop")
    with pytest.raises(farwatch.Stopped):
        asked.steps(3)

    assert (asked.ended(wish)["state"], asked.ended(wish)["reason"]) == ("applied", "the stop hook raised OSError: disk full")


def test_finished_by_name_stays_finished(asked: Asked) -> None:
    asked.run.should_stop  # noqa: B018  # reading it is what counts
    asked.ask("stop")
    asked.steps(2)
    assert asked.run.should_stop
    asked.run.finish("finished", "converged")

    goodbye = next(r.body() for r in segment.read_journal(asked.journal) if r.kind == Kind.GOODBYE)
    assert (goodbye["state"], goodbye["reason"]) == ("finished", "converged")
