"""From `log()` to a drawn pixel, in a real browser, while ten runs log; and what the page weighs when it is first loaded.

Every logged value is the moment at which it is logged. The page notes when the number beside a chart changes, then waits until the chart
has been painted: the frame after which the canvas was drawn anew. A point whose number was passed over by a later one counts up to
that one. Browser and trainers share a clock.
"""

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Iterator

from bench.bed import SOURCE, bed, until
from bench.table import Row

RUNS = 10
PAUSE_S = 0.1
COUNT = 200
WARM = 20  # points that come while the page is opening

TRAINER = """
import json, sys, time
import farwatch
run = farwatch.init("live", id=sys.argv[1], console=False)
pause, count = float(sys.argv[2]), int(sys.argv[3])
run.log({"sent": 0, "loss": 1.0})
assert run.wait(60)
print("ready", file=sys.__stdout__, flush=True)
sys.stdin.readline()
sent, at = [], time.monotonic()
for i in range(count):
    now = time.time_ns() // 1_000_000 % 100_000_000
    run.log({"sent": now, "loss": 1.0 / (i + 1)})
    sent.append(now)
    at += pause
    time.sleep(max(0, at - time.monotonic()))
print(json.dumps(sent), file=sys.__stdout__, flush=True)
sys.stdin.readline()
"""

WATCH = """
() => {
  const seen = (window.__seen = []);
  const painted = new WeakMap();
  for (const name of ['stroke', 'fill', 'drawImage', 'clearRect', 'putImageData']) {
    const own = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
      painted.set(this.canvas, (painted.get(this.canvas) || 0) + 1);
      return own.apply(this, given);
    };
  }
  const figure = document.querySelector('[role=figure][aria-label=sent]');
  const output = figure.querySelector('output.value');
  const drawn = () => [...figure.querySelectorAll('canvas')].reduce((sum, one) => sum + (painted.get(one) || 0), 0);
  let before = 0;
  const whenPainted = (value, tries) => requestAnimationFrame(() => {
    if (drawn() === before && tries < 30) return whenPainted(value, tries + 1);
    before = drawn();
    const channel = new MessageChannel();  // its message comes after the frame's paint
    channel.port1.onmessage = () => seen.push([value, Date.now() % 100000000, tries]);
    channel.port2.postMessage(0);
  });
  new MutationObserver(() => {
    whenPainted(Number(output.textContent.replace(/[^0-9]/g, '')), 0);
  }).observe(output, { characterData: true, childList: true, subtree: true });
}
"""


def measure() -> Iterable[Row]:
    yield from _first_load()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    with bed() as there, sync_playwright() as playwright:
        there.start()
        trainers = [there.train(TRAINER, f"live-{i}", PAUSE_S, COUNT + WARM) for i in range(RUNS)]
        for trainer in trainers:
            assert trainer.stdout is not None and trainer.stdout.readline() == "ready\n"
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=browser, args=flags)
        page = opened.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{there.address}/r/live-0")
        page.wait_for_selector("[role=figure][aria-label=sent] output.value")
        page.wait_for_selector("[role=figure][aria-label=sent] canvas")
        page.evaluate(WATCH)
        for trainer in trainers:
            assert trainer.stdin is not None
            trainer.stdin.write("\n")
            trainer.stdin.flush()
        assert trainers[0].stdout is not None
        told: list[int] = []

        def over() -> bool:
            page.wait_for_timeout(200)
            return bool(page.evaluate("window.__seen.length")) and bool(told or _finished(trainers[0], told))

        until(over, 120, "points on the page")
        page.wait_for_timeout(1500)
        seen: list[list[int]] = page.evaluate("window.__seen")
        opened.close()
    yield from _rows(told[WARM:], seen)


def _finished(trainer: object, told: list[int]) -> bool:
    import select

    out = trainer.stdout  # type: ignore[attr-defined]
    if not select.select([out], [], [], 0)[0]:
        return False
    told += json.loads(out.readline())
    return True


def _rows(sent: list[int], seen: list[list[int]]) -> Iterator[Row]:
    delays = []
    for value in sent:
        at = min((at for shown, at, _ in seen if shown >= value), default=None)
        if at is not None:
            delays.append(at - value)
    delays.sort()
    text = f"log() to drawn pixel, {RUNS} runs at {1 / PAUSE_S:g} points/s"
    for percent in (50, 90, 95, 99):
        at = delays[min(len(delays) - 1, len(delays) * percent // 100)]
        yield Row(f"{text}, p{percent}", at, "ms", 300 if percent == 95 else None)
    yield Row(f"{text}, max", delays[-1], "ms")
    yield Row("  points never drawn", len(sent) - len(delays), "points", 0)
    yield Row("  drawings of the chart in a second", len(seen) / ((COUNT + WARM) * PAUSE_S), "per s")


def _first_load() -> Iterator[Row]:
    """Script and style of the built page, as gzip."""
    folder = SOURCE / "farwatch" / "server" / "web"
    built = [path for path in folder.rglob("*") if path.suffix in (".js", ".css", ".html")]
    if built:
        size = sum(len(gzip.compress(path.read_bytes(), 9)) for path in built)
        yield Row("first load: script, style and page, gzip", size / 1e3, "kB", 120)
