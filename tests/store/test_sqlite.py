"""The SQLite store passes the contract, also when everything goes through chunks and segments at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farwatch.clock import SystemClock
from farwatch.settings import load
from farwatch.store.base import Store
from farwatch.store.sqlite import SqliteStore
from farwatch.testing.store import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with SqliteStore(tmp_path / "data", load({}), SystemClock()) as store:
            yield store


class TestSqliteStoreThatFlushesAllTheTime(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with SqliteStore(
            tmp_path / "data", load({}).replace(memtable_points=7, flush_s=0.0), SystemClock()
        ) as store:
            yield store
