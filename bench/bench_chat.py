"""What chats cost a server that has nothing to say, and how fast an alarm with its picture leaves. Services are fakes on loopback."""

import asyncio
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench.bed import Bed, cpu_s, rss_mb, until
from bench.table import Row
from farwatch.testing.chat.ilink import FakeIlink
from farwatch.testing.chat.telegram import FakeTelegram
from farwatch.testing.chat.wecom import FakeWecom

IDLE_S = 30.0
ALARMS = 8

BREAKS = """
import farwatch, sys, time
run = farwatch.init("alarm", id=sys.argv[1], console=False, system=False)
for step in range(400):
    run.log({"train/loss": 1.0 / (1 + step / 50)}, step=step)
time.sleep(3)  # the rules have seen it
run.log({"train/loss": float("nan")}, step=400)
print(time.time(), flush=True)
for step in range(401, 480):
    run.log({"train/loss": float("nan")}, step=step)
    time.sleep(0.05)
"""


def measure() -> Iterable[Row]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def on_loop(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    stack = AsyncExitStack()
    try:
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            without = _idle(Path(folder), {})
        telegram = on_loop(stack.enter_async_context(FakeTelegram()))
        environ = {"FARWATCH_TELEGRAM_TOKEN": telegram.token, "FARWATCH_TELEGRAM_URL": telegram.url}
        environ["FARWATCH_TELEGRAM_CHAT"] = str(telegram.chat)
        wecom, ilink = on_loop(stack.enter_async_context(FakeWecom().serving())), on_loop(stack.enter_async_context(FakeIlink().serving()))
        environ |= {"FARWATCH_WECOM_BOT_ID": wecom.bot_id, "FARWATCH_WECOM_SECRET": wecom.secret, "FARWATCH_WECOM_URL": wecom.url}
        environ |= {"FARWATCH_WECHAT_URL": ilink.url}
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            cpu, memory = _idle(Path(folder), environ)
        yield Row("three idle chat services, CPU", 100 * (cpu - without[0]), "% of a core", 1.0)
        yield Row("  memory", memory - without[1], "MB", 30.0)
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            spent = sorted(_alarms(Path(folder), environ, telegram))
        yield Row("an alarm with its picture, after its point, p50", statistics.median(spent), "s")
        yield Row("  the slowest of eight", spent[-1], "s", 2.0)
    finally:
        on_loop(stack.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _idle(folder: Path, environ: dict[str, str]) -> tuple[float, float]:
    """Share of a core and MB that a server takes with nothing to do."""
    bed = Bed(folder)
    bed.environ |= environ
    try:
        bed.start()
        time.sleep(5)
        before = cpu_s(bed.pid)
        time.sleep(IDLE_S)
        return (cpu_s(bed.pid) - before) / IDLE_S, rss_mb(bed.pid)
    finally:
        bed.close()


def _alarms(folder: Path, environ: dict[str, str], telegram: FakeTelegram) -> list[float]:
    """Seconds from `log()` of a NaN to the arrival of its picture, one run after the other."""
    bed = Bed(folder)
    bed.environ |= environ
    spent = []
    try:
        bed.start()
        for number in range(ALARMS):
            seen = len(telegram.asked("sendPhoto"))
            trainer = bed.train(BREAKS, f"alarm-{number}")
            assert trainer.stdout is not None
            logged = float(json.loads(trainer.stdout.readline()))
            until(lambda seen=seen: len(telegram.asked("sendPhoto")) > seen, 30, "the picture")  # type: ignore[misc]
            spent.append(time.time() - logged)
            trainer.kill()
            trainer.wait()
            time.sleep(2)
    finally:
        bed.close()
    return spent
