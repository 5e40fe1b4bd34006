"""All channels of a server, open, in a thread of their own: nothing that they wait for holds up ingest, pages or training."""

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
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
TEST_S = 20.0  # how long a test is worth sending
DRAIN_S = 2.0  # what is on its way when the server ends may still arrive


class Switchboard:
    """Opens channels and hands on what people write.

    *Threads*: `call`, `reach` and everything that says so by any; the rest in its own loop. *Ownership*: bridges and dispatcher live in
    that loop. `ending`: set when the server is about to end, for what is waited for on behalf of a request.
    `on_incoming`: an update, in the order of its channel. `on_ready`, `on_close`: called in the loop once it runs, and at its end.
    """

    def __init__(self, file: ChannelFile, people: People, meta: Meta, clock: Clock, environ: Mapping[str, str]) -> None:
        self._file = file
        self._people = people
        self._meta = meta
        self._clock = clock
        self._environ = environ
        self._channels: dict[str, Channel] = {}
        self._faults: dict[str, str] = {}  # channel -> why it could not be opened
        self.bridges: dict[str, Bridge] = {}
        self.dispatcher = Dispatcher(self.bridges, meta, clock)
        self.on_incoming: Callable[[Incoming], Awaitable[None]] = _nobody
        self.on_ready: Callable[[], None] = lambda: None
        self.on_gone: Callable[[str], None] = lambda name: None  # a channel was removed: another of this name is another
        self.on_close: Callable[[], Awaitable[None]] = _nothing
        self.ending = asyncio.Event()
        self._changing = asyncio.Lock()  # channels are connected and taken away one after the other
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last: dict[tuple[str, str], asyncio.Task[Any]] = {}  # what each user wrote last: the next waits for it, the channel does not
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._closed = False

    # --- for other threads

    def start(self) -> None:
        """Begin: open what the file and the environment name. By any thread, once; all are known when it returns, and open soon after."""
        self._read()
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

    async def reach(self, work: Callable[[], Coroutine[Any, Any, T]], limit_s: float = CALL_S) -> T:
        """The same for a coroutine of another loop, which holds up no thread meanwhile."""
        if self._closed or self._thread is None:
            raise BridgeError("the server is about to end")
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), limit_s)
        except TimeoutError:
            raise BridgeError(f"the service has not answered within {limit_s:g} s") from None

    def hurry(self) -> None:
        """Answer requests that wait for a service. By any thread."""
        self.soon(self.ending.set)

    async def within(self, waited: Iterable["asyncio.Future[Any]"], limit_s: float) -> None:
        """Wait until all of these are done, for so long at most, and not beyond the end of the server. Cancels nothing."""
        end = self._loop.create_task(self.ending.wait())
        left, until_s = {*waited}, self._loop.time() + limit_s
        try:
            while left and not self.ending.is_set() and (rest_s := until_s - self._loop.time()) > 0:
                await asyncio.wait({*left, end}, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
                left = {one for one in left if not one.done()}
        finally:
            end.cancel()

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

    async def connect(self, name: str, kind: str, values: Mapping[str, Any], by: str) -> str:
        """Connect a service, or connect it anew with other values; returns what the service calls us, empty where it is asked by a scan.

        Nothing is kept unless the service takes the credentials; what is not given again stays. Raises `UsageError`, `NotFoundError`,
        `BridgeError`.
        """
        async with self._changing:
            known = self._channels.get(name)
            if known is not None and not known.lasting:
                raise UsageError(f"`{name}` is connected by the environment of the server", hint="change it there")
            if known is not None and known.kind != kind:
                # Chats and identities hang on the name: a user of one service must not become one of another.
                raise UsageError(f"`{name}` is a channel of {known.kind}", hint="remove it first, or take another name")
            asked = checked(name, kind, {**({} if known is None else known.values), **values})
            self._check_alone(asked)
            called = await self._check(asked)
            await self._keep(asked, by)
            return called

    async def disconnect(self, name: str, by: str) -> None:
        """Close a channel, forget its credentials, and make everybody there a stranger. Raises `NotFoundError`, `UsageError` for one of
        the environment.
        """
        async with self._changing:
            known = self.known(name)
            if not known.lasting:
                raise UsageError(f"`{name}` is connected by the environment of the server", hint="take it out there")
            await self._shut(name)
            await asyncio.to_thread(self._file.remove, name)
            del self._channels[name]
            self._faults.pop(name, None)
            self.on_gone(name)
            for no in await asyncio.to_thread(self._people.forget_channel, name, by):
                self.dispatcher.forget(no)

    def known(self, name: str) -> Channel:
        """A channel by its name. By any thread. Raises `NotFoundError`."""
        found = self._channels.get(name)
        if found is None:
            raise NotFoundError(f"no channel is called `{name[:60]}`", hint=f"there are: {', '.join(self._channels) or 'none'}")
        return found

    def channel_with(self, kind: str, secrets: Mapping[str, str]) -> str | None:
        """The open channel of a service that has these credentials; None if there is none."""
        for name, channel in self._channels.items():
            if channel.kind == kind and name in self.bridges and secrets.items() <= channel.values.items():
                return name
        return None

    def channels(self) -> list[dict[str, Any]]:
        """All channels: name, kind, title, how they are, and the values that are no secrets. By any thread."""
        found = []
        for name, channel in sorted(self._channels.items()):
            about = self._kind(channel.kind)
            bridge = self.bridges.get(name)
            condition = bridge.condition() if bridge is not None else self._closed_one(name)
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

    def _closed_one(self, name: str) -> Condition:
        """How a channel is that has no bridge: it will have one in a moment, or cannot."""
        why = self._faults.get(name)
        return Condition(False, "connecting", "about to be opened") if why is None else Condition(False, "closed", why)

    async def test(self, chat_no: int, text: str) -> dict[str, Any]:
        """Send a test to a chat and say what became of it. Raises `NotFoundError`."""
        chat = self._people.chat(chat_no)
        ticket = self.dispatcher.post(chat, Notice(Urgency.EVENT, "test", plain(text), ahead=True, keep_s=TEST_S))
        await self.within([ticket.done], TEST_S + 5.0)
        if not ticket.done.done():
            ticket.cancel()
        receipt = ticket.done.result()
        return {"outcome": receipt.outcome, "reason": receipt.reason}

    # --- in the loop

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open_all())
        self.on_ready()
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _read(self) -> None:
        """What the file and the environment name."""
        try:
            lasting = self._file.load()
        except UsageError as error:
            log.error("%s", error)
            lasting = {}
        given, lacking = from_environment(self._environ)
        for sentence in lacking:
            log.warning("%s", sentence)
        self._channels = {**lasting, **given}

    async def _open_all(self) -> None:
        for channel in list(self._channels.values()):
            try:
                await self._open(channel)
            except Exception as error:  # one channel's trouble is no other's
                self._faults[channel.name] = unusable(error)
                log.warning("channel %s is not open: %s", channel.name, unusable(error))

    def _check_alone(self, asked: Channel) -> None:
        """Two channels of one bot would take each other's updates. Raises `UsageError`."""
        secrets = registry.kind(asked.kind).secrets
        mine = {name: value for name, value in asked.values.items() if name in secrets}
        for other in self._channels.values():
            if mine and other.name != asked.name and other.kind == asked.kind and mine.items() <= other.values.items():
                raise UsageError(f"this bot is connected already, as `{other.name}`", hint="one channel can write to many chats")

    async def _check(self, asked: Channel) -> str:
        about = registry.kind(asked.kind)
        bridge = about.make(self.setup(asked))
        try:
            return await bridge.check()
        except BridgeError:
            if about.login is None:
                raise
            return ""  # its credentials come by a scan
        finally:
            await bridge.close()

    async def _keep(self, channel: Channel, by: str) -> None:
        """Write a channel down, and open it anew."""
        self._channels[channel.name] = kept = await asyncio.to_thread(self._file.put, channel)
        await self._shut(channel.name)
        await self._open(kept)
        now_ms = self._clock.wall_us() // 1000
        about = {"kind": channel.kind, "fields": sorted(channel.values)}  # never their values
        self._meta.enqueue(lambda writes: writes.add_audit(now_ms, by, "channel.connected", channel.name, about), durable=False)

    async def logged_in(self, channel: Channel, by: str) -> None:
        """A scan has given a channel its session: keep it if it is new, and open it with that."""
        async with self._changing:
            if channel.lasting:
                await self._keep(channel, by)
            else:
                await self._shut(channel.name)
                await self._open(channel)

    async def _open(self, channel: Channel) -> None:
        about = registry.kind(channel.kind)
        bridge = about.make(self.setup(channel))
        name = channel.name

        async def receive(incoming: Incoming) -> None:
            key = (name, incoming.user)
            before = self._last.get(key)

            async def in_turn() -> None:
                if before is not None:
                    await asyncio.wait({before})
                await self.on_incoming(incoming)

            mine = self._last[key] = self.task(in_turn())
            mine.add_done_callback(lambda _: self._last.pop(key) if self._last.get(key) is mine else None)

        await bridge.open(receive)
        self.bridges[name] = bridge
        self._faults.pop(name, None)
        self.dispatcher.reset(name)
        for word in about.chats(channel.values):
            if self._people.chat_at(name, str(Address.parse(word))) is None:
                await self._loop.run_in_executor(None, self._people.add_chat, name, str(Address.parse(word)))

    def setup(self, channel: Channel) -> Setup:
        """What a bridge of this channel is made from."""
        return Setup(channel.name, channel.values, self._file.memory(channel.name), self._clock)

    async def _shut(self, name: str) -> None:
        bridge = self.bridges.pop(name, None)
        if bridge is not None:
            await bridge.close()

    async def _close(self) -> None:
        self.ending.set()
        await self.dispatcher.drain(DRAIN_S)
        await self.dispatcher.close()
        for task in list(self._tasks):
            task.cancel()
        await self.on_close()
        await asyncio.gather(*(self._shut(name) for name in list(self.bridges)), return_exceptions=True)

    def task(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run something beside, in the loop, until it ends or the server does; what it raises is logged."""

        async def guarded() -> Any:
            try:
                return await work
            except Exception:
                log.exception("something for a chat failed")

        return self.begun(guarded())

    def begun(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """The same for something whose end somebody will ask for, errors included."""
        made = self._loop.create_task(work)
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



async def _nothing() -> None:
    """What there is to close beside channels."""
