"""The contract between Farwatch and a chat or push service, and the values that cross it.

A bridge turns messages into one service's requests and its updates into `Incoming`. It knows nothing of runs, alerts, people or queues:
who may do what, when something is sent, and what happens after a failure is decided by its callers (`people`, `dispatch`).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from farwatch.clock import Clock

Style = Literal["plain", "bold", "code", "block", "markdown", "html"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message's text. `code`: monospace within a line; `block`: a monospace block of its own.

    `markdown` and `html` are a person's own words in that notation, for services that know it; elsewhere, and where the service refuses
    the notation, they are sent as they stand. In all other styles every character is text, whatever it means to the service.
    """

    text: str
    style: Style = "plain"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message. `content`: the bytes, or a file of this machine that is read when it is sent."""

    name: str
    media_type: str
    content: bytes | Path
    caption: str = ""

    @property
    def kind(self) -> Literal["picture", "audio", "video", "document"]:
        """How services group it."""
        top = self.media_type.partition("/")[0]
        if top == "image" and self.media_type in ("image/png", "image/jpeg", "image/webp", "image/gif"):
            return "picture"
        return "audio" if top == "audio" else "video" if top == "video" else "document"

    def size(self) -> int:
        """Bytes. Raises `OSError` for a file that is gone."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        """The bytes. Raises `OSError` for a file that is gone."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True)
class Button:
    """Something to press under a message. `data`: at most 64 bytes of ASCII that come back in `Incoming.button`."""

    label: str
    data: str


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said. `silent`: without sound. `preview`: links may unfold. `reply_to`: id of a message that this one answers."""

    parts: tuple[Part, ...]
    picture: Attachment | None = None
    files: tuple[Attachment, ...] = ()
    buttons: tuple[tuple[Button, ...], ...] = ()
    silent: bool = False
    preview: bool = False
    reply_to: str | None = None

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(part.text for part in self.parts)


def plain(text: str, **more: Any) -> Message:
    """A message of plain text; `more`: other fields of `Message`."""
    return Message((Part(text),), **more)


@dataclass(frozen=True, slots=True)
class Address:
    """A conversation of a service: its own immutable id, and a thread or topic in it."""

    chat: str
    topic: str | None = None

    def __str__(self) -> str:
        return self.chat if self.topic is None else f"{self.chat}/{self.topic}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `chat` or `chat/topic`."""
        chat, slash, topic = text.strip().partition("/")
        return cls(chat, topic if slash else None)


class Outcome(StrEnum):
    """What became of a request to a service."""

    SENT = "sent"
    UNCHANGED = "unchanged"  # an edit that would change nothing
    LATER = "later"  # the service asks to wait: `retry_after_s`
    ASLEEP = "asleep"  # the person has to write first: no credits, or the window has closed
    GONE = "gone"  # no such chat or message, or the bot was thrown out of it: never try again there
    REFUSED = "refused"  # the service does not take this message: never send it again
    REVOKED = "revoked"  # the credentials are no longer good: the whole channel is down
    FAILED = "failed"  # no contact, or an error of the service: nothing has arrived, try again
    UNSURE = "unsure"  # the connection broke after the request was out: it may have arrived


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a request. `message_ids`: of what was sent, in order; the first is the one that an edit changes.

    `reason`: why not, as a person may read it; never holds a secret. `retry_after_s`: seconds, with `LATER`.
    """

    outcome: Outcome
    message_ids: tuple[str, ...] = ()
    reason: str = ""
    retry_after_s: float | None = None

    @property
    def arrived(self) -> bool:
        """Whether people can see it."""
        return self.outcome in (Outcome.SENT, Outcome.UNCHANGED)


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a person wrote or pressed.

    `user`: the service's immutable id of the person; `user_name` is for showing only. `message_id`: of what was written, or of the message
    under which a button was pressed. `sent_ms`: the service's own time. `key`: the same for an update that the service delivers twice.
    `group`: others read along. `mentioned`: the bot is named or answered. `trusted`: False for what is forwarded or edited, or comes from a
    bot, an anonymous administrator or a broadcast: such a thing commands nothing. `raw`: what `acknowledge` needs.
    """

    channel: str
    address: Address
    message_id: str
    key: str
    user: str
    user_name: str
    sent_ms: int
    text: str = ""
    button: str | None = None
    reply_to: str | None = None
    group: bool = False
    mentioned: bool = False
    trusted: bool = True
    title: str = ""  # of the group
    raw: Any = None


