"""What people type in a chat means what they think, or nothing at all."""

import time
from fractions import Fraction
from typing import Any

import pytest

from farwatch.bridges.language.amounts import times
from farwatch.bridges.language.grammar import Asked, Condition, Misread, Reason, read
from farwatch.bridges.language.words import Verb

KNOBS = {"lr": "float", "epochs": "int", "augment": "bool", "loss_name": "str", "lr/head": "float", "层数": "int"}
COMMANDS = ["evaluate", "sample_now"]
RUNS = ["calm-heron", "k3f9xq2", "digits#12", "实验一", "实验2", "my run 3"]
LOSS = Condition("loss", "<", 0.3)
THIRD = Fraction(1, 3)
HALF = Fraction(1, 2)
MAIN = [  # text, verb, language, what else
    ("status", "status", "en", {}),
    ("Status?", "status", "en", {}),
    ("状态", "status", "zh", {}),
    ("進度？", "status", "zh", {}),
    ("查看状态", "status", "zh", {}),
    ("status calm-heron", "status", "en", {"run": "calm-heron"}),
    ("runs", "runs", "en", {}),
    ("运行", "runs", "zh", {}),
    ("params", "params", "en", {}),
    ("参数", "params", "zh", {}),
    ("params lr", "params", "en", {"name": "lr"}),
    ("lr?", "params", "en", {"name": "lr"}),
    ("gpu", "gpu", "en", {}),
    ("显卡", "gpu", "zh", {}),
    ("gpu状态", "gpu", "zh", {}),
    ("plot", "plot", "en", {}),
    ("plot loss", "plot", "en", {"metrics": ("loss",)}),
    ("plot loss last 2h", "plot", "en", {"metrics": ("loss",), "seconds": 7_200.0}),
    ("plot loss 90 min", "plot", "en", {"metrics": ("loss",), "seconds": 5_400.0}),
    ("plot loss,val/loss", "plot", "en", {"metrics": ("loss", "val/loss")}),
    ("plot loss， val/loss", "plot", "en", {"metrics": ("loss", "val/loss")}),
    ('plot "val loss" calm-heron last hour', "plot", "en", {"metrics": ("val loss",), "run": "calm-heron", "seconds": 3_600.0}),
    ("plot “val loss”", "plot", "en", {"metrics": ("val loss",)}),
    ("曲线 loss 最近2小时", "plot", "zh", {"metrics": ("loss",), "seconds": 7_200.0}),
    ("曲线loss最近两小时", "plot", "zh", {"metrics": ("loss",), "seconds": 7_200.0}),
    ("loss曲线", "plot", "zh", {"metrics": ("loss",)}),
    ("图", "plot", "zh", {}),
    ("log 20", "log", "en", {"lines": 20}),
    ("log", "log", "en", {}),
    ("日志２０行", "log", "zh", {"lines": 20}),
    ("log 20 #12", "log", "en", {"lines": 20, "run": "#12"}),
    ("stop", "stop", "en", {}),
    ("STOP!", "stop", "en", {}),
    ("stop it now", "stop", "en", {}),
    ("please stop.", "stop", "en", {}),
    ("stop k3f9xq2", "stop", "en", {"run": "k3f9xq2"}),
    ("stop k3f9", "stop", "en", {"run": "k3f9xq2"}),
    ("stop Calm-Heron", "stop", "en", {"run": "calm-heron"}),
    ("stop calm heron", "stop", "en", {"run": "calm-heron"}),
    ("stop run calm-heron", "stop", "en", {"run": "calm-heron"}),
    ("stop other-run", "stop", "en", {"run": "other-run"}),
    ("stop #12", "stop", "en", {"run": "#12"}),
    ("stop digits#7", "stop", "en", {"run": "digits#7"}),
    ("stop my run 3", "stop", "en", {"run": "my run 3"}),
    ("calm-heron stop", "stop", "en", {"run": "calm-heron"}),
    ("停", "stop", "zh", {}),
    ("停止。", "stop", "zh", {}),
    ("停吧", "stop", "zh", {}),
    ("停止训练！", "stop", "zh", {}),
    ("请停止", "stop", "zh", {}),
    ("停止calm-heron", "stop", "zh", {"run": "calm-heron"}),
    ("停止 calm–heron", "stop", "zh", {"run": "calm-heron"}),
    ("停止实验2", "stop", "zh", {"run": "实验2"}),
    ("停止 ＃１２", "stop", "zh", {"run": "#12"}),
    ("pause", "pause", "en", {}),
    ("暂停一下", "pause", "zh", {}),
    ("暫停", "pause", "zh", {}),
    ("unpause", "unpause", "en", {}),
    ("resume", "unpause", "en", {}),
    ("继续", "unpause", "zh", {}),
    ("checkpoint", "checkpoint", "en", {}),
    ("save", "checkpoint", "en", {}),
    ("存", "checkpoint", "zh", {}),
    ("保存检查点", "checkpoint", "zh", {}),
    ("kill calm-heron", "kill", "en", {"run": "calm-heron"}),
    ("强杀 calm-heron", "kill", "zh", {"run": "calm-heron"}),
    ("强制停止", "kill", "zh", {}),
    ("start", "start", "en", {}),
    ("开始训练", "start", "zh", {}),
    ("start digits lr=1e-3 epochs=5", "start", "en", {"name": "digits", "pairs": (("lr", "1e-3"), ("epochs", "5"))}),
    ("开始 digits lr＝１ｅ－３", "start", "zh", {"name": "digits", "pairs": (("lr", "1e-3"),)}),
    ('start digits note="two words"', "start", "en", {"name": "digits", "pairs": (("note", "two words"),)}),
    ("lr 0.01", "set", "en", {"name": "lr", "value": "0.01"}),
    ("LR=0.01", "set", "en", {"name": "lr", "value": "0.01"}),
    ("lr = 3e-4", "set", "en", {"name": "lr", "value": "3e-4"}),
    ("lr：3e-4", "set", "en", {"name": "lr", "value": "3e-4"}),
    ("lr to 3e-4", "set", "en", {"name": "lr", "value": "3e-4"}),
    ("set lr 3e-4", "set", "en", {"name": "lr", "value": "3e-4"}),
    ("set lr to ３ｅ－４。", "set", "en", {"name": "lr", "value": "3e-4"}),
    ("lower lr to 1e-4", "set", "en", {"name": "lr", "value": "1e-4"}),
    ("lr/head 0.1", "set", "en", {"name": "lr/head", "value": "0.1"}),
    ("lr 0.01 #12", "set", "en", {"name": "lr", "value": "0.01", "run": "#12"}),
    ("#12 lr 0.01", "set", "en", {"name": "lr", "value": "0.01", "run": "#12"}),
    ("lr 0.01 on calm-heron", "set", "en", {"name": "lr", "value": "0.01", "run": "calm-heron"}),
    ("set calm-heron lr 3e-4", "set", "en", {"name": "lr", "value": "3e-4", "run": "calm-heron"}),
    ("set zzz9 lr 3e-4", "set", "en", {"name": "lr", "value": "3e-4", "run": "zzz9"}),
    ("augment off", "set", "en", {"name": "augment", "value": "off"}),
    ("augment 开", "set", "zh", {"name": "augment", "value": "on"}),
    ("loss_name=mae", "set", "en", {"name": "loss_name", "value": "mae"}),
    ("set loss_name mae", "set", "en", {"name": "loss_name", "value": "mae"}),
    ('loss_name "mae"', "set", "en", {"name": "loss_name", "value": "mae"}),
    ("学习率 0.01", "set", "zh", {"name": "lr", "value": "0.01"}),
    ("学习率0.01", "set", "zh", {"name": "lr", "value": "0.01"}),
    ("學習率改成1e-4", "set", "zh", {"name": "lr", "value": "1e-4"}),
    ("把学习率降到1e-4", "set", "zh", {"name": "lr", "value": "1e-4"}),
    ("设置学习率为0.01", "set", "zh", {"name": "lr", "value": "0.01"}),
    ("设 lr 0.01", "set", "zh", {"name": "lr", "value": "0.01"}),
    ("降到 1e-4", "set", "zh", {"name": "lr", "value": "1e-4"}),
    ("层数 3", "set", "zh", {"name": "层数", "value": "3"}),
    ("lr ÷ 3", "scale", "en", {"name": "lr", "factor": THIRD}),
    ("lr /3", "scale", "en", {"name": "lr", "factor": THIRD}),
    ("lr/3", "scale", "en", {"name": "lr", "factor": THIRD}),
    ("lr x3", "scale", "en", {"name": "lr", "factor": Fraction(3)}),
    ("lr×3", "scale", "en", {"name": "lr", "factor": Fraction(3)}),
    ("lr*0.5", "scale", "en", {"name": "lr", "factor": HALF}),
    ("lr ÷ 3 #12", "scale", "en", {"name": "lr", "factor": THIRD, "run": "#12"}),
    ("scale lr 0.5", "scale", "en", {"name": "lr", "factor": HALF}),
    ("scale 50%", "scale", "en", {"name": "lr", "factor": HALF}),
    ("lower 3", "scale", "en", {"name": "lr", "factor": THIRD}),
    ("raise lr 2", "scale", "en", {"name": "lr", "factor": Fraction(2)}),
    ("halve lr", "scale", "en", {"name": "lr", "factor": HALF}),
    ("降 3", "scale", "zh", {"name": "lr", "factor": THIRD}),
    ("降３倍", "scale", "zh", {"name": "lr", "factor": THIRD}),
    ("降一半", "scale", "zh", {"name": "lr", "factor": HALF}),
    ("学习率降3", "scale", "zh", {"name": "lr", "factor": THIRD}),
    ("学习率减半", "scale", "zh", {"name": "lr", "factor": HALF}),
    ("升 2", "scale", "zh", {"name": "lr", "factor": Fraction(2)}),
    ("call evaluate n=10", "call", "en", {"name": "evaluate", "pairs": (("n", "10"),)}),
    ("call #12 evaluate", "call", "en", {"name": "evaluate", "run": "#12"}),
    ("evaluate 10", "call", "en", {"name": "evaluate", "values": ("10",)}),
    ("Evaluate n=10 #12", "call", "en", {"name": "evaluate", "pairs": (("n", "10"),), "run": "#12"}),
    ('sample_now "a cat"', "call", "en", {"name": "sample_now", "values": ("a cat",)}),
    ("调用 evaluate 10", "call", "zh", {"name": "evaluate", "values": ("10",)}),
    ("mute 8h", "mute", "en", {"seconds": 28_800.0}),
    ("mute for 1h30m", "mute", "en", {"seconds": 5_400.0}),
    ("mute", "mute", "en", {}),
    ("静音 8 小时", "mute", "zh", {"seconds": 28_800.0}),
    ("静音半小时", "mute", "zh", {"seconds": 1_800.0}),
    ("unmute", "unmute", "en", {}),
    ("mute off", "unmute", "en", {}),
    ("取消静音", "unmute", "zh", {}),
    ("watch loss<0.3", "watch", "en", {"condition": LOSS}),
    ("watch loss below 0.3", "watch", "en", {"condition": LOSS}),
    ("watch val/acc ≥ 95%", "watch", "en", {"condition": Condition("val/acc", ">=", 0.95)}),
    ("watch loss<0.3 #12", "watch", "en", {"condition": LOSS, "run": "#12"}),
    ("watch off", "watch", "en", {"off": True}),
    ("watch", "watch", "en", {}),
    ("关注loss＜0.3", "watch", "zh", {"condition": LOSS}),
    ("关注 loss 小于 0.3", "watch", "zh", {"condition": LOSS}),
    ("every 30m", "every", "en", {"seconds": 1_800.0}),
    ("every 10 steps", "every", "en", {"steps": 10}),
    ("every off", "every", "en", {"off": True}),
    ("每 30 分钟", "every", "zh", {"seconds": 1_800.0}),
    ("每10步", "every", "zh", {"steps": 10}),
    ("每小时", "every", "zh", {"seconds": 3_600.0}),
    ("每 关", "every", "zh", {"off": True}),
    ("lang zh", "lang", "en", {"name": "zh"}),
    ("语言 英文", "lang", "zh", {"name": "en"}),
    ("help", "help", "en", {}),
    ("?", "help", "en", {}),
    ("帮助", "help", "zh", {}),
    ("help 设置", "help", "en", {"name": "set"}),
    ("ok 4821", "confirm", "en", {"code": "4821"}),
    ("确认 0042", "confirm", "zh", {"code": "0042"}),
    ("no", "cancel", "en", {}),
    ("取消", "cancel", "zh", {}),
    ("2", "choose", "en", {"number": 2}),
    ("２。", "choose", "en", {"number": 2}),
    ("第2个", "choose", "zh", {"number": 2}),
    ("#12", "choose", "en", {"run": "#12"}),
    ("calm-heron", "choose", "en", {"run": "calm-heron"}),
]


