"""Detectors beside the curves: pace, GPUs, disks; and which metrics are watched."""

import math
import random

import pytest

from farwatch.service.alerts import names
from farwatch.service.alerts.curve import CAP, Curve
from farwatch.service.alerts.finding import Phase
from farwatch.service.alerts.pace import DiskLeft, IdleGpu, Pace
from farwatch.service.alerts.robust import median, noise, spread
from farwatch.service.alerts.watch import Watch
from tests.alerts.replay import rules

S = 1_000_000


@pytest.mark.parametrize(
    ("name", "loss", "any_loss"),
    [
        ("train/loss", True, True), ("loss", True, True), ("valLoss", True, True), ("eval_loss", True, True), ("perplexity", True, True),
        ("train/nll", True, True), ("loss/train", True, True), ("train/mse", True, True), ("recon_loss", True, True),
        ("g_loss", False, True), ("loss_D", False, True), ("value_loss", False, True), ("policy_loss", False, True),
        ("kl_loss", False, True), ("train/entropy_loss", False, True), ("aux_loss", False, True),
        ("loss_scale", False, False), ("best_loss", False, False), ("acc", False, False), ("flossing", False, False),
        ("loss_1", True, True), ("loss2", True, True), ("lr", False, False),
    ],
)  # fmt: skip
def test_losses_are_known_by_their_names(name: str, loss: bool, any_loss: bool) -> None:
    assert (names.is_loss(name), names.is_any_loss(name)) == (loss, any_loss)


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("val/loss", ["train/loss", "val/loss"], "train/loss"), ("eval_loss", ["loss", "lr"], "loss"),
        ("val_loss", ["loss", "train_loss"], "train_loss"), ("val/loss", ["val/acc"], None), ("test/mse", ["train/mse"], "train/mse"),
    ],
)  # fmt: skip
def test_training_metric_beside_one_of_validation(name: str, others: list[str], found: str | None) -> None:
    assert names.training_of(name, others) == found


def test_robust_statistics_do_not_see_a_few_wild_values() -> None:
    rng = random.Random(0)
    values = [5 + rng.gauss(0, 1) for _ in range(1_000)]
    wild = [value if place % 10 else 1e9 for place, value in enumerate(values)]

    assert abs(median(wild) - 5) < 0.3 and 0.8 < spread(wild) < 1.4
    assert 0.9 < noise([value + 3 * place for place, value in enumerate(values)]) < 5
    assert 0.9 < noise([value + 0.01 * place for place, value in enumerate(values)]) < 1.1
    assert math.isnan(median([])) and spread([1.0]) == 0.0 and noise([1.0, 2.0]) == 0.0


def test_curve_of_any_length_stays_small_and_keeps_its_shape() -> None:
    curve = Curve()
    for step in range(100_000):
        curve.add(step, step * S, float(step))

    assert len(curve.values) < CAP and curve.count == 100_000 and curve.start == 2.0
    assert curve.values == sorted(curve.values) and abs(curve.values[len(curve.values) // 2] - 50_000) < 2_000


def pace(seconds_per_step: list[float]) -> list[Phase]:
    rule, made, now, phases = rules()["slow_step"], Pace(), 0.0, []
    for step, seconds in enumerate(seconds_per_step):
        now += seconds
        made.feed(float(step), int(now * S), rule)
        phases.append(made.phase)
    return phases


def test_steps_that_become_slow_and_stay_so_are_a_hint_that_resolves() -> None:
    phases = pace([1.0] * 600 + [3.0] * 200 + [1.0] * 400)

    assert phases[650] is Phase.QUIET and phases[799] is Phase.FIRING and phases[-1] is Phase.QUIET


def test_evaluations_and_checkpoints_are_no_slow_steps() -> None:
    assert Phase.FIRING not in pace([*[1.0] * 100, 60.0] * 12)
    assert Phase.FIRING not in pace([1.0] * 600 + [200.0] + [1.0] * 600)


def test_gpu_that_was_busy_and_does_nothing_is_a_hint_and_one_that_never_was_is_none() -> None:
    rule = rules()["idle_gpu"]
    used, unused = IdleGpu("system/gpu/0/utilization"), IdleGpu("system/gpu/1/utilization")
    for second in range(0, 2_000, 5):
        used.feed(second * S, 90.0 if second < 300 else 0.0, rule)
        unused.feed(second * S, 0.0, rule)
    assert (used.phase, unused.phase) == (Phase.FIRING, Phase.QUIET)
    assert used.finding(1_995 * S).title == "GPU 0 has been idle for 28 min"

    used.feed(2_000 * S, 95.0, rule)
    assert used.phase is Phase.QUIET


def test_disk_of_the_machine() -> None:
    rule, disk = rules()["disk_full"], DiskLeft()
    phases = []
    for gib in (5.0, 0.9, 1.1, 1.3):
        disk.feed(S, gib * (1 << 30), rule)
        phases.append(disk.phase)

    assert phases == [Phase.QUIET, Phase.FIRING, Phase.FIRING, Phase.QUIET]


def test_two_thousand_metrics_are_not_two_thousand_watches() -> None:
    watch = Watch(1, "run", 1, rules(), lambda: ("train/loss", False))
    watch.discover(["train/loss", "val/loss", *(f"grad/layer{number}" for number in range(2_000)), *(f"loss/{n}" for n in range(200))])

    assert len(watch.series) <= 64 and {"train/loss", "val/loss"} <= watch.series.keys()


def test_metric_that_a_person_names_is_watched_instead() -> None:
    told = rules(plateau={"metrics": ["val/f1"]}, nan={"metrics": ["x/*"]}, spike={"metrics": ["x/height"]})
    watch = Watch(1, "run", 1, told, lambda: ("train/loss", False))
    watch.discover(["train/loss", "val/f1", "x/height", "y"])

    assert watch.series["val/f1"].plateau is not None and watch.series["train/loss"].plateau is None
    assert watch.series["x/height"].nonfinite is not None and watch.series["x/height"].spike is not None
    assert watch.series["train/loss"].nonfinite is None and "y" not in watch.series
