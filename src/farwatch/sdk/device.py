"""Scalars that are still being computed on a device: copied without waiting, written when they have arrived.

A loss on a GPU is a promise. Reading it drains the device's queue, which costs a training step more than everything
else that a tracker does. So `log` asks the device for a copy and goes on; a later `log` finds the copy done and writes
the point, with the step and time of its own call, before any later record of the run.

*CUDA*: `detach()`, a copy on the current stream into a pinned ring made once, one event per call. *JAX*: asked with
`is_ready()`. *MPS and others*: no query exists; waited for at the next call, when the value is one step old.
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

RING = 1024  # slots per dtype; a call that finds the ring full waits for the oldest
WAIT_NS = 1_000_000_000  # a program that logs this rarely is kept live by waiting: one drain a second costs nothing


class Lost(Exception):
    """The value is gone: its graph is being captured, or its buffer was donated."""


class Transfer(Protocol):
    """One value on its way."""

    def ready(self) -> bool:
        """Whether `value` would return at once."""
        ...

    def value(self) -> float:
        """Wait for it. Raises `Lost` if it is gone."""
        ...


def on_device(value: Any) -> bool:
    """Whether reading `value` would wait for a device."""
    module = type(value).__module__
    if module.startswith("torch"):
        device = getattr(value, "device", None)
        return device is not None and device.type != "cpu"
    return module.startswith("jax") and hasattr(value, "is_ready")


class _Ring:
    """Pinned memory of one dtype, allocated once: allocating per call would synchronise."""

    def __init__(self, torch: Any, dtype: Any) -> None:
        self.buffer = torch.empty(RING, dtype=dtype, pin_memory=True)
        self.free = list(range(RING))
        self._torch = torch

    def event(self) -> Any:
        event = self._torch.cuda.Event()
        event.record()
        return event


class Pending:
    """Calls whose values are under way, oldest first.

    *Threads*: under the journal's lock. `write` is called with (value, …) of a call once all of them have arrived.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[list[Transfer], Callable[[list[float | None]], None]]] = deque()
        self._rings: dict[Any, _Ring] = {}
        self.lost = 0

    def __len__(self) -> int:
        return len(self._calls)

    def start(self, values: list[Any]) -> list[Transfer]:
        """Ask for copies of `values`, all of one call. Never waits for the device unless its ring is full."""
        torch = sys.modules.get("torch")
        transfers: list[Transfer] = []
        for value in values:
            if torch is not None and isinstance(value, torch.Tensor) and value.device.type == "cuda":
                transfers.append(self._start_cuda(torch, value))
            else:
                transfers.append(_Held(value))
        event = None
        for transfer in transfers:
            if isinstance(transfer, _Copied):
                if event is None:
                    event = transfer.ring.event()  # after the last copy: one event per call
                transfer.event = event
        return transfers

    def _start_cuda(self, torch: Any, value: Any) -> Transfer:
        if torch.cuda.is_current_stream_capturing():
            return _Gone("a CUDA graph is being captured")
        key = (value.dtype, value.device)
        ring = self._rings.get(key)
        if ring is None:
            ring = self._rings[key] = _Ring(torch, value.dtype)
        while not ring.free and self._calls:
            self._write_oldest()
        if not ring.free:
            return _Held(value)  # one call with more values than the ring has slots
        slot = ring.free.pop()
        ring.buffer[slot].copy_(value.detach().reshape(()), non_blocking=True)
        return _Copied(ring, slot)

    def add(self, transfers: list[Transfer], write: Callable[[list[float | None]], None]) -> None:
        """Queue a call behind those before it; `write` gets None for a value that was lost."""
        self._calls.append((transfers, write))

    def flush(self, *, wait: bool = False) -> None:
        """Write what has arrived, in order, up to the first call that has not; all of them with `wait`."""
        while self._calls and (wait or all(transfer.ready() for transfer in self._calls[0][0])):
            self._write_oldest()

    def _write_oldest(self) -> None:
        transfers, write = self._calls.popleft()
        found: list[float | None] = []
        for transfer in transfers:
            try:
                found.append(transfer.value())
            except Lost:
                self.lost += 1
                found.append(None)
        write(found)


class _Copied:
    def __init__(self, ring: _Ring, slot: int) -> None:
        self.ring = ring
        self.event: Any = None
        self._slot = slot

    def ready(self) -> bool:
        return self.event.query()

    def value(self) -> float:
        self.event.synchronize()
        found = float(self.ring.buffer[self._slot])
        self.ring.free.append(self._slot)
        return found


class _Held:
    """A value of a library that only tells whether it is ready, or not even that."""

    def __init__(self, value: Any) -> None:
        detach = getattr(value, "detach", None)
        self._value = detach() if detach is not None else value

    def ready(self) -> bool:
        is_ready = getattr(self._value, "is_ready", None)
        try:
            return is_ready is None or bool(is_ready())
        except RuntimeError:
            return True  # deleted: `value` says so

    def value(self) -> float:
        try:
            return float(self._value)
        except RuntimeError as error:
            raise Lost(str(error)) from error


class _Gone:
    def __init__(self, why: str) -> None:
        self._why = why

    def ready(self) -> bool:
        return True

    def value(self) -> float:
        raise Lost(self._why)