def told(text: str, **more: Any) -> Asked | Misread | None:
    known: dict[str, Any] = {"knobs": KNOBS, "commands": COMMANDS, "runs": RUNS}
    return read(text, **(known | more))


def misread(text: str, **more: Any) -> Misread:
    found = told(text, **more)
    assert isinstance(found, Misread), found
    return found


@pytest.mark.parametrize(("text", "verb", "lang", "rest"), MAIN, ids=[one[0] for one in MAIN])
def test_text_means_what_its_writer_thinks(text: str, verb: str, lang: Any, rest: dict[str, Any]) -> None:
    assert told(text) == Asked(Verb(verb), lang, text=text, **rest)


@pytest.mark.parametrize(
    ("text", "reason", "near"),
    [
        ("please don't stop", Reason.WORD, ()),
        ("don't stop", Reason.WORD, ()),
        ("I will stop it tomorrow", Reason.WORD, ()),
        ("stop calm-heron and pause k3f9xq2", Reason.MANY, ()),
        ("stop, or not", Reason.WORD, ("stop",)),
        ("不要停", Reason.WORD, ()),
        ("别停", Reason.WORD, ()),
        ("停了吗", Reason.WORD, ("停",)),
        ("停一下", Reason.WORD, ("停下", "停")),
        ("存图", Reason.WORD, ("存", "图")),
        ("stop?", Reason.QUESTION, ()),
        ("lr 0.01？", Reason.QUESTION, ()),
        ("stop 2", Reason.NUMBERED, ()),
        ("stpo", Reason.WORD, ("stop",)),
        ("状况", Reason.WORD, ("状态",)),
        ("evalute 10", Reason.WORD, ("evaluate",)),
        ("call evalute", Reason.COMMAND, ("evaluate",)),
        ("evaluate is slow today", Reason.MANY, ()),
        ("lrr 0.01", Reason.KNOB, ("lr",)),
        ("epoch=5", Reason.KNOB, ("epochs",)),
        ("set epoch 5", Reason.KNOB, ("epochs",)),
        ("lr abc", Reason.NUMBER, ()),
        ("set lr abc", Reason.NUMBER, ()),
        ("lr 1 2", Reason.MANY, ()),
        ("set lr 1 2", Reason.MANY, ()),
        ("set lr", Reason.FEW, ()),
        ("set", Reason.FEW, ()),
        ("lr =", Reason.FEW, ()),
        ("lr nan", Reason.NUMBER, ()),
        ("lr -inf", Reason.NUMBER, ()),
        ("lr 1e999", Reason.NUMBER, ()),
        ("lr 1e-999", Reason.NUMBER, ()),
        ("lr 0,01", Reason.NUMBER, ()),
        ("lr 1/3", Reason.NUMBER, ()),
        ("lr 5²", Reason.NUMBER, ()),
        ("lr 1½", Reason.NUMBER, ()),
        ("lr 0x10", Reason.NUMBER, ()),
        ("lr __import__('os')", Reason.NUMBER, ()),
        ("augment maybe", Reason.SWITCH, ()),
        ("loss_name exploded", Reason.ASSIGN, ()),
        ("降 0.5", Reason.FACTOR, ()),
        ("降 10%", Reason.FACTOR, ()),
        ("lr x0", Reason.FACTOR, ()),
        ("lr / -3", Reason.FACTOR, ()),
        ("降", Reason.FEW, ()),
        ("mute 8", Reason.UNIT, ()),
        ("every 10", Reason.UNIT, ()),
        ("every now and then", Reason.MANY, ()),
        ("watch loss", Reason.CONDITION, ()),
        ("watch loss<low", Reason.NUMBER, ()),
        ("log 0", Reason.RANGE, ()),
        ("log 99999", Reason.RANGE, ()),
        ("start digits fast", Reason.MANY, ()),
        ("start ../../bin/sh", Reason.MANY, ()),
        ("start digits lr=1 lr=2", Reason.TWICE, ()),
        ("start digits lr=nan", Reason.NUMBER, ()),
        ("4821", Reason.CODE, ()),
        ("ok", Reason.FEW, ()),
        ("no way", Reason.MANY, ()),
        ("lang klingon", Reason.MANY, ()),
        ('"stop"', Reason.WORD, ("stop",)),
        ('plot "loss', Reason.QUOTE, ()),
        ("!!!", Reason.WORD, ()),
        ("0", Reason.WORD, ()),
        ("stop\nTraceback (most recent call last):", Reason.LINES, ()),
        ("stop\u2028now", Reason.LINES, ()),
        ("lr \u202e10.0", Reason.HIDDEN, ()),
        ("stop\x00", Reason.HIDDEN, ()),
        ("stop \ud800", Reason.HIDDEN, ()),
        ("stop " + "x" * 1_000, Reason.LONG, ()),
    ],
)
def test_text_that_is_not_wholly_understood_does_nothing_and_says_why(text: str, reason: Reason, near: tuple[str, ...]) -> None:
    found = misread(text)

    assert (found.reason, found.near) == (reason, near)
    for lang in ("en", "zh"):
        said = found.say(lang)
        assert 0 < len(said) <= 300 and said.isprintable() and "{" not in said


