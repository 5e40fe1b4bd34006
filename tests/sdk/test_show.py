"""`farwatch.show` outside of notebooks, and what its pictures are made of."""

import math
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from farwatch.sdk.curves import BUCKETS, NAMES_MAX, Curve, Curves
from farwatch.sdk.drawing import groups, lines, number, svg
from tests.sdk.conftest import Program


def test_show_in_a_script_prints_the_run_and_a_line_per_metric(program: Program) -> None:
    done = program(
        """
        import farwatch
        run = farwatch.init("shown", name="calm-heron")
        for step in range(100):
            run.log({"train/loss": 1 / (step + 1), "epoch": step // 10}, step=step)
        farwatch.show()
        """
    )

    head, loss, epoch = done.out.splitlines()
    assert (head, done.code) == ("farwatch: calm-heron · running", 0)
    assert loss.split() == ["train/loss", "0.01", "0.01", "…", "1", loss.split()[-1]]
    assert (loss.split()[-1][0], loss.split()[-1][-1], len(loss.split()[-1])) == ("█", "▁", 40)
    assert epoch.startswith("epoch")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("farwatch.show()", "there is no run to show"),
        ("farwatch.show('k3f9xq2')", "no journal of this run is on this machine: `k3f9xq2`"),
        ("farwatch.init(mode='disabled'); farwatch.show()", "there is nothing to show"),
        ("farwatch.init(); farwatch.show(last=0)", "last must be a number of points above 0, not: `0`"),
        ("farwatch.init(); farwatch.show(height=10)", "height must be pixels from 70 to 4000, not: `10`"),
    ],
)
def test_show_says_what_cannot_be_shown(program: Program, call: str, error: str) -> None:
    done = program(f"import farwatch\n{call}")

    assert done.code == 1
    assert error in done.err


def test_show_draws_what_is_named_and_says_what_is_not_logged(program: Program) -> None:
    done = program(
        """
        import farwatch
        with farwatch.init("shown") as run:
            for i in range(20):
                run.log({f"layer/{i}": float(i) for i in range(10)})
            run.extend("array", [1.0, 2.0, 4.0])
            run.log({"text": "no curve"})
        farwatch.show(metrics=["layer/1", "arr*", "nothing"], last=2)
        farwatch.show()
        """
    )

    chosen, rest = done.out.split("farwatch: ")[1:]
    assert [line.split()[0] for line in chosen.splitlines()[1:3]] == ["layer/1", "array"]
    assert chosen.splitlines()[2].split()[1:5] == ["4", "2", "…", "4"]
    assert chosen.splitlines()[3] == "not logged: nothing"
    assert chosen.splitlines()[0].endswith("· finished")  # the last run of this process, also after its end
    assert rest.splitlines()[-1] == "and 5 more: show(metrics=[…])"


def test_a_script_that_shows_does_not_redraw(program: Program) -> None:
    done = program(
        """
        import farwatch
        run = farwatch.init("shown")
        farwatch.show()
        for i in range(1000):
            run.log({"a": i})
        assert run._page is None
        """
    )

    assert (done.code, len(done.out.splitlines())) == (0, 2)


def test_curves_read_what_the_journal_holds(program: Program) -> None:
    """Against the reader that the server uses: every value is in the bounds, counted once, read in pieces or at once."""
    done = program(
        """
        import farwatch, math
        run = farwatch.init("shown", console=False)
        for i in range(30000):
            run.log({"a": math.sin(i), "b": i})
            if i % 7 == 0:
                run.log({"c": i * 0.5, "flag": i % 2 == 0}, step=i + 0.5)
        run.log({"a": math.nan}, step=40000)
        """
    )
    folder = done.journal.folder
    whole = Curves(folder)
    assert whole.read()
    assert not whole.read()
    pieces = Curves(folder)
    for segment in sorted(folder.glob("*.fwj")):
        for end in range(64, segment.stat().st_size + 1, 200_003):
            pieces.read((segment.name, end))
    pieces.read()
    hasty = Curves(folder)
    looks = 0
    while hasty.read(limit_ns=0):
        looks += 1
    assert looks >= 5 and not hasty.behind

    for name in ("a", "b", "c", "flag"):
        steps, values = done.journal.series(name)
        finite = [value for value in values if math.isfinite(value)]
        for curves in (whole, pieces, hasty):
            curve = curves.found[name]
            buckets = curve.buckets()
            assert curve.count == len(values) == sum(b.count + b.bad for b in buckets)
            assert (min(b.low for b in buckets), max(b.high for b in buckets)) == (min(finite), max(finite))
            assert sum(b.total for b in buckets) == pytest.approx(sum(finite), abs=1e-6)
            assert curve.span() == (min(steps), max(steps))
            assert len(buckets) <= 2 * BUCKETS


