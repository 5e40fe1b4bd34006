"""From bytes to an acknowledgement, and what survives a crash."""

import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

try:
    from compression import zstd
except ImportError:
    from backports import zstd

from farwatch.errors import (
    BodyError,
    BusyError,
    DiskFullError,
    ForkError,
    GapError,
    LimitError,
    NotFoundError,
)
from farwatch.service.ingest import Ingest
from farwatch.settings import Settings
from farwatch.store.base import SeriesKey
from farwatch.store.memory import MemoryStore
from farwatch.wire.records import Kind
from tests.service.conftest import Inside, ManualClock, Process

SOURCE = Path(__file__).parents[2] / "src"


def values(inside: Inside, run: str, name: str) -> list[float]:
    return inside.store.points(SeriesKey(run, name)).values.tolist()


def refusal(process: Process, packed: bytes, encoding: str = "identity") -> BaseException:
    error = process.inside.ingest.submit(process.id, packed, encoding).exception(10)
    assert error is not None
    return error


def test_acknowledgement_names_the_next_record(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})

    told = process.send()

    mark = inside.store.writer(process.id)[1]  # type: ignore[index]
    assert told == {
        "expected": 3,
        "crc": mark.crc,
        "epoch": inside.store.epoch,
        "seq": inside.store.seq,
        "set_aside": False,
    }
    assert [(seq, writer.run) for seq, writer, _ in inside.hub.published] == [(1, process.run)]


@pytest.mark.parametrize("encoding", ["identity", "deflate", "zstd"])
def test_encodings_of_the_wire_are_understood(inside: Inside, encoding: str) -> None:
    process = inside.started().log({"a": 1.0})
    data = process.batch(0, 3).encode()
    packed = {"identity": bytes, "deflate": zlib.compress, "zstd": zstd.compress}[encoding](data)

    inside.ingest.submit(process.id, packed, encoding).result(10)

    assert values(inside, process.run, "a") == [1]


def test_batch_sent_again_is_acknowledged_and_doubles_nothing(inside: Inside) -> None:
    process = (
        inside.started()
        .log({"a": 1.0})
        .patch(notes="once")
        .add(Kind.POINT, {"name": "t", "type": "text", "text": "x"}, step=1)
    )
    first = process.send()

    again = process.post(0, len(process.payloads)).result(10)

    assert again["expected"] == first["expected"]
    assert values(inside, process.run, "a") == [1]
    assert len(inside.runs.media(process.run)["items"]) == 1


def test_overlapping_batch_is_cut_to_what_is_new(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0}).log({"a": 2.0})
    process.send()
    process.log({"a": 3.0}).log({"b": 1.0})

    told = process.post(1, len(process.payloads)).result(10)

    assert told["expected"] == len(process.payloads)
    assert values(inside, process.run, "a") == [1, 2, 3]
    assert values(inside, process.run, "b") == [1]


def test_batch_behind_a_gap_is_answered_with_the_record_expected(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0}).log({"a": 2.0}).log({"a": 3.0})
    process.post(0, 2).result(10)

    error = process.post(4, 5).exception(10)

    assert isinstance(error, GapError)
    assert (error.details["expected"], error.details["epoch"]) == (2, inside.store.epoch)
    assert error.details["crc"] == process.batch(2, 5).crc_before


def test_other_history_of_a_writer_is_a_fork(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0}).log({"a": 2.0})
    process.send()
    twin = Process(inside, process.sidecar)
    twin.add(Kind.HELLO, {"run": "x"}).log({"a": 9.0}).log({"a": 9.0}).log({"a": 9.0})

    ahead, overlapping, same = twin.post(4, 5), twin.post(0, 5), twin.post(0, 4)

    for future in (ahead, overlapping, same):
        assert isinstance(future.exception(10), ForkError)
    assert values(inside, process.run, "a") == [1, 2]


def test_unknown_writer_is_told_to_register(inside: Inside) -> None:
    process = inside.process().add(Kind.HELLO, {})

    assert isinstance(process.post(0, 1).exception(10), NotFoundError)


@pytest.mark.parametrize("cut", [0, 10, 56, 60, -1])
def test_damaged_bodies_are_refused_for_good(inside: Inside, cut: int) -> None:
    process = inside.started().log({"a": 1.0})
    data = process.batch(0, 3).encode()

    error = refusal(process, data[:cut])

    assert isinstance(error, BodyError) and not error.retryable
    assert process.send()["expected"] == 3