def test_answer_is_in_the_language_of_the_text() -> None:
    assert misread("stpo", lang="zh").say() == "不认识：「stpo」。是不是 stop？"
    assert misread("lr abc").say() == "Not a number: “abc”. Write it like 3e-4 or 0.0003. Example: lr 0.01"
    assert misread("停止 一 二").say() == "多余的内容：「一 二」。例如：停止 calm-heron"


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1e-3", "1e-3"), (".5", ".5"), ("5.", "5"), ("+5", "5"), ("-0.1", "-0.1"), ("−0.1", "-0.1"), ("1E3", "1e3"), ("007", "007"),
        ("5%", "0.05"), ("5 %", "0.05"), ("2.5e1%", "0.25"), ("1_000", "1000"), ("３ｅ－４", "3e-4"), ("0。01", "0.01"), ("٠٫٠١", "0.01"),
        ("०.५", "0.5"), ("𝟏𝟐", "12"), ("1e⁻³", None), ("1_0", None), ("1__000", None), ("1 000", None), ("1,000", None), ("e5", None),
        ("1e", None), ("--1", None), ("1e1000", None), ("9" * 41, None),
    ],
)  # fmt: skip
def test_numbers_are_read_strictly(typed: str, value: str | None) -> None:
    found = told(f"lr {typed}")

    assert (found.value if isinstance(found, Asked) else None) == value