def test_a_bucket_holds_every_spike_in_any_order() -> None:
    random_ = random.Random(5)
    points = [(float(step), random_.gauss(0, 1)) for step in range(20_000)]
    points[12_345] = (12_345.0, 1e6)
    random_.shuffle(points)
    curve = Curve("a")
    for start in range(0, len(points), 777):
        steps, values = zip(*points[start : start + 777], strict=True)
        curve.add(steps, values)

    buckets = curve.buckets()
    (spike,) = [bucket for bucket in buckets if bucket.high == 1e6]
    assert abs(spike.x - 12_345) < 20_000 / BUCKETS
    assert [bucket.x for bucket in buckets] == sorted(bucket.x for bucket in buckets)
    assert sum(bucket.count for bucket in buckets) == 20_000


@pytest.mark.parametrize(
    "steps",
    [
        [0.0] * 2000,
        [1e300 * i for i in range(1000)],
        [-(2**62) + i for i in range(1000)],
        [1e-300 * i for i in range(1000)],
    ],
)
def test_odd_steps_end_in_few_buckets(steps: list[float]) -> None:
    curve = Curve("a")
    curve.add(steps, [1.0] * len(steps))

    assert 1 <= len(curve.buckets()) <= 2 * BUCKETS + 1
    assert sum(bucket.count for bucket in curve.buckets()) == len(steps)


def test_last_keeps_the_newest_points_only() -> None:
    curve = Curve("a", last=3)
    for step in range(10):
        curve.add((step,), (float(step),))

    assert [(bucket.x, bucket.low) for bucket in curve.buckets()] == [(7, 7), (8, 8), (9, 9)]
    assert curve.span() == (7, 9)


def test_training_and_validation_of_one_quantity_share_a_chart() -> None:
    names = ["epoch", "train/loss", "lr", "val/acc", "val/loss", "accuracy", "val_accuracy", "train/loss_scale"]

    found = [(group.title, [curve.name for curve in group.curves]) for group in groups(map(Curve, names))]

    assert found == [
        ("loss", ["train/loss", "val/loss"]),
        ("train/loss_scale", ["train/loss_scale"]),
        ("accuracy", ["accuracy", "val_accuracy"]),
        ("val/acc", ["val/acc"]),
        ("epoch", ["epoch"]),
        ("lr", ["lr"]),
    ]


def drawn(values: list[float], name: str = "a") -> ElementTree.Element:
    curve = Curve(name)
    for step, value in enumerate(values):
        curve.add((step,), (value,))
    (group,) = groups([curve])
    return ElementTree.fromstring(svg(group, 160))


SVG = "{http://www.w3.org/2000/svg}"


def test_a_nan_breaks_the_line_and_is_marked() -> None:
    picture = drawn([1.0, 2.0, math.nan, 3.0, 1.0])

    strokes = [path.get("d", "") for path in picture.iter(f"{SVG}path")]
    assert sum(" " in d and "M" in d and "l6 6" not in d and "H" not in d for d in strokes) == 2
    assert sum("l6 6" in d for d in strokes) == 1


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf], [1e308, -1e308, 1e308], [5.0], [0.0] * 3])
def test_a_picture_of_odd_values_is_whole(values: list[float]) -> None:
    curve = Curve("<script>&\x00")
    for step, value in enumerate(values):
        curve.add((step,), (value,))
    picture = ElementTree.fromstring(svg(groups([curve])[0], 160))

    assert "nan" not in ElementTree.tostring(picture, "unicode").lower().replace("nan</", "")
    assert "<script>" in "".join(picture.itertext())


def test_a_line_of_text_marks_what_is_not_finite() -> None:
    curve = Curve("a")
    for step, value in enumerate([0.0, 1.0, math.nan, 2.0, 3.0]):
        curve.add((step,), (value,))

    assert lines(curve) == "▁▃×▅█"


def test_names_beyond_the_limit_are_counted(program: Program) -> None:
    done = program(
        """
        import farwatch
        with farwatch.init("shown") as run:
            run.log({f"m/{i}": 1.0 for i in range(100)})
        """
    )
    curves = Curves(done.journal.folder)
    curves.read()

    assert (len(curves.found), curves.left_out) == (NAMES_MAX, 100 - NAMES_MAX)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (3.0, "3"), (0.000123456, "0.0001235"), (1e9, "1e+09"), (math.nan, "NaN"), (-math.inf, "-∞")]
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_folder_without_segments_has_no_curves(tmp_path: Path) -> None:
    curves = Curves(tmp_path)

    assert not curves.read()
    assert curves.found == {}
