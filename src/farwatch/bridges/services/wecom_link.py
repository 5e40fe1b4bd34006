"""The one WebSocket of a WeCom smart bot: log-in, heartbeat, answers by request id, and connecting again.

A frame is `{cmd, headers: {req_id}, body}`; an answer has no `cmd`, but the request's `req_id`, `errcode` and `errmsg`. A bot has one
connection: who connects second throws the first out, which is told so and must stay away, or two programs fight for ever.
"""

import asyncio
import contextlib
import json
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from farwatch.bridges.base import Condition, Outcome, Receipt
from farwatch.bridges.outward import AGENT, CONNECT_S, Unreached, is_private
from farwatch.errors import BridgeError

FRAME_MAX_BYTES = 8 << 20
FAULTS = {-1, 6000, 45009, 45033}  # busy, or asked too often: nothing is wrong with the request
WAITING_MAX = 1_000  # callbacks that are not handed on yet
_SILENT = logging.Logger("farwatch.wecom", logging.CRITICAL + 1)  # the library's own shows frames, and the first holds the secret
_LOG = logging.getLogger(__name__)

Frame = dict[str, Any]
Hear = Callable[[Frame], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `ack_s`: for an answer; `patience_s`: that a request waits for a connection; `refused_s`: from a refused log-in to the next.
    """

    ping_s: float = 30.0
    ack_s: float = 5.0
    patience_s: float = 5.0
    first_s: float = 1.0
    most_s: float = 120.0
    refused_s: float = 600.0
    steady_s: float = 60.0  # a connection that stood so long was a good one: pauses begin anew


class Link:
    """Frames to and from the service. *Threads*: one event loop. *Ordering*: `hear` gets callbacks one after the other, as they came."""

    def __init__(self, url: str, bot_id: str, secret: str, timing: Timing) -> None:
        self._url = url
        self._login = {"bot_id": bot_id, "secret": secret}
        self._timing = timing
        self._socket: ClientConnection | None = None
        self._up = asyncio.Event()
        self._asked: dict[str, asyncio.Future[Frame]] = {}
        self._heard: asyncio.Queue[Frame] = asyncio.Queue(WAITING_MAX)
        self._tasks: list[asyncio.Task[None]] = []
        self.condition = Condition(False, "connecting", "connecting to WeCom")

    def start(self, hear: Hear) -> None:
        """Connect and stay connected, until `stop`."""
        if not self._tasks:
            self.condition = Condition(False, "connecting", "connecting to WeCom")
            self._tasks = [
                asyncio.create_task(self._stay(), name="wecom-link"),
                asyncio.create_task(self._hand_on(hear), name="wecom-heard"),
            ]

    async def stop(self) -> None:
        """Close the connection; may be called twice."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return bool(self._tasks)

    async def ask(self, cmd: str, body: Frame | None = None, *, req_id: str | None = None) -> Frame:
        """Send a request and wait for its answer, whatever its `errcode`. Raises `Unreached`; what was sent is never sent again."""
        if not self._up.is_set() and self.condition.code in ("connecting", "no-contact") and self._tasks:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), self._timing.patience_s)
        socket = self._socket
        if socket is None or not self._up.is_set():
            down = Outcome.REVOKED if self.condition.code in ("revoked", "taken-over") else Outcome.FAILED
            raise Unreached(Receipt(down, reason=self.condition.text or "not connected to WeCom"))
        return await self._ask(socket, cmd, body, req_id)

    async def probe(self) -> None:
        """Find out whether the credentials are good. Raises `BridgeError`, and `Unreached`.

        Without a connection of ours one is made for the purpose; that throws out whoever else is connected as this bot.
        """
        if self._tasks:
            answer = await self.ask("ping")
            self._check(answer)
            return
        async with self._connected() as socket:
            reader = asyncio.create_task(self._read(socket))
            try:
                self._check(await self._ask(socket, "aibot_subscribe", self._login, None))
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    def _check(self, answer: Frame) -> None:
        code = answer.get("errcode")
        if not isinstance(code, int) or code in FAULTS:
            raise Unreached(Receipt(Outcome.FAILED, reason=f"WeCom has a fault of its own: {self.clean(answer.get('errmsg'))} ({code})"))
        if code != 0:
            raise BridgeError(
                f"WeCom does not take this bot: {self.clean(answer.get('errmsg'))} ({code})",
                hint="copy bot id and secret again from the bot's page: API mode, long connection",
            )

    def clean(self, text: object) -> str:
        """The service's words without the secret, at most 200 characters."""
        words = " ".join(str(text or "no reason given").split())
        return words.replace(self._login["secret"], "•••")[:200]

    async def _ask(self, socket: ClientConnection, cmd: str, body: Frame | None, req_id: str | None) -> Frame:
        req_id = req_id or f"{cmd}_{uuid.uuid4().hex}"
        if req_id in self._asked:  # one request in flight for each callback
            raise Unreached(Receipt(Outcome.LATER, reason="an answer to the same message is on its way", retry_after_s=1.0))
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._asked[req_id] = answer
        frame: Frame = {"cmd": cmd, "headers": {"req_id": req_id}} | ({} if body is None else {"body": body})
        try:
            async with asyncio.timeout(self._timing.ack_s):
                await socket.send(json.dumps(frame, ensure_ascii=False))
                return await answer
        except TimeoutError:
            raise Unreached(Receipt(Outcome.UNSURE, reason=f"no answer within {self._timing.ack_s:g} s")) from None
        except (ConnectionClosed, OSError) as error:
            raise Unreached(Receipt(Outcome.UNSURE, reason=f"the connection broke: {type(error).__name__}")) from None
        finally:
            self._asked.pop(req_id, None)

    @contextlib.asynccontextmanager
    async def _connected(self) -> Any:
        """A connection before its log-in. Raises `Unreached`."""
        inside = is_private(urlsplit(self._url).hostname or "")
        try:
            socket = await connect(
                self._url, open_timeout=CONNECT_S, close_timeout=1, ping_interval=None, max_size=FRAME_MAX_BYTES, user_agent_header=AGENT,
                proxy=None if inside else True, logger=_SILENT,
            )  # fmt: skip
        except (OSError, WebSocketException, EOFError, ImportError, ValueError) as error:  # ImportError: a SOCKS proxy
            raise Unreached(Receipt(Outcome.FAILED, reason=f"no contact with WeCom: {self.clean(error)}")) from None
        try:
            yield socket
        finally:
            await socket.close()

    async def _stay(self) -> None:
        """Be connected; pauses grow, and are never the same for two programs."""
        pause = self._timing.first_s
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            try:
                await self._session()
            except Unreached as error:
                self.condition = Condition(False, "no-contact", error.receipt.reason)
            except BridgeError as error:
                self.condition = Condition(False, "revoked", str(error))
                pause = self._timing.refused_s
            except Exception as error:  # the border to a service that changes: it must be reached again
                _LOG.error("the connection to WeCom ended by a fault: %s", type(error).__name__)
                self.condition = Condition(False, "no-contact", f"a fault of the connection: {type(error).__name__}")
            if self.condition.code == "taken-over":
                return
            if loop.time() - since > self._timing.steady_s:
                pause = self._timing.first_s
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, max(self._timing.most_s, self._timing.refused_s if self.condition.code == "revoked" else 0))

    async def _session(self) -> None:
        """One connection from log-in to its end. Raises `Unreached`, and `BridgeError` where the log-in is refused."""
        async with self._connected() as socket:
            reader = asyncio.create_task(self._read(socket), name="wecom-read")
            beat: asyncio.Task[None] | None = None
            try:
                self._check(await self._ask(socket, "aibot_subscribe", self._login, None))
                self._socket = socket
                self._up.set()
                self.condition = Condition(True, "ok", "connected", {"bot": self._login["bot_id"]})
                beat = asyncio.create_task(self._beat(socket), name="wecom-beat")
                await reader
            finally:
                self._up.clear()
                self._socket = None
                for task in (reader, beat):
                    if task is not None:
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                for answer in self._asked.values():
                    if not answer.done():
                        answer.set_exception(ConnectionError("closed"))
        if self.condition.code == "ok":
            self.condition = Condition(False, "no-contact", "the connection to WeCom has ended; connecting again")

    async def _beat(self, socket: ClientConnection) -> None:
        """A ping every 30 s; two without an answer, and the connection is dead, whatever TCP believes."""
        missed = 0
        while True:
            await asyncio.sleep(self._timing.ping_s)
            try:
                await self._ask(socket, "ping", None, None)
                missed = 0
            except Unreached:
                missed += 1
            if missed >= 2:
                socket.transport.abort()
                return

    async def _read(self, socket: ClientConnection) -> None:
        """Take frames until the connection ends; what is none is ignored."""
        with contextlib.suppress(ConnectionClosed):
            async for raw in socket:
                try:
                    frame = json.loads(raw)
                except (ValueError, RecursionError):
                    continue
                if isinstance(frame, dict):
                    self._take(frame)
                    if self.condition.code == "taken-over":
                        return
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ConnectionError("closed"))

    def _take(self, frame: Frame) -> None:
        headers = frame.get("headers")
        req_id = headers.get("req_id") if isinstance(headers, dict) else None
        if not frame.get("cmd"):
            answer = self._asked.get(req_id) if isinstance(req_id, str) else None
            if answer is not None and not answer.done():
                answer.set_result(frame)
            return
        if frame["cmd"] not in ("aibot_msg_callback", "aibot_event_callback") or not isinstance(frame.get("body"), dict):
            return
        event = frame["body"].get("event")
        if frame["cmd"] == "aibot_event_callback" and isinstance(event, dict) and event.get("eventtype") == "disconnected_event":
            self._up.clear()
            self.condition = Condition(
                False, "taken-over", "another program has connected as this bot; stop it there, then connect here again",
            )  # fmt: skip
            return
        try:
            self._heard.put_nowait(frame)
        except asyncio.QueueFull:
            _LOG.warning("a message from WeCom is dropped: %d are waiting", WAITING_MAX)

    async def _hand_on(self, hear: Hear) -> None:
        while True:
            frame = await self._heard.get()
            try:
                await hear(frame)
            except Exception as error:  # the border to whoever listens: the next message must be heard
                _LOG.error("a message from WeCom was not understood: %s", type(error).__name__)
