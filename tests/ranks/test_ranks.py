"""Commands on many ranks: real processes that train together over gloo, and what people ask of their rank 0."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from farwatch.wire.records import Kind
from tests import pace
from tests.faults.machine import until

from .launch import BEGIN, Launch

# Every rank says at which step it has which value, and what it did.
STEERED = """
run = farwatch.init("p", console=False, system=False)
lr = run.knob("lr", 1.0, min=0.0)
@run.on("checkpoint")
def save():
    tell(saved=run.step)
    return f"rank {rank}"
@run.on("stop")
def stop(): tell(stopped=run.step)
@run.command
def evaluate(n: int = 1) -> str:
    tell(evaluated=run.step)
    if n == 2 and rank == 1: raise ValueError("no data here")
    return f"{n} on rank {rank}"
def loop():
    step = 0
    while not over():
        train()
        run.log({"loss": 1.0}, step=step)
        tell(step=step, lr=lr.value)
        step += 1
"""
LOG_ONLY = STEERED + "loop()\nrun.finish()\n"


def changed_at(launch: Launch, value: float) -> list[list[int]]:
    """The first step at which each rank had a value."""
    return [[one["step"] for one in launch.told(rank) if one.get("lr") == value][:1] for rank in range(launch.count)]


@pytest.mark.parametrize("count", [2, 4])
def test_everything_happens_on_all_ranks_at_one_step(start: Callable[..., Launch], count: int) -> None:
    launch = start(LOG_ONLY, count)
    launch.running()

    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    steps = changed_at(launch, 0.5)
    assert (told["state"], told["old"], told["new"]) == ("applied", 1.0, 0.5)
    assert steps == [[told["step"]]] * count

    saved = launch.end_of(launch.ask("checkpoint"))
    assert (saved["state"], saved["result"]) == ("applied", "rank 0")
    assert launch.values("saved") == [[saved["step"] + 1]] * count

    called = launch.end_of(launch.ask("call", name="evaluate", args={"n": 2}))
    assert (called["state"], called["result"]) == ("applied", "2 on rank 0")
    assert called["reason"] == "rank 1: evaluate raised ValueError: no data here"
    assert launch.values("evaluated") == [[called["step"] + 1]] * count

    stopped = launch.end_of(launch.ask("stop"))
    assert stopped["state"] == "applied"
    assert launch.codes() == [0] * count, launch.log()
    assert launch.values("stopped") == [[stopped["step"] + 1]] * count
    assert launch.off() in ([], ["rank 0: the run has ended"])


def test_pause_holds_all_ranks_until_they_are_let_go(start: Callable[..., Launch]) -> None:
    launch = start(LOG_ONLY, 2)
    launch.running()
    pause = launch.end_of(launch.ask("pause"))
    until(lambda: len({len(one) for one in launch.values("step")}) == 1, 5)
    held = launch.values("step")
    told = launch.end_of(launch.ask("set", name="lr", value=0.25))
    saved = launch.end_of(launch.ask("checkpoint"))

    assert launch.values("step") == held and [one[-1] for one in held] == [pause["step"] - 1] * 2
    assert (told["state"], saved["state"]) == ("applied", "applied")
    assert launch.end_of(launch.ask("unpause"))["state"] == "applied"
    launch.running(len(held[0]) + 3)
    launch.over()

    assert launch.codes() == [0, 0]
    assert changed_at(launch, 0.25) == [[pause["step"]]] * 2
    assert [one["paused"] for one in launch.events() if "paused" in one] == [True, False]


def test_program_that_asks_leaves_its_loop_by_itself(start: Callable[..., Launch]) -> None:
    source = STEERED + """
step = 0
while not run.should_stop:
    train()
    run.log({"loss": 1.0}, step=step)
    tell(step=step)
    step += 1
tell(left=step)
dist.all_reduce(one)  # as a last evaluation would
run.finish()
"""
    launch = start(source, 2)
    launch.running()
    told = launch.end_of(launch.ask("stop"))

    assert launch.codes() == [0, 0], launch.log()
    assert launch.values("left") == [[told["step"] + 1]] * 2
    (goodbye,) = [record.body() for record in launch.records(Kind.GOODBYE)]
    assert (goodbye["state"], goodbye["reason"]) == ("stopped", "stopped by Ann (page)")


def test_explicit_poll_counts_where_ranks_log_as_they_like(start: Callable[..., Launch]) -> None:
    source = STEERED + """
step = 0
while not over():
    train()
    for extra in range(3 if rank == 0 else 1):
        run.log({"loss": 1.0})
    run.poll(all_ranks=True)
    tell(step=step, lr=lr.value)
    step += 1
run.finish()
"""
    launch = start(source, 2)
    launch.running()
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    launch.over()

    assert launch.codes() == [0, 0]
    assert told["state"] == "applied"
    first = changed_at(launch, 0.5)
    assert first[0] == first[1] and first[0]


def test_progress_on_all_ranks_ends_on_all(start: Callable[..., Launch]) -> None:
    source = STEERED + """
for step in run.progress(range(100000), mute=True):
    train()
    run.log({"loss": 1.0}, step=step)
    tell(step=step)
