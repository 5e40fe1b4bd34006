"""Commands at awkward moments inside a process: in forks, on the way out, twice, in hooks that leave, on a full disk."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import farwatch
from farwatch.agent.outbox import Outbox
from farwatch.sdk.inbox import Inbox
from farwatch.wire import inbox as wire
from farwatch.wire import segment
from farwatch.wire.commands import Op, Order
from farwatch.wire.records import Kind

from .asking import LATER_US, Asked


def order(id: str, seq: int, op: str, channel: str = "page", **args: Any) -> Order:
    return Order(id, seq, Op(op), args, "Ann", channel, time.monotonic_ns() // 1000 + LATER_US)


def in_fork(call: Any) -> int:
    """Run `call` in a fork of this process; returns its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            code = call()
            os._exit(code if isinstance(code, int) else 0)
        except BaseException:
            os._exit(99)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 98


# --- forks


@pytest.mark.parametrize("look", ["poll", "should_stop", "step_end", "log"])
def test_fork_takes_no_command_of_its_parent(asked: Asked, look: str) -> None:
    calls: list[int] = []

    @asked.run.command
    def count() -> int:
        calls.append(os.getpid())
        return len(calls)

    asked.steps()
    call = asked.ask("call", name="count")

    def child() -> int:
        for _ in range(3):
            if look == "poll":
                asked.run.poll()
            elif look == "should_stop":
                assert not asked.run.should_stop
            elif look == "step_end":
                asked.run._steering.step_end()
            else:
                asked.run.log({"inside": 1.0})
        return len(calls)

    assert in_fork(child) == 0
    asked.steps(2)

    assert asked.ended(call)["result"] == 1 and calls == [os.getpid()]


def test_fork_that_comes_back_from_a_hook_ends_no_command_of_its_parent(asked: Asked) -> None:
    inside: list[int] = []

    @asked.run.on("checkpoint")
    def save() -> str:
        inside.append(os.fork())
        return "child" if inside[0] == 0 else "parent"

    wish = asked.ask("checkpoint")
    asked.run.poll()
    if inside[0] == 0:
        os._exit(0)
    os.waitpid(inside[0], 0)

    assert asked.ended(wish)["result"] == "parent"


def test_fork_with_a_journal_of_its_own_answers_nothing_that_its_parent_was_asked(asked: Asked) -> None:
    asked.ask("set", channel="resume", name="later", value=1.0)  # it waits for a knob of this name
    asked.steps(2)

    def child() -> None:
        asked.run.log({"inside": 1.0})
        asked.run.finish()

    assert in_fork(child) == 0
    journals = [folder for folder in (asked.folder / "journals").iterdir() if folder != asked.journal]
    told = [record.body() for folder in journals for record in segment.read_journal(folder) if record.kind == Kind.EVENT]
    assert (len(journals), told) == (1, [])


def test_forked_worker_dies_of_the_signal_that_its_parent_sends(asked: Asked) -> None:
    asked.run.on("stop")(lambda: None)

    def child() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert in_fork(child) == -signal.SIGTERM
    asked.steps(2)  # and nobody stops the parent


# --- on the way out


def test_what_a_finally_block_logs_is_kept_and_raises_no_second_stop(asked: Asked) -> None:
    asked.ask("stop")
    reached = []

    with pytest.raises(farwatch.Stopped):
        try:
            asked.steps(5)
        finally:
            for _ in range(5):
                asked.run.log({"test": 0.5})
            reached.append("saved")

    assert reached == ["saved"]


def test_program_that_catches_stopped_may_log_what_came_out_and_no_more(asked: Asked) -> None:
    asked.ask("stop")
    with pytest.raises(farwatch.Stopped):
        asked.steps(5)

    asked.steps(2)
    with pytest.raises(farwatch.Stopped):
        asked.steps(10)


@pytest.mark.parametrize("op", ["stop", "checkpoint", "call"])
def test_hook_that_finishes_the_run_leaves_no_command_without_an_end(asked: Asked, op: str) -> None:
    def end() -> None:
        asked.run.finish()

    asked.run.on("stop")(end)
    asked.run.on("checkpoint")(end)
    asked.run.command(end)
    first = asked.ask(op, **({"name": "end"} if op == "call" else {}))
    behind = asked.ask("checkpoint")

    for _ in range(3):
        try:
            asked.steps()
        except farwatch.Stopped:
            break

    expected = ("applied", "its hook has ended the run") if op == "stop" else ("interrupted", "the run was finished before it returned")
    assert (asked.ended(first)["state"], asked.ended(first)["reason"]) == expected
    assert (asked.ended(behind)["state"], asked.ended(behind)["reason"]) == ("refused", "the run has ended")
    goodbye = next(r.body() for r in segment.read_journal(asked.journal) if r.kind == Kind.GOODBYE)
    assert goodbye["state"] == ("stopped" if op == "stop" else "finished")


# --- outcomes that cannot be told


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


RESULTS = {"odd": Odd(), "surrogate": "\ud800", "nan": float("nan"), "nested": {1: {2: [set(), b"\0"]}}, "endless": [[]] * 100_000}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_any_result_is_told(asked: Asked, result: Any) -> None:
    if isinstance(result, list):
        result.append(result)

    @asked.run.command
    def odd() -> Any:
        return result

    call = asked.ask("call", name="odd")
    asked.steps(2)

    assert asked.ended(call)["state"] == "applied"


