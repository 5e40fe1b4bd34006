"""What people set of a chat by writing there: muted, watched, how often, which language."""

from collections.abc import Callable
from typing import Any

from farwatch.bridges import compose
from farwatch.bridges.language.asked import Asked
from farwatch.bridges.language.words import Verb
from farwatch.bridges.phrases import told
from farwatch.service.people import ChatRow

GROUP_SETTINGS: dict[str, Any] = {  # a group is told of nothing until somebody there asks for it
    "alarms": False, "events": False, "progress": "off",
}  # fmt: skip
MUTE_S = 8 * 3_600.0
EVERY_MIN_S = 10.0
WATCHED_MAX = 50
VERBS = frozenset({Verb.MUTE, Verb.UNMUTE, Verb.WATCH, Verb.EVERY, Verb.LANG})


def change(chat: ChatRow, asked: Asked, lang: str, now_ms: int, find: Callable[[str], str | None]) -> tuple[dict[str, Any], str]:
    """What a wish changes of a chat's settings, and the answer. `find`: the id of a run that a word names."""
    match asked.verb:
        case Verb.MUTE:
            seconds = asked.seconds or MUTE_S
            said = told(lang, "muted", span=compose.duration(seconds, lang))
            return {"muted_until_ms": now_ms + int(seconds * 1000)}, said
        case Verb.UNMUTE:
            return {"muted_until_ms": None}, told(lang, "unmuted")
        case Verb.LANG:
            return ({}, told(lang, "which_lang")) if asked.name is None else ({"lang": asked.name}, told(asked.name, "lang_set"))
        case Verb.EVERY:
            return _every(asked, lang)
        case _:
            return _watch(chat, asked, lang, find)


def _every(asked: Asked, lang: str) -> tuple[dict[str, Any], str]:
    if asked.steps is not None and not asked.off:
        return {"every": {"steps": asked.steps}}, told(lang, "every_on", amount=compose.say(lang, "n_steps", n=asked.steps))
    if asked.seconds is not None and not asked.off:
        seconds = max(EVERY_MIN_S, float(asked.seconds))
        return {"every": {"s": seconds}}, told(lang, "every_on", amount=compose.duration(seconds, lang))
    return {"every": None}, told(lang, "every_off")


def _watch(chat: ChatRow, asked: Asked, lang: str, find: Callable[[str], str | None]) -> tuple[dict[str, Any], str]:
    watched = list(chat.settings.get("watch") or ())
    if asked.condition is not None:
        one = asked.condition
        entry: dict[str, Any] = {"metric": one.metric, "op": one.sign, "value": one.value}
        if asked.run is not None:
            run = find(asked.run)
            if run is None:
                return {}, told(lang, "no_such_run", run=asked.run[:60])
            entry["run"] = run
        kept = [old for old in watched if old != entry]
        what = f"{one.metric} {one.sign} {compose.number(one.value)}"
        return {"watch": [*kept, entry][-WATCHED_MAX:]}, told(lang, "watching", what=what)
    if asked.off:
        return {"watch": None, **(GROUP_SETTINGS if chat.person_no is None else {})}, told(lang, "watch_off")
    if chat.person_no is None and chat.settings.get("events") is False:
        return dict.fromkeys(GROUP_SETTINGS), told(lang, "group_on")
    listed = "\n".join(f"◎ {one['metric']} {one['op']} {compose.number(one['value'])}" for one in watched)
    return {}, listed or told(lang, "watch_none")
