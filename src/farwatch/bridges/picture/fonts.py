"""Text in pictures: Pillow's own font, a font of this machine where that lacks a letter, and words that always can be written.

Pillow's font is the same on every machine and holds little more than ASCII. What is missing is looked for, in this order:
signs of our own (minus, arrow, infinity), a font of the system, the letter without its accents or as its compatible form
(full-width digits), Greek letters by their names. A letter that is still missing is never drawn as an empty box: `legible`
leaves that part of the text out, and a name of a line is replaced (`names_drawn`); the words beside the picture say it in full.

Threads: a `Fonts` may be shared; the worst is a look done twice.
"""

import math
import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

Font = ImageFont.FreeTypeFont

# File names as they begin, lower case, best first: those for many alphabets, those for Chinese, Japanese and Korean, then single alphabets.
WANTED = (
    "notosans-regular", "dejavusans.", "segoeui.", "arial.", "liberationsans-regular", "freesans.", "arialunicode", "arial unicode",
    "notosanscjk-regular", "notosanscjksc-regular", "notosanssc-regular", "notosanssc[", "sourcehansanssc-regular",
    "sourcehansanscn-regular", "pingfang", "hiragino sans gb", "stheiti light", "stheiti medium", "msyh.", "wqy-microhei",
    "wqy-zenhei", "droidsansfallback", "simhei.", "simsun.", "notoserifcjk-regular", "ukai.", "uming.",
    "notosansjp-regular", "yugothm.", "yugothr.", "ipagp.", "takaopgothic.",
    "notosanskr-regular", "malgun.", "applesdgothicneo", "nanumgothic.",
    "notosansarabic-regular", "notosanshebrew-regular", "notosansdevanagari-regular", "notosansthai-regular", "notosanssymbols2-regular",
    "tahoma.", "symbola", "unifont",
)  # fmt: skip
ENDINGS = (".ttf", ".ttc", ".otf", ".otc")
CHINESE_IN_NOTO = 2  # of a collection of Noto CJK the font for simplified Chinese; the first is Japanese
MOST_FILES = 20_000
DEEPEST = 5
PROBE_PX = 16
LONGEST = 300  # characters of a text that are looked at

# Signs of our own, and how wide they are, in em.
_WIDE = dict(zip("−–—∞→≤≥×÷\u2009", (0.56, 0.54, 0.9, 0.84, 0.86, 0.58, 0.58, 0.54, 0.56, 0.16), strict=True))
# Letters that have no accent to lose.
_SPELT = dict(zip("ßæøđłœıðþµÆØĐŁŒ", "ss ae o d l oe i d th u AE O D L OE".split(), strict=True))


