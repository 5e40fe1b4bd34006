"""Which run somebody means, where there are many."""

from types import SimpleNamespace
from typing import Any

from farwatch.bridges.language.asked import Asked
from farwatch.bridges.language.words import Verb
from farwatch.bridges.selection import KNOWN_MAX, LISTENER, Selection


def run(no: int, *, final: bool, name: str = "", job_type: str | None = None) -> Any:
    return SimpleNamespace(
        no=no, number=no, id=f"r{no:06d}x", short=f"s{no}", name=name or f"seed{no}", project="digits", final=final, job_type=job_type,
        purged=False, deleted_ms=None,
    )  # fmt: skip


def selection(runs: list[Any]) -> Selection:
    meta = SimpleNamespace(runs_of=lambda project: runs, detail=lambda no: SimpleNamespace(steer={}))
    alerts: Any = None
    return Selection(SimpleNamespace(meta=meta), alerts)  # type: ignore[arg-type]


def test_run_that_goes_on_is_known_however_many_have_ended_since() -> None:
    """A training of weeks, then a sweep of a thousand short runs: stop means the training."""
    chosen = selection([run(1, final=False, name="main"), *(run(n, final=True) for n in range(2, 1_002))])

    assert [one.name for one in chosen.candidates(Asked(Verb.STOP, "en", "stop"), looks=False)] == ["main"]
    assert [one.name for one in chosen.find("main")] == ["main"]
    assert chosen.listed()[0].name == "main"
    assert len(chosen.known()) == KNOWN_MAX + 1


def test_run_of_long_ago_is_found_by_its_id_and_number() -> None:
    chosen = selection([run(n, final=True) for n in range(1, 1_002)])

    assert [one.no for one in chosen.find("r000002x")] == [2]
    assert [one.no for one in chosen.find("digits#3")] == [3]
    assert [one.no for one in chosen.find("s4")] == [4]
    assert chosen.find("seed5") == []


def test_programs_that_wait_are_meant_only_where_nothing_trains() -> None:
    waiting = run(1, final=False, job_type=LISTENER)

    assert selection([waiting]).active() == [waiting]
    assert [one.no for one in selection([waiting, run(2, final=False)]).active()] == [2]
