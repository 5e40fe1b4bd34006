"""What the rules say of real curves, of trainings that went wrong and of healthy ones. See `curves` for how they were made."""

import functools

import numpy as np
import pytest

from farwatch.service.alerts.rules import HINT, RING
from tests.alerts.curves.record import load
from tests.alerts.replay import Said, replay, rules

CURVES = load()
RINGS = {name for name, rule in rules().items() if rule.level == RING}
HINTS = {name for name, rule in rules().items() if rule.level == HINT}

# curve -> rule, and the steps between which it must fire, once
MUST_RING = {
    "nan_after_progress": ("nan", 610, 640),
    "nan_at_once": ("nan", 0, 5),
    "spike_stays": ("spike", 1_200, 1_350),
    "spike_stays_lm": ("spike", 1_000, 1_100),
    "slow_divergence": ("spike", 1_300, 1_750),
}
MUST_HINT = {
    "plateau_from_the_start": ("plateau", 440, 520),
    "plateau_after_progress": ("plateau", 600, 1_400),
    "overfitting": ("overfitting", 180, 330),
    "overfitting_slow": ("overfitting", 300, 800),
}
HEALS = ("spike_heals", "spike_heals_lm", "curriculum_classes", "lm_other_text")
HEALTHY = sorted(set(CURVES) - set(MUST_RING) - set(MUST_HINT))
# Healthy, but done: they say so, and nothing else.
CONVERGED = {"autoencoder", "contrastive", "diffusion", "one_cycle", "physics", "q_learning", "accuracy_only"}


@functools.cache
def said(name: str) -> list[Said]:
    main, series = CURVES[name]
    return replay(main, series)


def fired(name: str, among: set[str]) -> list[tuple[str, float]]:
    return [(one.rule, one.at_step) for one in said(name) if one.what == "firing" and one.rule in among]


@pytest.mark.parametrize("name", MUST_RING)
def test_training_that_goes_wrong_rings_once_and_in_time(name: str) -> None:
    rule, low, high = MUST_RING[name]

    (once,) = fired(name, RINGS)

    assert once[0] == rule and low <= once[1] <= high


@pytest.mark.parametrize("name", MUST_HINT)
def test_training_that_gets_nowhere_is_a_hint_and_rings_nobody(name: str) -> None:
    rule, low, high = MUST_HINT[name]

    (once,) = fired(name, HINTS)

    assert once[0] == rule and low <= once[1] <= high
    assert fired(name, RINGS) == []


def test_there_are_as_many_healthy_curves_as_were_promised() -> None:
    assert len(HEALTHY) >= 20


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_training_rings_nobody(name: str) -> None:
    assert fired(name, RINGS) == []


@pytest.mark.parametrize("name", sorted(set(HEALTHY) - CONVERGED))
def test_healthy_training_that_still_learns_gives_no_hint(name: str) -> None:
    assert fired(name, HINTS) == []


@pytest.mark.parametrize("name", sorted(CONVERGED))
def test_healthy_training_that_is_done_says_that_it_is_flat_and_no_more(name: str) -> None:
    assert {rule for rule, _ in fired(name, HINTS)} <= {"plateau"}
    assert len(fired(name, HINTS)) <= 1


@pytest.mark.parametrize("name", HEALS)
def test_jump_that_heals_is_noticed_and_told_nobody(name: str) -> None:
    what = [one.what for one in said(name) if one.rule == "spike"]

    assert "pending" in what and "healed" in what
    assert "firing" not in what


@pytest.mark.parametrize("batch_s", [0.5, 40.0, 400.0])
@pytest.mark.parametrize("name", ["spike_stays", "plateau_after_progress", "overfitting", "nan_after_progress", "one_by_one"])
def test_verdict_does_not_depend_on_how_points_are_batched(name: str, batch_s: float) -> None:
    main, series = CURVES[name]

    rules_fired = {one.rule for one in replay(main, series, batch_s=batch_s) if one.what == "firing"}

    assert rules_fired == {one.rule for one in said(name) if one.what == "firing"}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", sorted(set(HEALTHY) | set(MUST_RING)))
def test_verdict_survives_more_noise_other_units_and_another_start(name: str, seed: int) -> None:
    """The same curve a thousand times as high, with 3 % of noise on it, and without its first points."""
    main, series = CURVES[name]
    rng = np.random.default_rng(seed)
    changed = {}
    for metric, points in series.items():
        late = points[:, points[1] > 30 * seed]
        changed[metric] = np.stack([late[0], late[1], late[2] * 1000.0**seed * (1 + 0.03 * rng.normal(size=late.shape[1]))])

    rung = {one.rule for one in replay(main, changed) if one.what == "firing" and one.rule in RINGS}

    assert rung == ({MUST_RING[name][0]} if name in MUST_RING else set())
