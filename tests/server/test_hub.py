"""The live stream, without HTTP: cursors, coalescing, limits, and what it costs."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from farwatch.clock import SystemClock
from farwatch.errors import BusyError, NotFoundError, UsageError
from farwatch.service.hub import Hub
from farwatch.service.subscription import Subscription
from farwatch.settings import load
from farwatch.store.base import Decoded, Other, Points, Writer
from farwatch.wire.records import Kind, Record, encode_json

WRITER = Writer("ab" * 16, "r1", 0, 1)


class Rows:
    """Rows of runs, counted."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.read = 0

    def __call__(self, run: str) -> dict[str, Any]:
        self.read += 1
        if run in self.gone:
            raise NotFoundError(f"no run with id: `{run}`")
        return {
            "id": run,
            "project": "digits",
            "name": "\ud800 torn",
            "main_last": math.nan,
            "deleted_ms": None,
        }


def made(
    values: list[float], name: str = "loss", *, first: int = 0, others: list[Other] | None = None
) -> Decoded:
    n = len(values)
    steps = np.arange(first, first + n, dtype=np.float64)
    points = Points(steps, (steps * 1_000_000).astype(np.int64), np.array(values, np.float64))
    return Decoded([name], "f", np.zeros(n, np.int32), points, others or [])


def hub(**settings: Any) -> Hub:
    return Hub("e", 0, Rows(), load({}).replace(**settings), SystemClock())


def asks(**body: Any) -> Subscription:
    return Subscription.parse({"series": [{"run": "r1", "name": "loss"}], **body})


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def told(
    one: Hub, subscription: Subscription, cursor: str | None, wait_s: float = 5, actor: str = "ann"
) -> dict[str, Any]:
    one.attach(asyncio.get_running_loop())
    return json.loads(await one.wait(subscription, cursor, wait_s, actor))


def test_what_was_published_after_the_cursor_comes_once_and_in_order() -> None:
    async def work() -> None:
        one = hub()
        start = (await told(one, asks(), None))["cursor"]
        one.publish(1, WRITER, made([0.5, math.nan]))
        one.publish(2, WRITER, made([-math.inf], first=2))

        first = await told(one, asks(), start)
        again = await told(one, asks(), first["cursor"], wait_s=0)

        assert first["points"] == [
            {
                "run": "r1",
                "name": "loss",
                "rank": 0,
                "attempt": 1,
                "more": False,
                "steps": [0, 1, 2],
                "times_ms": [0, 1000, 2000],
                "values": [0.5, "NaN", "-Infinity"],
            }
        ]
        assert again["points"] == [] and again["reset"] is False

    run(work())


def test_a_list_at_commit_7_continues_at_commit_7() -> None:
    async def work() -> None:
        one = hub()
        for seq in range(1, 10):
            one.publish(seq, WRITER, made([float(seq)], first=seq))

        answer = await told(one, asks(), "e:7")

        assert answer["points"][0]["values"] == [8, 9]

    run(work())


@pytest.mark.parametrize(
    "cursor", ["other:0", "e:99", "e:-1", "e:x", "e:1.9", "", "e", "e:" + "9" * 400, "e:0.\u0661"]
)
def test_an_unknown_cursor_is_told_to_reload(cursor: str) -> None:
    async def work() -> None:
        one = hub()
        one.publish(1, WRITER, made([1.0]))

        answer = await told(one, asks(), cursor)

        assert answer["reset"] is True and answer["cursor"].startswith("e:1")

    run(work())


def test_a_waiting_reader_is_woken_from_another_thread_at_once() -> None:
    async def work() -> float:
        one = hub()
        cursor = (await told(one, asks(), None))["cursor"]
        waiting = asyncio.create_task(told(one, asks(), cursor))
        await asyncio.sleep(0.1)  # longer than answers are held together
        published = time.perf_counter()
        threading.Thread(target=one.publish, args=(1, WRITER, made([1.0]))).start()
        answer = await waiting
        assert answer["points"][0]["values"] == [1]
        return time.perf_counter() - published

    assert min(run(work()) for _ in range(5)) < 0.1


def test_many_small_batches_become_few_answers() -> None:
    async def work() -> int:
        one = hub()
        cursor = (await told(one, asks(), None))["cursor"]
        one.publish(1, WRITER, made([1.0]))
        waiting = asyncio.create_task(told(one, asks(), cursor))
        for seq in range(2, 11):
            await asyncio.sleep(0.002)
            one.publish(seq, WRITER, made([1.0], first=seq))
        return len((await waiting)["points"][0]["values"])

    assert run(work()) == 10


def test_more_than_256_new_points_of_a_series_are_cut_to_the_newest() -> None:
    async def work() -> None:
        one = hub()
        one.publish(1, WRITER, made([0.0] * 200))
        one.publish(2, WRITER, made([1.0] * 200, first=200))

        (points,) = (await told(one, asks(), "e:0"))["points"]

        assert points["more"] is True
        assert points["steps"] == list(range(144, 400))

    run(work())


