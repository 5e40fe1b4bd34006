"""The words of the chat language, English and Chinese, and what is said about them: menu, help, examples.

The first word of each is the one that help and buttons show. `docs/chat-language.md` holds the same tables for people.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Literal

from farwatch.bridges.language.typed import fold

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")

HELP_MAX = 1_500  # characters: two screens of a phone
NAME_SHOWN = 40
NAMES_SHOWN = 12


class Verb(StrEnum):
    """What a person asks for."""

    STATUS = "status"
    RUNS = "runs"
    PARAMS = "params"
    PLOT = "plot"
    LOG = "log"
    GPU = "gpu"
    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    CHECKPOINT = "checkpoint"
    SET = "set"
    SCALE = "scale"
    CALL = "call"
    KILL = "kill"
    MUTE = "mute"
    UNMUTE = "unmute"
    WATCH = "watch"
    EVERY = "every"
    LANG = "lang"
    HELP = "help"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    CHOOSE = "choose"  # of a numbered list; it has no word, a number is enough


READS = frozenset({Verb.STATUS, Verb.RUNS, Verb.PARAMS, Verb.PLOT, Verb.LOG, Verb.GPU, Verb.HELP, Verb.CHOOSE})  # change nothing

_EN = {
    Verb.STATUS: "status progress eta",
    Verb.RUNS: "runs list",
    Verb.PARAMS: "params knobs",
    Verb.PLOT: "plot chart curve",
    Verb.LOG: "log logs",
    Verb.GPU: "gpu gpus",
    Verb.START: "start launch",
    Verb.STOP: "stop",
    Verb.PAUSE: "pause hold",
    Verb.UNPAUSE: "unpause resume continue",
    Verb.CHECKPOINT: "checkpoint save ckpt",
    Verb.SET: "set change",
    Verb.SCALE: "scale lower raise halve double",
    Verb.CALL: "call",
    Verb.KILL: "kill",
    Verb.MUTE: "mute",
    Verb.UNMUTE: "unmute",
    Verb.WATCH: "watch",
    Verb.EVERY: "every",
    Verb.LANG: "lang language",
    Verb.HELP: "help",
    Verb.CONFIRM: "ok yes confirm",
    Verb.CANCEL: "no cancel",
}
_ZH = {
    Verb.STATUS: "状态 进度 进展",
    Verb.RUNS: "运行 运行列表 列表",
    Verb.PARAMS: "参数 旋钮",
    Verb.PLOT: "曲线 图 画图 曲线图",
    Verb.LOG: "日志",
    Verb.GPU: "显卡 显存 gpu状态 显卡状态",
    Verb.START: "开始 启动 开始训练 启动训练",
    Verb.STOP: "停止 停 停下 停止训练 停止运行 结束训练 终止 中止",
    Verb.PAUSE: "暂停 暂停训练",
    Verb.UNPAUSE: "继续 恢复 继续训练 恢复训练",
    Verb.CHECKPOINT: "保存 存 存档 保存检查点 保存模型 存模型",
    Verb.SET: "设置 设 设定 改 修改 调整",
    Verb.SCALE: "降 升 降低 提高 减半 翻倍 缩放",
    Verb.CALL: "调用",
    Verb.KILL: "强杀 杀 强制结束 强制停止",
    Verb.MUTE: "静音 免打扰",
    Verb.UNMUTE: "取消静音 解除静音",
    Verb.WATCH: "关注",
    Verb.EVERY: "每 每隔",
    Verb.LANG: "语言",
    Verb.HELP: "帮助",
    Verb.CONFIRM: "确认 好 好的 是",
    Verb.CANCEL: "取消 算了 不 否",
}
WORDS: dict[Lang, dict[Verb, tuple[str, ...]]] = {
    "en": {verb: tuple(words.split()) for verb, words in _EN.items()},
    "zh": {verb: tuple(words.split()) for verb, words in _ZH.items()},
}
MEANING: dict[str, tuple[Verb, Lang]] = {
    word: (verb, lang) for lang in LANGS for verb, words in WORDS[lang].items() for word in words
}
HAN_WORDS = tuple(sorted((word for words in WORDS["zh"].values() for word in words), key=len, reverse=True))

DIVIDE = frozenset({"lower", "halve", "降", "降低", "减半"})
BY_TWO = frozenset({"halve", "double", "减半", "翻倍"})
MULTIPLY = frozenset({"raise", "double", "升", "提高", "翻倍"})
BECOMES = (
    "改成", "改为", "设为", "设成", "设到", "调到", "调成", "调为",
    "降到", "降至", "降为", "升到", "升至", "升为", "变成", "为", "到", "成",
)  # fmt: skip
LEARNING_RATE = ("学习率", "learning rate", "learning_rate", "learning-rate", "learningrate", "lr")
FILLERS = frozenset({"the", "this", "it", "run", "training", "now", "model", "please", "训练", "模型", "检查点"})
POLITE = frozenset({"please", "pls", "thanks", "thx", "请", "谢谢", "麻烦", "帮我"})
BEFORE_RUN = frozenset({"on", "of", "for", "in", "at"})
BETWEEN = frozenset({"and", "和", "与", "of", "the", "for"})
PASSED_OVER = FILLERS | POLITE | BEFORE_RUN | BETWEEN
LOOK = ("看一下", "看看", "查看", "看", "show")  # before something that changes nothing
LANG_NAMES: dict[str, Lang] = {
    "zh": "zh", "chinese": "zh", "中文": "zh", "汉语": "zh", "cn": "zh", "zh-cn": "zh",
    "en": "en", "english": "en", "英文": "en", "英语": "en",
}  # fmt: skip

EXAMPLE: dict[Lang, dict[Verb, str]] = {
    "en": {
        Verb.STATUS: "status",
        Verb.RUNS: "runs",
        Verb.PARAMS: "params",
        Verb.PLOT: "plot loss last 2h",
        Verb.LOG: "log 20",
        Verb.GPU: "gpu",
        Verb.START: "start digits lr=1e-3",
        Verb.STOP: "stop calm-heron",
        Verb.PAUSE: "pause",
        Verb.UNPAUSE: "unpause",
        Verb.CHECKPOINT: "checkpoint",
        Verb.SET: "lr 0.01",
        Verb.SCALE: "lr ÷ 3",
        Verb.CALL: "call evaluate n=10",
        Verb.KILL: "kill calm-heron",
        Verb.MUTE: "mute 8h",
        Verb.UNMUTE: "unmute",
        Verb.WATCH: "watch loss<0.3",
        Verb.EVERY: "every 30m",
        Verb.LANG: "lang zh",
        Verb.HELP: "help",
        Verb.CONFIRM: "ok 4821",
        Verb.CANCEL: "no",
        Verb.CHOOSE: "2",
    },
    "zh": {
        Verb.STATUS: "状态",
        Verb.RUNS: "运行",
        Verb.PARAMS: "参数",
        Verb.PLOT: "曲线 loss 最近2小时",
        Verb.LOG: "日志 20",
        Verb.GPU: "显卡",
        Verb.START: "开始 digits lr=1e-3",
        Verb.STOP: "停止 calm-heron",
        Verb.PAUSE: "暂停",
        Verb.UNPAUSE: "继续",
        Verb.CHECKPOINT: "保存",
        Verb.SET: "学习率 0.01",
        Verb.SCALE: "降 3",
        Verb.CALL: "调用 evaluate n=10",
        Verb.KILL: "强杀 calm-heron",
        Verb.MUTE: "静音 8小时",
        Verb.UNMUTE: "取消静音",
        Verb.WATCH: "关注 loss<0.3",
        Verb.EVERY: "每 30分钟",
        Verb.LANG: "语言 英文",
        Verb.HELP: "帮助",
        Verb.CONFIRM: "确认 4821",
        Verb.CANCEL: "取消",
        Verb.CHOOSE: "2",
    },
}

ABOUT: dict[Verb, tuple[str, str]] = {
    Verb.STATUS: ("how it is going", "训练进展"),
    Verb.RUNS: ("all active runs", "所有运行"),
    Verb.PARAMS: ("what can be changed, and its values", "可调参数和当前值"),
    Verb.PLOT: ("a chart as a picture", "曲线图片"),
    Verb.LOG: ("the last lines of the console", "最后几行输出"),
    Verb.GPU: ("what the GPUs do", "显卡状况"),
    Verb.START: ("start a training", "开始训练"),
    Verb.STOP: ("save and end", "保存并停止"),
    Verb.PAUSE: ("hold, keeping memory", "暂停，保留显存"),
    Verb.UNPAUSE: ("go on", "继续训练"),
    Verb.CHECKPOINT: ("save now", "立即保存检查点"),
    Verb.SET: ("give a knob another value", "修改参数"),
    Verb.SCALE: ("multiply or divide it", "按倍数调整"),
    Verb.CALL: ("a command of the program", "调用程序的命令"),
    Verb.KILL: ("end its processes at once", "立即结束进程"),
    Verb.MUTE: ("no messages for a while", "暂时不发消息"),
    Verb.UNMUTE: ("messages again", "恢复消息"),
    Verb.WATCH: ("tell me when", "满足条件时通知"),
    Verb.EVERY: ("report regularly; also: every 10 steps, every off", "定期报告；也可：每 10 步，每 关"),
    Verb.LANG: ("the other language", "切换语言"),
    Verb.HELP: ("these words", "这些用法"),
    Verb.CONFIRM: ("do what was asked back", "确认操作"),
    Verb.CANCEL: ("do not", "不执行"),
}  # what each is for, English and Chinese
_GROUPS = (
    (Verb.STATUS, Verb.RUNS, Verb.PARAMS, Verb.PLOT, Verb.LOG, Verb.GPU),
    (Verb.SET, Verb.SCALE, Verb.CHECKPOINT, Verb.PAUSE, Verb.UNPAUSE, Verb.STOP, Verb.KILL, Verb.START, Verb.CALL),
    (Verb.MUTE, Verb.UNMUTE, Verb.WATCH, Verb.EVERY, Verb.LANG),
)
_MENU_LEFT_OUT = frozenset({Verb.CONFIRM, Verb.SCALE})  # answers, and what needs a number after it anyway


def word_of(verb: Verb, lang: Lang) -> str:
    """The word that is shown for a verb; empty for `choose`, which has none."""
    return WORDS[lang].get(verb, ("",))[0]


def menu(lang: Lang) -> list[tuple[str, str]]:
    """Words and what they are for, as chat services list them: words of `a-z`, descriptions of at most 256 characters."""
    at = LANGS.index(lang)
    return [(word_of(verb, "en"), about[at]) for verb, about in ABOUT.items() if verb not in _MENU_LEFT_OUT]


def help_text(lang: Lang, *, knobs: Collection[str] = (), commands: Collection[str] = ()) -> str:
    """All words with an example each, at most 1,500 characters. `knobs`, `commands`: of the runs in question."""
    at = LANGS.index(lang)
    parts = ["\n".join(f"{EXAMPLE[lang][verb]} – {ABOUT[verb][at]}" for verb in group) for group in _GROUPS]
    zh = lang == "zh"
    parts.append(
        "多个运行时写上名称：停止 calm-heron、状态 #12、lr 0.01 #12。被要求确认时：确认 4821。编号列表：回复 2。不要：取消"
        if zh
        else "With several runs, say which: stop calm-heron, status #12, lr 0.01 #12. "
        "Asked back: ok 4821. A numbered list: 2. Rather not: no"
    )
    for title, names in (("参数：" if zh else "Knobs: ", knobs), ("命令：" if zh else "Commands: ", commands)):
        if names:
            parts.append(title + _listed(names, lang))
    return "\n\n".join(parts)


def _listed(names: Collection[str], lang: Lang) -> str:
    shown = [name if len(name) <= NAME_SHOWN else name[: NAME_SHOWN - 1] + "…" for name in sorted(names)]
    kept: list[str] = []
    while shown and len(kept) < NAMES_SHOWN and sum(map(len, kept)) + len(shown[0]) <= 6 * NAME_SHOWN:
        kept.append(shown.pop(0))
    more = f" … +{len(shown)}" if shown else ""
    return ("、" if lang == "zh" else ", ").join(kept) + more


def meaning(word: str) -> tuple[Verb, Lang] | None:
    """The verb that a whole word stands for, and the language it is of."""
    return MEANING.get(fold(word))
