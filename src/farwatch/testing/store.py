"""What every store must do, as a test class.

Subclass and give one fixture:

```python
class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        yield MyStore()
```
"""

import math
import struct
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from farwatch.errors import DataError, ForkError, GapError, NotFoundError, UsageError
from farwatch.store.base import Ack, Buckets, Decoded, Incoming, Mark, Points, SeriesKey, Store, Writer
from farwatch.testing.journal import WALL_US, Journal, incoming
from farwatch.wire.records import Flag
from farwatch.wire.segment import first_seed

NAN_WITH_PAYLOAD = struct.unpack("<d", struct.pack("<Q", 0x7FF4_0000_DEAD_BEEF))[0]
SPECIAL = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7e308, -1.7e308, 0.1, 2.0**53, NAN_WITH_PAYLOAD]


class Feed:
    """One writer that feeds a store with columns, without a journal."""

    def __init__(
        self, store: Store, run: str = "run", *, rank: int = 0, attempt: int = 1, number: int = 1
    ) -> None:
        self.store = store
        self.writer = Writer(f"{number:032x}", run, rank, attempt, WALL_US, 0)
        store.register(self.writer)

    def batch(
        self,
        names: Sequence[str],
        steps: Sequence[float] | np.ndarray,
        values: np.ndarray,
        times: np.ndarray | None = None,
        kinds: str = "",
    ) -> Incoming:
        """`values` (m, k): m steps of k names. `times`: (m,) µs, one millisecond apart if left out."""
        found = self.store.writer(self.writer.writer_id)
        assert found is not None
        mark = found[1]
        m, k = values.shape
        if times is None:
            times = WALL_US + 1000 * np.arange(m, dtype=np.int64)
        points = Points(
            np.repeat(np.asarray(steps, np.float64), k),
            np.repeat(np.asarray(times, np.int64), k),
            np.array(values, np.float64).ravel(),
        )
        index = np.tile(np.arange(k, dtype=np.int32), m)
        decoded = Decoded(list(names), kinds or "f" * k, index, points, [])
        return Incoming(
            self.writer.writer_id,
            mark.expected,
            m,
            mark.crc,
            (mark.crc + m) & 0xFFFFFFFF,
            b"",
            "identity",
            decoded,
        )

    def log(
        self,
        names: Sequence[str],
        steps: Sequence[float] | np.ndarray,
        values: np.ndarray,
        times: np.ndarray | None = None,
        kinds: str = "",
    ) -> Ack:
        (answer,) = self.store.append([self.batch(names, steps, values, times, kinds)])
        assert isinstance(answer, Ack), answer
        return answer

    def key(self, name: str) -> SeriesKey:
        return SeriesKey(self.writer.run, name, self.writer.rank, self.writer.attempt)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two float columns are equal, NaN payloads and signs of zero included."""
    return a.shape == b.shape and bool((a.view(np.uint64) == b.view(np.uint64)).all())


def check_buckets(found: Buckets, axis: np.ndarray, values: np.ndarray, buckets: int) -> None:
    """Compare buckets with the points that they must cover: `axis` and `values` (n,), in arrival order."""
    assert int(found.count.sum()) == len(axis)
    assert int(found.nonfinite.sum()) == int((~np.isfinite(values)).sum())
    if found.exact:
        order = np.argsort(axis, kind="stable")
        assert np.array_equal(found.lo, axis[order]) and np.array_equal(found.hi, axis[order])
        assert same_bits(found.last, values[order])
        assert (found.count == 1).all()
        return
    assert len(axis) > buckets
    assert len(found.count) <= 2 * buckets
    assert (found.count > 0).all() and (found.lo <= found.hi).all()
    assert found.lo.min() == axis.min() and found.hi.max() == axis.max()
    finite = values[np.isfinite(values)]
    if len(finite):
        assert np.nanmin(found.min) == finite.min() and np.nanmax(found.max) == finite.max()
        weights = found.count - found.nonfinite
        total = float(np.nansum(found.mean * weights))
        assert total == pytest.approx(finite.sum(), rel=1e-9, abs=1e-9 * float(np.abs(finite).sum()))
    if (axis[1:] > axis[:-1]).all():  # then buckets are runs of points, and each can be recomputed
        edges = np.concatenate([[0], np.cumsum(found.count)])
        for i in range(len(found.count)):
            part = values[edges[i] : edges[i + 1]]
            good = part[np.isfinite(part)]
            assert (found.lo[i], found.hi[i]) == (axis[edges[i]], axis[edges[i + 1] - 1])
            assert same_bits(found.last[i : i + 1], part[-1:])
            assert found.nonfinite[i] == len(part) - len(good)
            if len(good):
                assert (found.min[i], found.max[i]) == (good.min(), good.max())
                assert found.mean[i] == pytest.approx(
                    good.mean(), rel=1e-9, abs=1e-9 * float(np.abs(good).max())
                )
            else:
                assert np.isnan([found.min[i], found.max[i], found.mean[i]]).all()


class StoreContract:
    """Tests that a `Store` passes, given a fixture `store` that yields a fresh, empty one."""

    # --- writers and marks

    def test_a_new_writer_expects_record_zero(self, store: Store) -> None:
        writer = Writer("ab" * 16, "run", 3, 2, WALL_US, 7)

        mark = store.register(writer)

        assert mark == Mark(0, first_seed(writer.writer_id))
        assert store.writer(writer.writer_id) == (writer, mark, {})
        assert store.writer("cd" * 16) is None

    def test_registering_again_changes_nothing(self, store: Store) -> None:
        feed = Feed(store)
        feed.log(["a"], [1], np.ones((1, 1)))

        mark = store.register(Writer(feed.writer.writer_id, "another", 9, 9, 0, 0))

        assert mark.expected == 1
        assert store.writer(feed.writer.writer_id)[0] == feed.writer  # type: ignore[index]

    def test_writers_with_impossible_numbers_are_refused(self, store: Store) -> None:
        for writer in (Writer("ab" * 16, "run", wall_us=1 << 70), Writer("ab" * 16, ""), Writer("x", "run")):
            with pytest.raises(UsageError):
                store.register(writer)

    def test_batches_of_a_journal_arrive_with_their_schemas(self, store: Store) -> None:
        writer = Writer("ab" * 16, "run", 0, 1, WALL_US, 100)
        journal = Journal(writer)
        journal.hello()
        for i in range(10):
            journal.step({"loss": i / 2, "n": i}, i, time=i * 2000, flags=Flag.STEP_RELATIVE)
        store.register(writer)

        (first,) = store.append([incoming(journal.batch(0, 5), writer)])
        schemas = store.writer(writer.writer_id)[2]  # type: ignore[index]
        (second,) = store.append([incoming(journal.batch(5), writer, schemas)])

        assert isinstance(first, Ack) and isinstance(second, Ack)
        assert (first.mark.expected, second.mark.expected) == (5, 12)
        assert second.mark.crc == journal.batch().crc_after
        assert second.seq > first.seq and store.seq == second.seq
        assert schemas == {0: (["loss", "n"], "fi")}
        points = store.points(SeriesKey("run", "loss"))
        assert points.steps.tolist() == [100.0 + i for i in range(10)]
        assert points.times.tolist() == [WALL_US + 2000 * i for i in range(10)]
        assert points.values.tolist() == [i / 2 for i in range(10)]

    def test_a_batch_sent_twice_is_kept_once(self, store: Store) -> None:
        feed = Feed(store)
        batch = feed.batch(["a"], [1, 2], np.ones((2, 1)))

        first, again = store.append([batch, batch])

        assert isinstance(first, Ack) and isinstance(again, Ack)
        assert (first.new, again.new) == (True, False)
        assert again.mark == first.mark
        assert len(store.points(feed.key("a")).steps) == 2

    def test_gaps_forks_overlaps_and_strangers_are_answered_and_hurt_nobody(self, store: Store) -> None:
        writer = Writer("ab" * 16, "run", 0, 1, WALL_US)
        journal, forked = Journal(writer), Journal(writer)
        for i in range(8):
            journal.step({"a": float(i)}, i)
            forked.step({"a": float(-i)}, i)
        store.register(writer)
        other = Feed(store, number=2)
        store.append([incoming(journal.batch(0, 4), writer)])
        known = {0: (["a"], "f")}

        answers = store.append(
            [
                incoming(journal.batch(5, 6), writer, known),
                incoming(forked.batch(0, 4), writer),
                incoming(forked.batch(4, 6), writer, known),
                incoming(journal.batch(2, 6), writer, known),
                Incoming(
                    "99" * 16, 0, 1, 0, 0, b"", "identity", other.batch(["a"], [1], np.ones((1, 1))).decoded
                ),
                other.batch(["b"], [1], np.ones((1, 1))),
            ]
        )

        kinds = [GapError, ForkError, ForkError, GapError, NotFoundError, Ack]
        assert [type(answer) for answer in answers] == kinds
        assert [answers[0].details["expected"], answers[3].details["expected"]] == [4, 4]  # type: ignore[union-attr]
        assert store.points(SeriesKey("run", "a")).values.tolist() == [0, 1, 2]
        assert len(store.points(other.key("b")).steps) == 1

    def test_a_gap_moves_the_mark_and_adds_nothing(self, store: Store) -> None:
        feed = Feed(store)
        batch = feed.batch(["a"], [], np.ones((0, 1)))
        gap = Incoming(
            batch.writer_id, 0, 500, batch.crc_before, 77, b"", "identity", batch.decoded, gap=True
        )

        (answer,) = store.append([gap])

        assert isinstance(answer, Ack) and answer.mark == Mark(500, 77) and answer.new
        assert store.series("run") == []

    def test_the_epoch_is_text_and_stays(self, store: Store) -> None:
        assert store.epoch and store.epoch == store.epoch

    # --- points

    def test_points_come_back_bit_exact_and_in_order_of_arrival(self, store: Store) -> None:
        feed = Feed(store)
        steps = [5, 1.5, 5, -3, 2**53, 1e300, 0, 7, 7, -1e300]
        times = np.array([WALL_US + 3, -5, 0, 7, 2**60, -(2**60), 1, 1, 1, 1], np.int64)

        feed.log(["a"], steps, np.array(SPECIAL)[:, None], times)

        points = store.points(feed.key("a"))
        assert same_bits(points.values, np.array(SPECIAL))
        assert points.steps.tolist() == steps
        assert points.times.tolist() == times.tolist()

    def test_points_of_a_range_are_exactly_those_inside(self, store: Store) -> None:
        feed = Feed(store)
        rng = np.random.default_rng(1)
        steps = rng.permutation(5000).astype(np.float64) // 2
        times = WALL_US + rng.permutation(5000) * 500
        values = rng.normal(size=(5000, 1))
        for part in np.array_split(np.arange(5000), 7):
            feed.log(["a"], steps[part], values[part], times[part])

        for lo, hi in ((100, 200), (None, 40), (2300.5, None), (7, 7), (9e9, None), (5, 4)):
            points = store.points(feed.key("a"), lo=lo, hi=hi)
            mask = (steps >= (-np.inf if lo is None else lo)) & (steps <= (np.inf if hi is None else hi))
            assert same_bits(points.values, values[mask, 0]), (lo, hi)
        lo_us, hi_us = WALL_US + 500_000, WALL_US + 700_000
        points = store.points(feed.key("a"), axis="time", lo=lo_us, hi=hi_us)
        assert points.times.tolist() == times[(times >= lo_us) & (times <= hi_us)].tolist()

    def test_unknown_series_are_empty(self, store: Store) -> None:
        Feed(store).log(["a"], [1], np.ones((1, 1)))

        for key in (
            SeriesKey("run", "b"),
            SeriesKey("nobody", "a"),
            SeriesKey("run", "a", 1),
            SeriesKey("run", "a", 0, 2),
        ):
            assert len(store.points(key).steps) == 0
            (buckets,) = store.chart([key])
            assert (len(buckets.count), buckets.exact) == (0, True)
        assert store.series("nobody") == []
        assert store.series("run", ["b"]) == []

    def test_ranks_attempts_and_runs_are_apart(self, store: Store) -> None:
        feeds = [
            Feed(store, "run", number=1),
            Feed(store, "run", rank=1, number=2),
            Feed(store, "run", attempt=2, number=3),
            Feed(store, "run2", number=4),
        ]
        for i, feed in enumerate(feeds):
            feed.log(["a"], [0], np.full((1, 1), i))

        assert [store.points(feed.key("a")).values.tolist() for feed in feeds] == [[0], [1], [2], [3]]
        assert [info.key for info in store.series("run")] == [
            SeriesKey("run", "a", 0, 1),
            SeriesKey("run", "a", 0, 2),
            SeriesKey("run", "a", 1, 1),
        ]

    # --- what is known of a series

    def test_series_are_described(self, store: Store) -> None:
        feed = Feed(store)
        nan, inf = math.nan, math.inf
        feed.log(
            ["b", "a"],
            [3, 1, 2],
            np.array([[1, 5], [nan, -2], [4, inf]]),
            WALL_US + np.array([5, 9, 7]),
            "if",
        )
        feed.log(["a"], [9], np.array([[-2.0]]), np.array([WALL_US]), "f")
        feed.log(["n"], [1], np.array([[nan]]), kinds="f")

        a, b, n = store.series("run")

        assert (a.key.name, b.key.name, n.key.name) == ("a", "b", "n")
        assert (a.kind, b.kind) == ("f", "i")
        assert (a.count, a.nonfinite, a.first_step) == (4, 1, 3)
        assert (a.last, a.last_step, a.last_time_us) == (-2, 9, WALL_US)
        assert (a.step_min, a.step_max, a.time_min_us, a.time_max_us) == (1, 9, WALL_US, WALL_US + 9)
        assert (a.min, a.min_step, a.max, a.max_step) == (-2, 1, 5, 3)
        assert a.mean == pytest.approx(1 / 3)
        assert (b.count, b.nonfinite, b.last, b.mean) == (3, 1, 4, 2.5)
        assert math.isnan(n.min) and math.isnan(n.max) and math.isnan(n.mean) and n.nonfinite == 1
        assert [info.key.name for info in store.series("run", ["n", "b", "x"])] == ["b", "n"]

    def test_a_name_logged_as_two_kinds_is_a_float(self, store: Store) -> None:
        feed = Feed(store)
        for kinds in ("i", "i", "b"):
            feed.log(["a"], [1], np.ones((1, 1)), kinds=kinds)

        (info,) = store.series("run")
        assert info.kind == "f"

    def test_names_may_be_any_text(self, store: Store) -> None:
        names = ["", "é/日本", "a" * 2000, "'; drop table", "a\nb", "\x00"]
        feed = Feed(store)
        feed.log(names, [1], np.arange(6.0)[None, :])

        assert [store.points(feed.key(name)).values.tolist() for name in names] == [
            [float(i)] for i in range(6)
        ]
        assert [info.key.name for info in store.series("run")] == sorted(names)

    # --- charts

    @pytest.mark.parametrize("axis", ["step", "time"])
    @pytest.mark.parametrize("n", [0, 1, 50, 51, 3000])
    def test_charts_hold_every_point_once(self, store: Store, n: int, axis: str) -> None:
        feed = Feed(store)
        rng = np.random.default_rng(n)
        steps = np.cumsum(rng.exponential(size=n))
        times = WALL_US + np.cumsum(rng.integers(1, 1000, n))
        values = rng.normal(size=n)
        values[rng.random(n) < 0.1] = np.nan
        if n:
            feed.log(["a"], steps, values[:, None], times)
        x = times.astype(np.float64) if axis == "time" else steps

        (found,) = store.chart([feed.key("a")], axis=axis, buckets=50)  # type: ignore[arg-type]
        assert found.exact == (n <= 50)
        check_buckets(found, x, values, 50)

        lo, hi = (float(x[n // 4]), float(x[3 * n // 4])) if n else (0.0, 1.0)
        (found,) = store.chart([feed.key("a")], axis=axis, lo=lo, hi=hi, buckets=50)  # type: ignore[arg-type]
        inside = (x >= lo) & (x <= hi)
        check_buckets(found, x[inside], values[inside], 50)

    def test_charts_of_unordered_and_repeated_steps_are_exact(self, store: Store) -> None:
        feed = Feed(store)
        rng = np.random.default_rng(3)
        steps = rng.integers(0, 500, 4000).astype(np.float64)
        values = rng.normal(size=4000)
        for part in np.array_split(np.arange(4000), 5):
            feed.log(["a"], steps[part], values[part][:, None])

        for lo, hi in ((None, None), (100, 300), (77, 77)):
            (found,) = store.chart([feed.key("a")], lo=lo, hi=hi, buckets=20)
            inside = (steps >= (lo or 0)) & (steps <= (500 if hi is None else hi))
            check_buckets(found, steps[inside], values[inside], 20)

    def test_charts_of_many_series_come_in_the_order_asked(self, store: Store) -> None:
        feed = Feed(store)
        names = [f"m{i}" for i in range(30)]
        feed.log(names, range(40), np.arange(40.0)[:, None] + 1000 * np.arange(30))
        keys = [feed.key(name) for name in reversed(names)]

        found = store.chart([*keys, SeriesKey("run", "none")], buckets=100)

        assert [int(b.last[-1]) if len(b.last) else None for b in found] == [
            39 + 1000 * i for i in range(29, -1, -1)
        ] + [None]

    def test_charts_take_extreme_axes(self, store: Store) -> None:
        feed = Feed(store)
        steps = np.concatenate(
            [[-1.7e308, 1.7e308, 0.0], np.linspace(-1e300, 1e300, 100), np.full(50, 5e-324)]
        )
        values = np.arange(len(steps), dtype=np.float64)
        feed.log(["a"], steps, values[:, None])
        feed.log(["same"], np.full(300, 4.0), np.arange(300.0)[:, None])

        (found,) = store.chart([feed.key("a")], buckets=10)
        (same,) = store.chart([feed.key("same")], buckets=10)

        check_buckets(found, steps, values, 10)
        assert (same.lo.min(), same.hi.max(), int(same.count.sum()), same.min.min(), same.max.max()) == (
            4,
            4,
            300,
            0,
            299,
        )

    # --- delete, threads, close

    def test_deleted_series_are_gone_and_may_come_again(self, store: Store) -> None:
        feed, other = Feed(store), Feed(store, "other", number=2)
        feed.log(["a", "b"], range(10), np.ones((10, 2)))
        other.log(["a"], range(10), np.ones((10, 1)))

        store.delete("run", ["a", "unknown"])
        assert [info.key.name for info in store.series("run")] == ["b"]
        assert len(store.points(feed.key("a")).steps) == 0
        feed.log(["a"], [99], np.full((1, 1), 7))
        assert store.points(feed.key("a")).values.tolist() == [7]

        store.delete("run")
        store.delete("nobody")
        assert store.series("run") == []
        assert len(store.points(other.key("a")).steps) == 10
        feed.log(["a"], [100], np.full((1, 1), 8))
        assert [(info.key.name, info.count) for info in store.series("run")] == [("a", 1)]

    def test_readers_see_whole_batches_while_many_write(self, store: Store) -> None:
        feeds = [Feed(store, f"run{i}", number=i + 1) for i in range(3)]
        wrong: list[object] = []
        done = threading.Event()

        def write(feed: Feed) -> None:
            for i in range(40):
                feed.log(["a", "b"], np.arange(25) + 25 * i, np.full((25, 2), float(i)))

        def read() -> None:
            while not done.is_set():
                for feed in feeds:
                    values = store.points(feed.key("a")).values
                    if len(values) % 25 or not np.array_equal(
                        values, np.repeat(np.arange(len(values) // 25), 25)
                    ):
                        wrong.append(values)

        threads = [threading.Thread(target=write, args=(feed,)) for feed in feeds]
        reader = threading.Thread(target=read)
        for thread in [*threads, reader]:
            thread.start()
        for thread in threads:
            thread.join(60)
        done.set()
        reader.join(60)

        assert not wrong
        assert [store.series(feed.writer.run)[0].count for feed in feeds] == [1000] * 3

    def test_close_may_be_called_twice_and_ends_it(self, store: Store) -> None:
        store.close()
        store.close()

        with pytest.raises(DataError, match="closed"):
            store.series("run")
        with pytest.raises(DataError, match="closed"):
            store.append([])
