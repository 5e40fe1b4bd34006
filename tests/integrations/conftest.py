"""A run in this process, for integrations that log into it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # before anybody imports Keras

import farwatch
from tests.integrations.logged_run import Logged


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    """An open run in a state folder of its own, without an agent."""
    monkeypatch.setenv("FARWATCH_AGENT", "0")
    monkeypatch.setenv("FARWATCH_STRICT", "1")
    run = farwatch.init(project="p", dir=tmp_path / "state", mode="offline", console=False, system=False)
    yield Logged(run, tmp_path / "state")
    run.finish()