def test_value_of_a_knob_of_unknown_type_may_be_text_where_it_is_clearly_set() -> None:
    plain = list(KNOBS)

    assert told("loss_name=mae", knobs=plain) == Asked(Verb.SET, "en", "loss_name=mae", name="loss_name", value="mae")
    assert told("set loss_name mae", knobs=plain) == Asked(Verb.SET, "en", "set loss_name mae", name="loss_name", value="mae")
    assert misread("loss_name mae", knobs=plain).reason == Reason.NUMBER


def test_without_known_knobs_only_a_learning_rate_and_assignments_are_set() -> None:
    assert told("lr 0.01", knobs=None) == Asked(Verb.SET, "en", "lr 0.01", name="lr", value="0.01")
    assert told("wd=0.1", knobs=None) == Asked(Verb.SET, "en", "wd=0.1", name="wd", value="0.1")
    assert told("set wd 0.1", knobs=None) == Asked(Verb.SET, "en", "set wd 0.1", name="wd", value="0.1")
    assert told("set k3f9xq2 wd 0.1", knobs=None, runs=()) == Asked(
        Verb.SET, "en", "set k3f9xq2 wd 0.1", run="k3f9xq2", name="wd", value="0.1"
    )
    assert misread("set wd 1 2", knobs=None).reason == Reason.MANY
    assert misread("tempo 5", knobs=None).reason == Reason.KNOB
    assert misread("see you at 5", knobs=None).reason == Reason.WORD


