"""How fast a command is at its safe point, and what safe points cost where nobody asks for anything."""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.bed import Bed, until
from bench.table import Row

ASKED = 28  # per step length: a person has 60 commands a minute
BUTTON_MS = 300.0
CALLS = 10_000
TURNS = 15
BLOCK, PAIRS = 1_000, 200  # calls between two runs that take turns, and how often they do
_now = time.perf_counter_ns

LOOP = """
import farwatch, sys, time
out = open(sys.argv[2], "a")
def note(value):
    print(value, time.monotonic(), file=out, flush=True)
run = farwatch.init("steer", id=sys.argv[1], console=False, system=False)
knob = run.knob("it", 0, set=note)
pause = float(sys.argv[3])
for step in range(1 << 40):
    run.log({"loss": 1.0}, step=step)
    time.sleep(pause)
"""


def measure() -> Iterable[Row]:
    """The way of a command through server, agent and inbox; then safe points alone."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        bed = Bed(Path(folder))
        try:
            bed.start()
            for step_ms in (20.0, 1.0):
                yield from _button(bed, step_ms)
        finally:
            bed.close()
    os.environ["FARWATCH_AGENT"] = "0"
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        os.environ["FARWATCH_DIR"] = folder
        yield from _safe_points()


def _button(bed: Bed, step_ms: float) -> Iterable[Row]:
    name = f"button-{step_ms:g}"
    notes = bed.folder / name
    notes.touch()
    command = [sys.executable, "-c", LOOP, name, str(notes), str(step_ms / 1000)]
    with subprocess.Popen(command, env=bed.environ, stderr=subprocess.DEVNULL) as trainer:
        try:
            secret = json.loads((bed.state / "server.json").read_text())["secret"]
            ask = _asker(bed.address, secret)
            until(lambda: "it" in ask("GET", f"/runs/{name}").get("steer", {}).get("knobs", {}), what="the run has its knob")
            began: dict[int, float] = {}
            for value in range(1, ASKED + 1):
                began[value] = time.monotonic()
                row = ask("POST", f"/runs/{name}/commands", {"op": "set", "args": {"name": "it", "value": value}, "confirm": True})
                ask("GET", f"/commands/{row['id']}?wait_s=10")
        finally:
            trainer.kill()
    came = {int(value): float(at) for value, at in (line.split() for line in notes.read_text().splitlines())}
    spent = sorted((came[value] - at) * 1000 for value, at in began.items() if value in came)
    if len(spent) < ASKED:
        raise RuntimeError(f"{ASKED - len(spent)} commands never came")
    what = f"button to safe point, {step_ms:g} ms steps"
    yield Row(f"{what}, p50", statistics.median(spent), "ms")
    yield Row(f"{what}, p95", spent[int(len(spent) * 0.95)], "ms", BUTTON_MS + step_ms)


def _asker(address: str, secret: str) -> Callable[..., dict[str, Any]]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def ask(method: str, path: str, body: Any = None) -> dict[str, Any]:
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body).encode(), headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer

    return ask


def _safe_points() -> Iterable[Row]:
    """Two runs side by side, by turns: one that looks at its inbox, and one whose bell is nobody's."""
    import farwatch
    from farwatch.sdk.steering import NO_BELL

    runs = [
        farwatch.init("bench", mode="offline", console=False, system=False, reinit="create_new") for _ in range(2)
    ]
    steered, bare = runs
    bare._bell, bare._heard = NO_BELL, 0
    row = {"loss": 1.0, "acc": 2.0, "lr": 3.0}
    spent: dict[int, list[float]] = {0: [], 1: []}
    for turn in range(2 * PAIRS):
        which = (turn + turn // 2) % 2  # each first as often as the other
        log = runs[which].log
        begin = time.thread_time_ns()  # of this thread: what else the machine does is not looked for
        for _ in range(BLOCK):
            log(row)
        spent[which].append((time.thread_time_ns() - begin) / BLOCK)
    ratio = statistics.median(mine / other for mine, other in zip(spent[0], spent[1], strict=True))
    with_inbox, without = statistics.median(spent[0]), statistics.median(spent[1])
    yield Row("log() with a safe point, nothing asked", with_inbox / 1000, "µs")
    yield Row("the same without an inbox", without / 1000, "µs")
    yield Row("log() with a safe point, times the bare one", ratio, "×", 1.1)
    yield Row("run.should_stop, nothing asked", _per_call(lambda: steered.should_stop), "ns")
    yield Row("run.poll(), nothing asked", _per_call(steered.poll), "ns")
    for run in runs:
        run.finish()


def _per_call(call: Callable[[], object]) -> float:
    """Median nanoseconds of a call, what calling nothing costs taken off."""

    def turn(what: Callable[[], object]) -> float:
        begin = _now()
        for _ in range(CALLS):
            what()
        return (_now() - begin) / CALLS

    nothing: Callable[[], object] = lambda: None  # noqa: E731
    return max(0.0, statistics.median(turn(call) for _ in range(TURNS)) - statistics.median(turn(nothing) for _ in range(TURNS)))
