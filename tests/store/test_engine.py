"""The SQLite store against the reference, over many flushes, compactions and restarts."""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farwatch.clock import SystemClock
from farwatch.errors import DataError
from farwatch.settings import Settings, load
from farwatch.store.base import Incoming, SeriesKey, Store, Writer
from farwatch.store.memory import MemoryStore
from farwatch.store.sqlite import SqliteStore, fsck
from farwatch.testing.journal import WALL_US, Journal, incoming
from farwatch.testing.store import Feed, check_buckets, same_bits

DEADLINE_S = 30.0


def settings(**values: object) -> Settings:
    return load({}).replace(**{"flush_s": 3600.0, **values})


def wait_for(done: Callable[[], bool]) -> None:
    """Look again and again until something holds."""
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.005)


class Both:
    """The SQLite store and the reference, fed alike."""

    def __init__(self, folder: Path, **values: object) -> None:
        self.folder = folder
        self.settings = settings(**values)
        self.memory: Store = MemoryStore()
        self.store = SqliteStore(folder, self.settings, SystemClock())
        self.feeds: dict[tuple[str, int], tuple[Feed, Feed]] = {}

    def log(
        self, run: str, rank: int, names: list[str], steps: np.ndarray, values: np.ndarray, times: np.ndarray
    ) -> None:
        if (run, rank) not in self.feeds:
            number = len(self.feeds) + 1
            self.feeds[run, rank] = (
                Feed(self.memory, run, rank=rank, number=number),
                Feed(self.store, run, rank=rank, number=number),
            )
        for feed in self.feeds[run, rank]:
            feed.log(names, steps, values, times)

    def reopen(self) -> None:
        self.store.close()
        self.store = SqliteStore(self.folder, self.settings, SystemClock())
        for _, feed in self.feeds.values():
            feed.store = self.store

    def compare(self, rng: np.random.Generator) -> None:
        for run in {run for run, _ in self.feeds}:
            expected, found = self.memory.series(run), self.store.series(run)
            assert [info.key for info in found] == [info.key for info in expected]
            for a, b in zip(expected, found, strict=True):
                assert b.mean == pytest.approx(a.mean, rel=1e-9, abs=1e-9, nan_ok=True)
                compared = [name for name in a.__slots__ if name not in ("mean", "key")]
                assert [repr(getattr(a, n)) for n in compared] == [repr(getattr(b, n)) for n in compared], (
                    a.key
                )
                self.compare_points(a.key, rng)

    def compare_points(self, key: SeriesKey, rng: np.random.Generator) -> None:
        whole = self.memory.points(key)
        for axis, x in (("step", whole.steps), ("time", whole.times.astype(np.float64))):
            bounds: list[tuple[float | None, float | None]] = [(None, None)]
            lo, hi = sorted(rng.choice(x, 2))
            bounds += [(float(lo), float(hi)), (None, float(lo))]
            for low, high in bounds:
                inside = (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
                found = self.store.points(key, axis=axis, lo=low, hi=high)  # type: ignore[arg-type]
                assert same_bits(found.values, whole.values[inside])
                assert same_bits(found.steps, whole.steps[inside])
                assert np.array_equal(found.times, whole.times[inside])
                for buckets in (5, 60, 1000):
                    (chart,) = self.store.chart([key], axis=axis, lo=low, hi=high, buckets=buckets)  # type: ignore[arg-type]
                    check_buckets(chart, x[inside], whole.values[inside], buckets)


@pytest.mark.parametrize("seed", range(4))
def test_any_history_reads_like_the_reference(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    both = Both(tmp_path, memtable_points=[300, 5_000, 40_000, 10**6][seed])
    at = 0
    for _ in range(18):
        run, rank = f"run{rng.integers(2)}", int(rng.integers(2))
        names = [f"m{i}" for i in range(int(rng.choice([1, 1, 2, 9])))]
        n = int(rng.choice([1, 40, 800, 6000]))
        steps = np.arange(at, at + n, dtype=np.float64)
        if rng.random() < 0.3:
            steps = rng.permutation(steps) - rng.integers(0, 3000)
        times = WALL_US + 1000 * np.arange(at, at + n) + (rng.integers(0, 5000) if rng.random() < 0.5 else 0)
        values = rng.normal(size=(n, len(names)))
        if rng.random() < 0.3:
            values = values.astype(np.float32).astype(np.float64)
        values[rng.random(values.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 1e300])
        at += n
        both.log(run, rank, names, steps, values, times)
        what = rng.random()
        if what < 0.2:
            both.store.flush()
        elif what < 0.3:
            both.reopen()
        elif what < 0.35:
            for store in (both.memory, both.store):
                store.delete(run, ["m1"])

    both.compare(rng)
    both.reopen()
    both.compare(rng)
    both.store.close()
    assert fsck(tmp_path).problems == []


def test_deep_pyramids_never_lose_a_spike_among_ten_million_points(tmp_path: Path) -> None:
    n, batch = 10_000_000, 500_000
    rng = np.random.default_rng(0)
    values = rng.normal(size=n)
    spikes = rng.integers(0, n, 20)
    values[spikes] = 1000.0 + np.arange(20)
    values[spikes[3]] = np.nan
    steps = np.arange(n, dtype=np.float64) * 3
    with SqliteStore(tmp_path, settings(), SystemClock()) as store:
        feed = Feed(store)
        for start in range(0, n, batch):
            part = slice(start, start + batch)
            feed.log(
                ["loss"], steps[part], values[part, None], WALL_US + 1000 * np.arange(start, start + batch)
            )
        key = feed.key("loss")

        for lo, hi in (
            (None, None),
            (1e6, 2.9e7),
            (steps[spikes[0]], steps[spikes[0]]),
            (123_456.0, 223_456.0),
        ):
            (found,) = store.chart([key], lo=lo, hi=hi, buckets=250)
            inside = (steps >= (lo or 0)) & (steps <= (3 * n if hi is None else hi))
            check_buckets(found, steps[inside], values[inside], 250)
        for spike in spikes:
            around = steps[spike]
            (found,) = store.chart([key], lo=around - 50_000, hi=around + 50_000, buckets=100)
            if np.isnan(values[spike]):
                assert found.nonfinite.sum() >= 1
            else:
                assert values[spike] in found.max
        started = time.process_time()
        store.chart([key], buckets=1000)
        assert (
            time.process_time() - started < 0.2
        )  # a few milliseconds; the limit only catches reading all points


def test_a_wide_run_of_a_hundred_thousand_metrics(tmp_path: Path) -> None:
    names = [f"layer{i // 100}/w{i % 100}" for i in range(100_000)]
    rng = np.random.default_rng(2)
    values = rng.normal(size=(12, len(names)))
    with SqliteStore(tmp_path, settings(memtable_points=500_000), SystemClock()) as store:
        feed = Feed(store)
        for i in range(12):
            feed.log(names, [i], values[i : i + 1])
        store.flush()
        feed.log(names[:10], [12], np.ones((1, 10)))
        keys = [feed.key(names[i]) for i in (0, 9, 10, 54_321, 99_999)]

        assert [store.points(key).values.tolist() for key in keys] == [
            [*values[:, i].tolist(), *([1.0] if i < 10 else [])] for i in (0, 9, 10, 54_321, 99_999)
        ]
        assert [b.count.sum() for b in store.chart(keys)] == [13, 13, 12, 12, 12]
        infos = store.series("run", names[5:15])
        assert {info.key.name: (info.count, info.last) for info in infos} == {
            names[i]: (13, 1.0) if i < 10 else (12, values[-1, i]) for i in range(5, 15)
        }
        assert len(store.series("run")) == 100_000
    with SqliteStore(tmp_path, settings(), SystemClock()) as store:
        assert same_bits(store.points(keys[3]).values, values[:, 54_321])
        assert store.series("run", [names[99_999]])[0].max == values[:, 99_999].max()


def test_segments_are_joined_and_chunks_sealed(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, settings(), SystemClock()) as store:
        feed = Feed(store)
        for i in range(60):
            feed.log(["a", "b"], [i], np.full((1, 2), float(i)))
            store.flush()
        wait_for(lambda: int(store.status()["segments"]) < 8)  # type: ignore[call-overload]
        feed.log(["a"], np.arange(60, 5000), np.arange(60.0, 5000)[:, None])
        store.flush()

        assert store.points(feed.key("a")).values.tolist() == [float(i) for i in range(5000)]
        assert store.points(feed.key("b")).values.tolist() == [float(i) for i in range(60)]
    assert fsck(tmp_path).problems == []


def test_deleted_runs_give_their_space_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with SqliteStore(tmp_path, settings(), SystemClock()) as store:
        keep, drop = Feed(store, "keep", number=1), Feed(store, "drop", number=2)
        for feed in (keep, drop):
            feed.log(["big"], np.arange(100_000), rng.normal(size=(100_000, 1)))
            feed.log([f"m{i}" for i in range(500)], range(20), rng.normal(size=(20, 500)))
        store.flush()
        before = int(store.status()["series_bytes"])  # type: ignore[call-overload]

        store.delete("drop")
        store.delete("keep", ["big"])

        assert store.series("drop") == []
        wait_for(lambda: int(store.status()["series_bytes"]) < 0.2 * before)  # type: ignore[call-overload]
        assert len(store.series("keep")) == 500
        assert len(store.points(keep.key("m7")).steps) == 20
        store.flush()
        wait_for(lambda: (tmp_path / "series.db").stat().st_size < 0.6 * before)
    assert fsck(tmp_path).problems == []


def test_what_was_deleted_does_not_come_back_from_the_log(tmp_path: Path) -> None:
    """A crash after a delete replays batches that came before it."""
    writer = Writer("ab" * 16, "run", 0, 1, WALL_US)
    journal = Journal(writer)
    for i in range(10):
        journal.step({"a": float(i), "b": float(i)}, i)
    store = SqliteStore(tmp_path, settings(), SystemClock())
    store.register(writer)
    store.append([incoming(journal.batch(), writer)])
    store.delete("run", ["a"])
    first = len(journal.payloads)
    journal.step({"a": 99.0, "b": 99.0}, 99)
    store.append([incoming(journal.batch(first), writer, {0: (["a", "b"], "ff")})])

    crash(store)
    with SqliteStore(tmp_path, settings(), SystemClock()) as again:
        assert again.points(SeriesKey("run", "a")).values.tolist() == [99.0]
        assert len(again.points(SeriesKey("run", "b")).values) == 11


def crash(store: SqliteStore) -> None:
    """Let go of a store as a killed process would: without a flush."""
    store._closing = True
    with store._shelf.changed:
        store._shelf.changed.notify_all()
    store._thread.join(DEADLINE_S)
    store._shelf.close()
    store._log.close()
    store._folder_lock.close()
    store._closed = True


def test_a_crash_loses_nothing_and_replay_tells_the_rest(tmp_path: Path) -> None:
    writer = Writer("ab" * 16, "run", 0, 1, WALL_US)
    journal = Journal(writer)
    for i in range(30):
        journal.step({"a": float(i)}, i)
    guarded: list[int] = []
    store = SqliteStore(tmp_path, settings(), SystemClock(), guard=guarded.append)
    store.register(writer)
    known = {0: (["a"], "f")}
    store.append([incoming(journal.batch(0, 11), writer)])
    store.flush()
    store.append(
        [incoming(journal.batch(11, 21), writer, known), incoming(journal.batch(21, 31), writer, known)]
    )
    assert guarded == [1]

    crash(store)
    with SqliteStore(tmp_path, settings(), SystemClock()) as again:
        assert again.points(SeriesKey("run", "a")).values.tolist() == [float(i) for i in range(30)]
        assert again.writer(writer.writer_id)[1].expected == 31  # type: ignore[index]
        assert [(seq, w, len(d.index)) for seq, w, d in again.replay(0)] == [(2, writer, 10), (3, writer, 10)]
        assert [seq for seq, _, _ in again.replay(2)] == [3]
        assert again.seq == 3
        again.flush()
        assert list(again.replay(0)) == []
    with SqliteStore(tmp_path, settings(), SystemClock()) as again:
        assert again.seq == 3
        assert len(again.points(SeriesKey("run", "a")).steps) == 30


def test_a_guard_that_is_not_ready_keeps_the_log(tmp_path: Path) -> None:
    ready = threading.Event()

    def guard(seq: int) -> None:
        if not ready.is_set():
            raise DataError("not yet")

    with SqliteStore(tmp_path, settings(), SystemClock(), guard=guard) as store:
        writer = Writer("ab" * 16, "run", 0, 1, WALL_US)
        journal = Journal(writer)
        journal.step({"a": 1.0}, 1)
        store.register(writer)
        store.append([incoming(journal.batch(), writer)])
        with pytest.raises(DataError, match="not yet"):
            store.flush()

        assert [seq for seq, _, _ in store.replay(0)] == [1]
        assert store.points(SeriesKey("run", "a")).values.tolist() == [1.0]
        ready.set()
        store.flush()
        assert list(store.replay(0)) == []


def test_only_one_process_opens_a_folder(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, settings(), SystemClock()):
        with pytest.raises(DataError, match="another server"):
            SqliteStore(tmp_path, settings(), SystemClock())
    SqliteStore(tmp_path, settings(), SystemClock()).close()


def test_the_epoch_survives_restarts(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, settings(), SystemClock()) as store:
        epoch = store.epoch
    with SqliteStore(tmp_path, settings(durability="os"), SystemClock()) as store:
        assert store.epoch == epoch


def test_points_are_flushed_after_a_while(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, settings(flush_s=0.01), SystemClock()) as store:
        feed = Feed(store)
        feed.log(["a"], [1], np.ones((1, 1)))

        wait_for(lambda: store.status()["memory_points"] == 0)
        assert store.status()["flushed_seq"] == 1


def test_readers_are_exact_while_everything_moves(tmp_path: Path) -> None:
    """Points, charts and descriptions during flushes, joins and deletes: always a whole number of batches."""
    with SqliteStore(tmp_path, settings(memtable_points=2_000), SystemClock()) as store:
        feed, other = Feed(store, number=1), Feed(store, "other", number=2)
        wrong: list[object] = []
        done = threading.Event()

        def read() -> None:
            key = feed.key("a")
            while not done.is_set():
                try:
                    n = len(store.points(key).steps)
                    (chart,) = store.chart([key], buckets=50)
                    infos = store.series("run", ["a"])
                    count = infos[0].count if infos else 0
                    if n % 100 or int(chart.count.sum()) % 100 or count % 100 or int(chart.count.sum()) < n:
                        wrong.append((n, chart.count.sum(), count))
                except Exception as error:
                    wrong.append(repr(error))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for i in range(150):
            feed.log(["a", "b"], np.arange(100) + 100 * i, np.full((100, 2), float(i)))
            other.log(["x"], [i], np.ones((1, 1)))
            if i % 40 == 39:
                store.delete("other")
        done.set()
        for reader in readers:
            reader.join(DEADLINE_S)

        assert not wrong, wrong[:3]
        assert store.points(feed.key("a")).values.tolist() == np.repeat(np.arange(150.0), 100).tolist()


def test_a_hundred_short_runs_in_one_chart(tmp_path: Path) -> None:
    with SqliteStore(tmp_path, settings(), SystemClock()) as store:
        feeds = [Feed(store, f"run{i}", number=i + 1) for i in range(100)]
        batches: list[Incoming] = [
            feed.batch(["loss"], np.arange(2000), np.full((2000, 1), float(i)))
            for i, feed in enumerate(feeds)
        ]
        store.append(batches)
        store.flush()

        charts = store.chart([feed.key("loss") for feed in feeds], buckets=250)

        assert [(int(c.count.sum()), c.min[0]) for c in charts] == [(2000, float(i)) for i in range(100)]
        assert not math.isnan(charts[0].mean[0])
