"""The queues: what is urgent goes first, what is newest wins, limits are kept, nothing is lost in silence."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from farwatch.bridges.base import Caps, Outcome, Rate, Receipt, plain
from farwatch.bridges.dispatch import Dispatcher, Notice, Ticket, Urgency
from farwatch.clock import SystemClock
from farwatch.store.meta import ChatRow, Meta
from tests.bridges.virtual import Scripted, run_virtually

CHAT = ChatRow(1, "tg", "100", 7, "Ann", 0, {}, 0)
OTHER = ChatRow(2, "tg", "200", 8, "Bo", 0, {}, 0)
SLOW = Receipt(Outcome.LATER, reason="flood", retry_after_s=3.0)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    made = Meta(tmp_path / "meta.db", SystemClock())
    yield made
    made.close()


def event(text: str, about: str = "run/1") -> Notice:
    return Notice(Urgency.EVENT, about, plain(text))


def alarm(text: str) -> Notice:
    return Notice(Urgency.ALARM, "alert/1", plain(text), key="alert/1")


def progress(text: str, *, closes: bool = False) -> Notice:
    return Notice(Urgency.PROGRESS, "progress/1", plain(text), key="progress/1", closes=closes)


async def passed(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_alarm_goes_before_everything_that_waits(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted(Caps(text_max=100, rates=(Rate(1, 1.0),)))
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        for n in range(3):
            dispatcher.post(CHAT, event(f"e{n}"))
        await passed(0.1)
        dispatcher.post(CHAT, alarm("alarm"))
        await dispatcher.drain(60)
        assert bridge.did("send") == ["e0", "alarm", "e1", "e2"]
        assert [when for when, *_ in bridge.log] == [0.0, 1.0, 2.0, 3.0]

    run_virtually(main)


def test_a_thousand_updates_a_second_become_what_the_service_allows_and_the_last_one_arrives(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        for n in range(10_000):
            dispatcher.post(CHAT, progress(f"{n / 100:.2f} %"))
            await passed(0.001)
        dispatcher.post(CHAT, progress("100 %", closes=True))
        await dispatcher.drain(60)
        assert bridge.did("send") == ["0.00 %"]
        assert len(bridge.did("edit")) == 2 and bridge.did("edit")[-1] == "100 %"
        moments = [when for when, *_ in bridge.log]
        assert all(b - a >= 5.0 for a, b in pairwise(moments))

    run_virtually(main)


def test_retry_after_is_kept_by_everything_in_the_chat_and_by_no_other(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        bridge.script = [SLOW, SLOW]
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        dispatcher.post(CHAT, event("first"))
        await passed(1)
        dispatcher.post(CHAT, alarm("alarm"))
        dispatcher.post(OTHER, event("other"))
        await dispatcher.drain(60)
        mine = [(when, text) for when, _, text, chat in bridge.log if chat == "100"]
        assert mine == [(0.0, "first"), (3.0, "alarm"), (3.0, "first")] or mine[0] == (0.0, "first")
        assert [when for when, text in mine][1:] == sorted(when for when, _ in mine[1:]) and mine[1][0] >= 3.0
        assert next(when for when, _, text, _ in bridge.log if text == "other") == 1.0
        assert {"first", "alarm", "other"} <= set(bridge.did("send"))

    run_virtually(main)


def test_event_that_may_have_arrived_is_not_sent_twice_and_an_alarm_rather_twice_than_never(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        bridge.script = [Receipt(Outcome.UNSURE), Receipt(Outcome.UNSURE)]
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        ticket = dispatcher.post(CHAT, event("finished"))
        assert (await ticket.done).outcome is Outcome.UNSURE
        ticket = dispatcher.post(CHAT, alarm("NaN"))
        assert (await ticket.done).outcome is Outcome.SENT
        assert bridge.did("send") == ["finished", "NaN", "NaN"]

    run_virtually(main)


def test_service_that_is_away_for_minutes_gets_events_in_order_and_the_newest_progress(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        bridge.script = [Receipt(Outcome.FAILED)] * 1_000
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        dispatcher.post(CHAT, event("start"))
        for n in range(100):
            dispatcher.post(CHAT, progress(f"{n} %"))
            await passed(1)
        dispatcher.post(CHAT, event("finish"))
        bridge.script.clear()
        tries = len(bridge.log)
        await dispatcher.drain(300)
        assert tries < 30
        assert sorted(text for _, _, text, _ in bridge.log[tries:]) == ["99 %", "finish", "start"]
        sent = bridge.did("send")
        assert sent.index("finish") > len(sent) - 1 - sent[::-1].index("start")

    run_virtually(main)


def test_what_is_an_hour_old_is_given_up_and_told(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        bridge.script = [Receipt(Outcome.FAILED, reason="no contact")] * 1_000
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        told: list[tuple[str, str]] = []
        dispatcher.on_receipt = lambda ticket, receipt: told.append((ticket.notice.message.text, receipt.reason))
        ticket = dispatcher.post(CHAT, event("start"))
        receipt = await ticket.done
        assert receipt.outcome is Outcome.FAILED
        assert 55 < len(bridge.log) < 90
        assert told == [("start", "no contact")]

    run_virtually(main)


def test_deleted_message_is_said_anew(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        await dispatcher.post(CHAT, progress("10 %")).done
        bridge.script = [Receipt(Outcome.GONE)]
        await dispatcher.post(CHAT, progress("20 %")).done
        await dispatcher.post(CHAT, progress("30 %")).done
        assert (bridge.did("send"), bridge.did("edit")) == (["10 %", "20 %"], ["20 %", "30 %"])

    run_virtually(main)


def test_progress_goes_on_in_the_same_message_after_a_restart(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        first = Dispatcher({"tg": bridge}, meta, SystemClock())
        await first.post(CHAT, progress("10 %")).done
        await first.close()
        meta.write(lambda writes: None)
        second = Dispatcher({"tg": bridge}, meta, SystemClock())
        await second.post(CHAT, progress("20 %")).done
        assert (bridge.did("send"), bridge.did("edit")) == (["10 %"], ["20 %"])

    run_virtually(main)


def test_every_end_is_kept_as_a_delivery(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted()
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        bridge.script = [Receipt(Outcome.REFUSED, reason="too long"), Receipt(Outcome.ASLEEP, reason="no credits left")]
        tickets: list[Ticket] = [dispatcher.post(CHAT, event("a")), dispatcher.post(CHAT, event("b")), dispatcher.post(CHAT, alarm("c"))]
        await asyncio.gather(*(one.done for one in tickets))
        absent = dispatcher.post(ChatRow(3, "gone", "1", None, "", 0, {}, 0), event("d"))
        await absent.done
        meta.write(lambda writes: None)
        with meta.read() as reads:
            rows = reads.people.deliveries()
        found = sorted((row.kind, row.outcome, row.reason) for row in rows)
        assert found == [
            ("alarm", "refused", "too long"), ("event", "asleep", "no credits left"), ("event", "revoked", "gone is not connected"),
            ("event", "sent", ""),
        ]  # fmt: skip

    run_virtually(main)


def test_queue_that_overflows_says_what_it_drops(meta: Meta) -> None:
    async def main() -> None:
        bridge = Scripted(Caps(text_max=100, rates=(Rate(1, 10.0),)))
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        tickets = [dispatcher.post(CHAT, event(f"e{n}")) for n in range(1_200)]
        dropped = [one for one in tickets if one.done.done()]
        assert len(dropped) == 200 and dropped[0] is tickets[0]
        assert all("wait in this chat" in one.done.result().reason for one in dropped)
        await dispatcher.close()

    run_virtually(main)


def test_edits_leave_room_for_an_alarm_within_the_limit(meta: Meta) -> None:
    """A flood earned by edits would hold up the alarm: of 20 a minute, edits take 14."""

    async def main() -> None:
        caps = Caps(text_max=100, edit=True, edit_every_s=0.1, rates=(Rate(20, 60.0),))
        bridge = Scripted(caps)
        dispatcher = Dispatcher({"tg": bridge}, meta, SystemClock())
        for n in range(250):
            dispatcher.post(CHAT, progress(f"{n}"))
            await passed(0.1)
        began = asyncio.get_running_loop().time()
        await dispatcher.post(CHAT, alarm("alarm")).done
        assert len(bridge.log) == 15
        assert asyncio.get_running_loop().time() - began < 0.01
        await dispatcher.close()

    run_virtually(main)
