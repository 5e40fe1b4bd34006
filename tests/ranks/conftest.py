"""Programs on many ranks."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .launch import Launch
from .nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Callable[..., Launch]]:
    """Start a program on so many ranks; whatever is left of it is killed."""
    made: list[Launch] = []

    def begin(source: str, count: int = 2, **more: str) -> Launch:
        made.append(Launch(nursery, tmp_path, source, count, **more))
        return made[0]

    yield begin
    for one in made:
        one.kill_all()