tell(left=step)
dist.all_reduce(one)
run.finish()
"""
    launch = start(source, 2)
    launch.running()
    told = launch.end_of(launch.ask("stop"))

    assert launch.codes() == [0, 0], launch.log()
    assert launch.values("left") == [[told["step"]]] * 2


# --- what goes wrong


def test_where_only_rank_0_calls_farwatch_the_line_to_add_is_said(start: Callable[..., Launch]) -> None:
    source = """
if rank == 0:
    run = farwatch.init("p", console=False, system=False)
    lr = run.knob("lr", 1.0)
step = 0
while not over():
    train()
    if rank == 0: run.log({"loss": 1.0}, step=step)
    tell(step=step)
    step += 1
"""
    launch = start(source, 2)
    launch.running()
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    launch.over()

    line = "only rank 0 calls farwatch: call farwatch.init() and run.log() or run.poll(all_ranks=True) on every rank"
    assert (told["state"], told["reason"]) == ("refused", line)
    assert launch.off() == [line]
    assert launch.codes() == [0, 0]


def test_ranks_that_log_at_different_steps_are_not_steered(start: Callable[..., Launch]) -> None:
    source = STEERED + """
step = 0
while not over():
    train()
    run.log({"loss": 1.0})
    if rank == 0: run.log({"more": 1.0})
    tell(step=step, lr=lr.value)
    step += 1
run.finish()
"""
    launch = start(source, 2)
    launch.running(40)
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    launch.over()

    assert told["state"] == "refused"
    assert told["reason"].startswith("rank 1 was at its safe point number ")
    assert launch.off()[0] == told["reason"]
    assert launch.codes() == [0, 0]
    assert changed_at(launch, 0.5) == [[], []]


def test_ranks_whose_steps_have_other_numbers_are_not_steered(start: Callable[..., Launch]) -> None:
    source = LOG_ONLY.replace("step=step)\n        tell", "step=step + 100 * rank)\n        tell")
    launch = start(source, 2)
    launch.running()
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    launch.over()

    assert told["state"] == "refused"
    assert "where rank 0 was at step" in told["reason"]
    assert launch.codes() == [0, 0]


def test_uneven_loops_end_and_say_that_a_rank_has_left(start: Callable[..., Launch]) -> None:
    source = STEERED + """
for step in range(10 + 40 * (1 - rank)):
    time.sleep(0.02)
    run.log({"loss": 1.0}, step=step)
    tell(step=step)
if rank: run.finish()
if rank == 0:
    while not os.path.exists(os.environ["TOLD"] + ".over"):
        run.log({"loss": 1.0}); time.sleep(0.01)
    run.finish()
else:
    while not os.path.exists(os.environ["TOLD"] + ".over"): time.sleep(0.01)
"""
    launch = start(source, 2)
    launch.running(10)
    until(lambda: launch.off(), 10)
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    launch.over()

    assert launch.off() == ["rank 1: the run has ended"]
    assert (told["state"], told["reason"]) == ("refused", "rank 1: the run has ended")
    assert launch.codes() == [0, 0]


ALONE = STEERED + """
step = 0
while not os.path.exists(os.environ["TOLD"] + ".over"):
    time.sleep(0.005 + 0.01 * rank)
    if rank == 1 and os.path.exists(os.environ["TOLD"] + ".hang"):
        tell(hangs=1)
        time.sleep(0.01)
        continue
    run.log({"loss": 1.0}, step=step)
    tell(step=step, lr=lr.value)
    step += 1
run.finish()
"""


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_rank_that_stays_away_switches_steering_off_and_training_goes_on(start: Callable[..., Launch], tmp_path: Path, how: str) -> None:
    launch = start(ALONE, 2)
    launch.running()
    if how == "dies":
        launch.kill(1)
    else:
        (tmp_path / "told.hang").touch()
        until(lambda: launch.values("hangs")[1], 30, launch.log())  # it may have been on its way into the step before
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    steps = len(launch.values("step")[0])
    until(lambda: len(launch.values("step")[0]) > steps + 10, 10)
    again = launch.end_of(launch.ask("stop"))
    launch.over()

    assert told["state"] == again["state"] == "refused"
    assert told["reason"] == again["reason"] == "rank 1 did not come to a safe point in time, for 2 s"
    assert launch.off() == [told["reason"]]
    assert launch.codes()[0] == 0, launch.log()
    assert changed_at(launch, 0.5)[0] == []


def test_rank_0_that_dies_leaves_the_others_alone(start: Callable[..., Launch]) -> None:
    source = ALONE.replace("run.finish()", "tell(end=1)\nrun.finish()")
    launch = start(source, 2)
    launch.running()
    launch.kill(0)  # and the store with it
    steps = len(launch.values("step")[1])
    until(lambda: len(launch.values("step")[1]) > steps + 20, 10, launch.log())
    launch.over()

    assert launch.codes()[1] == 0, launch.log()
    assert launch.values("end")[1] == [1]


def test_pause_ends_when_the_rank_that_could_end_it_is_gone(start: Callable[..., Launch]) -> None:
    launch = start(LOG_ONLY, 2)
    launch.running()
    assert launch.end_of(launch.ask("pause"))["state"] == "applied"
    launch.kill(0)

    # Let go, the other rank finds the collective broken, as it would without a pause.
    until(lambda: (launch.folder / "code.1").exists(), 10, launch.log())


def test_ranks_without_torch_are_refused_with_the_reason(start: Callable[..., Launch]) -> None:
    begin = """