def system_folders() -> tuple[Path, ...]:
    """Where this kind of machine keeps its fonts; not all of them need exist."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path("C:/Windows/Fonts"), home / "AppData/Local/Microsoft/Windows/Fonts"
    if sys.platform == "darwin":
        return Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"
    shared = Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("/usr/share/X11/fonts")
    nix = Path("/run/current-system/sw/share/X11/fonts")
    return *shared, nix, home / ".local/share/fonts", home / ".fonts"


@cache
def system_fonts() -> "Fonts":
    """The fonts of this machine, looked for once per process and only when a text needs them."""
    return Fonts(system_folders())


class Fonts:
    """Pillow's own font, and behind it what `folders` hold."""

    def __init__(self, folders: tuple[Path, ...] = ()) -> None:
        self._folders = folders
        self._paths: list[Path] | None = None
        self._sizes: dict[tuple[Path | None, int], Font | None] = {}
        self._homes: dict[str, Path | bool] = {}

    def runs(self, text: str, size: int) -> Iterator[tuple[Font | None, str]]:
        """Pieces of a legible text with the font of each; None: one sign of our own."""
        if _rightward(text):
            whole = self._home(text, whole=True)
            yield self._font(whole if isinstance(whole, Path) else None, size), text
            return
        piece, at = "", None
        for char in text:
            home = self._home(char)
            if char in _WIDE or (piece and home != at):
                if piece:
                    yield self._font(at, size), piece
                piece = ""
            if char in _WIDE:
                yield None, char
                continue
            piece, at = piece + char, home if isinstance(home, Path) else None
        if piece:
            yield self._font(at, size), piece

    def width(self, text: str, size: int) -> float:
        """How wide `text` is, in pixels."""
        runs = self.runs(text, size)
        return sum(size * _WIDE[piece] if font is None else font.getlength(piece) for font, piece in runs)

    def draw(self, image: Image.Image, at: tuple[float, float], text: str, size: int, colour: str) -> None:
        """Write `text` from `at`, left end of its base line."""
        pen = ImageDraw.Draw(image)
        x, y = at
        for font, piece in self.runs(text, size):
            if font is not None:
                pen.text((round(x), y), piece, colour, font, anchor="ls")
                x += font.getlength(piece)
                continue
            mask = _sign(piece, size)
            image.paste(Image.new("RGB", mask.size, colour), (round(x), round(y) - size), mask)
            x += size * _WIDE[piece]

    def fitting(self, text: str, size: int, room: float, *, middle: bool = False) -> str:
        """`text`, or as much of its beginning (with `middle`: of both ends) as fits into `room` pixels with an ellipsis."""
        if self.width(text, size) <= room:
            return text
        least, most = 0, len(text)
        while least < most:
            kept = (least + most + 1) // 2
            if self.width(_cut(text, kept, middle), size) <= room:
                least = kept
            else:
                most = kept - 1
        return _cut(text, least, middle) if least else ""

    def whole(self, text: str) -> str | None:
        """`text` as it can be written here, or None if a letter of it cannot."""
        return self._rewrite(_plain(text)) or None

    def legible(self, text: str) -> str:
        """`text` without those of its parts (` · ` between) of which a letter cannot be written here; perhaps nothing."""
        parts = [self._rewrite(part) for part in _plain(text).split(" · ")]
        return " · ".join(part for part in parts if part)

    def _rewrite(self, text: str) -> str:
        """What can be written of a text; nothing if a letter of it is lost. Signs such as emoji are left out."""
        written = ""
        for char in text:
            if self._home(char) is not False:
                written += char
                continue
            instead = _replaced(char)
            if instead and all(self._home(part) is not False for part in instead):
                written += instead
            elif unicodedata.category(char)[0] in "LMN":
                return ""
        if _rightward(written) and self._home(written, whole=True) is False:
            return ""
        return " ".join(written.split())

    def _home(self, text: str, whole: bool = False) -> Path | bool:
        """The file whose font has every letter of a text; True: Pillow's own or a sign of ours; False: none."""
        known = self._homes.get(text)
        if known is None:
            if len(self._homes) > 20_000:
                self._homes.clear()
            known = self._homes[text] = self._look(text, whole)
        return known

    def _look(self, text: str, whole: bool) -> Path | bool:
        if text in _WIDE or text == " ":
            return True
        if whole and not features.check("raqm"):
            return False  # nothing here that could set it from right to left
        own = self._font(None, PROBE_PX)
        if own is not None and all(_has(own, char) for char in text):
            return True
        if text.isascii():
            return text.isprintable()
        for path in self._found():
            font = self._font(path, PROBE_PX)
            if font is not None and all(_has(font, char) for char in text if char != " "):
                return path
        return False

    def _font(self, path: Path | None, size: int) -> Font | None:
        key = path, size
        if key not in self._sizes:
            if len(self._sizes) > 200:
                self._sizes.clear()
            self._sizes[key] = _open(path, size)
        return self._sizes[key]

    def _found(self) -> list[Path]:
        if self._paths is None:
            ranked = []
            for path in _files(self._folders):
                name = path.name.lower()
                rank = next((k for k, start in enumerate(WANTED) if name.startswith(start)), None)
                if rank is not None and name.endswith(ENDINGS):
                    ranked.append((rank, str(path), path))
            self._paths = [path for _, _, path in sorted(ranked)]
        return self._paths


def _files(folders: tuple[Path, ...]) -> Iterator[Path]:
    seen, waiting = 0, [(folder, 0) for folder in reversed(folders)]
    while waiting and seen < MOST_FILES:
        folder, depth = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            seen += 1
            if entry.is_dir(follow_symlinks=True):
                if depth < DEEPEST:
                    waiting.append((Path(entry.path), depth + 1))
            else:
                yield Path(entry.path)


