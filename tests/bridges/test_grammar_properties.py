"""Whatever is typed, reading it never fails; and what is written in this language is read as it was meant."""

import string
from dataclasses import replace
from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from farwatch.bridges.language import amounts
from farwatch.bridges.language.grammar import Asked, Condition, Misread, read, write
from farwatch.bridges.language.typed import fold, normal
from farwatch.bridges.language.words import FILLERS, MEANING, POLITE, WORDS, Verb

KNOBS = ("lr", "weight decay", "aug#1", "loss", "学习率系数", 'say "when"', "stop")
COMMANDS = ("evaluate", "sample_now")
RUNS = ("calm-heron", "k3f9xq2", "实验一", "my run", "b's run")
LANGS = st.sampled_from(["en", "zh"])

some_words = st.lists(
    st.sampled_from(
        [*MEANING, *KNOBS, *COMMANDS, *RUNS, *"#12 3 0.5 8h = < last ÷ @bot ? 吧 a=1 最近2小时 on to by 把 的".split(), "\n", '"']
    ),
    max_size=6,
)
texts = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(blacklist_categories=()), max_size=60),
    some_words.map(" ".join),
    some_words.map("".join),
    st.tuples(some_words, st.text(max_size=8)).map(lambda both: " ".join(both[0]) + both[1]),
)


@settings(max_examples=1_000, deadline=None)
@given(texts, LANGS, st.booleans(), st.booleans())
def test_reading_never_fails_and_is_the_same_each_time(text: str, lang: str, group: bool, known: bool) -> None:
    def once() -> Asked | Misread | None:
        return read(
            text, lang=lang, group=group, names=("bot",), prefix="!fw",  # type: ignore[arg-type]
            knobs=KNOBS if known else None, commands=COMMANDS if known else None, runs=RUNS if known else (),
        )  # fmt: skip

    found = once()

    assert found == once()
    if isinstance(found, Misread):
        assert all(len(found.say(one)) <= 300 and found.say(one).isprintable() for one in ("en", "zh"))
    elif found is not None:
        assert found.text == text
        assert hash(found) == hash(once())


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(WORDS["en"][Verb.STOP] + WORDS["zh"][Verb.STOP])), st.text(min_size=1, max_size=30))
def test_more_than_a_stop_is_a_stop_of_what_is_named_or_nothing(word: str, more: str) -> None:
    found = read(f"{word} {more}")

    if isinstance(found, Asked) and found.verb == Verb.STOP and found.run is None:
        words = {word.strip(".。!,;~、…") for word in fold(normal(more)).split()}
        assert words <= FILLERS | POLITE | {"", "吧"}
    if isinstance(found, Asked) and found.run is not None:
        assert found.run in normal(more)


names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12).filter(lambda name: name[0].isalpha())
quotable = st.text(st.characters(min_codepoint=32, max_codepoint=126, blacklist_characters="'`\\"), min_size=1, max_size=20).map(
    lambda text: " ".join(text.split())
)
numbers = st.floats(allow_nan=False, allow_infinity=False).map(repr)
values = st.one_of(numbers, quotable.filter(bool))
pairs = st.dictionaries(names, values, max_size=4).map(lambda found: tuple(found.items()))
runs = st.none() | st.sampled_from([*RUNS, "#12", "digits#12"])
spans = st.integers(1, 30 * 86_400).map(float)
factors = st.integers(2, 1_000).flatmap(lambda n: st.sampled_from([Fraction(n), Fraction(1, n), Fraction(n, 8), Fraction(8, n)]))
metrics = st.lists(names | st.just("val loss") | st.just("train/acc@5"), max_size=4, unique=True)
conditions = st.builds(
    Condition, names | st.just("val loss"), st.sampled_from(["<", "<=", ">", ">="]), st.floats(allow_nan=False, allow_infinity=False)
)


def asked(verb: Verb, **fields: st.SearchStrategy[object]) -> st.SearchStrategy[Asked]:
    return st.builds(Asked, st.just(verb), LANGS, run=runs, **fields)  # type: ignore[arg-type]


meant = st.one_of(
    *(asked(verb) for verb in (Verb.STATUS, Verb.PARAMS, Verb.GPU, Verb.STOP, Verb.PAUSE, Verb.UNPAUSE, Verb.CHECKPOINT, Verb.KILL)),
    *(st.builds(Asked, st.just(verb), LANGS) for verb in (Verb.RUNS, Verb.HELP, Verb.CANCEL)),
    asked(Verb.PARAMS, name=st.sampled_from(KNOBS)),
    asked(Verb.PLOT, metrics=metrics.map(tuple), seconds=st.none() | spans),
    asked(Verb.LOG, lines=st.none() | st.integers(1, 1_000)),
    asked(Verb.SET, name=st.sampled_from(KNOBS), value=numbers.filter(lambda text: amounts.number(text) == text)),
    asked(Verb.SCALE, name=st.sampled_from(KNOBS), factor=factors),
    asked(Verb.CALL, name=st.sampled_from(COMMANDS), pairs=pairs, values=st.lists(values, max_size=3).map(tuple)),
    asked(Verb.MUTE, seconds=st.none() | spans),
    asked(Verb.UNMUTE),
    asked(Verb.WATCH, condition=conditions),
    asked(Verb.WATCH, off=st.just(True)),
    asked(Verb.EVERY, seconds=spans),
    asked(Verb.EVERY, steps=st.integers(1, 10**9)),
    asked(Verb.EVERY, off=st.just(True)),
    st.builds(Asked, st.just(Verb.START), LANGS, name=st.none() | names, pairs=pairs),
    st.builds(Asked, st.just(Verb.LANG), LANGS, name=st.sampled_from(["en", "zh"])),
    st.builds(Asked, st.just(Verb.HELP), LANGS, name=st.sampled_from([str(verb) for verb in WORDS["en"]])),
    st.builds(Asked, st.just(Verb.CONFIRM), LANGS, code=st.from_regex(r"[0-9]{4,8}", fullmatch=True)),
    st.builds(Asked, st.just(Verb.CHOOSE), LANGS, number=st.integers(1, 999)),
    st.builds(Asked, st.just(Verb.CHOOSE), LANGS, run=st.sampled_from([*RUNS, "#12"])),
)


@settings(max_examples=2_000, deadline=None)
@given(meant)
@example(Asked(Verb.START, "en", pairs=(("a", "."), ("b", "0."), ("c", "+1"), ("d", "nan"), ("e", "x y"), ("f", "1_000"))))
@example(Asked(Verb.START, "en", pairs=(("a", "0."),)))
@example(Asked(Verb.CALL, "en", name="evaluate", values=("0.",)))
@example(Asked(Verb.CALL, "zh", name="evaluate", pairs=(("a", "-7."),), values=("1", ".")))
@example(Asked(Verb.START, "en", name="IT"))
@example(Asked(Verb.START, "zh", name="please"))
@example(Asked(Verb.PLOT, "en", metrics=("run", "thanks", "OF", "day")))
@example(Asked(Verb.SCALE, "zh", name="lr", factor=Fraction(10, 3)))
def test_what_is_written_is_read_as_it_was_meant(wanted: Asked) -> None:
    text = write(wanted)

    found = read(text, knobs=KNOBS, commands=COMMANDS, runs=RUNS, lang=wanted.lang)

    assert isinstance(found, Asked), (text, found)
    if wanted.verb == Verb.CHOOSE:  # it has no words, so no language
        found = replace(found, lang=wanted.lang)
    assert found == replace(wanted, text=text)
