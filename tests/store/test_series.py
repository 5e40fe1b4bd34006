"""The format of points: bit-exact for every column, refused when damaged; pyramids and buckets hold every point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from farwatch.errors import DataError
from farwatch.store.series import blob, pyramid
from farwatch.store.series.columns import decode_floats, decode_ints, encode_floats, encode_ints
from farwatch.store.series.cut import Part, Rows, cut
from farwatch.testing.store import SPECIAL, check_buckets

any_float = st.integers(0, 2**64 - 1)  # as bits: NaN payloads, subnormals, both zeros
any_int = st.integers(-(2**63), 2**63 - 1)


def check_floats(values: np.ndarray) -> int:
    encoded = encode_floats(values)
    decoded = decode_floats(encoded, len(values))
    assert decoded.dtype == np.float64
    assert np.array_equal(decoded.view(np.uint64), values.view(np.uint64))
    return len(encoded)


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(np.uint64, st.integers(0, 70), elements=any_float))
def test_any_floats_come_back_bit_by_bit(bits: np.ndarray) -> None:
    check_floats(bits.view(np.float64))


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(np.int64, st.integers(0, 70), elements=any_int), st.sampled_from([1, 1000, 7]))
def test_any_integers_come_back(values: np.ndarray, unit: int) -> None:
    values = values // unit * unit

    assert np.array_equal(decode_ints(encode_ints(values), len(values)), values)


@pytest.mark.parametrize("odd", [*SPECIAL, None])
@pytest.mark.parametrize("n", [1, 2, 4096])
@pytest.mark.parametrize("kind", ["noise", "single", "decimal", "whole", "count", "same", "smooth"])
def test_columns_of_the_field_come_back_with_one_odd_value_among_them(
    kind: str, n: int, odd: float | None
) -> None:
    rng = np.random.default_rng(5)
    values = {
        "noise": rng.normal(size=n),
        "single": rng.normal(size=n).astype(np.float32).astype(np.float64),
        "decimal": np.round(rng.normal(size=n), 3),
        "whole": rng.integers(-500, 500, n).astype(np.float64),
        "count": 512.0 * np.arange(n),
        "same": np.full(n, 0.1),
        "smooth": np.cos(np.arange(n) / 1e4),
    }[kind]
    if odd is not None:
        values[n // 2] = odd

    size = check_floats(values)

    if odd is None and n == 4096:
        limit = {
            "noise": 7.2,
            "single": 3.5,
            "decimal": 2,
            "whole": 1.5,
            "count": 0.1,
            "same": 0.1,
            "smooth": 6,
        }
        assert size / n < limit[kind]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_a_damaged_blob_is_refused(at: int, noise: bytes) -> None:
    rng = np.random.default_rng(1)
    good = blob.encode([np.arange(500.0), rng.integers(0, 9, 500).cumsum(), rng.normal(size=500)], "fif")
    at %= len(good) - len(noise)
    bad = good[:at] + noise + good[at + len(noise) :]

    if bad == good:
        return
    with pytest.raises(DataError):
        opened = blob.Blob(bad, "fif")
        for column in range(3):
            opened.column(column)


@pytest.mark.parametrize("cut_at", [0, 5, 12, 100, -1])
def test_a_blob_cut_short_is_refused(cut_at: int) -> None:
    good = blob.encode([np.arange(500.0), np.random.default_rng(1).normal(size=500)], "ff")

    with pytest.raises(DataError):
        blob.Blob(good[:cut_at], "ff")
    with pytest.raises(DataError, match="columns"):
        blob.Blob(good, "f")


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=n)
    values[rng.random(n) < 0.02] = np.nan
    values[rng.random(n) < 0.01] = np.inf
    values[64:192] = np.nan  # whole entries without a finite value
    return np.cumsum(rng.exponential(size=n)), rng.integers(0, 10**6, n).cumsum(), values


def test_a_pyramid_summarises_its_points() -> None:
    steps, times, values = points(64 * 16 * 3, 1)

    one = pyramid.summarise(steps, times, values)
    two = pyramid.coarsen(pyramid.read_entries(one.encode()))

    for entries, size in ((one, 64), (two, 1024)):
        for i in range(len(entries.min)):
            part = slice(i * size, (i + 1) * size)
            good = values[part][np.isfinite(values[part])]
            assert entries.nonfinite[i] == size - len(good)
            assert (entries.step_lo[i], entries.step_hi[i]) == (steps[part][0], steps[part][-1])
            assert (entries.time_lo[i], entries.time_hi[i]) == (times[part].min(), times[part].max())
            assert np.array_equal(entries.last[i], values[part][-1], equal_nan=True)
            if len(good):
                assert (entries.min[i], entries.max[i]) == (good.min(), good.max())
                assert entries.sum[i] == pytest.approx(good.sum())
            else:
                assert np.isnan(entries.min[i]) and np.isnan(entries.max[i]) and entries.sum[i] == 0


def as_rows(steps: np.ndarray, times: np.ndarray, values: np.ndarray, first: int) -> Rows:
    entries = pyramid.summarise(steps, times, values)
    count = np.full(len(entries.min), 64)
    order = first + np.arange(1, len(count) + 1) * 64 - 1
    return Rows(
        entries.step_lo,
        entries.step_hi,
        entries.min,
        entries.max,
        entries.sum,
        entries.last,
        count,
        entries.nonfinite,
        order,
    )


@pytest.mark.parametrize("buckets", [1, 7, 100, 3000])
@pytest.mark.parametrize("entries", [0, 640, 6400])
def test_buckets_hold_points_and_entries_once(entries: int, buckets: int) -> None:
    steps, times, values = points(7000, 2)
    parts: list[Part | Rows] = []
    if entries:
        parts.append(as_rows(steps[:entries], times[:entries], values[:entries], 0))
    parts.append(Part(steps[entries:6800], values[entries:6800], entries))
    parts.append(Part(steps[6800:], values[6800:], np.arange(6800, 7000)))

    found = cut(parts, buckets)

    if not entries:
        check_buckets(found, steps, values, buckets)
    assert (found.count.sum(), found.nonfinite.sum()) == (7000, (~np.isfinite(values)).sum())
    assert np.nanmin(found.min) == values[np.isfinite(values)].min()
    assert np.array_equal(found.last[-1], values[-1], equal_nan=True)
    assert (np.diff(found.lo) > 0).all()


def test_the_last_value_of_a_bucket_is_the_last_to_arrive_also_among_late_points() -> None:
    early = as_rows(np.arange(64.0), np.arange(64), np.arange(64.0), 0)
    late = Part(np.array([10.0]), np.array([-1.0]), 64)

    for parts in ([early, late], [late, early]):
        assert cut(parts, 1).last.tolist() == [-1.0]
