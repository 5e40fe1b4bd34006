"""What reaches a terminal, and how numbers read there."""

import io
import math
import sys

import numpy as np
import pytest

from farwatch.api import Line
from farwatch.cli.curve import draw, sparkline
from farwatch.cli.output import clean, duration, emit_json, short_number, size, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, Grüße, 你好", "plain text, Grüße, 你好"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\after", "after"),
        ("bell\x07 back\x08 c1\x9b2J", "bell back c1"),
        ("right\u202eleft", "rightleft"),
        ("two\nlines\tkept", "two\nlines\tkept"),
        ("overwritten\rtext", "overwrittentext"),
    ],
)
def test_clean_leaves_nothing_that_a_terminal_obeys(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_table_aligns_wide_letters_and_cuts_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    table([("学习率", 3), ("lr", 12)], ("name", "n"), right=frozenset({1}))

    assert capsys.readouterr().out.splitlines() == ["name     n", "学习率   3", "lr      12"]


def test_json_writes_nonfinite_numbers_as_words(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": float("nan"), "b": [float("inf"), -float("inf")], "c": 1.5})

    assert capsys.readouterr().out == '{"a": "NaN", "b": ["Infinity", "-Infinity"], "c": 1.5}\n'


def test_json_survives_an_output_that_speaks_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))

    emit_json({"name": "学"})

    assert raw.getvalue() == b'{"name": "\\u5b66"}\n'


def test_numbers_read_as_people_write_them() -> None:
    assert [short_number(value) for value in (None, 3, 2.0, 0.123456789, 1e-7, True, float("nan"))] == [
        "–", "3", "2", "0.12346", "1e-07", "True", "nan",
    ]  # fmt: skip
    assert [size(value) for value in (0, 999, 1500, 2_500_000_000)] == ["0 B", "999 B", "1.5 kB", "2.5 GB"]
    assert [duration(value) for value in (None, 900, 61_000, 7_384_000)] == ["–", "0 s", "1:01", "2:03:04"]


def _line(values: list[float]) -> Line:
    array = np.array(values)
    bad = ~np.isfinite(array)
    shown = np.where(bad, np.nan, array)
    ones = np.ones(len(array), np.int64)
    return Line(
        "r",
        "loss",
        0,
        1,
        np.arange(float(len(array))),
        shown,
        shown,
        shown,
        array,
        ones,
        bad.astype(np.int64),
        True,
    )


def test_curve_goes_from_corner_to_corner_and_names_its_extremes() -> None:
    rows = draw(_line([0.0, 1.0, 2.0, 3.0]), 12, 3)

    assert [len(row) for row in rows] == [12, 12, 12]
    assert rows[0].startswith("3 ") and rows[2].startswith("0 ")
    assert rows[0][-1] != " " and rows[2][2] != " "


def test_curve_keeps_a_spike_of_one_point_and_marks_a_nan() -> None:
    values = [1.0] * 1000
    values[500], values[700] = 9.0, float("nan")

    rows = draw(_line(values), 40, 5)

    assert any(letter not in " 9" for letter in rows[0])
    assert rows[0].lstrip().startswith("9")
    flat = [0.0] * 9 + [float("nan")]
    assert any("×" in row for row in draw(_line(flat), 20, 2))


def test_curve_without_a_finite_value_says_so() -> None:
    assert draw(_line([float("nan"), float("inf")]), 24, 2)[0].strip() == "no finite value"


def test_sparkline_has_gaps_where_values_are_not_finite() -> None:
    assert sparkline([0.0, 7.0, float("nan"), 3.5], 10) == "▁█ ▄"
    assert sparkline([float("nan")], 10) == ""


def test_a_sparse_curve_is_joined_but_not_across_a_gap() -> None:
    def filled(values: list[float]) -> list[bool]:
        columns = zip(*(row[2:] for row in draw(_line(values), 42, 3)), strict=True)
        return [any(cell not in " ×" for cell in column) for column in columns]

    assert all(filled([1.0, 3.0, 2.0, 1.0]))
    assert filled([1.0, 3.0, math.nan, 1.0, 2.0]) == [True] * 11 + [False] * 18 + [True] * 11
