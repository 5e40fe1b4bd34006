"""Alerts from committed batches, states and time: fired once, resolved, answered, and the same after a restart."""

import math
import random

import pytest

from farwatch.wire.records import Kind
from tests.alerts.conftest import NAN, Alerted, curve, started

# --- from points


def test_loss_that_turns_nan_is_exactly_one_alert(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(60))

    alerted.log(process, [NAN] * 300)

    (row,) = alerted.alerts()
    assert (row.rule, row.state, row.level, row.facts["step"]) == ("nan", "firing", "ring", 60)
    assert [what for what, *_ in alerted.news] == ["pending", "fired"]


def test_single_nan_at_the_end_rings_within_two_seconds(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), NAN])
    assert alerted.alerts("firing") == []

    alerted.turn(1.25)

    assert [row.rule for row in alerted.alerts("firing")] == ["nan"]


def test_nan_between_finite_values_is_told_nobody(alerted: Alerted) -> None:
    process = started(alerted)

    alerted.log(process, [*curve(20), NAN, 0.5, 0.5, math.inf, 0.5, 0.5], every_s=0.5)

    assert alerted.alerts() == []
    assert {what for what, *_ in alerted.news} == {"pending", "healed"}


def test_nan_that_heals_resolves_and_says_recovered(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), NAN, NAN, NAN])

    alerted.log(process, [0.5] * 4)

    (row,) = alerted.alerts()
    assert (row.state, row.facts["recovered"]) == ("resolved", True)


def test_several_metrics_that_turn_nan_together_are_one_alert(alerted: Alerted) -> None:
    process = started(alerted)
    for value in [*curve(20), *[NAN] * 5]:
        alerted.clock.advance(1)
        process.log({"train/loss": value, "val/loss": value, "aux_loss": value})
    process.send()
    alerted.turn()

    assert len(alerted.alerts()) == 1


def test_loss_flat_for_the_configured_time_is_exactly_one_alert(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.book.change("run/" + process.run, {"plateau": {"after_s": 60}}, "ann", 0)
    noise = random.Random(3)

    alerted.log(process, curve(100))
    alerted.log(process, [0.1 + 0.0003 * noise.gauss(0, 1) for _ in range(400)])

    (row,) = alerted.alerts()
    assert (row.rule, row.level, row.state) == ("plateau", "hint", "firing")
    assert alerted.runs.row(process.run)["alerts"] == 0


def test_constant_loss_is_flat_after_the_configured_time_and_not_before(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.book.change("server", {"plateau": {"after_s": 30}}, "ann", 0)

    alerted.log(process, [2.3] * 29)
    assert alerted.alerts() == []
    alerted.log(process, [2.3] * 12)

    assert [row.rule for row in alerted.alerts()] == ["plateau"]


def test_spike_that_stays_tells_value_band_and_what_moved(alerted: Alerted) -> None:
    process = started(alerted, total_steps=1_000)
    noise = random.Random(1)
    for step, value in enumerate([*curve(300), *[4.0 + 0.1 * noise.random()] * 100]):
        alerted.clock.advance(1)
        norm = 1 + 0.1 * noise.random() + (50 if step >= 300 else 0)
        process.log({"train/loss": value, "grad/norm": norm, "lr": 0.001, "steady": noise.random()})
        if step % 20 == 19:
            process.send()
            alerted.turn()

    (row,) = alerted.alerts()
    assert (row.rule, row.state, row.facts["step"]) == ("spike", "firing", 300)
    assert row.facts["band"]["low"] < 0.11 < row.facts["band"]["high"] and row.facts["value"] > 4
    assert [one["name"] for one in row.facts["moved"]] == ["grad/norm"]
    assert 500 < row.facts["left_s"] < 2_000


def test_alert_names_the_checkpoint_from_which_one_can_go_on(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(100), turns=True)
    for command, step, path in (("first-save", 40, "step-40.pt"), ("last-save", 90, "step-90.pt")):
        saved = {"command": command, "op": "checkpoint", "event": "ended", "state": "applied", "actor": "Ann", "channel": "page"}
        process.add(Kind.EVENT, {**saved, "seq": 1, "args": {}, "result": path}, step=step)
    failed = {"command": "third-save", "op": "checkpoint", "event": "ended", "state": "refused", "actor": "Ann", "channel": "page"}
    process.add(Kind.EVENT, {**failed, "seq": 2, "args": {}}, step=95)
    process.send()

    alerted.log(process, [NAN] * 10, turns=True)

    (row,) = alerted.alerts()
    assert (row.rule, row.facts["checkpoint"]["step"], row.facts["checkpoint"]["path"]) == ("nan", 90, "step-90.pt")


def test_disk_that_fills_up_rings_from_its_posted_metric(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [300e9] * 5, name="system/disk/free_bytes", every_s=15)

    alerted.log(process, [1e8] * 3, name="system/disk/free_bytes", every_s=15)

    (row,) = alerted.alerts()
    assert (row.rule, row.state, row.level) == ("disk_full", "firing", "ring")
    alerted.log(process, [300e9] * 3, name="system/disk/free_bytes", every_s=15)
    assert alerted.alerts()[0].state == "resolved"


def test_gpu_that_falls_idle_is_a_hint_from_its_posted_metric(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [90.0] * 40, name="system/gpu/0/utilization", every_s=15)

    alerted.log(process, [0.0] * 80, name="system/gpu/0/utilization", every_s=15)

    assert [(row.rule, row.level, row.state) for row in alerted.alerts()] == [("idle_gpu", "hint", "firing")]


def test_steps_that_become_slow_are_a_hint_from_the_times_of_their_points(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(400), every_s=1)

    alerted.log(process, curve(120, seed=1, level=0.1), every_s=10)

    assert [(row.rule, row.level) for row in alerted.alerts() if row.rule == "slow_step"] == [("slow_step", "hint")]


def test_spike_that_heals_in_time_is_told_nobody(alerted: Alerted) -> None:
    process = started(alerted)

    alerted.log(process, [*curve(200), *[5.0] * 8, *curve(300)[200:]], turns=True)

    assert alerted.alerts() == []
    assert ("healed", "spike") in {(what, rule) for what, rule, _ in alerted.news}


def test_alert_that_comes_back_within_its_cooldown_is_the_same_one(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 3, *[0.5] * 5, *[NAN] * 3])

    (row,) = alerted.alerts()
    assert (row.state, row.times) == ("firing", 2)
    assert [what for what, *_ in alerted.news if what in ("fired", "again")] == ["fired", "again"]

    alerted.log(process, [0.5] * 5)
    alerted.log(process, [0.5] * 3, every_s=300)
    alerted.log(process, [NAN] * 3)
    assert len(alerted.alerts()) == 2


def test_points_that_were_logged_long_ago_ring_nobody(alerted: Alerted) -> None:
    process = started(alerted)
    for value in [*curve(20), *[NAN] * 5]:
        process.log({"train/loss": value})
    alerted.clock.advance(7_200)

    process.send()
    alerted.turn(2)

    assert alerted.alerts() == []


def test_new_attempt_ends_what_the_one_before_had(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 5])
    process.goodbye("failed", "loss is NaN").send()
    alerted.turn()
    assert {row.rule: row.state for row in alerted.alerts()} == {"nan": "resolved", "failed": "firing"}

    again = started(alerted, run=process.run)
    alerted.log(again, curve(20))

    assert {row.state for row in alerted.alerts()} == {"resolved"}


