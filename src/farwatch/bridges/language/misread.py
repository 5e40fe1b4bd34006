"""Why a text was not understood, as a sentence that says what would be."""

from dataclasses import dataclass
from enum import StrEnum

from farwatch.bridges.language.words import EXAMPLE, Lang, Verb, word_of

SHOWN_MAX = 40


class Reason(StrEnum):
    """What was wrong with a text. In each case nothing was done."""

    WORD = "unknown-word"
    KNOB = "unknown-knob"
    COMMAND = "unknown-command"
    NUMBER = "not-a-number"
    SWITCH = "not-on-or-off"
    ASSIGN = "not-assigned"  # perhaps a value, perhaps the second word of a sentence
    FACTOR = "no-factor"
    UNIT = "no-unit"
    RANGE = "out-of-range"
    CONDITION = "no-condition"
    MANY = "too-many-words"
    FEW = "too-few-words"
    TWICE = "given-twice"
    CODE = "bare-code"
    NUMBERED = "bare-run-number"
    QUESTION = "a-question"
    QUOTE = "open-quote"
    LINES = "several-lines"
    LONG = "too-long"
    HIDDEN = "hidden-characters"


_SAY: dict[Reason, tuple[str, str]] = {
    Reason.WORD: ("Unknown word: {word}.", "不认识：{word}。"),
    Reason.KNOB: ("There is no knob {word}.", "没有参数 {word}。"),
    Reason.COMMAND: ("The program has no command {word}.", "程序没有命令 {word}。"),
    Reason.NUMBER: ("Not a number: {word}. Write it like 3e-4 or 0.0003.", "不是数字：{word}。请写成 3e-4 或 0.0003。"),
    Reason.ASSIGN: ("To set it, write {raw}", "若要设置，请写 {raw}"),
    Reason.SWITCH: ("Neither on nor off: {word}.", "不是开或关：{word}。"),
    Reason.FACTOR: (
        "Not a factor: {word}. lower and raise take a number above 1, scale and x one above 0.",
        "不是倍数：{word}。降、升后面写大于 1 的数。",
    ),
    Reason.UNIT: ("{word} of what? Write 8h, 30m or 10 steps.", "{word} 是什么单位？请写 8小时、30分钟或 10步。"),
    Reason.RANGE: ("Out of range: {word}.", "超出范围：{word}。"),
    Reason.CONDITION: ("Not a condition: {word}.", "不是条件：{word}。"),
    Reason.MANY: ("Too much: {word}.", "多余的内容：{word}。"),
    Reason.FEW: ("{word}: something is missing.", "{word}：内容不完整。"),
    Reason.TWICE: ("Given twice: {word}.", "重复：{word}。"),
    Reason.CODE: ("To confirm, write: ok {raw}.", "若要确认，请发：确认 {raw}。"),
    Reason.NUMBERED: ("For run number {raw}, write #{raw}.", "若指第 {raw} 号运行，请写 #{raw}。"),
    Reason.QUESTION: (
        "Was that a question? Nothing was done. To do it, leave out the question mark.",
        "这是提问吗？什么都没有做。若要执行，请去掉问号。",
    ),
    Reason.QUOTE: ("A quotation mark is not closed.", "引号没有成对。"),
    Reason.LINES: ("One line at a time; nothing was done.", "一次只发一行；什么都没有做。"),
    Reason.LONG: ("Too long for a command; nothing was done.", "内容太长；什么都没有做。"),
    Reason.HIDDEN: ("There are invisible characters in it; nothing was done. Type it again.", "含有不可见字符；什么都没有做。请重新输入。"),
}  # fmt: skip
_EXAMPLED = frozenset({Reason.NUMBER, Reason.FACTOR, Reason.CONDITION, Reason.MANY, Reason.FEW, Reason.RANGE})


@dataclass(frozen=True, slots=True)
class Misread:
    """A text that is for us and means nothing, or not surely one thing.

    `word`: what was wrong, as typed. `near`: the nearest that would be right, best first. `verb`: what seems to be meant.
    `lang`: of the words used, else of the chat.
    """

    reason: Reason
    lang: Lang
    word: str = ""
    near: tuple[str, ...] = ()
    verb: Verb | None = None

    def say(self, lang: Lang | None = None) -> str:
        """A sentence or two for whoever wrote it, at most 300 characters."""
        lang = lang or self.lang
        zh = lang == "zh"
        raw = shown(self.word)
        said = _SAY[self.reason][zh].format(word=f"「{raw}」" if zh else f"“{raw}”", raw=raw)
        if self.near:
            words = ("、" if zh else ", ").join(shown(word) for word in self.near)
            said += f"是不是 {words}？" if zh else f" Did you mean {words}?"
        elif self.reason in _EXAMPLED and self.verb is not None:
            said += f"例如：{EXAMPLE[lang][self.verb]}" if zh else f" Example: {EXAMPLE[lang][self.verb]}"
        elif self.reason in (Reason.WORD, Reason.KNOB, Reason.COMMAND):
            word = word_of(Verb.PARAMS if self.reason is Reason.KNOB else Verb.HELP, lang)
            said += f"发“{word}”查看用法。" if zh else f" Write {word} to see what there is."
        return said


def shown(text: str) -> str:
    """A person's words as they may stand in an answer: on one line, printable, short."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= SHOWN_MAX else line[: SHOWN_MAX - 1] + "…"
