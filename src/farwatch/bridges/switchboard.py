"""All channels of a server, open, in a thread of their own: nothing that they wait for holds up ingest, pages or training."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from farwatch.bridges import registry
from farwatch.bridges.base import Address, Bridge, Condition, Incoming, Kind, Setup, plain
from farwatch.bridges.channels import Channel, ChannelFile, checked, from_environment, unusable
from farwatch.bridges.dispatch import Dispatcher, Notice, Urgency
from farwatch.clock import Clock
from farwatch.errors import BridgeError, FarwatchError, NotFoundError, UsageError
from farwatch.service.people import Meta, People

log = logging.getLogger("farwatch.bridges")

T = TypeVar("T")
CALL_S = 60.0
CLOSE_S = 8.0
DRAIN_S = 2.0  # what is on its way when the server ends may still arrive


class Switchboard:
    """Opens channels and hands on what people write.

    *Threads*: `call` and everything that says so by any; the rest in its own loop. *Ownership*: bridges and dispatcher live in that loop.
    `on_incoming`: an update, in the order of its channel. `on_ready`: called in the loop once it runs.
    """

    def __init__(self, file: ChannelFile, people: People, meta: Meta, clock: Clock, environ: Mapping[str, str]) -> None:
        self._file = file
        self._people = people
        self._clock = clock
        self._environ = environ
        self._channels: dict[str, Channel] = {}
        self._faults: dict[str, str] = {}  # channel -> why it could not be opened
        self.bridges: dict[str, Bridge] = {}
        self.dispatcher = Dispatcher(self.bridges, meta, clock)
        self.on_incoming: Callable[[Incoming], Awaitable[None]] = _nobody
        self.on_ready: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._closed = False

    # --- for other threads

    def start(self) -> None:
        """Begin: open what the file and the environment name. By any thread, once."""
        self._thread = threading.Thread(target=self._work, name="farwatch-bridges", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], limit_s: float = CALL_S) -> T:
        """Run something in the loop and wait for it. By any other thread. Raises what it raises, `BridgeError` if it takes too long."""
        if self._closed or self._thread is None:
            raise BridgeError("the server is about to end")
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result(limit_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise BridgeError(f"the service has not answered within {limit_s:g} s") from None

    def soon(self, work: Callable[[], object]) -> None:
        """Run something in the loop and do not wait for it. By any thread; nothing happens once it is closed."""
        if not self._closed:
            try:
                self._loop.call_soon_threadsafe(work)
            except RuntimeError:
                pass  # the loop has ended meanwhile

    def close(self) -> None:
        """Let what is on its way arrive, and close all channels; may be called twice. By any other thread."""
        if self._closed:
            return
        if self._thread is not None and self._thread.is_alive():
            try:
                self.call(self._close, CLOSE_S)
            except (FarwatchError, RuntimeError):
                log.warning("a chat service did not let go in time")
            self._closed = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_S)
        self._closed = True

    # --- channels, for handlers of requests

    def connect(self, name: str, kind: str, values: Mapping[str, Any]) -> str:
        """Connect a service, or connect it anew with other values; returns what the service calls us.

        Nothing is kept unless the service takes the credentials. Raises `UsageError`, `NotFoundError`, `BridgeError`.
        """
        known = self._channels.get(name)
        if known is not None and not known.lasting:
            raise UsageError(f"`{name}` is connected by the environment of the server", hint="change it there")
        kept = known.values if known is not None and known.kind == kind else {}  # what is not given again stays
        asked = checked(name, kind, {**kept, **values})
        return self.call(lambda: self._connect(asked))

    def disconnect(self, name: str) -> None:
        """Close a channel and forget its credentials. Raises `NotFoundError`, `UsageError` for one of the environment."""
        known = self._channels.get(name)
        if known is None:
            raise NotFoundError(f"no channel is called `{name[:60]}`", hint=f"there are: {', '.join(self._channels) or 'none'}")
        if not known.lasting:
            raise UsageError(f"`{name}` is connected by the environment of the server", hint="take it out there")
        self.call(lambda: self._shut(name))
        self._file.remove(name)
        del self._channels[name]

    def channels(self) -> list[dict[str, Any]]:
        """All channels: name, kind, title, how they are, and the values that are no secrets."""
        found = []
        for name, channel in sorted(self._channels.items()):
            about = self._kind(channel.kind)
            bridge = self.bridges.get(name)
            condition = bridge.condition() if bridge is not None else Condition(False, "closed", self._faults.get(name, "not open"))
            caps = None if bridge is None else bridge.caps
            found.append(
                {
                    "name": name, "kind": channel.kind, "title": channel.kind if about is None else about.title,
                    "lasting": channel.lasting, "values": {} if about is None else channel.shown(about),
                    "created_ms": channel.created_ms or None, "ok": condition.ok, "code": condition.code, "text": condition.text,
                    "facts": dict(condition.facts), "two_way": bool(caps and caps.two_way), "groups": bool(caps and caps.groups),
                    "push_first": caps is None or caps.push_first, "experimental": bool(about and about.experimental),
                }
            )  # fmt: skip
        return found

    def test(self, chat_no: int, text: str) -> dict[str, Any]:
        """Send a test to a chat and say what became of it. Raises `NotFoundError`, `BridgeError`."""
        chat = self._people.chat(chat_no)

        async def work() -> dict[str, Any]:
            receipt = await self.dispatcher.post(chat, Notice(Urgency.EVENT, "test", plain(text), keep_s=20.0)).done
            return {"outcome": receipt.outcome, "reason": receipt.reason}

        return self.call(work, 45.0)

    # --- in the loop

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open_all())
        self.on_ready()
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _open_all(self) -> None:
        try:
            lasting = self._file.load()
        except UsageError as error:
            log.error("%s", error)
            lasting = {}
        given, lacking = from_environment(self._environ)
        for sentence in lacking:
            log.warning("%s", sentence)
        self._channels = {**lasting, **given}
        for channel in self._channels.values():
            try:
                await self._open(channel)
            except Exception as error:  # one channel's trouble is no other's
                self._faults[channel.name] = unusable(error)
                log.warning("channel %s is not open: %s", channel.name, unusable(error))

    async def _connect(self, channel: Channel) -> str:
        about = registry.kind(channel.kind)
        bridge = about.make(self._setup(channel))
        try:
            called = await bridge.check()
        finally:
            await bridge.close()
        await self._shut(channel.name)
        self._channels[channel.name] = self._file.put(channel)
        await self._open(self._channels[channel.name])
        return called

    async def _open(self, channel: Channel) -> None:
        about = registry.kind(channel.kind)
        bridge = about.make(self._setup(channel))
        name = channel.name

        async def receive(incoming: Incoming) -> None:
            try:
                await self.on_incoming(incoming)
            except Exception:  # what one message does must not end the channel
                log.exception("a message from %s was not understood", name)

        await bridge.open(receive)
        self.bridges[name] = bridge
        self._faults.pop(name, None)
        self.dispatcher.reset(name)
        for word in about.chats(channel.values):
            if self._people.chat_at(name, str(Address.parse(word))) is None:
                await self._loop.run_in_executor(None, self._people.add_chat, name, str(Address.parse(word)))

    def _setup(self, channel: Channel) -> Setup:
        return Setup(channel.name, channel.values, self._file.memory(channel.name), self._clock)

    async def _shut(self, name: str) -> None:
        bridge = self.bridges.pop(name, None)
        if bridge is not None:
            await bridge.close()

    async def _close(self) -> None:
        await self.dispatcher.drain(DRAIN_S)
        await self.dispatcher.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(self._shut(name) for name in list(self.bridges)), return_exceptions=True)

    def task(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run something beside, in the loop, until it ends or the server does; what it raises is logged."""

        async def guarded() -> Any:
            try:
                return await work
            except Exception:
                log.exception("something for a chat failed")

        made = self._loop.create_task(guarded())
        self._tasks.add(made)
        made.add_done_callback(self._tasks.discard)
        return made

    def _kind(self, name: str) -> Kind | None:
        try:
            return registry.kind(name)
        except FarwatchError:
            return None


async def _nobody(incoming: Incoming) -> None:
    """Who listens before somebody does."""

