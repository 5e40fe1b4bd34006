"""States of a run: goodbyes, deaths, silence, files on their way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farwatch.settings import Settings
from farwatch.store.sqlite import open_store
from farwatch.wire.records import Kind
from tests.service.conftest import Inside, ManualClock


def state(inside: Inside, run: str) -> tuple[str, str]:
    row = inside.runs.row(run)
    return row["state"], row["reason"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"state": "finished", "reason": ""}, ("finished", "")),
        (
            {"state": "failed", "reason": "ValueError: x", "traceback": "Traceback …"},
            ("failed", "ValueError: x"),
        ),
        ({"state": "stopped", "reason": "interrupted"}, ("stopped", "interrupted")),
        ({"state": "preempted", "reason": "SIGTERM"}, ("preempted", "SIGTERM")),
    ],
)
def test_goodbye_names_state_and_reason(inside: Inside, told: dict, expected: tuple[str, str]) -> None:
    process = inside.started().log({"a": 1.0})
    inside.clock.advance(5)

    process.add(Kind.GOODBYE, told).send()

    detail = inside.runs.detail(process.run)
    assert (detail["state"], detail["reason"]) == expected
    assert detail["traceback"] == told.get("traceback")
    assert detail["duration_ms"] == 5000
    assert [(one["state"], one["ended_ms"]) for one in detail["attempts"]] == [
        (expected[0], detail["ended_ms"])
    ]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ({"signal": 9, "text": "killed by SIGKILL"}, ("failed", "killed by signal 9")),
        ({"signal": 9, "oom": True}, ("failed", "out of memory")),
        ({"exit_code": 3}, ("failed", "exit code 3")),
        ({"exit_code": 0}, ("finished", "exit code 0, without goodbye")),
        ({"text": "ended without goodbye"}, ("failed", "ended without goodbye")),
        ({}, ("failed", "ended without goodbye")),
        ({"signal": "9", "exit_code": True, "text": 7}, ("failed", "ended without goodbye")),
    ],
)
def test_death_without_goodbye_has_the_cause_that_the_agent_saw(
    inside: Inside, cause: dict, expected: tuple[str, str]
) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()

    inside.beat(process, alive=False, cause=cause)

    assert state(inside, process.run) == expected
    assert process.run in inside.hub.touched


def test_run_is_finishing_while_its_last_records_are_on_their_way(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    process.goodbye("finished")

    inside.beat(process, alive=False, bytes_behind=300)
    waiting = state(inside, process.run)
    process.send()

    assert waiting[0] == "finishing"
    assert state(inside, process.run) == ("finished", "")


def test_goodbye_that_comes_after_a_death_was_told_wins(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    inside.beat(process, alive=False, cause={"text": "ended without goodbye"})

    process.goodbye("finished").send()

    assert state(inside, process.run) == ("finished", "")


def test_death_without_cause_and_without_goodbye_is_told_after_a_while(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    inside.beat(process, alive=False)
    assert state(inside, process.run)[0] == "finishing"

    inside.clock.advance(31)
    inside.beat(process, alive=False)

    assert state(inside, process.run) == ("failed", "ended without goodbye")


def test_run_is_finishing_until_its_files_are_here(inside: Inside) -> None:
    process = inside.started()
    process.add(Kind.FILE, {"path": "model.bin", "spool": "f1", "size": 3, "mtime_ms": 1})
    process.goodbye("stopped", "by ann").send()
    assert state(inside, process.run) == ("finishing", "waiting for 1 file")
    assert inside.runs.writer_status(process.id)["missing"] == ["f1"]

    inside.runs.spooled(process.id, "f1", "0" * 64, 3, None)

    assert state(inside, process.run) == ("stopped", "by ann")
    assert inside.runs.writer_status(process.id)["missing"] == []


def test_files_that_never_come_are_given_up_when_the_agent_is_silent(inside: Inside) -> None:
    process = inside.started()
    process.add(Kind.FILE, {"path": "model.bin", "spool": "f1", "size": 3, "mtime_ms": 1}).goodbye().send()

    inside.clock.advance(60)
    inside.liveness.tick()

    assert state(inside, process.run) == ("finished", "1 file never came")


def test_silent_machine_is_lost_within_the_setting_and_heals(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    contact = inside.runs.row(process.run)["contact_ms"]
    inside.clock.advance(44)
    inside.liveness.tick()
    assert state(inside, process.run)[0] == "running"

    inside.clock.advance(2)
    inside.liveness.tick()
    lost = inside.runs.row(process.run)
    inside.beat(process)

    assert lost["state"] == "lost"
    assert lost["reason"].startswith("no contact since 20")
    assert (lost["contact_ms"], lost["ended_ms"]) == (contact, None)
    assert state(inside, process.run) == ("running", "")


def test_record_of_a_lost_run_makes_it_running(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    inside.clock.advance(100)
    inside.liveness.tick()
    assert state(inside, process.run)[0] == "lost"

    process.log({"a": 2.0}).send()

    assert state(inside, process.run) == ("running", "")


def test_beats_alone_keep_a_quiet_run_running(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()

    for _ in range(200):
        inside.clock.advance(10)
        inside.beat(process)
        inside.liveness.tick()

    assert state(inside, process.run) == ("running", "")


def test_restart_of_the_server_changes_no_state(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    inside.close()
    inside.clock.advance(3_600)
    inside.open()

    inside.liveness.tick()
    at_once = state(inside, process.run)
    inside.clock.advance(50)
    inside.liveness.tick()

    assert at_once[0] == "running"
    assert state(inside, process.run)[0] == "lost"


def test_jump_of_the_wall_clock_loses_no_run(inside: Inside, clock: ManualClock) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    mono = clock.mono_us
    clock.mono_us = lambda: mono() - 86_400_000_000  # type: ignore[method-assign]
    clock.advance(86_400)

    inside.liveness.tick()

    assert state(inside, process.run)[0] == "running"


def test_process_that_its_agent_cannot_see_is_lost_only_after_minutes_without_records(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    for _ in range(50):
        inside.clock.advance(10)
        inside.beat(process, alive=None)
        inside.liveness.tick()
    after_minutes = state(inside, process.run)[0]
    inside.clock.advance(120)
    inside.beat(process, alive=None)
    inside.liveness.tick()

    assert after_minutes == "running"
    assert state(inside, process.run)[0] == "lost"


def test_death_of_another_rank_does_not_decide(inside: Inside) -> None:
    zero = inside.started(rendezvous="k", world_size=2)
    one = inside.process(rank=1, rendezvous="k", world_size=2)
    one.register()

    inside.beat(one, alive=False, cause={"signal": 9})

    assert state(inside, zero.run) == ("running", "")


def test_beat_answers_with_marks_of_known_writers_only(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()
    stranger = inside.process()

    told = inside.beat(process, stranger)

    assert told == {"epoch": inside.store.epoch, "writers": {process.id: {"expected": 3}}}


def test_lag_is_shown(inside: Inside) -> None:
    process = inside.started()

    inside.beat(process, records_behind=12, bytes_behind=3_400, set_aside=2)

    assert inside.runs.detail(process.run)["lag"] == {
        "records": 12,
        "bytes": 3_400,
        "set_aside": 2,
        "files": 0,
    }


def test_nothing_is_on_its_way_once_the_goodbye_has_come_whatever_the_last_beat_said(inside: Inside) -> None:
    process, other = inside.started(), inside.started()
    process.add(Kind.FILE, {"path": "model.pt", "spool": "model.pt", "size": 3_000, "mtime_ms": 1}).goodbye().send()

    inside.beat(process, records_behind=1, bytes_behind=3_400)  # measured before the goodbye was sent; the agent's last word
    waiting = inside.runs.detail(process.run)["lag"]
    inside.runs.spooled(process.id, "model.pt", "0" * 64, 3_000, None)

    assert waiting == {"records": 0, "bytes": 3_400, "set_aside": 0, "files": 1}
    assert not any(inside.runs.costs(process.run)["lag"].values())
    inside.beat(other, records_behind=7)
    assert inside.runs.detail(other.run)["lag"]["records"] == 7


@pytest.mark.parametrize("known", [{"exit_code": 4}, {"killed_by": "ann"}])
def test_lag_is_gone_also_where_the_agent_corrects_the_goodbye(inside: Inside, known: dict) -> None:
    process = inside.started().log({"a": 1.0})
    inside.beat(process, records_behind=12, bytes_behind=3_400)
    process.add(Kind.GOODBYE, {"state": "finished", "reason": "", "assumed": True}).send()

    inside.beat(process, alive=False, cause=known)

    assert state(inside, process.run)[0] != "finished"
    assert not any(inside.runs.detail(process.run)["lag"].values())


def test_deleted_run_is_dropped_for_good_after_its_time(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0}).goodbye()
    process.send()
    run = process.run
    inside.runs.delete(run, "ann")
    assert inside.runs.list()["total"] == 0
    assert inside.runs.row(run)["deleted_ms"] is not None

    inside.clock.advance(31 * 86_400)
    inside.liveness.tick()

    assert inside.store.series(run) == []
    assert inside.runs.list(deleted=True)["total"] == 0


def quiet(inside: Inside, process: object, seconds: float) -> None:
    """Let time pass with an agent that says that the process lives."""
    for _ in range(int(seconds // 10)):
        inside.clock.advance(10)
        inside.beat(process, alive=True)
        inside.liveness.tick()


def test_a_hung_step_is_stalled_and_heals_when_it_logs(inside: Inside) -> None:
    process = inside.started()
    for _ in range(4):
        process.log({"a": 1.0}).send()
        quiet(inside, process, 20)

    quiet(inside, process, 560)
    assert state(inside, process.run)[0] == "running"
    quiet(inside, process, 40)
    assert state(inside, process.run) == ("stalled", "nothing logged for 10 min; the longest pause before was 20 s")
    quiet(inside, process, 100)
    assert state(inside, process.run)[0] == "stalled"

    process.log({"a": 1.0}).send()
    assert state(inside, process.run) == ("running", "")


def test_a_slow_logger_is_not_stalled_within_ten_times_its_longest_pause(inside: Inside) -> None:
    process = inside.started()
    for _ in range(3):
        process.log({"a": 1.0}).send()
        quiet(inside, process, 300)

    quiet(inside, process, 2600)
    assert state(inside, process.run)[0] == "running"
    quiet(inside, process, 200)
    assert state(inside, process.run)[0] == "stalled"


def test_a_slow_first_step_is_never_stalled(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.send()

    quiet(inside, process, 7200)

    assert state(inside, process.run) == ("running", "")


@pytest.fixture
def lasting(tmp_path: Path, settings: Settings, clock: ManualClock) -> Iterator[Inside]:
    """A server with a store that outlives a restart."""
    made = Inside(tmp_path, settings, clock, lambda folder: open_store(folder, settings, clock))
    yield made
    made.close()
    made.store.close()


def test_no_state_of_trouble_is_shown_for_a_healthy_afternoon(lasting: Inside) -> None:
    """B11: a slow first step, evaluation pauses, restarts of the server, clocks that are set and an idle notebook, over five hours."""
    inside = lasting
    trainer = inside.started()
    notebook = inside.started()
    notebook.add(Kind.PATCH, {"capture": {"in_notebook": True}}).log({"a": 1.0}).send()
    trainer.log({"a": 0.0}).send()
    seen: dict[str, set[str]] = {"trainer": set(), "notebook": set()}

    def passes(seconds: float) -> None:
        for _ in range(int(seconds // 10)):
            inside.clock.advance(10)
            inside.beat(trainer, notebook)
            inside.liveness.tick()
            seen["trainer"].add(state(inside, trainer.run)[0])
            seen["notebook"].add(state(inside, notebook.run)[0])

    passes(2400)  # it compiles, and downloads its data
    for hour in range(4):
        for _ in range(20):
            trainer.log({"a": 1.0}).send()
            passes(90)
        passes(540)  # the evaluation
        inside.close()
        inside.store.close()
        inside.clock.advance(20)  # the server is updated
        inside.open()
        inside.clock.jump((-7200, 7200, 0, -30)[hour])

    assert seen == {"trainer": {"running"}, "notebook": {"running"}}


def test_an_idle_notebook_is_idle(inside: Inside) -> None:
    process = inside.started()
    process.add(Kind.PATCH, {"capture": {"in_notebook": True}})
    for _ in range(4):
        process.log({"a": 1.0}).send()
        quiet(inside, process, 10)

    quiet(inside, process, 700)

    assert state(inside, process.run)[0] == "idle"


def test_a_captured_file_that_comes_late_does_not_reopen_the_end(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.add(Kind.GOODBYE, {"state": "stopped", "reason": "interrupted"}).send()
    capture = inside.started(run=process.run, role="capture", sibling_of=process.id, main=False)

    capture.patch(capture={"diff_spool": "d1.diff", "size": 9})
    capture.send()
    capture.add(Kind.GOODBYE, {"state": "finished", "reason": ""}).send()
    inside.beat(process, alive=False)

    assert state(inside, process.run) == ("stopped", "interrupted")