def test_batch_of_another_writer_than_the_address_is_refused(inside: Inside) -> None:
    one, two = inside.started(), inside.started()

    assert isinstance(refusal(one, two.batch(0, 1).encode()), BodyError)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.POINT, {"type": "text"}),
        (Kind.FILE, {"path": "a"}),
        (Kind.FILE, {"path": "..", "spool": "x"}),
        (Kind.CONSOLE, {"n": -1, "lines": []}),
        (Kind.CONSOLE, {"n": 0}),
        (Kind.PATCH, {"config": {"a": {"b": [[]]}}, "deep": None}),
    ],
)
def test_record_without_what_its_kind_needs_is_refused_before_it_is_kept(
    inside: Inside, kind: Kind, body: dict[str, Any]
) -> None:
    if "deep" in body:
        for _ in range(100):
            body = {"config": body}
    process = inside.started().add(kind, body)

    error = process.post(0, 2).exception(10)

    assert isinstance(error, BodyError) and not error.retryable
    assert inside.store.seq == 0


@pytest.mark.parametrize(
    "body",
    [
        {
            "config": 3,
            "config_delete": "x",
            "summary": [],
            "tags": 7,
            "notes": {},
            "name": [],
            "define": {},
            "delete": 1,
            "capture": 2,
        },
        {
            "tags": {"add": "abc", "remove": {}},
            "define": [3, {"match": 7}, {"match": "a", "goal": {}}],
            "progress": {"n": "x"},
        },
        {
            "capture": {"source": [3, {"path": 1}, {"path": ".."}, {"path": "a"}], "diff_spool": ""},
            "total_steps": "x",
        },
        {"summary": {"": 1, "a": {"deep": []}, "b": None}, "delete": {"metrics": "abc", "files": 3}},
    ],
)
def test_odd_but_harmless_patches_change_nothing_and_stop_nothing(
    inside: Inside, body: dict[str, Any]
) -> None:
    process = inside.started(name="calm").patch(**body).log({"z": 1.0})

    process.send()

    row = inside.runs.row(process.run)
    assert (row["name"], row["tags"], row["points"]) == ("calm", [], 1)


def test_goodbye_with_odd_contents_still_ends_the_run(inside: Inside) -> None:
    process = inside.started().add(Kind.GOODBYE, {"state": 7, "reason": [], "traceback": {}, "meter": 3})
    process.send()

    assert inside.runs.row(process.run)["state"] == "finished"


def test_records_that_are_gone_are_shown(inside: Inside) -> None:
    process = inside.started()
    process.send()

    process.lose(5, "trimmed before a restore")
    process.log({"a": 1.0}).send()

    assert inside.runs.detail(process.run)["gaps"] == [
        {"writer": process.id, "first": 1, "count": 5, "reason": "trimmed before a restore"}
    ]
    assert values(inside, process.run, "a") == [1]


def test_gap_is_closed_by_records_of_its_own_run_alone(inside: Inside) -> None:
    process = inside.started()
    process.send()
    process.lose(5, "refused and set aside: too large")
    told = {"writer": process.id, "first": 1, "count": 5}
    for odd in (7, None, {}, {"writer": 1, "first": 1, "count": 5}, {**told, "count": 4}, {**told, "first": "x"}, {**told, "count": 2**80}):
        inside.started(run=process.run, main=False, sibling_of=process.id).patch(delivered=[odd]).send()
    inside.started().patch(delivered=[told]).send()

    before = len(inside.runs.detail(process.run)["gaps"])
    inside.started(run=process.run, main=False, sibling_of=process.id).patch(delivered=[told]).send()

    assert (before, inside.runs.detail(process.run)["gaps"]) == (1, [])


