"""WeCom's markdown: every letter is shown as it was, and pieces stand alone."""

from typing import Any

import pytest

from farwatch.bridges.base import (
    Part,
)
from farwatch.bridges.services.wecom_markdown import GUARD, pieces, rendered
from farwatch.testing.bridges import HOSTILE
from farwatch.testing.chat.wecom import shown


@pytest.mark.parametrize("style", ["plain", "bold", "code", "block"])
@pytest.mark.parametrize(
    "text",
    [
        HOSTILE, "train/loss_total_", "_a_ __b__ a_b", "# head\n> quote\n- list\n+ x\n1. one\n2) two\n| a |\n=", "`` ` ```", "a\\*b\\",
        "![x](http://a) <@all> <https://a>", "&lt;b&gt;", "~~gone~~", "**a** *b*", "    four spaces", "a\n\nb", "C:\\runs\\new",
        "1.5e-3 * 2 [s]",
    ],
)  # fmt: skip
def test_markdown_shows_every_letter(style: Any, text: str) -> None:
    assert shown(rendered([Part(text, style)])).replace(GUARD, "") == text


def test_a_mention_is_none_even_where_backslashes_are_not_read() -> None:
    assert "<@" not in rendered([Part("<@all> <@zhangsan>")])


def test_a_person_s_own_markdown_stays_markdown() -> None:
    assert shown(rendered([Part("**[x](http://a)** `c`", "markdown")])) == "x c"


def test_markdown_is_cut_within_the_limit_and_each_piece_stands_alone() -> None:
    parts = [Part("head\n", "bold"), Part("".join(f"line {n} *_`\n" for n in range(300)), "block"), Part("尾" * 900)]

    found = pieces(parts, 1_000)

    assert all(len(one.encode()) <= 1_000 for one in found) and len(found) > 5
    assert "".join("".join(map(shown, found)).split()) == "".join("".join(part.text for part in parts).split())
    assert pieces([Part("😀" * 3)], 4) == ["😀"] * 3
    assert pieces([Part(" \n")], 100) == []