def test_error_without_a_text_is_told(asked: Asked) -> None:
    @asked.run.command
    def odd() -> None:
        raise Odd

    call = asked.ask("call", name="odd")
    asked.steps(2)

    assert asked.ended(call)["reason"] == "odd raised Odd"


def test_setter_that_leaves_the_program_is_interrupted(asked: Asked) -> None:
    def setter(value: float) -> None:
        raise KeyboardInterrupt

    asked.run.knob("lr", 1.0, set=setter)
    wish = asked.ask("set", name="lr", value=2.0)

    with pytest.raises(KeyboardInterrupt):
        asked.steps(3)

    assert asked.ended(wish)["state"] == "interrupted"
    assert [one["event"] for one in asked.events() if one.get("command") == wish] == ["started", "ended"]


def test_value_that_json_cannot_hold_is_told(asked: Asked) -> None:
    """A learning rate that the program itself has made NaN is changed all the same."""
    rate = [float("nan")]
    asked.run._steering.declare_knob(
        "lr", 1.0, min=None, max=None, choices=None, log=False, set_=lambda value: rate.__setitem__(0, value), get=lambda: rate[0]
    )
    wish = asked.ask("set", name="lr", value=0.5)

    asked.run.poll()

    assert (asked.ended(wish)["state"], asked.ended(wish)["old"], asked.ended(wish)["new"]) == ("applied", "NaN", 0.5)


def test_arguments_that_json_cannot_hold_are_answered(asked: Asked) -> None:
    """A run that has declared nothing yet is sent whatever people type."""
    wish = asked.ask("set", name="lr", value=float("nan"))

    asked.steps(2)

    assert asked.ended(wish)["state"] == "refused"


def test_event_that_cannot_be_written_down_is_not_begun(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    @asked.run.command
    def count() -> None:
        calls.append(1)

    asked.ask("call", name="count")
    journal = asked.run._journal
    monkeypatch.setattr(type(journal), "commit", lambda self, payload, vital=False: False)
    asked.steps(2)

    assert calls == []


def test_what_is_done_first_may_take_longer_than_the_next_may_wait(asked: Asked) -> None:
    @asked.run.command
    def slow() -> None:
        time.sleep(0.3)

    done = asked.ask("call", name="slow")
    late = asked.ask("call", name="slow", expires_us=200_000)
    asked.steps(2)

    assert [asked.ended(one)["state"] for one in (done, late)] == ["applied", "expired"]


# --- twice


def test_command_that_comes_again_behind_a_ring_full_of_others_is_not_repeated(asked: Asked) -> None:
    calls: list[int] = []

    @asked.run.command
    def count() -> None:
        calls.append(1)

    first = order("first", 1, "call", name="count")
    asked.outbox.put(first)
    asked.steps(2)
    for n in range(wire.SLOTS + 1):
        asked.outbox.put(order(f"other-{n}", 2 + n, "unpause"))
        asked.steps()

    Outbox(asked.journal, asked.journal.name).put(first)  # of an agent that never heard that it was delivered
    asked.steps(2)

    assert calls == [1]


def test_command_of_a_server_that_counts_from_an_old_backup_is_delivered(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.outbox.put(order("before", 50, "set", name="lr", value=2.0))
    asked.steps(2)

    for box in (asked.outbox, Outbox(asked.journal, asked.journal.name)):
        box.put(order(f"after-{id(box)}", 3, "set", name="lr", value=lr.value + 1))
        asked.steps(2)

    assert lr.value == 4.0


def test_value_that_is_kept_does_not_undo_a_later_one(asked: Asked) -> None:
    lr = asked.run.knob("lr", 1.0)
    asked.ask("set", name="lr", value=3.0)
    asked.steps(2)

    kept = asked.ask("set", name="lr", value=2.0, channel="resume")
    asked.steps(2)

    assert (lr.value, asked.ended(kept)["state"]) == (3.0, "superseded")


def test_command_that_an_attempt_before_has_applied_here_is_not_applied_again(asked: Asked) -> None:
    asked.run.knob("lr", 1.0)
    first = order("first-wish", 1, "set", name="lr", value=2.0)
    asked.outbox.put(first)
    asked.steps(2)
    run_id = asked.run.id
    asked.run.finish()
    again = Asked(asked.folder, id=run_id)
    lr = again.run.knob("lr", 1.0)
    again.ask("set", name="lr", value=5.0)
    again.steps(2)

    again.outbox.put(first)
    again.steps(2)
    again.run.finish()

    assert lr.value == 5.0


# --- numbers as people type them, and disks as they are


@pytest.mark.parametrize(
    ("default", "given", "value"),
    [(1, "9007199254740993", 9007199254740993), (1, 9007199254740993, 9007199254740993), (1, "1e3", 1000), (1.0, "−0.5", -0.5)],
)
def test_number_is_taken_exactly(asked: Asked, default: Any, given: Any, value: Any) -> None:
    knob = asked.run.knob("it", default)
    asked.ask("set", name="it", value=given)

    asked.steps(2)

    assert knob.value == value


@pytest.mark.parametrize("default", [1, 1.0])
def test_number_beyond_every_float_is_refused(asked: Asked, default: Any) -> None:
    asked.run.knob("it", default)
    wish = asked.ask("set", name="it", value=10**400)

    asked.steps(2)

    assert asked.ended(wish)["reason"].startswith("it is a number, not: `1000")


def test_inbox_on_a_full_disk_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda descriptor, data: len(data) // 2)

    with pytest.raises(OSError, match="No space left"):
        Inbox(tmp_path, "ab" * 16)
