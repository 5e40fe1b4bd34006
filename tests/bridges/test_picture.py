"""Charts as pictures: what must be seen is looked for in the pixels."""

import io
import re
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farwatch.bridges.picture import Fonts, Line, Mark, chart_png
from farwatch.bridges.picture.card import BAD, INK, LINES, PAPER, SECOND_INK, mixed
from farwatch.bridges.picture.series import curve_of, pieces, smoothed
from farwatch.bridges.picture.sheet import STRIP, _spread
from farwatch.bridges.picture.traces import PALE
from farwatch.errors import UsageError

Pixels = NDArray[np.int16]  # (height, width, 3)
Mask = NDArray[np.bool_]
PLAIN = Fonts()  # nothing but what is the same on every machine
N = 100_000
STEPS = np.arange(N, dtype=np.float64)


def _pixels(png: bytes) -> Pixels:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    image.load()
    return np.asarray(image.convert("RGB"), dtype=np.int16)


def _drawn(*lines: Line, **options: object) -> Pixels:
    return _pixels(chart_png(lines, **{"title": "loss", "fonts": PLAIN, **options}))  # type: ignore[arg-type]


def _of(pixels: Pixels, colour: str, near: int = 12) -> Mask:
    """Which pixels have a colour, or nearly so."""
    wanted = np.array(list(bytes.fromhex(colour[1:])))
    return np.asarray((np.abs(pixels - wanted) <= near).all(axis=2))