# --- restarts


def test_pending_survives_a_restart_and_fires_once(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(300))
    alerted.log(process, [4.0] * 40)
    assert [row.state for row in alerted.alerts()] == ["pending"]

    alerted.restart()
    alerted.turn()
    assert [row.state for row in alerted.alerts()] == ["pending"]
    alerted.log(process, [4.0 + step / 1000 for step in range(60)])

    (row,) = alerted.alerts()
    assert (row.rule, row.state, row.facts["step"]) == ("spike", "firing", 300)
    assert [what for what, *_ in alerted.news] == ["pending", "fired"]


def test_firing_alert_is_not_told_again_after_a_restart(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 5])

    alerted.restart()
    alerted.turn(5)
    alerted.log(process, [NAN] * 5)

    assert len(alerted.alerts()) == 1
    assert [what for what, *_ in alerted.news] == ["pending", "fired"]


def test_recovery_during_a_restart_resolves(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 5])
    for _ in range(5):
        process.log({"train/loss": 0.5})
    process.send()  # the engine has no turn any more

    alerted.restart()
    alerted.turn()

    assert [row.state for row in alerted.alerts()] == ["resolved"]


# --- from states


@pytest.mark.parametrize(
    ("reason", "rule"),
    [("ValueError: no", "failed"), ("OutOfMemoryError: CUDA out of memory", "out_of_memory"), ("killed by signal 9", "failed")],
)
def test_run_that_fails_rings_once(alerted: Alerted, reason: str, rule: str) -> None:
    process = started(alerted)
    alerted.log(process, curve(5))

    process.goodbye("failed", reason).send()
    for _ in range(3):
        alerted.turn(1)
    alerted.restart()
    alerted.turn()

    (row,) = alerted.alerts()
    assert (row.rule, row.state) == (rule, "firing")


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_run_that_ends_well_rings_nobody(alerted: Alerted, state: str) -> None:
    process = started(alerted)
    alerted.log(process, curve(5))

    process.goodbye(state).send()
    alerted.turn()

    assert alerted.alerts() == []


def test_run_that_failed_while_the_server_was_down_rings_when_it_is_known(alerted: Alerted) -> None:
    process = started(alerted)
    process.goodbye("failed", "no").send()  # committed, and then the server dies before the rules look

    alerted.restart()
    alerted.turn()

    assert [row.rule for row in alerted.alerts("firing")] == ["failed"]


def test_lost_run_rings_and_resolves_when_it_speaks(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.beat(process)
    alerted.clock.advance(60)
    alerted.liveness.tick()
    alerted.turn()
    assert [row.rule for row in alerted.alerts("firing")] == ["lost"]

    alerted.beat(process)
    alerted.turn()

    (row,) = alerted.alerts()
    assert (row.state, row.facts["recovered"]) == ("resolved", True)


def test_stalled_run_rings_by_what_liveness_has_learned(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(5), every_s=2)
    for _ in range(62):
        alerted.clock.advance(10)
        alerted.beat(process)
        alerted.liveness.tick()
        alerted.turn()

    assert [row.rule for row in alerted.alerts("firing")] == ["stalled"]
    alerted.log(process, [0.5])
    assert [row.state for row in alerted.alerts()] == ["resolved"]


def test_pause_that_a_person_asked_for_is_no_stall_and_teaches_nothing(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(5), every_s=2)
    process.add(Kind.EVENT, {"paused": True}).send()
    for _ in range(100):
        alerted.clock.advance(30)
        alerted.beat(process)
        alerted.liveness.tick()
    process.add(Kind.EVENT, {"paused": False}).send()
    alerted.liveness.tick()
    assert alerted.runs.row(process.run)["state"] == "running"

    for _ in range(63):
        alerted.clock.advance(10)
        alerted.beat(process)
        alerted.liveness.tick()

    assert alerted.runs.row(process.run)["state"] == "stalled"


def test_deleted_run_has_no_open_alerts(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 5])

    alerted.runs.delete(process.run, "ann")
    alerted.turn()

    assert alerted.alerts("firing", "pending") == []