Receive = Callable[[Incoming], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in any `per_s` seconds; for each chat by itself, for each group chat, or for the whole channel."""

    count: int
    per_s: float
    scope: Literal["chat", "group", "channel"] = "chat"


@dataclass(frozen=True, slots=True)
class Caps:
    """What a service can do. Sizes are in `unit`; rates are the service's own limits, kept by the dispatcher.

    `push_first`: may speak without having been spoken to. `edit`: a message can be changed for `edit_window_s` seconds (None: for ever).
    `edit_every_s`: least time between two edits of one message. `reply_credits`, `reply_window_s`: so many messages within so long after
    each one of the person; None: no such limit. `group_prefix`: with which addresses of groups begin. `groups`: knows group chats.
    `picture_max_bytes`, `file_max_bytes`: 0 where it takes none.
    """

    text_max: int
    unit: Literal["characters", "bytes"] = "characters"
    caption_max: int = 0
    two_way: bool = False
    push_first: bool = True
    edit: bool = False
    edit_window_s: float | None = None
    edit_every_s: float = 5.0
    delete: bool = False
    buttons: bool = False
    groups: bool = False
    group_prefix: str = ""
    silent: bool = False
    picture_max_bytes: int = 0
    file_max_bytes: int = 0
    rates: tuple[Rate, ...] = ()
    reply_credits: int | None = None
    reply_window_s: float | None = None
    experimental: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """How a channel is: `ok`, and in words what a person should know or do (`text`), such as credits left or who took over. In `facts`:
    `username`, by which people mention the bot, and `link`, which opens a chat with it; where the service has them.

    `code` tells the words apart for translation: `ok`, `connecting`, `no-contact`, `revoked`, `taken-over`, `asleep`, `scan-again`.
    """

    ok: bool
    code: str = "ok"
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Memory(Protocol):
    """What a bridge must remember over a restart (cursors, sessions, credits): a small JSON object in a file that only we can read."""

    def load(self) -> dict[str, Any]: ...

    def save(self, value: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What a bridge is made from. `values`: the fields that its kind declares, secrets included; empty ones are left out.

    """

    channel: str
    values: Mapping[str, str]
    memory: Memory
    clock: Clock

    def get(self, name: str, default: str = "") -> str:
        """A field's value."""
        return self.values.get(name) or default

    def many(self, name: str) -> tuple[str, ...]:
        """A field that lists several, separated by commas."""
        return tuple(word for one in self.values.get(name, "").split(",") if (word := one.strip()))


class Bridge(Protocol):
    """One channel of one service.

    *Threads*: everything on one event loop. *Ownership*: a bridge owns its connections and its memory; nothing else uses its token.
    *Ordering*: callers send to one chat one after the other; a bridge keeps that order, and hands updates on in the order in which the
    service has them. *Errors*: `send`, `edit`, `delete` and `acknowledge` never raise for a fault of the service or the network; they
    say so in the receipt and never try again by themselves (a second request after a refused notation is part of the first). Nothing that
    they raise, return or log holds a token. *Cost*: one request, at most 30 s.
    """

    caps: Caps

    async def open(self, receive: Receive) -> None:
        """Begin to listen, where the service is two-way; returns at once and goes on connecting by itself, with growing pauses."""
        ...

    async def close(self) -> None:
        """Stop listening and let go of everything; may be called twice. At most 5 s."""
        ...

    async def check(self) -> str:
        """Ask the service whether the credentials are good; returns what it calls us. Raises `BridgeError` with the reason and a hint."""
        ...

    async def send(self, to: Address, message: Message) -> Receipt:
        """Say something new. What is too long is split; what cannot be shown (buttons, a picture) is left out or told in words."""
        ...

    async def edit(self, to: Address, message_id: str, message: Message) -> Receipt:
        """Change what was said. `REFUSED` where `caps.edit` is false."""
        ...

    async def delete(self, to: Address, message_id: str) -> Receipt:
        """Take back what was said. `REFUSED` where `caps.delete` is false."""
        ...

    async def acknowledge(self, incoming: Incoming, text: str = "") -> None:
        """Tell the service that a button's press was heard, with up to 200 characters for the person who pressed."""
        ...

    def condition(self) -> Condition:
        """How the channel is, from memory."""
        ...


@runtime_checkable
class Credited(Protocol):
    """What a bridge whose `caps.reply_credits` is a number has beside."""

    def credits(self, address: Address) -> tuple[int, int]:
        """How many things may still be said there, and until when (ms since 1970); (0, 0) where nobody has written yet."""
        ...


@runtime_checkable
class Inviting(Protocol):
    """What a bridge has beside whose service can lead a person to the bot, with a pairing code typed already."""

    def invite(self, code: str) -> str | None:
        """A link to open on the phone; None while it is not known."""
        ...


class ScanState(Protocol):
    """How far a scan is. `link`: a new code to draw instead of the last. `done`: nothing more will happen; `good`: there is a session;
    `user`: of whom, empty where that is not told.
    """

    @property
    def code(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def link(self) -> str: ...
    @property
    def done(self) -> bool: ...
    @property
    def good(self) -> bool: ...
    @property
    def user(self) -> str: ...


class Scan(Protocol):
    """Logging in to a service by scanning a code with its app; the session goes into the channel's memory. `warning`: to be read before."""

    warning: str

    async def begin(self) -> str:
        """Ask for a code; returns the link to draw. Raises `BridgeError`."""
        ...

    async def poll(self) -> ScanState:
        """Ask how far it is; may be held for 40 s. Raises `BridgeError`."""
        ...

    def give_digits(self, text: str) -> None:
        """The number that the phone shows. Raises `BridgeError` where there is none."""
        ...

    async def close(self) -> None:
        """Let go of the connection; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Field:
    """Something that a person gives to connect a service. `name` is lower case; `text` says what it is and where it is found.

    Its environment variable is `FARWATCH_<KIND>_<NAME>`.
    """

    name: str
    text: str
    secret: bool = False
    required: bool = False
    default: str = ""


def chats_named(values: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses in a field `chat`, separated by commas."""
    return tuple(word for one in values.get("chat", "").split(",") if (word := one.strip()))


@dataclass(frozen=True, slots=True)
class Kind:
    """A service that Farwatch can be connected to. `steps`: what a person does first, in order.

    `make` is called on the event loop and does nothing that waits. It raises `BridgeError` for fields that cannot be right. `chats`: the
    addresses that a channel with such values writes to without pairing; a service that cannot hear has one at least. They are shown and
    stored, so none holds a secret. `login`: for a service whose session comes by scanning a code.
    """

    name: str
    title: str
    fields: tuple[Field, ...]
    make: Callable[[Setup], Bridge]
    steps: tuple[str, ...] = ()
    experimental: bool = False
    needs: str = ""  # the extra that must be installed, if any
    chats: Callable[[Mapping[str, str]], tuple[str, ...]] = chats_named
    login: Callable[[Setup], Scan] | None = None

    def env(self, field_name: str) -> str:
        """The environment variable of a field."""
        return f"FARWATCH_{self.name.upper().replace('-', '_')}_{field_name.upper()}"

    @property
    def secrets(self) -> frozenset[str]:
        """Names of the fields that nobody may see."""
        return frozenset(one.name for one in self.fields if one.secret)


def split(text: str, limit: int, unit: Literal["characters", "bytes"] = "characters") -> list[str]:
    """Cut a text into pieces of at most `limit` that join to the original, at line ends where one is in the last half, else at spaces."""
    pieces = []
    while text:
        end = _fits(text, limit, unit)
        if end < len(text):
            for mark in ("\n", " "):
                found = text.rfind(mark, end // 2, end)
                if found >= 0:
                    end = found + 1
                    break
        pieces.append(text[:end])
        text = text[end:]
    return pieces


def shorten(text: str, limit: int, unit: Literal["characters", "bytes"] = "characters") -> str:
    """The beginning of a text that fits, with `…` where something is missing."""
    if _fits(text, limit, unit) >= len(text):
        return text
    return text[: _fits(text, limit - (3 if unit == "bytes" else 1), unit)] + "…"


def _fits(text: str, limit: int, unit: str) -> int:
    """How many characters of a text are within a limit; a UTF-16 pair or a UTF-8 sequence is never cut."""
    if unit == "characters":
        # Services count UTF-16 units: an emoji is two.
        if len(text) * 2 <= limit or (len(text) <= limit and text.isascii()):
            return len(text)
        used = 0
        for place, letter in enumerate(text):
            used += 2 if ord(letter) > 0xFFFF else 1
            if used > limit:
                return place
        return len(text)
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= limit:
        return len(text)
    return len(encoded[:limit].decode("utf-8", "ignore"))


def in_order(rows: Iterable[Iterable[Button]]) -> tuple[tuple[Button, ...], ...]:
    """Rows of buttons as a message holds them; empty rows are left out."""
    return tuple(row for one in rows if (row := tuple(one)))
