"""Names of any alphabet in pictures, with and without a font that has it; and curves in one line of text."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from farwatch.bridges.picture import Fonts, Line, Mark, chart_png, names_drawn, sparkline, system_fonts

PLAIN = Fonts()
STEPS = np.arange(50.0)


def _dejavu() -> Fonts:
    """A font with Greek, Cyrillic and Arabic that comes with a library of the checks."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None and found.origin is not None
    return Fonts((Path(found.origin).parent / "mpl-data" / "fonts",))


def _box() -> bytes:
    """What Pillow's font draws for a letter that it lacks."""
    return bytes(ImageFont.load_default(40).getmask("\uffff"))


def test_a_font_of_the_machine_writes_what_pillows_own_lacks() -> None:
    fonts = _dejavu()
    names = ["потери", "βήτα₁", "loss é", "train/loss"]

    assert names_drawn(names, "en", fonts) == names
    assert names_drawn(names, "en", PLAIN) != names
    for name in names[:2]:
        pieces = list(fonts.runs(name, 40))
        for font, piece in pieces:
            assert font is not None
            assert all(bytes(font.getmask(char)) != bytes(font.getmask("\uffff")) for char in piece)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("train/loss", "train/loss"),
        ("训练/损失", "line 1"),
        ("損失", "line 1"),
        ("손실", "line 1"),
        ("потери", "line 1"),
        ("خسارة", "line 1"),
        ("अ", "line 1"),
        ("β1", "beta1"),
        ("Σ/α", "Sigma/alpha"),
        ("perte validée", "perte validee"),
        ("straße æ", "strasse ae"),
        ("ｌｏｓｓ１", "loss1"),
        ("🚀 calm-heron 🔥", "calm-heron"),
        ("👩‍👩‍👧", "line 1"),
        ("a\nb\tc\x00\x1b[31m", "a b c[31m"),
        ("\u202egnp.exe\u2066", "gnp.exe"),
        ("lr 1e−3 → 3e−4 ≤ ∞", "lr 1e−3 → 3e−4 ≤ ∞"),
        ("", "line 1"),
        ("   ", "line 1"),
        ("\ud800", "line 1"),
    ],
)
def test_without_a_font_a_name_is_spelt_or_replaced_but_never_a_box(name: str, drawn: str) -> None:
    (given,) = names_drawn([name], "en", PLAIN)

    assert given == drawn
    for font, piece in PLAIN.runs(given, 40):
        assert font is None or all(bytes(font.getmask(char)) != _box() for char in piece)


def test_a_replaced_name_says_its_place() -> None:
    names = ["loss", "损失", "acc", "精度"]

    assert names_drawn(names, "en", PLAIN) == ["loss", "line 2", "acc", "line 4"]
    assert names_drawn(names, "zh", PLAIN) == ["loss", "line 2", "acc", "line 4"]  # no font for 曲线 either


def test_parts_of_a_title_that_cannot_be_written_are_left_out_whole() -> None:
    assert PLAIN.legible("损失 · calm-heron · 步 3") == "calm-heron"
    assert PLAIN.legible("学习率 降 3") == ""
    assert PLAIN.legible("loss → ∞ 🚀") == "loss → ∞"


def test_chinese_is_written_where_the_machine_has_a_font_for_it() -> None:
    fonts = system_fonts()
    names = ["训练/损失", "验证/损失"]
    lines = [Line(name, STEPS, STEPS * (k + 1)) for k, name in enumerate(names)]

    drawn = names_drawn(names, "zh", fonts)
    picture = chart_png(lines, title="损失 · calm-heron", lang="zh", fonts=fonts)

    assert drawn in (names, ["line 1", "line 2"])
    assert Image.open(io.BytesIO(picture)).size == (1000, 600)
    plain = chart_png(lines, title="损失 · calm-heron", lang="zh", fonts=PLAIN)
    assert (picture != plain) == (drawn == names)


@pytest.mark.parametrize("fonts", [PLAIN, _dejavu(), system_fonts()], ids=["plain", "dejavu", "machine"])
def test_no_text_breaks_a_picture(fonts: Fonts) -> None:
    texts = [
        "خسارة/loss", "אובדן", "עברית و عربي mixed 123", "🚀🔥👩‍👩‍👧", "a" * 10_000, "损" * 5000, "\u202e\u2066\u200f", "\x00\x01",
        "e" + "\u0301" * 500, "กำไร", "हानि", "ﷺ" * 50, "\U0010ffff", "\ufffe", "\ud83d", "𝓵𝓸𝓼𝓼", "\n\n\n", "%s{n}", "−∞→",
    ]  # fmt: skip

    for text in texts:
        png = chart_png(
            [Line(text, STEPS, STEPS), Line("b", STEPS, STEPS + 1)],
            title=text, subtitle=text, x_title=text, marks=[Mark(20, "alert", text)], lang=text[:5], fonts=fonts, width=500, height=300,
        )  # fmt: skip
        image = Image.open(io.BytesIO(png)).convert("RGB")
        assert {image.getpixel((x, y)) for x in (2, 497) for y in range(0, 300, 3)} == {(14, 17, 22)}


def test_text_is_cut_to_its_room_at_the_end_or_in_the_middle() -> None:
    text = "validation/loss/of_the_whole_set"

    for room in (40, 90, 200, 380):
        for middle in (False, True):
            cut = PLAIN.fitting(text, 26, room, middle=middle)
            assert PLAIN.width(cut, 26) <= room
            assert cut.count("…") == 1 and text.startswith(cut.split("…")[0])
    assert PLAIN.fitting(text, 26, 250, middle=True).endswith("_set")
    assert PLAIN.fitting(text, 26, 1000) == text
    assert PLAIN.fitting(text, 26, 3) == ""


def test_files_that_are_no_fonts_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "NotoSans-Regular.ttf").write_bytes(b"not a font")
    (tmp_path / "msyh.ttc").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    assert names_drawn(["损失"], "en", Fonts((tmp_path, tmp_path / "absent"))) == ["line 1"]


def test_sparkline_falls_rises_and_keeps_a_spike() -> None:
    assert sparkline([5, 4, 3, 2, 1]) == "▇▅▃▂▁"
    assert sparkline(np.linspace(0, 1, 1000), 5) == "▁▂▃▅▇"
    spiked = np.ones(100_000)
    spiked[70_000] = 9
    assert sparkline(spiked, 10) == "▁▁▁▁▁▁▁▇▁▁"


def test_sparkline_says_what_is_no_number() -> None:
    assert sparkline([1.0, float("nan"), 2.0, float("inf")]) == "▁·▇·"
    assert sparkline([float("nan")] * 3) == "···"
    assert sparkline([]) == ""
    assert sparkline([7.0]) == "▃"
    assert sparkline([7.0] * 50, 4) == "▃▃▃▃"
    assert sparkline([-1.7e308, 0.0, 1.7e308]) == "▁▃▇"
    assert len(sparkline(range(10_000), 20)) == 20
