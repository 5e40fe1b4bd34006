"""What an update of Telegram's says, for Farwatch: who wrote or pressed what, where, and whether it may be taken at its word.

Updates are other people's input: what is strange about one makes it nothing, never an error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from farwatch.bridges.base import Address, Incoming

WANTED = ("message", "callback_query")
GENERAL = "1"  # the first topic of a forum, which requests must not name
_FORWARDED = ("forward_origin", "forward_date", "is_automatic_forward", "via_bot", "sender_chat", "edit_date")


@dataclass(frozen=True, slots=True)
class Me:
    """Who we are on Telegram. `username`: without `@`."""

    id: int
    username: str
    name: str

    @classmethod
    def read(cls, result: Any) -> "Me | None":
        """From the answer to `getMe`; None for what is none."""
        found = record(result)
        if not isinstance(found.get("id"), int) or not isinstance(found.get("username"), str):
            return None
        return cls(found["id"], found["username"], shown(found.get("first_name")))

    def __str__(self) -> str:
        return f"{self.name} (@{self.username})"


def record(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def shown(name: Any) -> str:
    """A name as it can be shown: no control characters and none that turn the direction of writing."""
    return "".join(one for one in str(name or "") if one.isprintable())[:100].strip()


def migrated(update: dict[str, Any]) -> tuple[str, str] | None:
    """(old id, new id) where an update says that a group has become a supergroup."""
    message = record(update.get("message"))
    chat, new = record(message.get("chat")).get("id"), message.get("migrate_to_chat_id")
    return (str(chat), str(new)) if isinstance(chat, int) and isinstance(new, int) else None


def incoming(
    update: dict[str, Any], me: Me, channel: str, now_ms: int, known: Callable[[str], str] = str
) -> Incoming | None:
    """What a person did; None for everything else.

    `now_ms`: for a button, whose press Telegram gives no time. `known`: the id under which we go by a chat.
    """
    found = _pressed(update, channel, now_ms) if "callback_query" in update else _written(update, me, channel)
    return found and replace(found, address=replace(found.address, chat=known(found.address.chat)))


def _written(update: dict[str, Any], me: Me, channel: str) -> Incoming | None:
    key = str(update.get("update_id"))
    message = record(update.get("message"))
    text, marks = message.get("text"), message.get("entities")
    if text is None:
        text, marks = message.get("caption"), message.get("caption_entities")
    sent_s = message.get("date")
    found = _about(message, record(message.get("from")), channel, key)
    if found is None or not isinstance(text, str) or not isinstance(sent_s, int):
        return None
    marked = _marked(text, marks)
    if any(kind == "bot_command" and at == 0 and "@" in word and not _ours(word, me) for kind, at, word, _ in marked):
        return None  # `/stop@another_bot` is said to another
    answered = record(message.get("reply_to_message"))
    if "forum_topic_created" in answered:
        answered = {}  # what every message of a topic answers
    named = any(
        (kind in ("mention", "bot_command") and "@" in word and _ours(word, me)) or (kind == "text_mention" and user == me.id)
        for kind, _, word, user in marked
    )
    return replace(
        found, text=text, sent_ms=sent_s * 1000, reply_to=str(answered["message_id"]) if "message_id" in answered else None,
        mentioned=named or record(answered.get("from")).get("id") == me.id,
        trusted=found.trusted and not any(message.get(sign) for sign in _FORWARDED), raw=update,
    )  # fmt: skip


def _pressed(update: dict[str, Any], channel: str, now_ms: int) -> Incoming | None:
    key, press = str(update.get("update_id")), record(update["callback_query"])
    found = _about(record(press.get("message")), record(press.get("from")), channel, key)
    if found is None or not isinstance(press.get("data"), str) or not isinstance(press.get("id"), str):
        return None
    return replace(found, button=press["data"], sent_ms=now_ms, mentioned=True, raw=press)


def _about(message: dict[str, Any], sender: dict[str, Any], channel: str, key: str) -> Incoming | None:
    """Where and from whom; None where either is missing, as in channel posts."""
    chat = record(message.get("chat"))
    kind, user = chat.get("type"), sender.get("id")
    ids = (chat.get("id"), message.get("message_id"), user)
    if kind not in ("private", "group", "supergroup") or not all(isinstance(one, int) for one in ids):
        return None
    topic = str(message.get("message_thread_id") or "") if message.get("is_topic_message") else ""
    names = (shown(sender.get("first_name")), shown(sender.get("last_name")))
    user_name = " ".join(one for one in names if one)
    if sender.get("username"):
        user_name = f"{user_name} @{shown(sender['username'])}".strip()
    return Incoming(
        channel=channel, address=Address(str(chat["id"]), topic or None), message_id=str(message["message_id"]), key=key,
        user=str(user), user_name=user_name or str(user), sent_ms=0, group=kind != "private",
        trusted=not sender.get("is_bot"), title=shown(chat.get("title")),
    )  # fmt: skip


def _ours(word: str, me: Me) -> bool:
    return word.partition("@")[2].lower() == me.username.lower()


def _marked(text: str, entities: Any) -> list[tuple[str, int, str, Any]]:
    """(type, offset, words, user) of what Telegram has marked in a text; it counts in UTF-16 units."""
    encoded = text.encode("utf-16-le", "surrogatepass")
    found = []
    for one in entities if isinstance(entities, list) else []:
        at, length = record(one).get("offset"), record(one).get("length")
        if isinstance(at, int) and isinstance(length, int) and at >= 0 and length > 0:
            word = encoded[2 * at : 2 * (at + length)].decode("utf-16-le", "replace")
            found.append((str(one.get("type")), at, word, record(one.get("user")).get("id")))
    return found