def test_only_what_is_subscribed_to_is_sent() -> None:
    async def work() -> None:
        one = hub()
        one.publish(1, WRITER, made([1.0], "other"))
        one.publish(2, Writer("cd" * 16, "r2"), made([1.0]))

        answer = await told(one, asks(), "e:0", wait_s=0)

        assert answer["points"] == [] and answer["runs"] == []
        assert answer["new_metrics"] == {"r1": ["other"]}

    run(work())


def test_rows_of_a_project_and_runs_that_are_gone() -> None:
    async def work() -> None:
        one = hub()
        one.row.gone.add("r9")  # type: ignore[attr-defined]
        one.touch("r1")
        one.touch("r9")

        answer = await told(one, Subscription.parse({"project": "digits", "runs": ["r9"]}), "e:0")
        other = await told(one, Subscription.parse({"project": "else"}), "e:0", wait_s=0)

        assert [row["id"] for row in answer["runs"]] == ["r1"]
        assert answer["removed"] == ["r9"]
        assert answer["runs"][0]["main_last"] == "NaN"
        assert other["runs"] == [] and other["removed"] == []

    run(work())


def test_a_row_is_read_once_for_all_readers() -> None:
    async def work() -> None:
        one = hub(streams_per_actor=100)
        one.touch("r1")

        answers = await asyncio.gather(*(told(one, asks(runs=["r1"]), "e:0") for _ in range(40)))
        again = await told(one, asks(runs=["r1"]), "e:0")

        assert all(answer["runs"] == again["runs"] for answer in answers)
        assert one.row.read == 1  # type: ignore[attr-defined]

    run(work())


def test_a_row_that_was_held_back_while_points_came_in_follows() -> None:
    async def work() -> None:
        one = hub()
        subscription = Subscription.parse({"runs": ["r1"]})
        one.publish(1, WRITER, made([1.0]))
        first = await told(one, subscription, "e:0")
        one.publish(2, WRITER, made([2.0], first=1))

        second = await told(one, subscription, first["cursor"], wait_s=3)

        assert [row["id"] for row in first["runs"]] == ["r1"]
        assert [row["id"] for row in second["runs"]] == ["r1"]

    run(work())


def test_console_lines_and_media_names_come_with_their_batch() -> None:
    async def work() -> None:
        one = hub()
        line = encode_json(
            Kind.CONSOLE, {"s": "stdout", "n": 4, "lines": ["a", "\x1b]52;c;x\x07"], "open": False}
        )
        image = encode_json(Kind.POINT, {"name": "grid", "type": "image"}, step=1)
        damaged = b"\x07" + bytes(23) + b"[1]"
        others = [Other(Record(n, payload), 1.0, 7_000) for n, payload in enumerate([line, image, damaged])]
        one.publish(1, WRITER, made([], others=others))

        answer = await told(one, asks(runs=["r1"], console=["r1"]), "e:0")

        assert answer["console"] == [
            {
                "run": "r1",
                "rank": 0,
                "lines": [
                    {"n": 4, "stream": "stdout", "time_ms": 7, "text": "a"},
                    {"n": 5, "stream": "stdout", "time_ms": 7, "text": "\x1b]52;c;x\x07"},
                ],
            }
        ]
        assert answer["media"] == {"r1": ["grid"]}

    run(work())


def test_streams_are_limited_per_person_and_in_all() -> None:
    async def work() -> None:
        one = hub(streams_max=3, streams_per_actor=2)
        one.attach(asyncio.get_running_loop())
        open_ones = [
            asyncio.create_task(one.wait(asks(), "e:0", 5, actor)) for actor in ("ann", "ann", "bob")
        ]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await one.wait(asks(), "e:0", 5, "bob")
        one.close()
        await asyncio.gather(*open_ones)

        assert json.loads(await one.wait(asks(), "e:0", 5, "ann"))["points"] == []

    run(work())


def test_points_that_left_the_ring_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farwatch.service.hub.RING_TICKS", 3)

    async def work() -> None:
        one = hub()
        for seq in range(1, 6):
            one.publish(seq, WRITER, made([float(seq)], first=seq))

        (points,) = (await told(one, asks(), "e:1"))["points"]

        assert points["values"] == [3, 4, 5] and points["more"] is True

    run(work())


def test_nothing_happens_while_nothing_happens() -> None:
    async def work() -> float:
        one = hub()
        waiting = asyncio.create_task(told(one, asks(project="digits", runs=["r1"]), "e:0", wait_s=1))
        await asyncio.sleep(0.05)
        began = time.process_time()
        await waiting
        return time.process_time() - began

    assert run(work()) < 0.05


@pytest.mark.parametrize(
    "body",
    [
        {"runs": "r1"},
        {"runs": [1]},
        {"series": [{"run": "r1"}]},
        {"project": 1},
        {"console": [None]},
        {"runs": ["r"] * 5_001},
    ],
)
def test_a_subscription_that_cannot_be_right_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Subscription.parse(body)

    assert caught.value.code == "bad-request"
