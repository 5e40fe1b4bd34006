"""What a fake of Telegram keeps: requests, chats, messages, as Telegram shows them and as far as it takes them."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from farwatch.testing.chat import telegram_rules as rules
from farwatch.testing.chat.telegram_markup import Unreadable, read, units
from farwatch.testing.chat.telegram_rules import File, Refusal, bad


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `fields`: in their types, as far as they could be read; `files`: name of the field -> (name, type, bytes)."""

    method: str
    fields: dict[str, Any]
    files: dict[str, File]
    status: int
    description: str = ""


@dataclass
class Chat:
    """A conversation. `topics`: of a forum. `sent_s`: seconds of the last messages, for the limit of a minute."""

    id: int
    type: str
    title: str = ""
    name: str = ""
    topics: set[int] = field(default_factory=set)
    blocked: bool = False
    moved_to: int | None = None
    sent_s: deque[float] = field(default_factory=lambda: deque(maxlen=20))

    def shown(self) -> dict[str, Any]:
        """As Telegram's `Chat`."""
        more = {"first_name": self.name} if self.type == "private" else {"title": self.title}
        return {"id": self.id, "type": self.type, **more, **({"is_forum": True} if self.topics else {})}


@dataclass
class Post:
    """A message, of the bot or of a person. `media`: type and bytes; `content`: what an edit is compared with."""

    chat: Chat
    id: int
    author: dict[str, Any]
    date: int
    ours: bool = True
    topic: int | None = None
    text: str = ""
    entities: list[dict[str, Any]] = field(default_factory=list)
    media: tuple[str, File] | None = None
    keyboard: list[list[tuple[str, str]]] = field(default_factory=list)
    markup: dict[str, Any] | None = None
    silent: bool = False
    reply_to: int | None = None
    edits: int = 0

    def shown(self) -> dict[str, Any]:
        """As Telegram's `Message`."""
        found: dict[str, Any] = {"message_id": self.id, "from": self.author, "chat": self.chat.shown(), "date": self.date}
        if self.topic is not None:
            found |= {"message_thread_id": self.topic, "is_topic_message": True}
        text, marks = ("caption", "caption_entities") if self.media else ("text", "entities")
        if self.text:
            found[text] = self.text
        if self.entities:
            found[marks] = self.entities
        if self.media:
            found |= _media(*self.media, self.id)
        if self.markup:
            found["reply_markup"] = self.markup
        return found


def words_of(fields: dict[str, Any], name: str) -> tuple[str, list[dict[str, Any]]]:
    """Text and entities of a request, as shown. Raises `Refusal`. `name`: `text` or `caption`."""
    entities = fields.get("entities" if name == "text" else "caption_entities")
    try:
        text, marks = read(fields.get(name, ""), fields.get("parse_mode", ""), entities)
    except Unreadable as error:
        raise bad(str(error)) from None
    if name == "text" and not text:
        raise bad("message text is empty")
    if units(text) > (rules.TEXT_MAX if name == "text" else rules.CAPTION_MAX):
        raise bad("message is too long" if name == "text" else "message caption is too long")
    return text, marks


def fit(media: tuple[str, File]) -> None:
    """Whether a file is taken. Raises `Refusal`."""
    kind, (_, _, content) = media
    if len(content) > rules.FILE_MAX_BYTES:
        raise Refusal(413, "Request Entity Too Large")
    if kind == "photo":
        rules.picture(content)


def _media(kind: str, file: File, number: int) -> dict[str, Any]:
    name, media_type, content = file
    known = {"file_id": f"{kind}-{number}", "file_unique_id": f"u{number}", "file_size": len(content)}
    if kind == "photo":
        width, height = rules.picture(content)
        return {"photo": [{**known, "width": width, "height": height}]}
    more: dict[str, Any] = {"file_name": name, "mime_type": media_type}
    if kind != "document":
        more = {**more, "duration": 1} | ({} if kind == "audio" else {"width": 1, "height": 1})
    return {kind: {**known, **more}}
