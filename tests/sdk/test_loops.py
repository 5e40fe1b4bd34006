"""Where a stop meets a program that goes through loops with bars: inside them, between them, and when they are over."""

import threading
import time
from typing import Any

import pytest

import farwatch

from .asking import Asked


def bar(asked: Asked, n: int, kind: str = "shown") -> Any:
    if kind == "hidden":
        return asked.run.progress(range(n), disable=True)
    return asked.run.progress(range(n), mute=True)


@pytest.mark.parametrize("kind", ["shown", "hidden"])
@pytest.mark.parametrize("left", ["to its end", "by break"])
def test_a_loop_that_is_over_does_not_keep_log_from_stopping_the_program(asked: Asked, kind: str, left: str) -> None:
    """A bar over the files that are read first, and then a training that only logs."""
    for i in bar(asked, 3, kind):
        if left == "by break" and i == 1:
            break
    stop = asked.ask("stop")

    with pytest.raises(farwatch.Stopped):
        asked.steps(10)

    assert asked.ended(stop)["state"] == "applied"


def test_a_stop_between_two_loops_ends_the_next_one_and_raises_nothing(asked: Asked) -> None:
    done = []
    for epoch in range(2):
        for step in bar(asked, 3):
            done.append((epoch, step))
            asked.steps()
        if epoch == 0:
            asked.ask("stop")
        asked.steps()  # the validation

    assert done == [(0, 0), (0, 1), (0, 2), (1, 0)]
    asked.run.finish()
    assert asked.run.state == "stopped"


@pytest.mark.parametrize("logs", [True, False])
def test_epochs_around_a_loop_do_not_outlive_a_stop(asked: Asked, logs: bool) -> None:
    """What ends is the loop with the bar; the epochs around it know of nothing, and would go on for hours."""
    seen = []

    with pytest.raises(farwatch.Stopped, match="stopped by Ann"):
        for epoch in range(50):
            for _ in bar(asked, 5):
                if not seen:
                    asked.ask("stop")
                seen.append(epoch)
                if logs:
                    asked.steps()

    assert seen == [0, 1, 2]  # the loop that was told, and two for a final evaluation


def test_checkpoint_waits_for_the_end_of_an_iteration_while_a_loop_is_open(asked: Asked) -> None:
    inside: list[bool] = []
    saved_inside: list[bool] = []
    asked.run.on("checkpoint")(lambda: saved_inside.append(bool(inside)))
    for i in bar(asked, 2):
        if i == 0:
            asked.ask("checkpoint")
        inside.append(True)
        asked.steps(3)
        inside.clear()

    assert saved_inside == [False]


def test_a_bar_of_another_thread_changes_nothing(asked: Asked) -> None:
    going, over = threading.Event(), threading.Event()

    def load() -> None:
        for _ in bar(asked, 2):
            going.set()
            over.wait(30)

    thread = threading.Thread(target=load)
    thread.start()
    assert going.wait(30)
    asked.ask("stop")
    try:
        with pytest.raises(farwatch.Stopped):
            asked.steps(3)
    finally:
        over.set()
        thread.join(30)


@pytest.mark.parametrize("kind", ["shown", "hidden"])
def test_final_evaluation_with_a_bar_is_whole(asked: Asked, kind: str) -> None:
    """K2: what comes only after the stop arrives; the loop that was stopped does not begin again."""
    trained = []
    for epoch in range(5):
        for step in bar(asked, 10, kind):
            trained.append((epoch, step))
            if len(trained) == 2:
                asked.ask("stop")
            asked.steps()
        if asked.run.should_stop:
            break

    evaluated = list(bar(asked, 20, kind))
    asked.run.log({"final/acc": 0.5})
    asked.run.finish()

    assert len(trained) < 6
    assert evaluated == list(range(20))


def test_second_training_after_a_stop_has_a_minute_and_no_more(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farwatch.sdk.progress.LATE_S", 0.2)
    for step in bar(asked, 10):
        if step == 1:
            asked.ask("stop")
        asked.steps()

    began = time.monotonic()
    for _ in bar(asked, 100_000):
        time.sleep(0.01)

    assert 0.15 < time.monotonic() - began < 5
