"""Who asks: the local secret, one-time codes, browser sessions, and signed addresses. No HTTP here.

A local server has one owner, the account that runs it. Three things prove that somebody is that owner: the secret that the server leaves
in its state folder, a session that began with a one-time code, or (decided elsewhere) a loopback connection of the same uid.
Only hashes of sessions are kept. Everything compares in constant time.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from farwatch.clock import Clock
from farwatch.errors import BusyError, DeniedError, UsageError

SCOPES = ("read", "log", "steer", "start", "admin")
PUBLIC = "public"

ONCE_S = 300.0
ONCE_MAX = 16
SESSIONS_MAX = 200
SESSION_IDLE_S = 14 * 86_400.0
SESSION_LONGEST_S = 90 * 86_400.0
SIGNED_S = 600.0
TOUCH_S = 3_600.0  # last use is written at most once an hour
MISSES_PER_MINUTE = 20
_NONCE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, and what they may do.

    `via`: how they proved it. `key`: tells actors apart for limits and signed addresses; never shown.
    """

    name: str
    scopes: frozenset[str]
    via: Literal["peer", "secret", "session", "chat"]
    key: str

    def may(self, scope: str) -> bool:
        """Whether this actor holds a scope."""
        return scope in self.scopes


@dataclass(slots=True)
class Session:
    """One browser that redeemed a code. Times in ms; `cookie` and `key` are SHA-256 hex digests."""

    cookie: str
    key: str
    created_ms: int
    used_ms: int


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a browser gets for a code: a cookie value, and the value of the header that must go with it."""

    cookie: str
    key: str


def make_secret(kind: str) -> str:
    """A token `fw_<kind>_<id>_<secret><check>`: 8 public characters, 192 secret bits, 6 characters that scanners verify."""
    head = f"fw_{kind}_{secrets.token_hex(4)}_{secrets.token_urlsafe(24)}"
    check = base64.b32encode(zlib.crc32(head.encode()).to_bytes(4, "big")).decode()[:6].lower()
    return head + check


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


@dataclass(slots=True)
class Access:
    """Proof of the owner of one local server.

    *Threads*: every method may be called from any thread; the lock is held for memory only.
    *Ownership*: `path` is a file that nobody else writes, in a folder that nobody else reads.

    `port`: what the server listens on, part of the proof, so that a stranger's port cannot relay it.
    `owner`: the name to show for the person.
    """

    path: Path
    port: int
    owner: str
    clock: Clock
    secret: str = field(default_factory=lambda: make_secret("loc"))
    _codes: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, Session] = field(default_factory=dict)
    _misses: dict[str, list[float]] = field(default_factory=dict)
    _signing: bytes = field(default_factory=lambda: os.urandom(32))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._load()

    @property
    def has_admin(self) -> bool:
        """Whether an administrator exists, without whom no server listens off loopback."""
        return False

    def owner_actor(self, via: Literal["peer", "secret"]) -> Actor:
        """The owner of this server, who may do everything."""
        return Actor(self.owner, frozenset(SCOPES), via, "owner")

    def prove(self, nonce: str) -> str:
        """The HMAC by which this server proves that it knows the secret. Raises `UsageError` for a nonce of another form."""
        if not isinstance(nonce, str) or _NONCE.fullmatch(nonce) is None:
            raise UsageError(
                "a nonce is 32 hexadecimal digits", hint='send {"nonce": "…"} with 16 random bytes'
            )
        text = f"farwatch-server:{self.port}:{nonce}"
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def by_secret(self, token: str) -> Actor | None:
        """The owner, if `token` is the secret of this server."""
        return self.owner_actor("secret") if _same(token, self.secret) else None

    def new_code(self) -> tuple[str, int]:
        """A code that opens one session, and when it ends (ms since the epoch)."""
        code = secrets.token_urlsafe(16)
        now = self.clock.mono_us() / 1e6
        with self._lock:
            for old in [digest for digest, ends in self._codes.items() if ends < now]:
                del self._codes[old]
            while len(self._codes) >= ONCE_MAX:
                del self._codes[next(iter(self._codes))]
            self._codes[_digest(code)] = now + ONCE_S
        return code, int(self.clock.wall_us() / 1000 + ONCE_S * 1000)

    def redeem(self, code: str, address: str) -> Redeemed:
        """Turn a code into a session, once.

        Raises `DeniedError` for a code that is unknown, used or too old, and `BusyError` after too many of these from one address.
        """
        now = self.clock.mono_us() / 1e6
        with self._lock:
            misses = [when for when in self._misses.get(address, []) if when > now - 60]
            if len(misses) >= MISSES_PER_MINUTE:
                raise BusyError("too many wrong codes", hint="wait a minute", retry_after_s=60)
            ends = self._codes.pop(_digest(code), 0.0)
            if ends < now:
                if len(self._misses) > 1_000:
                    self._misses.clear()
                self._misses[address] = [*misses, now]
                raise DeniedError(
                    "this link has been used, or is older than five minutes",
                    hint="`farwatch open` prints a new one",
                )
            redeemed = Redeemed(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
            wall_ms = self.clock.wall_us() // 1000
            self._sessions[_digest(redeemed.cookie)] = Session(
                _digest(redeemed.cookie), _digest(redeemed.key), wall_ms, wall_ms
            )
            while len(self._sessions) > SESSIONS_MAX:
                del self._sessions[min(self._sessions.values(), key=lambda one: one.used_ms).cookie]
        self._save()
        return redeemed

    def by_cookie(self, cookie: str) -> Actor | None:
        """The owner of a living session, by its cookie alone: enough to show an empty page, never to read data."""
        session = self._living(cookie)
        return None if session is None else Actor(self.owner, frozenset(), "session", session.cookie)

    def by_session(self, cookie: str, key: str) -> Actor | None:
        """The owner of a living session, by its cookie and the key that goes with it."""
        session = self._living(cookie)
        if session is None or not hmac.compare_digest(_digest(key), session.key):
            return None
        now_ms = self.clock.wall_us() // 1000
        if now_ms - session.used_ms > TOUCH_S * 1000:
            session.used_ms = now_ms
            self._save()
        return Actor(self.owner, frozenset(SCOPES), "session", session.cookie)

    def end(self, actor: Actor) -> None:
        """End the session of an actor who has one."""
        with self._lock:
            gone = self._sessions.pop(actor.key, None)
        if gone is not None:
            self._save()

    def sign(self, actor: Actor, what: str) -> str:
        """A signature that lets this actor's browser fetch `what` without the header, for ten minutes: `<until>.<hex>`."""
        until = (
            int(self.clock.wall_us() / 1e6 + SIGNED_S) // 300 * 300 + 300
        )  # steady for five minutes, so that caches hit
        return f"{until}.{self._signature(actor.key, what, until)}"

    def by_signature(self, cookie: str, what: str, signature: str) -> Actor | None:
        """The owner of the session for which `what` was signed, with the scope `read` only."""
        until, _, given = signature.partition(".")
        session = self._living(cookie)
        if session is None or not until.isascii() or not until.isdigit() or len(until) > 12:
            return None
        if int(until) < self.clock.wall_us() / 1e6 or not _same(
            given, self._signature(session.cookie, what, int(until))
        ):
            return None
        return Actor(self.owner, frozenset({"read"}), "session", session.cookie)

    def _signature(self, key: str, what: str, until: int) -> str:
        return hmac.new(self._signing, f"{key}\n{what}\n{until}".encode(), hashlib.sha256).hexdigest()

    def _living(self, cookie: str) -> Session | None:
        now_ms = self.clock.wall_us() // 1000
        with self._lock:
            session = self._sessions.get(_digest(cookie))
            if session is None:
                return None
            if (
                now_ms - session.used_ms > SESSION_IDLE_S * 1000
                or now_ms - session.created_ms > SESSION_LONGEST_S * 1000
            ):
                del self._sessions[session.cookie]
                return None
            return session

    def _load(self) -> None:
        try:
            listed: list[dict[str, Any]] = json.loads(self.path.read_text())["sessions"]
            for row in listed:
                session = Session(
                    str(row["cookie"]), str(row["key"]), int(row["created_ms"]), int(row["used_ms"])
                )
                self._sessions[session.cookie] = session
        except (OSError, ValueError, KeyError, TypeError):
            self._sessions.clear()  # a session that cannot be read is one that has ended

    def _save(self) -> None:
        with self._writing:
            with self._lock:
                rows = [
                    {
                        "cookie": one.cookie,
                        "key": one.key,
                        "created_ms": one.created_ms,
                        "used_ms": one.used_ms,
                    }
                    for one in self._sessions.values()
                ]
            temporary = self.path.with_name(self.path.name + ".new")
            temporary.unlink(missing_ok=True)
            handle = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600
            )
            with os.fdopen(handle, "w") as file:
                json.dump({"sessions": rows}, file)
            os.replace(temporary, self.path)
