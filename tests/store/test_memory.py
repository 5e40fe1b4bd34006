"""The reference store passes the contract."""

from collections.abc import Iterator

import pytest

from farwatch.store.base import Store
from farwatch.store.memory import MemoryStore
from farwatch.testing.store import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = MemoryStore()
        yield store
        store.close()