def _open(path: Path | None, size: int) -> Font | None:
    """A font at a size; None where the file is no font that Pillow reads."""
    if path is None:
        font = ImageFont.load_default(size)
        return font if isinstance(font, Font) else None
    collected = path.name.lower().startswith(("notosanscjk", "notoserifcjk")) and path.suffix != ".otf"
    try:
        return ImageFont.truetype(str(path), size, index=CHINESE_IN_NOTO if collected else 0)
    except (OSError, ValueError):
        return None


def _has(font: Font, char: str) -> bool:
    """Whether a font has a letter: what it lacks is drawn as one and the same sign."""
    try:
        drawn, lacking = font.getmask(char), font.getmask("\uffff")
    except (OSError, ValueError):
        return False
    return drawn.size != lacking.size or bytes(drawn) != bytes(lacking)


def _plain(text: str) -> str:
    """A text on one line: without control characters, direction marks and whatever else has no ink."""
    composed = unicodedata.normalize("NFC", text[:LONGEST])
    kept = []
    for char in composed:
        category = unicodedata.category(char)
        if category[0] == "Z" or char in "\t\n\r":
            kept.append(" " if char != "\u2009" else char)
        elif category[0] != "C" and not 0xFE00 <= ord(char) <= 0xFE0F:
            kept.append(char)
    return " ".join("".join(kept).split(" ")).strip()


def _replaced(char: str) -> str:
    """Letters that say the same in a smaller alphabet; nothing if there are none."""
    compatible = unicodedata.normalize("NFKD", char)
    bare = "".join(part for part in compatible if unicodedata.category(part) != "Mn")
    if bare and bare != char and bare.isascii():
        return bare
    name = unicodedata.name(char, "").split(" WITH ")[0]
    for start in ("GREEK SMALL LETTER FINAL ", "GREEK SMALL LETTER ", "GREEK CAPITAL LETTER "):
        if name.startswith(start):
            said = name.removeprefix(start).lower().replace("lamda", "lambda")
            return said.capitalize() if "CAPITAL" in start else said
    return _SPELT.get(char, "")


def _rightward(text: str) -> bool:
    return not text.isascii() and any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


def _cut(text: str, kept: int, middle: bool) -> str:
    tail = kept // 2 if middle else 0
    return f"{text[: kept - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"


@cache
def _sign(char: str, size: int) -> Image.Image:
    """A sign that Pillow's font lacks, drawn in its weight: an alpha mask whose base line is `size` below its top."""
    scale, over = size * 4, 4
    mask = Image.new("L", (math.ceil(_WIDE[char] * size) * over, round(size * 1.25) * over))
    pen = ImageDraw.Draw(mask)
    weight = max(over, round(scale * 0.072))
    for stroke in _STROKES.get(char, ()):
        pen.line([(x * scale, (1 - y) * scale) for x, y in stroke], 255, weight, joint="curve")
    return mask.reduce(over)


def _ring(x: float, y: float, radius: float) -> tuple[tuple[float, float], ...]:
    turns = (math.tau * k / 32 for k in range(33))
    return tuple((x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns)


_STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {  # in em from the base line
    "−": (((0.08, 0.34), (0.48, 0.34)),),
    "–": (((0.05, 0.27), (0.49, 0.27)),),
    "—": (((0.04, 0.27), (0.86, 0.27)),),
    "∞": (_ring(0.24, 0.33, 0.17), _ring(0.6, 0.33, 0.17)),
    "→": (((0.06, 0.3), (0.76, 0.3)), ((0.56, 0.49), (0.77, 0.3), (0.56, 0.11))),
    "≤": (((0.5, 0.56), (0.1, 0.36), (0.5, 0.16)), ((0.1, 0.03), (0.5, 0.03))),
    "≥": (((0.08, 0.56), (0.48, 0.36), (0.08, 0.16)), ((0.08, 0.03), (0.48, 0.03))),
    "÷": (((0.08, 0.31), (0.48, 0.31)), _ring(0.28, 0.49, 0.03), _ring(0.28, 0.13, 0.03)),
    "×": (((0.1, 0.14), (0.44, 0.48)), ((0.1, 0.48), (0.44, 0.14))),
}
