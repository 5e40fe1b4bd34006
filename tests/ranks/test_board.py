"""The board on a real `TCPStore`, whose host may be stopped or gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from farwatch.sdk.board import BoardGone, TorchBoard
from tests import pace
from tests.faults.machine import until

HOST = """
import torch.distributed, sys
store = torch.distributed.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
print(store.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def host() -> Iterator[tuple[int, int]]:
    """Process and port of a store."""
    process = subprocess.Popen([sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.kill()
    process.communicate()


class Older:
    """A store as torch had it before it could be cloned."""

    def __init__(self, store: Any) -> None:
        self.underlying_store = store


def board(port: int, *, older: bool = False) -> TorchBoard:
    store: Any = torch.distributed.TCPStore("127.0.0.1", port, None, False)
    store = Older(Bare(store)) if older else torch.distributed.PrefixStore("default_pg", store)
    return TorchBoard(torch.distributed, store, "farwatch/1", 1.0)


class Bare:
    """And the `TCPStore` below it."""

    def __init__(self, store: Any) -> None:
        self.host, self.port = store.host, store.port


@pytest.mark.parametrize("older", [False, True])
def test_first_word_stands_and_all_read_it(host: tuple[int, int], older: bool) -> None:
    one, other = board(host[1], older=older), board(host[1], older=older)

    assert not other.there(["word"])
    assert one.first("word", "go") == "go"
    assert other.first("word", "late") == "go"
    one.set("more", "here")
    until(lambda: other.there(["word", "more"]), 5)  # it waits for no answer
    assert other.get("more") == "here"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_no_call_outlasts_a_host_that_is_stopped_or_gone(host: tuple[int, int], how: signal.Signals) -> None:
    calls = {
        "get": lambda one: one.get("word"),
        "first": lambda one: one.first("word", "late"),
        "there": lambda one: one.there(["word"]),
    }
    boards = {name: board(host[1]) for name in calls}
    boards["get"].set("word", "go")
    os.kill(host[0], how)
    until(lambda: Path(f"/proc/{host[0]}/stat").read_text().rpartition(")")[2].split()[0] in "TZ", 5)

    for name, call in calls.items():
        began = time.monotonic()
        with pytest.raises(BoardGone):
            call(boards[name])
        assert time.monotonic() - began < 3 * pace.slowness(), name
