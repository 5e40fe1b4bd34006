"""What all ranks of a program read and write: the store by which `torch.distributed` brought them together.

Nothing here imports torch; it is used where the program has loaded it and called `init_process_group`. Each process opens one
connection of its own to that store: the program's is held, by whoever waits on it, for up to half an hour.
"""

import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from farwatch.settings import environment

SETUP = "call farwatch.init() and run.log() or run.poll(all_ranks=True) on every rank"


class BoardGone(OSError):
    """The store does not answer any more: its host has died, or is stopped."""


class Board(Protocol):
    """Small texts by key, seen by all ranks. Every call may raise `BoardGone`, and waits a few seconds at most until it does."""

    def get(self, key: str) -> str:
        """The text of a key that is there."""
        ...

    def set(self, key: str, text: str) -> None:
        """Write a text; waits for no answer, but what this rank writes afterwards is not seen before it."""
        ...

    def first(self, key: str, text: str) -> str:
        """Write a text unless somebody has; returns what stands there from now on, the same on all ranks."""
        ...

    def there(self, keys: list[str]) -> bool:
        """Whether all of these keys have been written."""
        ...


class TorchBoard:
    """A `TCPStore`, below a prefix of our own.

    None of its reads gives up by itself where the store's host is stopped (measured on 2.13: `check`, `compare_set` and even `wait`
    with a limit never return). So the connection's socket is given a limit: `recv` then fails, and torch raises.
    """

    def __init__(self, torch_distributed: Any, store: Any, prefix: str, wait_s: float) -> None:
        try:
            port = _under(store).port
            before = _connections(port)
            self._store = torch_distributed.PrefixStore(prefix, _own(torch_distributed, store))
            mine = _connections(port) - before
            if not mine:
                raise OSError("its connection is not to be found")
            for number in mine:
                _limit(number, wait_s)
        except Exception as error:
            raise BoardGone(str(error).partition("\n")[0][:200]) from error

    def get(self, key: str) -> str:
        # Two words that nobody writes: it answers with what is there, in one round trip; `get` takes two.
        return str(self._safely(lambda: self._store.compare_set(key, "\x00", "\x00").decode()))

    def set(self, key: str, text: str) -> None:
        self._safely(lambda: self._store.set(key, text))

    def first(self, key: str, text: str) -> str:
        return str(self._safely(lambda: self._store.compare_set(key, "", text).decode()))

    def there(self, keys: list[str]) -> bool:
        return bool(self._safely(lambda: self._store.check(keys)))

    def _safely(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # of torch: which class, differs between its versions
            raise BoardGone(str(error).partition("\n")[0][:200]) from error


def _under(store: Any) -> Any:
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    return store


def _own(torch_distributed: Any, store: Any) -> Any:
    """A connection of our own to the same server, below the same prefixes."""
    if hasattr(store, "clone"):
        return store.clone()
    under = _under(store)  # of an older torch: prefixes are not to be had, but the number of the attempt is what they are for
    attempt = environment().get("TORCHELASTIC_RESTART_COUNT", "0")
    own = torch_distributed.TCPStore(under.host, under.port, None, False)
    return torch_distributed.PrefixStore(f"attempt_{attempt}", own)


def _connections(port: int) -> set[int]:
    """Descriptors of this process that are connected to a port."""
    return {int(name) for name in os.listdir("/dev/fd") if name.isdigit() and _peer_port(int(name)) == port}


def _peer_port(number: int) -> int | None:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return None
        with socket.socket(fileno=os.dup(number)) as found:
            return int(found.getpeername()[1])
    except (OSError, IndexError, TypeError, ValueError):
        return None  # closed meanwhile, or of another kind


def _limit(number: int, wait_s: float) -> None:
    timeval = struct.pack("@ll", int(wait_s), int(wait_s % 1 * 1e6))
    with socket.socket(fileno=os.dup(number)) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


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
        store = module.distributed_c10d._get_default_store()
        under = _under(store)
        if not isinstance(under, module.TCPStore):
            return f"the ranks met by a {type(under).__name__}: start them with torchrun, or with a tcp:// or env:// address"
        return TorchBoard(module, store, f"farwatch/{nth}", wait_s)
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