@pytest.mark.parametrize("name", ["learning_rate", "learningRate", "Learning Rate", "LR"])
def test_learning_rate_is_found_under_its_other_names(name: str) -> None:
    for text in ("学习率 0.01", "lr 0.01", "learning rate 0.01", "learning_rate=0.01"):
        found = told(text, knobs={name: "float"})
        assert isinstance(found, Asked) and (found.name, found.value) == (name, "0.01")
    assert misread("降 3", knobs={"momentum": "float"}).reason == Reason.KNOB


def test_word_that_is_both_a_verb_and_a_knob_is_the_verb_unless_it_is_assigned() -> None:
    knobs = {"log": "int", "scale": "float"}

    assert told("log 20", knobs=knobs) == Asked(Verb.LOG, "en", "log 20", lines=20)
    assert told("log = 20", knobs=knobs) == Asked(Verb.SET, "en", "log = 20", name="log", value="20")
    assert told("set scale 0.5", knobs=knobs) == Asked(Verb.SET, "en", "set scale 0.5", name="scale", value="0.5")


BOT = {"names": ("fw_bot", "机器人", "Far Watch")}


@pytest.mark.parametrize(
    "text",
    [
        "/stop@fw_bot", "/STOP@FW_bot", "/ stop@fw_bot", "@fw_bot stop", "@fw_bot, stop", "@fw_bot: /stop", "@fw_bot停止", "＠机器人 停止",
        "@机器人\u2005停止", "@Far Watch stop", "stop @fw_bot", "@fw_bot\nstop", "@fw_bot /stop@fw_bot", "!fw stop", "!FW:stop", "！fw 停",
    ],
)  # fmt: skip
def test_group_is_heard_when_it_names_us(text: str) -> None:
    found = read(text, group=True, prefix="!fw", **BOT)

    assert isinstance(found, Asked) and found.verb == Verb.STOP and found.run is None


