"""The queues where things go wrong: what has changed while it waited, chats that are closed, a database that does not answer."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farwatch.bridges.base import Caps, Outcome, Rate, Receipt, plain
from farwatch.bridges.dispatch import KEYS_KEPT, Dispatcher, Notice, Urgency
from farwatch.clock import SystemClock
from farwatch.store.meta import ChatRow, Meta
from tests.bridges.virtual import Scripted, run_virtually

CHAT = ChatRow(1, "tg", "100", 7, "Ann", 0, {}, 0)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path / "meta.db", SystemClock())
    yield made
    made.close()


def alarm(text: str) -> Notice:
    return Notice(Urgency.ALARM, "alert/1", plain(text), key="alert/1")


def progress(text: str, key: str = "progress/1") -> Notice:
    return Notice(Urgency.PROGRESS, key, plain(text), key=key)


def deliveries(meta: Meta) -> list[str]:
    meta.write(lambda writes: None)
    with meta.read() as reads:
        return [row.outcome for row in reads.people.deliveries()]


def test_what_changed_while_it_waited_is_said_as_it_is_now_and_still_as_an_alarm(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        bridge.script = [Receipt(Outcome.FAILED, reason="no contact")]
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        ticket = dispatcher.post(CHAT, alarm("NaN"))
        await asyncio.sleep(0.1)
        assert not dispatcher.has(1, "alert/1")
        assert dispatcher.amend(1, "alert/1", plain("NaN, answered"), over=False)
        assert (await ticket.done).arrived
        assert bridge.did("send") == ["NaN", "NaN, answered"] and bridge.did("edit") == []
        assert not bridge.messages[-1].silent
        assert not dispatcher.amend(1, "alert/1", plain("too late"), over=False)

    run_virtually(main)


def test_what_is_over_before_it_could_be_said_makes_no_sound(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted(Caps(text_max=100, edit=True, rates=(Rate(1, 30.0),)))
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        await dispatcher.post(CHAT, Notice(Urgency.EVENT, "run/1", plain("first"))).done
        ticket = dispatcher.post(CHAT, alarm("NaN"))
        await asyncio.sleep(5)
        assert dispatcher.amend(1, "alert/1", plain("recovered"), over=True)
        assert (await ticket.done).arrived
        assert bridge.did("send") == ["first", "recovered"] and bridge.messages[-1].silent

    run_virtually(main)


def test_what_changes_while_it_is_on_its_way_is_edited_as_soon_as_it_has_arrived(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        bridge.takes_s = 3.0
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        dispatcher.post(CHAT, alarm("NaN"))
        await asyncio.sleep(1)
        assert dispatcher.amend(1, "alert/1", plain("recovered"), over=True)
        await dispatcher.drain(30)
        assert [(what, text) for _, what, text, _ in bridge.log] == [("send", "NaN"), ("edit", "recovered")]

    run_virtually(main)


def test_ring_anew_is_a_message_of_its_own_and_the_one_that_changes_from_then_on(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        await dispatcher.post(CHAT, alarm("NaN")).done
        await dispatcher.post(CHAT, replace(alarm("still NaN"), anew=True)).done
        await dispatcher.post(CHAT, Notice(Urgency.EVENT, "alert/1", plain("recovered"), key="alert/1")).done
        assert bridge.did("send") == ["NaN", "still NaN"] and bridge.did("edit") == ["recovered"]
        meta.write(lambda writes: None)
        again = Dispatcher({"tg": bridge}, meta, SystemClock())
        assert again._ids(1, "alert/1") == ("m2",)

    run_virtually(main)


@pytest.mark.parametrize("outcome", [Outcome.GONE, Outcome.REVOKED, Outcome.ASLEEP])
@pytest.mark.parametrize("edit", [True, False])
def test_closed_chat_is_not_asked_for_progress_every_second(meta: Meta, outcome: Outcome, edit: bool) -> None:
    """A person has blocked the bot, the token was revoked, the window has closed: an hour of progress is six tries, alarms are tried."""

    async def main() -> None:
        bridge = Scripted(Caps(text_max=100, edit=edit))
        bridge.script = [Receipt(outcome, reason="no")] * 10_000
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        for n in range(3_600):
            dispatcher.post(CHAT, progress(f"{n}"))
            await asyncio.sleep(1)
        assert 5 <= len(bridge.log) <= 7
        assert len(deliveries(meta)) == len(bridge.log)
        assert (await dispatcher.post(CHAT, alarm("NaN")).done).outcome is outcome
        assert bridge.log[-1][2] == "NaN"
        dispatcher.heard(CHAT)
        bridge.script = []
        assert (await dispatcher.post(CHAT, progress("100 %")).done).arrived

    run_virtually(main)


def test_what_a_sleeping_service_did_not_take_is_told_after_the_next_word_behind_the_answer(meta: Meta) -> None:
    """C13: the rest waits, and goes out when the person has written; an answer that is late by then does not."""

    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        bridge.script = [Receipt(Outcome.ASLEEP, reason="no credits left")] * 4
        first = [dispatcher.post(CHAT, Notice(Urgency.EVENT, f"run/{n}", plain(f"finished {n}"))) for n in range(2)]
        first += [dispatcher.post(CHAT, alarm("NaN")), dispatcher.post(CHAT, Notice(Urgency.EVENT, "answer", plain("late"), ahead=True))]
        await asyncio.gather(*(one.done for one in first))
        assert [one.done.result().outcome for one in first] == [Outcome.ASLEEP] * 4
        assert not dispatcher.amend(1, "alert/1", plain("recovered"), over=True)
        bridge.log.clear()
        await asyncio.sleep(3_600)
        assert bridge.log == []
        dispatcher.heard(CHAT)
        dispatcher.post(CHAT, Notice(Urgency.EVENT, "answer", plain("status"), ahead=True))
        await dispatcher.drain(60)
        assert bridge.did("send")[0] == "status"
        assert sorted(bridge.did("send")) == ["finished 0", "finished 1", "recovered", "status"]
        dispatcher.heard(CHAT)
        await dispatcher.drain(60)
        assert len(bridge.log) == 4

    run_virtually(main)


def test_alarm_is_sent_though_the_database_cannot_be_read(meta: Meta, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def locked() -> Iterator[Any]:
        raise OSError("disk I/O error")
        yield

    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        monkeypatch.setattr(meta, "read", locked)
        assert (await dispatcher.post(CHAT, alarm("NaN")).done).arrived
        assert bridge.did("send") == ["NaN"]

    run_virtually(main)


def test_alarm_is_sent_though_nothing_can_be_written(meta: Meta, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: neither the delivery nor the message's id is kept, and what follows still changes the message that stands there."""
    enqueue = meta.enqueue

    def full(writes: Any) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        monkeypatch.setattr(meta, "enqueue", lambda change, durable=True: enqueue(full, durable=durable))
        assert (await dispatcher.post(CHAT, alarm("NaN")).done).arrived
        assert (await dispatcher.post(CHAT, alarm("recovered")).done).arrived
        assert (bridge.did("send"), bridge.did("edit")) == (["NaN"], ["recovered"])

    run_virtually(main)


def test_memory_of_keys_is_bounded(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted(Caps(text_max=100, edit=True, edit_every_s=0.0))
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        for n in range(KEYS_KEPT + 50):
            dispatcher.post(CHAT, progress("100 %", f"progress/{n}"))
            if n % 500 == 0:
                await dispatcher.drain(100)
        await dispatcher.drain(100)
        assert len(dispatcher._posts) <= KEYS_KEPT and len(dispatcher._boxes[1].edited_s) <= KEYS_KEPT

    run_virtually(main)


def test_memory_does_not_grow_with_edits(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted(Caps(text_max=100, edit=True, edit_every_s=0.0))
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())

        async def edit(count: int) -> int:
            for n in range(count):
                await dispatcher.post(CHAT, progress(f"{n}")).done
                bridge.log.clear()
                bridge.messages.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await edit(1_000)
            assert await edit(10_000) - before < 100_000
        finally:
            tracemalloc.stop()

    run_virtually(main)