def test_many_writers_at_once_share_commits_and_lose_nothing(inside: Inside) -> None:
    processes = [inside.started() for _ in range(8)]

    def work(process: Process) -> None:
        for i in range(20):
            process.log({"a": float(i)}).patch(config={"last": i}).send()

    threads = [threading.Thread(target=work, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    for process in processes:
        assert values(inside, process.run, "a") == list(range(20))
        assert inside.runs.detail(process.run)["config"] == {"last": 19}
    seqs = [seq for seq, _, _ in inside.hub.published]
    assert seqs == sorted(seqs) and len(seqs) == 160


# --- limits


def with_settings(inside: Inside, **changed: Any) -> None:
    inside.close()
    inside.settings = inside.settings.replace(**changed)
    inside.open()


def test_run_with_too_many_names_is_refused_for_good(inside: Inside) -> None:
    with_settings(inside, names_per_run=3)
    process = inside.started().log({"a": 1.0, "b": 1.0, "c": 1.0})
    process.send()
    sent = len(process.payloads)
    process.log({"d": 1.0})

    error = process.post(sent, len(process.payloads)).exception(10)

    assert isinstance(error, LimitError) and not error.retryable
    assert "3 metrics" in str(error)


def test_new_names_that_come_too_fast_wait(inside: Inside) -> None:
    with_settings(inside, names_per_minute=3)
    process = inside.started().log({"a": 1.0, "b": 1.0})
    process.send()
    process.log({"c": 1.0, "d": 1.0})

    with pytest.raises(BusyError) as refused:
        process.send()
    inside.clock.advance(61)
    process.send()

    assert 0 < float(str(refused.value.details["retry_after_s"])) <= 60
    assert inside.runs.metrics(process.run)["total"] == 4


def test_full_disk_makes_journals_wait(inside: Inside) -> None:
    with_settings(inside, data=str(inside.folder), disk_stop_percent=101.0)
    process = inside.started()

    with pytest.raises(DiskFullError) as refused:
        process.send()

    assert refused.value.retryable


def test_config_beyond_its_limit_is_refused(inside: Inside) -> None:
    with_settings(inside, config_max_bytes=1_000)
    process = inside.started().patch(config={"a": "x" * 2_000})

    assert isinstance(process.post(0, 2).exception(10), LimitError)


def test_config_that_grows_beyond_its_limit_keeps_what_it_had(inside: Inside) -> None:
    with_settings(inside, config_max_bytes=1_000)
    process = inside.started()
    for key in "abc":
        process.patch(config={key: "x" * 400})
    process.log({"loss": 1.0}).send()

    detail = inside.runs.detail(process.run)
    assert sorted(detail["config"]) == ["a", "b"]
    assert "1000 bytes" in detail["capture"]["problems"][0]
    assert detail["points"] == 1


# --- trouble


def test_meta_database_that_cannot_be_written_holds_up_answers_and_loses_nothing(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = inside.started().patch(config={"lr": 1})
    write = inside.meta.write
    failures = [OSError("disk full"), OSError("disk full")]

    def failing(*args: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return write(*args, **more)

    monkeypatch.setattr(inside.meta, "write", failing)
    told = process.send()

    assert told["expected"] == 2
    assert inside.runs.detail(process.run)["config"] == {"lr": 1}


def test_closed_ingest_refuses_politely(inside: Inside) -> None:
    process = inside.started()
    inside.ingest.close()
    inside.ingest.close()

    assert isinstance(process.post(0, 1).exception(10), BusyError)


def test_full_queue_answers_busy(
    tmp_path: Path, clock: ManualClock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farwatch.service.ingest.QUEUED_MAX", 2)
    gate = threading.Event()

    class SlowStore(MemoryStore):
        def append(self, batches: Any) -> Any:
            gate.wait(10)
            return super().append(batches)

    inside = Inside(tmp_path, settings, clock, lambda folder: SlowStore())
    processes = [inside.started() for _ in range(8)]
    futures = [process.post(0, 1) for process in processes]
    refused = [future.exception() for future in futures if future.done()]
    gate.set()

    assert refused and all(isinstance(error, BusyError) for error in refused)
    assert all(
        future.result(10) for future in futures if future.done() is False or future.exception(10) is None
    )
    inside.close()
    assert isinstance(inside.ingest, Ingest)


def test_project_that_is_full_makes_journals_wait(inside: Inside) -> None:
    with_settings(inside, project_max_bytes=100)
    process = inside.started().log({"a": 1.0})
    process.send()
    inside.clock.advance(10)
    process.log({"a": 2.0})

    with pytest.raises(DiskFullError):
        process.send()


def test_change_that_the_database_does_not_take_costs_only_itself(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A check that we lack must not stop a server that others use."""
    monkeypatch.setattr("farwatch.service.changes.text", lambda value, longest: value)
    process = inside.started().patch(name={"not": "a text"}).log({"a": 1.0})
    other = inside.started().patch(notes="fine")

    process.send()
    other.send()

    assert values(inside, process.run, "a") == [1]
    assert inside.runs.row(other.run)["notes"] == "fine"
    assert "not understood" in caplog.text