import json, os, time
import farwatch
rank = int(os.environ["RANK"])
told = open(f"{os.environ['TOLD']}.{rank}", "a", buffering=1)
def tell(**what): told.write(json.dumps(what) + "\\n")
"""
    launch = start(ALONE.removeprefix("\n"), 2, begin=begin)
    launch.running()
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    launch.over()

    assert told["state"] == "refused"
    assert told["reason"].startswith("the 2 ranks cannot agree without torch.distributed")
    assert launch.codes() == [0, 0]
    assert changed_at(launch, 0.5) == [[], []]


def test_without_a_network_a_loop_with_barriers_takes_no_longer(start: Callable[..., Launch]) -> None:
    """W17: 100 steps with a server that nobody can reach, beside 100 that track nothing."""
    source = """
took = {}
for mode in ("disabled", "online"):
    began = time.monotonic()
    run = farwatch.init("p", mode=mode, server="http://127.0.0.1:9", console=False, system=False)
    for step in range(100):
        dist.barrier()
        time.sleep(0.002)
        run.log({"loss": 1.0}, step=step)
    run.finish()
    took[mode] = time.monotonic() - began
tell(more=took["online"] - took["disabled"])
"""
    launch = start(source, 2)

    assert launch.codes(30) == [0, 0], launch.log()
    assert max(more for rank in launch.values("more") for more in rank) < 2 * pace.slowness()


def test_signal_to_any_rank_stops_all_at_one_step(start: Callable[..., Launch]) -> None:
    launch = start(LOG_ONLY, 2)
    launch.running()

    os.kill(launch.pid(1), signal.SIGTERM)

    assert launch.codes() == [0, 0], launch.log()
    stopped = launch.values("stopped")
    assert stopped[0] == stopped[1] and len(stopped[0]) == 1
    (goodbye,) = [record.body() for record in launch.records(Kind.GOODBYE)]
    assert (goodbye["state"], goodbye["reason"]) == ("stopped", "stopped by SIGTERM")


def test_run_of_one_among_many_that_are_not_in_it_is_not_steered(start: Callable[..., Launch]) -> None:
    """As `torch.multiprocessing.spawn` starts ranks: nothing in the environment tells that there are others."""
    begin = BEGIN.replace('init_process_group("gloo")', 'init_process_group("gloo", rank=R, world_size=2)')
    hidden = """
import os
R = int(os.environ["RANK"])
for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"): del os.environ[name]
"""
    source = """
if rank == 0:
    run = farwatch.init("p", console=False, system=False)
    lr = run.knob("lr", 1.0)
step = 0
while not over():
    train()
    if rank == 0: run.log({"loss": 1.0}, step=step)
    tell(step=step)
    step += 1
"""
    launch = start(source, 2, begin=hidden + begin)
    launch.running()
    told = launch.end_of(launch.ask("stop"))
    launch.over()

    assert (told["state"], launch.off()) == ("refused", [told["reason"]])
    assert told["reason"].startswith("this is one of 2 ranks, and the others are not in this run: call farwatch.init()")
    assert launch.codes() == [0, 0]


def test_knob_that_a_person_has_set_comes_to_all_ranks_when_the_run_resumes(start: Callable[..., Launch], tmp_path: Path) -> None:
    kept = tmp_path / "state" / "runs" / "again" / "interventions.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text(
        '{"command": "c0", "op": "set", "args": {"name": "lr", "value": 0.5}, "actor": "Ann", "channel": "page", "new": 0.5}\n'
    )
    launch = start(LOG_ONLY, 2, FARWATCH_RUN_ID="again")
    until(lambda: all(changed_at(launch, 0.5)), 20, launch.log())
    launch.over()

    assert launch.codes() == [0, 0]
    first = changed_at(launch, 0.5)
    assert first[0] == first[1]


def test_slow_steps_behind_fast_ones_are_safe_points_each(start: Callable[..., Launch]) -> None:
    """A program that logs its past in one go, and then trains at its own pace, is heard at the pace of its training."""
    source = STEERED + """
for step in range(20_000):
    run.log({"loss": 1.0}, step=step)
dist.all_reduce(one)
while not over():
    step += 1
    train(0.1)
    run.log({"loss": 1.0}, step=step)
    tell(step=step, lr=lr.value)
run.finish()
"""
    launch = start(source, 2)
    launch.running()
    before = launch.values("step")[0][-1]
    told = launch.end_of(launch.ask("set", name="lr", value=0.5))
    passed = told["step"] - before  # not by when this test has read a journal of 20,000 records
    launch.over()

    assert told["state"] == "applied"
    assert passed < 100, f"{passed} steps"  # of a program that is not heard it would be 500
    assert launch.codes() == [0, 0]