@pytest.mark.parametrize(
    "text", ["stop", "/stop", "停止", "we should stop", "!fwstop", "fw_bot stop", "mail me@fw_bot", "", "  \n ", "@fw_bot", "!fw"]
)
def test_group_that_does_not_name_us_is_not_answered(text: str) -> None:
    assert read(text, group=True, prefix="!fw", **BOT) is None


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(
    "text", ["/stop@otherbot", "/stop@otherbot now", "@alice stop", "@fw_bot2 stop", "@机器人二号 停止", "@fw_bot /stop@other"]
)
def test_what_is_said_to_somebody_else_is_not_for_us(text: str, group: bool) -> None:
    assert read(text, group=group, prefix="/", **BOT) is None


def test_slash_may_be_the_prefix_of_a_group() -> None:
    assert read("/stop", group=True, prefix="/") == Asked(Verb.STOP, "en", "/stop")
    assert read("stop", group=True, prefix="/") is None


def test_invisible_marks_of_keyboards_do_not_matter() -> None:
    for text in ("\u200estop\u200f", "\ufeffstop", "st\u00adop", "stop\ufe0f", "\u00a0stop\u3000"):
        assert read(text) == Asked(Verb.STOP, "en", text)


def test_factors_are_exact() -> None:
    found = told("降 3")

    assert isinstance(found, Asked) and found.factor is not None
    assert times(3e-4, found.factor) == 1e-4  # 3e-4 / 3 is 9.999999999999999e-05
    assert times(6, found.factor) == 2.0


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000, "停" * 10_000, "ﷺ" * 1_000, "\u0301\u0323" * 500, "a\u0301\u0323" * 333, "'" * 1_000, '" ' * 500, "=" * 1_000,
        "lr " + "9" * 990, "降" * 1_000, "set " * 250, "a=" * 500, "@" * 1_000, "/" * 1_000, "#1" * 500, "1," * 500, "²" * 1_000,
        "watch " + "<" * 990, "曲线 " + "最近" * 490, "plot " + "1h" * 490, "٣" * 1_000, "\ud800" * 1_000, "call x " + "a=1 " * 240,
        "İ" * 1_000, "ß" * 1_000, "\n" * 10_000 + "stop",
    ],
)  # fmt: skip
def test_hostile_text_takes_no_time(text: str) -> None:
    runs = [f"run-{number:04d}" for number in range(300)]
    knobs = {f"knob_{number}": "float" for number in range(50)}

    took = []
    for _ in range(5):
        begun = time.thread_time()
        read(text, knobs=knobs, commands=COMMANDS, runs=runs, names=("fw_bot",))
        took.append(time.thread_time() - begun)

    assert min(took) < 0.005