def _plot(pixels: Pixels) -> tuple[int, int, int]:
    """Left and right end of the hairlines, and the lowest of them."""
    hair = _of(pixels, mixed(INK, 0.1), 3)
    rows = np.flatnonzero(hair.sum(axis=1) > pixels.shape[1] // 3)
    columns = np.flatnonzero(hair[rows].sum(axis=0) >= (len(rows) + 1) // 2)
    return int(columns[0]), int(columns[-1]), int(rows[-1])


def _column(pixels: Pixels, share: float) -> int:
    left, right, _ = _plot(pixels)
    return round(left + share * (right - left))


@pytest.mark.parametrize(("width", "height"), [(300, 200), (1000, 600), (1600, 900), (400, 1200)])
def test_picture_has_its_size_on_dark_paper_with_a_free_margin(width: int, height: int) -> None:
    png = chart_png(
        [Line("train/loss", STEPS, np.sin(STEPS / 9000)), Line("val/loss" * 40, STEPS, np.cos(STEPS / 9000))],
        title="a very long title " * 20, subtitle="and more " * 60, width=width, height=height, fonts=PLAIN,
        marks=[Mark(99_000, "alert", "words " * 30)], lang="zh",
    )  # fmt: skip
    pixels = _pixels(png)

    margin = round(width * 0.012)
    assert pixels.shape == (height, width, 3)
    for edge in (pixels[:margin], pixels[-margin:], pixels[:, :margin], pixels[:, -margin:]):
        assert _of(edge, PAPER, 0).all()


def test_one_point_that_spikes_among_a_hundred_thousand_is_seen() -> None:
    flat = np.full(N, 0.5)
    spiked = flat.copy()
    spiked[70_000] = 3.0

    pixels = _drawn(Line("loss", STEPS, spiked))

    line = _of(pixels, LINES[0], 60)
    at = _column(pixels, 0.7)
    _, right, bottom = _plot(pixels)
    height = np.flatnonzero(line[:, at - 3 : at + 4].any(axis=1))
    assert bottom - height[0] > 300
    away = np.r_[line[: bottom - 60, : at - 8].ravel(), line[: bottom - 60, at + 8 : right].ravel()]
    assert not away.any()


@pytest.mark.parametrize("smooth", [0.0, 0.6])
@pytest.mark.parametrize("dashed", [False, True])
def test_a_spike_stays_when_dashed_or_smoothed(smooth: float, dashed: bool) -> None:
    rough = np.sin(np.arange(5000.0) * 12.9898) * 2
    for place in range(1000, 4000, 617):
        spiked = rough.copy()
        spiked[place] = 9.0
        plain = _drawn(Line("loss", np.arange(5000), spiked))
        pixels = _drawn(Line("loss", np.arange(5000), spiked, dashed=dashed), smooth=smooth)
        at = _column(pixels, place / 4999)
        tops = []
        for picture in (plain, pixels):
            blue = picture[60:, at - 3 : at + 4, 2] - picture[60:, at - 3 : at + 4, 0] > 30
            tops.append(int(np.flatnonzero(blue.any(axis=1))[0]))
        assert abs(tops[1] - tops[0]) < 4, place


def test_nan_is_a_gap_with_a_cross_at_the_foot_and_is_counted() -> None:
    values = np.sin(STEPS / 9000) + 3
    values[40_000:60_000] = np.nan

    pixels = _drawn(Line("loss", STEPS, values))

    left, right, bottom = _plot(pixels)
    line, cross = _of(pixels, LINES[0], 60), _of(pixels, BAD, 40)
    gap = slice(_column(pixels, 0.41), _column(pixels, 0.59))
    assert not line[:bottom, gap].any()
    assert line[:bottom, left : gap.start - 20].any(axis=0).all()
    assert cross[bottom - 8 : bottom + 9, gap].any()
    assert not cross[bottom - 8 : bottom + 9, left : gap.start - 20].any()
    assert cross[:120, right - 200 :].any()  # the count
    assert not _of(_drawn(Line("loss", STEPS, np.sin(STEPS / 9000))), BAD, 40).any()


def test_a_single_nan_among_a_hundred_thousand_is_marked() -> None:
    values = np.sin(STEPS / 9000)
    values[25_000] = np.nan

    pixels = _drawn(Line("loss", STEPS, values))

    at, (_, _, bottom) = _column(pixels, 0.25), _plot(pixels)
    cross = np.flatnonzero(_of(pixels, BAD, 40)[bottom - 8 : bottom + 9].any(axis=0))
    assert abs(cross.mean() - at) < 4


def test_a_value_that_went_to_infinity_is_marked_where_it_went() -> None:
    values = np.linspace(1, 2, N)
    values[50_000] = np.inf
    values[80_000] = -np.inf

    pixels = _drawn(Line("loss", STEPS, values))

    _, _, bottom = _plot(pixels)
    crosses = _of(pixels, BAD, 40)
    up, down = _column(pixels, 0.5), _column(pixels, 0.8)
    assert crosses[: bottom // 2, up - 5 : up + 6].any()
    assert not crosses[bottom - 8 :, up - 5 : up + 6].any()
    assert crosses[bottom - 8 : bottom + 9, down - 5 : down + 6].any()


def test_the_usual_band_is_a_strip_behind_the_line() -> None:
    values = np.full(1000, 1.0)
    values[900:] = 5.0

    pixels = _drawn(Line("loss", np.arange(1000), values), band=(0.5, 1.0, 2.0))

    strip = _of(pixels, mixed(SECOND_INK, STRIP), 3)
    rows = np.flatnonzero(strip[:, _column(pixels, 0.5)])
    low, high = (
        np.flatnonzero(_of(pixels, LINES[0], 60)[:, _column(pixels, at)]).mean() for at in (0.5, 0.98)
    )
    per_unit = (low - high) / 4
    assert abs(rows[0] - (low - per_unit)) < 3
    assert abs(rows[-1] - (low + per_unit / 2)) < 3


def test_marks_stand_above_the_plot_at_their_steps_and_those_outside_are_left_out() -> None:
    marks = [
        Mark(20_000, "command"),
        Mark(60_000, "alert"),
        Mark(1e9, "alert"),
        Mark(float("nan"), "command"),
    ]
    rising = Line("loss", STEPS, np.linspace(0, 1, N))

    pixels, without = _drawn(rising, marks=marks), _drawn(rising)

    left, right, _ = _plot(pixels)
    head = slice(80, 140)
    signs = {colour: np.flatnonzero(_of(pixels[head], colour, 6).any(axis=0)) for colour in (INK, BAD)}
    assert abs(signs[INK].mean() - _column(pixels, 0.2)) < 3
    assert abs(signs[BAD].mean() - _column(pixels, 0.6)) < 3
    assert not _of(without[head, left:right], INK, 6).any()


def test_lines_keep_their_colour_whatever_their_place() -> None:
    lines = [Line(f"run {k}", STEPS, np.full(N, float(k)), colour=k) for k in (13, 7, 1)]

    pixels = _drawn(*lines)

    at = _column(pixels, 0.5)
    rows = [np.flatnonzero(_of(pixels[110:], LINES[k], 8)[:, at]) for k in (3, 7, 1)]
    assert all(len(found) for found in rows)
    assert rows[0].mean() < rows[1].mean() < rows[2].mean()


def test_colours_are_those_of_the_page() -> None:
    web = Path(__file__).parents[2] / "web" / "src"
    dark = re.search(r"dark: \[(.*?)\]", (web / "model" / "colour.ts").read_text(encoding="utf-8"))
    tokens = (web / "tokens.css").read_text(encoding="utf-8")
    names = {"paper": PAPER, "ink": INK, "ink-2": SECOND_INK, "bad": BAD}

    assert dark is not None
    assert tuple(re.findall(r"#\w{6}", dark[1])) == LINES
    for name, colour in names.items():
        assert re.search(rf"--{name}: light-dark\(#\w+, {colour}\)", tokens), name


def test_validation_is_dashed_and_an_earlier_attempt_pale() -> None:
    flat = np.full(100, 1.0)
    steps = np.arange(100)

    dashed = _drawn(Line("val", steps, flat, dashed=True))
    pale = _drawn(Line("old", steps, flat, pale=True), Line("new", steps, flat * 2))

    left, right, _ = _plot(dashed)
    row = np.flatnonzero(_of(dashed, LINES[0]).sum(axis=1) > 200)[0]
    share = _of(dashed, LINES[0], 40)[row, left + 5 : right - 5].mean()
    assert 0.45 < share < 0.8
    assert (_of(pale, mixed(LINES[0], PALE), 6).sum(axis=1) > 500).any()
    assert not (_of(pale, LINES[0], 6).sum(axis=1) > 500).any()


def test_what_a_restart_left_behind_is_pale_and_not_joined() -> None:
    steps = np.concatenate((np.arange(3000), np.arange(1000, 4000)))
    values = np.concatenate((np.full(3000, 2.0), np.full(3000, 1.0)))

    pixels = _drawn(Line("loss", steps, values))

    old, new = _of(pixels, mixed(LINES[0], PALE), 8), _of(pixels, LINES[0], 8)
    at = _column(pixels, 0.1)
    assert old[:, at].any() and not new[:, at].any()
    between = slice(np.flatnonzero(old[:, at])[-1] + 6, np.flatnonzero(new[:, _column(pixels, 0.9)])[0] - 6)
    back = slice(_column(pixels, 0.2), _column(pixels, 0.8))
    assert between.stop - between.start > 100
    assert not (old | new)[between, back].any()


def test_buckets_have_their_band_under_the_line() -> None:
    steps = np.arange(200)
    line = Line("loss", steps, np.full(200, 1.0), low=np.full(200, 0.0), high=np.full(200, 3.0))

    pixels = _drawn(line)

    band = _of(pixels, mixed(LINES[0], 0.14), 4)[:, 500]
    assert band.sum() > 250


def test_a_logarithmic_axis_is_even_in_powers_and_marks_what_it_cannot_show() -> None:
    steps = np.arange(1001)
    values = 10.0 ** np.linspace(0, -4, 1001)
    values[700:800] = -1.0

    pixels = _drawn(Line("loss", steps, values), log_y=True)

    line = _of(pixels, LINES[0], 60)
    _, _, bottom = _plot(pixels)
    heights = [np.flatnonzero(line[:bottom, _column(pixels, at)]).mean() for at in (0.2, 0.4, 0.6)]
    assert abs((heights[1] - heights[0]) - (heights[2] - heights[1])) < 3
    at = _column(pixels, 0.75)
    assert _of(pixels, BAD, 40)[bottom - 8 : bottom + 9, at - 10 : at + 10].any()
    assert not line[:bottom, at].any()


def test_a_logarithmic_axis_without_a_value_above_zero_stays_linear() -> None:
    line = Line("loss", np.arange(100), -np.arange(100.0))

    pixels = _drawn(line, log_y=True)

    assert (_of(pixels, LINES[0], 60).sum(axis=0) > 0).sum() > 500
    assert not _of(pixels, BAD, 40).any()


TINY, HUGE = 5e-324, 1.7976931348623157e308
ODD = {
    "nothing": ([], []),
    "one point": ([12], [0.5]),
    "one step many times": ([3] * 9, range(9)),
    "constant": (range(50), [1e-3] * 50),
    "constant zero": (range(50), [0.0] * 50),
    "largest": ([0, 1, 2], [HUGE, -HUGE, HUGE]),
    "smallest": ([0, 1, 2], [TINY, 2 * TINY, 3 * TINY]),
    "all at once": ([0, 1, 2, 3], [HUGE, TINY, -HUGE, 0.0]),
    "neighbours": ([0, 1], [1.0, 1.0000000000000002]),
    "no number": (range(5), [np.nan] * 5),
    "nothing finite": (range(4), [np.inf, -np.inf, np.nan, np.inf]),
    "every other": (range(400), [1.0, np.nan] * 200),
    "steps far away": ([1e300, 1.7e308], [1.0, 2.0]),
    "steps below zero": ([-HUGE, HUGE], [1.0, 2.0]),
    "steps of no kind": ([np.nan, 1.0, np.inf, 2.0, -np.inf], range(5)),
    "no step": ([np.nan, np.nan], [1.0, 2.0]),
    "no order": (np.random.default_rng(1).permutation(9000), np.linspace(0, 1, 9000)),
    "whole numbers": (np.arange(9000, dtype=np.int64), np.arange(9000, dtype=np.int32)),
    "small floats": (np.arange(9000, dtype=np.float32), np.linspace(0, 1, 9000, dtype=np.float32)),
    "large whole steps": (np.arange(2**62, 2**62 + 5000 * 2**20, 2**20), np.arange(5000)),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("log_y", [False, True])
def test_odd_data_give_a_picture(name: str, log_y: bool) -> None:
    steps, values = (np.array(part) for part in ODD[name])
    empty = _drawn(title="loss", marks=[Mark(1, "alert", "x")])

    pixels = _drawn(
        Line("a", steps, values), Line("b", steps, values, low=values, high=values, dashed=True),
        log_y=log_y, smooth=0.5, band=(0.1, 0.2, 0.3), marks=[Mark(1, "command", "x")],
    )  # fmt: skip

    assert pixels.shape == (600, 1000, 3)
    assert (pixels != empty).any()


def test_many_lines_are_drawn_up_to_a_limit_and_the_rest_is_told() -> None:
    lines = [Line(f"run {k}", STEPS[:50], np.full(50, float(k))) for k in range(400)]

    pixels, fewer = _drawn(*lines), _drawn(*lines[:24])

    assert (pixels != fewer).any()  # `+n more` differs
    plot = pixels[220:540, 500]
    colours = {colour for colour in LINES if _of(plot[:, None], colour, 8).any()}
    assert colours == set(LINES)


def test_last_values_stand_apart_and_as_near_as_they_can() -> None:
    assert _spread([100, 200], 30, 0, 500) == [100, 200]
    assert _spread([100, 100], 30, 0, 500) == [85, 115]
    assert _spread([499, 500, 20], 30, 0, 500) == [470, 500, 20]
    assert _spread([0, 0, 0], 30, 0, 500) == [0, 30, 60]


def test_smoothing_is_that_of_the_page() -> None:
    rng = np.random.default_rng(3)
    x = np.sort(rng.random(200)) * 1000
    y = rng.normal(size=200)
    y[50:60] = np.nan
    strength, reach = 0.6, 1000 * 0.6**3 / 8
    known = np.isfinite(y)
    weights = np.exp(-np.abs(x[:, None] - x[None, :]) / reach) * known
    expected = np.where(known, (weights @ np.where(known, y, 0)) / weights.sum(axis=1), np.nan)

    assert np.allclose(smoothed(x, y, strength, 1000), expected, equal_nan=True)
    assert smoothed(x, y, 0, 1000) is y


def test_long_lines_are_reduced_without_a_copy() -> None:
    n = 3_000_000
    steps, values = np.arange(n, dtype=np.float64), np.sin(np.arange(n) / 1e5)
    values[1_234_567] = 50
    values[9] = np.nan

    tracemalloc.start()
    ((steps, values),) = pieces(steps, values)
    curve = curve_of(steps, values, 0, n - 1, 900, False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 5e6  # 24 MB each, they are
    assert len(curve.x) <= 3600
    assert np.nanmax(curve.y) == 50
    assert curve.counts == {"nan": 1}


def test_reduced_line_has_first_least_most_and_last_of_every_column() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=50_000)
    steps = np.arange(50_000.0)

    curve = curve_of(steps, values, 0, 49_999, 500, False)

    columns = np.minimum((steps / 49_999 * 500).astype(int), 499)
    corners = curve.y.reshape(500, 4)
    for column in range(0, 500, 37):
        own = values[columns == column]
        assert corners[column, 0] == own[0] and corners[column, 3] == own[-1]
        assert corners[column].min() == own.min() and corners[column].max() == own.max()


def test_threads_may_draw_at_once() -> None:
    line = Line("βήτα/损失", STEPS[:2000], np.sin(STEPS[:2000] / 200))
    fonts = Fonts()
    alone = chart_png([line, line], title="τ → ∞", fonts=fonts)
    drawn: list[bytes] = []

    threads = [
        threading.Thread(target=lambda: drawn.append(chart_png([line, line], title="τ → ∞", fonts=fonts)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert drawn == [alone] * 4


@pytest.mark.parametrize(("width", "height"), [(10, 600), (1000, 0), (9000, 9000), (-5, 300)])
def test_an_impossible_size_is_refused(width: int, height: int) -> None:
    with pytest.raises(UsageError, match="a picture has sides of"):
        chart_png([], title="x", width=width, height=height)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    for line in (
        Line("loss", np.arange(3), np.arange(4)),
        Line("loss", np.zeros((2, 2)), np.zeros((2, 2))),
        Line("loss", np.arange(3), np.arange(3), low=np.arange(2), high=np.arange(3)),
    ):
        with pytest.raises(UsageError, match="flat and of one length: `loss`"):
            chart_png([line], title="x")
