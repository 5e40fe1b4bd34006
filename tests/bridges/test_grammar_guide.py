"""The guide, the menu and the help say what the code understands."""

import re
from pathlib import Path
from typing import get_args

import pytest

from farwatch.bridges.language.grammar import Asked, read
from farwatch.bridges.language.typed import fold, key, normal
from farwatch.bridges.language.words import (
    ABOUT,
    EXAMPLE,
    HELP_MAX,
    LANGS,
    MEANING,
    WORDS,
    Lang,
    Verb,
    help_text,
    menu,
)

GUIDE = (Path(__file__).parents[2] / "docs" / "chat-language.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in GUIDE.splitlines() if line.startswith("| ") and "`" in line
]
KNOBS = {"lr": "float", "loss_name": "str", "log": "int"}
COMMANDS = ["evaluate"]


def told(text: str) -> object:
    return read(text, knobs=KNOBS, commands=COMMANDS, runs=["calm-heron"], names=["bot"])


def test_table_of_the_guide_is_the_table_of_the_code() -> None:
    written = [(tuple(english.split(", ")), tuple(chinese.split(", "))) for _, english, chinese, *_ in ROWS]

    assert written == [(WORDS["en"][verb], WORDS["zh"][verb]) for verb in ABOUT]


def test_examples_of_the_table_mean_their_row() -> None:
    for verb, (*_, english, chinese) in zip(ABOUT, ROWS, strict=True):
        for example in (english, chinese):
            found = told(example.strip("`"))
            assert isinstance(found, Asked) and found.verb == verb, example


@pytest.mark.parametrize(
    "text", sorted(set(re.findall(r"`([^`\n]+)`", GUIDE.partition("## Which run")[2].partition("## What is never")[0])) - {"<", ">", "="})
)
def test_text_that_the_guide_shows_is_understood_or_said_not_to_be(text: str) -> None:
    refused = {"stop 2", "降 0.5", "降 10%"}
    parts = {"digits#12", "3e-4", ".5", "5%", "1_000", "３ｅ－４", "<=", ">=", "below", "above", "小于", "大于", "learning rate"}
    times = {"30s", "30m", "8h", "1h30m", "2 days", "8 小时", "半小时"}

    if text in times:
        text = f"mute {text}"
    elif text in {"3e-4", ".5", "5%", "1_000", "３ｅ－４"}:
        text = f"lr {text}"
    elif text in parts:
        return
    if text not in ("call", "set"):  # need more; they are in the table
        assert isinstance(told(text), Asked) == (text not in refused)


@pytest.mark.parametrize("text", sorted(set(re.findall(r"`([^`\n]+)`", GUIDE.partition("## What is never")[2].partition("In a group")[0]))))
def test_text_that_the_guide_calls_harmless_is(text: str) -> None:
    found = told(text)

    assert not isinstance(found, Asked) or (text, found.verb) == ("status?", Verb.STATUS)


def test_each_word_means_one_thing_and_is_written_as_it_is_looked_up() -> None:
    words = [word for lang in LANGS for listed in WORDS[lang].values() for word in listed]

    assert len(words) == len(set(words)) == len(MEANING)
    assert [word for word in words if key(word) != word or normal(word) != word or fold(word) != word] == []
    assert set(WORDS["en"]) == set(WORDS["zh"]) == set(Verb) - {Verb.CHOOSE} == set(ABOUT)


@pytest.mark.parametrize("lang", get_args(Lang))
def test_examples_are_understood(lang: Lang) -> None:
    for verb, example in EXAMPLE[lang].items():
        found = told(example)
        assert isinstance(found, Asked) and found.verb == verb, example


@pytest.mark.parametrize("lang", get_args(Lang))
def test_help_fits_a_phone_and_names_what_is_there(lang: Lang) -> None:
    text = help_text(lang, knobs=["lr", "dropout"], commands=["evaluate"])
    long = help_text(lang, knobs=[f"{'k' * 95}{number:05}" for number in range(1_000)], commands=[f"command_{n:090}" for n in range(1_000)])

    assert "dropout" in text and "evaluate" in text
    assert len(text) <= HELP_MAX and len(long) <= HELP_MAX
    for line in text.splitlines():
        example, dash, _ = line.partition(" – ")
        assert not dash or isinstance(told(example), Asked), line


@pytest.mark.parametrize("lang", get_args(Lang))
def test_menu_is_one_that_telegram_takes(lang: Lang) -> None:
    listed = menu(lang)

    assert 10 <= len(listed) <= 100
    assert len({word for word, _ in listed}) == len(listed)
    for word, about in listed:
        assert re.fullmatch(r"[a-z0-9_]{1,32}", word) and 1 <= len(about) <= 256
        assert word in MEANING
