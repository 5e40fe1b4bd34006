"""Values that are still being computed: written when they arrive, in the order of their calls, never waited for."""

import time
from pathlib import Path

import pytest

from farwatch.sdk import device
from farwatch.sdk.journal import Journal
from farwatch.sdk.recorder import Recorder
from farwatch.wire.ids import new_writer_id
from tests.sdk.conftest import Journal as Written


class Promise:
    """A scalar of a library that tells when it is ready, as JAX's arrays do."""

    __module__ = "jaxlib._jax"
    shape = ()

    def __init__(self, value: float, *, lost: bool = False) -> None:
        self.value = value
        self.done = False
        self.lost = lost
        self.waited = False

    def is_ready(self) -> bool:
        if self.lost:
            raise RuntimeError("Array has been deleted.")
        return self.done

    def __float__(self) -> float:
        if self.lost:
            raise RuntimeError("Array has been deleted.")
        self.waited = self.waited or not self.done
        return self.value


class Plain(Recorder):
    """A recorder without a run around it."""

    __slots__ = ()

    def _as_media(self, value: object) -> None:
        return None

    def _look_after_agent(self) -> None:
        return None


@pytest.fixture
def recorder(tmp_path: Path) -> Plain:
    folder = tmp_path / new_writer_id()
    folder.mkdir()
    (folder / "writer.json").write_text('{"wall_us": 0}')
    journal = Journal(folder, folder.name, max_bytes=1 << 30, clock_ns=time.monotonic_ns)
    made = Plain(journal, base_ns=time.monotonic_ns(), strict=True, warn=lambda *_: None)
    made._previous_ns = 1 << 62  # as if the previous call had been a moment ago
    return made


def written(recorder: Plain, name: str) -> tuple[list[float], list[float]]:
    return Written(recorder._journal.folder).series(name)


def log(recorder: Plain, data: dict, step: int) -> None:
    recorder.log(data, step=step)
    recorder._previous_ns = 1 << 62


def test_a_value_is_written_when_it_has_arrived_and_never_waited_for(recorder: Plain) -> None:
    first, second = Promise(1.5), Promise(2.5)

    log(recorder, {"loss": first, "lr": 0.1}, 0)
    log(recorder, {"loss": second, "lr": 0.2}, 1)
    assert written(recorder, "lr") == ([], [])
    first.done = second.done = True
    log(recorder, {"other": 1.0}, 2)

    assert written(recorder, "loss") == ([0, 1], [1.5, 2.5])
    assert written(recorder, "lr") == ([0, 1], [0.1, 0.2])
    assert written(recorder, "other") == ([2], [1.0])
    assert not first.waited


def test_later_plain_calls_stay_behind_a_pending_one(recorder: Plain) -> None:
    slow = Promise(1.0)
    log(recorder, {"a": 0.0}, 0)

    log(recorder, {"a": slow}, 1)
    for step in range(2, 50):
        log(recorder, {"a": float(step)}, step)
    assert written(recorder, "a") == ([0], [0.0])
    slow.done = True
    log(recorder, {"a": 50.0}, 50)
    log(recorder, {"a": 51.0}, 51)

    assert written(recorder, "a")[0] == [float(step) for step in range(52)]


def test_a_rare_logger_is_kept_live_by_waiting(recorder: Plain) -> None:
    recorder._previous_ns = 0  # the previous call is long ago
    value = Promise(3.0)

    recorder.log({"epoch/loss": value}, step=7)

    assert value.waited
    assert written(recorder, "epoch/loss") == ([7], [3.0])


def test_a_donated_array_is_counted_and_costs_only_itself(recorder: Plain) -> None:
    log(recorder, {"gone": Promise(1.0, lost=True), "lr": 0.5}, 0)
    log(recorder, {"next": 1.0}, 1)

    assert written(recorder, "lr") == ([0], [0.5])
    assert written(recorder, "gone") == ([], [])
    assert recorder._meter()["dropped"] == 1


def test_everything_pending_is_waited_for_at_the_end(recorder: Plain) -> None:
    values = [Promise(float(step)) for step in range(5)]
    for step, value in enumerate(values):
        log(recorder, {"a": value}, step)

    recorder._journal.hold(lambda: recorder._pending.flush(wait=True))

    assert written(recorder, "a") == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])


def test_cpu_tensors_are_not_on_a_device() -> None:
    import torch

    assert not device.on_device(torch.tensor(1.0))
    assert device.on_device(Promise(1.0))
    assert not device.on_device(1.0)
