"""What all ranks of a program read and write: the store by which `torch.distributed` brought them together.

Nothing here imports torch; it is used where the program has loaded it and called `init_process_group`. Each process opens one
connection of its own to that store: the program's is held, by whoever waits on it, for up to half an hour.
"""

import datetime
import sys
from typing import Any, Protocol

SETUP = "call farwatch.init() and run.log() or run.poll(all_ranks=True) on every rank"


class BoardGone(OSError):
    """The store does not answer any more: its host has died, or is stopped."""


class Board(Protocol):
    """Small texts by key, seen by all ranks. Every call may raise `BoardGone`, and waits a few seconds at most until it does."""

    def get(self, key: str) -> str:
        """The text of a key that is there."""
        ...

    def set(self, key: str, text: str) -> None:
        """Write a text; waits for no answer."""
        ...

    def first(self, key: str, text: str) -> str:
        """Write a text unless somebody has; returns what stands there from now on, the same on all ranks."""
        ...

    def there(self, keys: list[str]) -> bool:
        """Whether all of these keys have been written."""
        ...


class TorchBoard:
    """A `TCPStore`, below a prefix of our own.

    Of its operations only `wait` gives up if the server is stopped (measured on 2.13: `check` and `compare_set` never return), so
    one stands before each of the others.
    """

    def __init__(self, torch_distributed: Any, store: Any, prefix: str, name: str, wait_s: float) -> None:
        self._limit = datetime.timedelta(seconds=wait_s)
        self._name = f"board/{name}"
        try:
            store = store.clone() if hasattr(store, "clone") else store
            self._store = torch_distributed.PrefixStore(prefix, store)
            self._store.set(self._name, "1")
        except Exception as error:
            raise BoardGone(str(error)[:200]) from error

    def get(self, key: str) -> str:
        return self._bounded(key, lambda: self._store.get(key).decode())

    def set(self, key: str, text: str) -> None:
        try:
            self._store.set(key, text)
        except Exception as error:
            raise BoardGone(str(error)[:200]) from error

    def first(self, key: str, text: str) -> str:
        return self._bounded(self._name, lambda: self._store.compare_set(key, "", text).decode())

    def there(self, keys: list[str]) -> bool:
        return bool(self._bounded(self._name, lambda: self._store.check(keys)))

    def _bounded(self, key: str, call: Any) -> Any:
        try:
            self._store.wait([key], self._limit)
            return call()
        except Exception as error:  # of torch: which class, differs between its versions
            raise BoardGone(str(error).partition("\n")[0][:200]) from error


def _distributed() -> Any:
    """`torch.distributed`, if the program has brought its ranks together by it."""
    module = sys.modules.get("torch.distributed")
    if module is None or not module.is_available() or not module.is_initialized():
        return None
    return module


def find_board(rank: int, world_size: int, nth: int, wait_s: float) -> TorchBoard | str | None:
    """The board of this rank; why there can be none; or None as long as the ranks have not met."""
    module = _distributed()
    if module is None:
        return None
    try:
        here = (module.get_rank(), module.get_world_size())
        if here != (rank, world_size):
            return (
                f"torch.distributed has {here[1]} ranks and this run {world_size}: to make them one run, set FARWATCH_RUN_ID to one new"
                " value on all nodes"
            )
        store = under = module.distributed_c10d._get_default_store()
        while hasattr(under, "underlying_store"):
            under = under.underlying_store
        if not isinstance(under, module.TCPStore):
            return f"the ranks met by a {type(under).__name__}: start them with torchrun, or with a tcp:// or env:// address"
        return TorchBoard(module, store, f"farwatch/{nth}", f"{rank}", wait_s)
    except Exception as error:  # the border: of a version of torch that we do not know, or of a store that is gone
        return f"the ranks' store cannot be used: {type(error).__name__}: {error!s:.200}"


def why_not_alone() -> str | None:
    """Why a run of a single process must not be steered: its program has other ranks, which would not follow."""
    module = _distributed()
    try:
        count = 1 if module is None else int(module.get_world_size())
    except Exception:
        return None
    if count == 1:
        return None
    return f"this is one of {count} ranks, and the others are not in this run: {SETUP}, with ranks=(rank, world_size)"
