"""Rows L12, V9, W3: a tqdm script with another import looks the same on its terminal, and the server shows what its bars show."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tqdm.std import tqdm as plain_tqdm

from farwatch.wire.progress import bar_text, brief_text
from tests.faults.machine import Machine, until
from tests.rows.program import ended, ran, said

# The clock of tqdm stands but where the script moves it, so that two runs of a script must write the same.
SCRIPT = """
import io, sys
import tqdm.std
now = [1_700_000_000.0]
tqdm.std.time = lambda: now[0]
from {package} import tqdm, trange

def work(seconds=0.07):
    now[0] += seconds

def main():
{body}

{start}
main()
"""
START = "import farwatch\nfarwatch.init('bars', id={run!r}, console={console}, system=False)"

SCRIPTS = {
    "plain": "for i in tqdm(range(20)): work()",
    "words": """
        for i in tqdm(range(20), desc="ep", unit="batch", postfix={"lr": 0.1}, leave=True, colour="green", initial=3): work()
        for i in tqdm(range(20), "also", 30, False, ncols=60, smoothing=0, mininterval=0.3): work()
        for i in trange(5, 15, desc="range", ascii=True): work()
        for i in tqdm(range(7), ascii=" .oO", bar_format="{desc}<{bar}> {n_fmt} of {total_fmt} {remaining} {rate_fmt}", desc="own"): work()
        for i in tqdm(range(4), disable=True): work()
        for i in tqdm(range(4), disable=None, delay=0.1, dynamic_ncols=True, maxinterval=1, miniters=2): work()
        for i in tqdm((i for i in range(9)), desc="no total", unit_scale=True, unit="B", unit_divisor=1024): work()
        for i in tqdm(range(0)): work()
        """,
    "nested": """
        for epoch in trange(3, desc="epoch"):
            for batch in tqdm(range(5), desc="batch", leave=False): work()
            tqdm.write(f"epoch {epoch} done")
        bars = [tqdm(total=4, desc=f"bar {k}", position=2 - k, leave=None) for k in range(3)]
        for i in range(4):
            for bar in bars: work(); bar.update()
        for bar in bars: bar.close()
        """,
    "by hand": """
        bar = tqdm(total=1e6, unit="B", unit_scale=True, desc="file")
        for i in range(10): work(); bar.update(100_000)
        bar.set_description("renamed"); bar.set_postfix(loss=1.5, name="x"); bar.set_postfix_str("end", refresh=False)
        bar.reset(total=5); work(); bar.update(2); bar.refresh(); bar.clear(); bar.unpause(); bar.moveto(0); work(); bar.update(-1)
        print(len(bar), bool(bar), str(bar), bar.n, bar.total, file=sys.stderr)
        bar.close(); bar.close()
        with tqdm(total=3) as bar:
            bar.update(); work(3); bar.update(4)
        with tqdm.wrapattr(io.BytesIO(bytes(5000)), "read", total=5000) as stream:
            while stream.read(1024): work()
        bar = tqdm([1, 2, 3], desc="iterable"); print(2 in bar, len(bar), list(reversed(bar)), file=sys.stderr)
        try:
            for i in tqdm(range(10), desc="broken"):
                work()
                if i == 4: raise ValueError
        except ValueError: pass
        for i in tqdm(range(10), desc="left"):
            work()
            if i == 4: break
        try: tqdm(range(3), nonsense=1)
        except Exception as error: print(type(error).__name__, error, file=sys.stderr)
        """,
    "slow after fast": """
        for i in tqdm(range(10_020), desc="resumed"): work(0.0001 if i < 10_000 else 4)
        """,
    "asyncio": """
        import asyncio
        async def numbers():
            for i in range(5): yield i
        async def later(i): return i
        async def walk():
            async for i in tqdm(numbers(), total=5, desc="async"): work()
            async for i in tqdm(range(4), desc="plain"): work()
            return await tqdm.gather(*map(later, range(3)), desc="gather")
        print(asyncio.run(walk()), file=sys.stderr)
        """,
    "pandas": """
        import pandas
        tqdm.pandas(desc="rows")
        pandas.Series(range(8)).progress_apply(lambda value: work() or value)
        """,
}
"""Every way of use that tqdm documents; `slow after fast` needs what tqdm's monitor thread does."""


def on_terminal(machine: Machine, path: Path, source: str, *, strip: bool = True, **environ: str) -> bytes:
    """What a program writes to a terminal of 100 columns, both streams; `strip`: our start line left out."""
    path.write_text(source)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    program = subprocess.Popen(
        [sys.executable, str(path)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=machine.folder,
        env={**machine.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environ},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # how Linux says that nobody holds the other end
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert program.wait(60) == 0, written.decode(errors="replace")
    return re.sub(rb"farwatch: [^\n]*\n", b"", written) if strip else written


def source_of(body: str, *, run: str, console: bool = False) -> str:
    start = START.format(run=run, console=console) if run else ""
    package = "tqdm.auto" if "asyncio" in body else "tqdm"
    return SCRIPT.format(body=textwrap.indent(textwrap.dedent(body), "    "), start=start, package=package)


def with_our_import(source: str) -> str:
    return re.sub(r"from tqdm(\.auto)? import tqdm, trange", "from farwatch.tqdm import tqdm, trange", source)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "slow after fast"])
def test_only_the_import_changes_and_the_terminal_shows_the_same(
    shared: Machine, tmp_path: Path, name: str
) -> None:
    """L12, with a current run and without."""
    theirs = on_terminal(shared, tmp_path / "theirs.py", source_of(SCRIPTS[name], run=""))
    assert len(theirs) > 100, theirs

    for run in ("", f"l12-{name.replace(' ', '-')}"):
        source = with_our_import(source_of(SCRIPTS[name], run=run, console=True))
        assert on_terminal(shared, tmp_path / "ours.py", source) == theirs


def test_a_bar_that_was_fast_does_not_stand_still_where_it_becomes_slow(
    shared: Machine, tmp_path: Path
) -> None:
    """tqdm has a thread for this; ours has none, and draws at most a few iterations later."""
    source = with_our_import(source_of(SCRIPTS["slow after fast"], run="l12-slow"))

    drawn = on_terminal(shared, tmp_path / "ours.py", source)

    counts = [int(n) for n in re.findall(rb"(\d+)/10020", drawn)]
    assert any(10_000 < n < 10_015 for n in counts), counts


def test_range_of_20_is_20_of_20_on_the_server(shared: Machine, tmp_path: Path) -> None:
    """L12: the last state, however fast the loop was."""
    source = with_our_import(source_of(SCRIPTS["plain"], run="l12"))

    on_terminal(shared, tmp_path / "ours.py", source)

    with shared.api() as api:
        progress = ended(api, "l12").detail["progress"]
        assert (progress["n"], progress["total"], progress["ended"], progress["bars"]) == (20, 20, True, [])


def runs_of(machine: Machine, project: str) -> list[dict[str, Any]]:
    with machine.api() as api:
        return list(api.runs(project).rows)


def test_script_with_nothing_but_the_import_is_a_run_and_says_nothing(shared: Machine, tmp_path: Path) -> None:
    """L12 to the letter: no `init`, no line of ours, and the server shows 20/20."""
    folder = tmp_path / "only-the-import"
    folder.mkdir()
    source = with_our_import(source_of(SCRIPTS["plain"], run=""))
    theirs = on_terminal(shared, folder / "theirs.py", source_of(SCRIPTS["plain"], run=""))

    ours = on_terminal(shared, folder / "ours.py", source, strip=False, FARWATCH_PROJECT="only-the-import")

    assert ours == theirs
    row = until(lambda: [row for row in runs_of(shared, "only-the-import") if row["state"] == "finished"], 20)[0]
    assert (row["progress"]["n"], row["progress"]["total"], row["job_type"]) == (20, 20, "progress")


def test_bar_that_is_shown_for_long_is_live_before_it_ends(shared: Machine, tmp_path: Path) -> None:
    program = shared.train(
        "import time\nfrom farwatch.tqdm import tqdm\nfor i in tqdm(range(1000)): time.sleep(0.02)", FARWATCH_PROJECT="long-bar"
    )
    try:
        row = until(lambda: [row for row in runs_of(shared, "long-bar") if row["progress"]], 20)[0]
    finally:
        program.kill()
        program.wait()

    assert row["state"] == "running"
    assert 0 < row["progress"]["n"] < 1000


def test_bars_before_an_init_leave_no_run_of_their_own(shared: Machine) -> None:
    program = shared.train(
        "import farwatch\nfrom farwatch.tqdm import tqdm\n"
        "for i in tqdm(range(5), desc='read'): pass\n"
        "run = farwatch.init('before-init', system=False)\n"
        "for i in tqdm(range(7), desc='train'): run.log({'a': 1.0})\n"
    )
    assert program.wait(60) == 0

    rows = until(lambda: [row for row in runs_of(shared, "before-init") if row["state"] == "finished"], 20)

    assert len(runs_of(shared, "before-init")) == 1
    assert (rows[0]["progress"]["desc"], rows[0]["progress"]["n"]) == ("train", 7)


def test_server_says_what_the_bar_prints(shared: Machine) -> None:
    """V9: n/total, percent, elapsed, remaining and rate, of a bar that is open and holds another."""
    program = shared.train(
        """
        import farwatch, sys, tqdm.std
        now = [1_700_000_000.0]
        tqdm.std.time = lambda: now[0]
        from farwatch.tqdm import tqdm
        run = farwatch.init("v9", id="v9", console=False, system=False)
        outer = tqdm(total=20, desc="ep", postfix={"loss": 1.5}, file=sys.stdout)
        for i in range(4):
            now[0] += 2.5
            outer.update()
        inner = tqdm(total=8, desc="in", unit="b", file=sys.stdout)
        now[0] += 0.25
        inner.update(2)
        import time
        time.sleep(0.6)  # past the half second between two reports
        inner.refresh(); outer.refresh()
        print(f"\\nSAYS {outer}\\nSAYS {inner}", flush=True)
        time.sleep(120)
        """
    )
    try:
        with shared.api() as api:
            run = until(lambda: list(api.runs("v9")), 30, "the run is there")[0]
            progress = until(
                lambda: (found := api.run(run.id).detail["progress"]) and found["bars"] and found,
                30,
                "both bars",
            )
        printed = until(lambda: re.findall(r"^SAYS (.*\])$", said(program), re.M), 30, "both lines")
        assert [bar_text(progress), bar_text(progress["bars"][0])] == [
            re.sub(", +", ", ", line) for line in printed
        ]
        assert printed[0].startswith("ep:  20%|██        | 4/20 [00:10<00:39,")
        watched = shared.cli("watch", "v9", "--once")
        assert json.loads(watched.stdout)["progress"]["n"] == 4
        assert brief_text(progress) == "4/20, 00:39 left"
        numbers = [progress[name] for name in ("n", "total", "rate", "remaining_s", "elapsed_s")]
        assert numbers == pytest.approx([4, 20, 0.4, 40.0, 10.25])
    finally:
        program.kill()


def test_muted_bar_is_seen_by_the_server_only(shared: Machine) -> None:
    """W3: by the environment and by the argument; what is not ours to silence stays."""
    for run, environ, mute in (("w3-env", {"FARWATCH_MUTE": "1"}, ""), ("w3-arg", {}, ", mute=True")):
        told = ran(
            shared,
            f"""
            import farwatch, sys
            from farwatch.tqdm import tqdm, trange
            with farwatch.init("w3", id="{run}", console=False, system=False) as run:
                for i in trange(20, desc="hush"{mute}):
                    for j in tqdm(range(2), leave=False{mute}): pass
                tqdm.write("said")
                for i in run.progress(range(3){mute}): pass
                for i in run.progress(range(7), desc="last", unit="x"{mute}): pass
            """,
            **environ,
        )
        assert [line for line in told.splitlines() if not line.startswith("farwatch:")] == ["said"]
        with shared.api() as api:
            progress = ended(api, run).detail["progress"]
            assert [progress[name] for name in ("desc", "n", "total", "unit")] == ["last", 7, 7, "x"]


def test_bar_that_hides_without_a_terminal_is_still_told(shared: Machine) -> None:
    """W3: `disable=None` means the terminal, `disable=True` everybody."""
    for run, disable, expected in (("w3-none", None, 5), ("w3-true", True, None)):
        told = ran(
            shared,
            f"""
            import farwatch
            from farwatch.tqdm import tqdm
            with farwatch.init("w3", id="{run}", console=False, system=False):
                for i in tqdm(range(5), disable={disable}): pass
            """,
        )
        assert "it/s" not in told
        with shared.api() as api:
            assert ((ended(api, run).detail["progress"] or {}).get("n")) == expected


def test_text_of_a_bar_is_that_of_tqdm() -> None:
    """C2's text and the small bar's line, beside tqdm's for the same numbers."""
    for n, total, elapsed, rate in [
        (4, 20, 8.0, 0.5),
        (7, 9, 3725.0, 123.4),
        (20, 20, 1.0, 20.0),
        (0, 20, 0.0, None),
    ]:
        meter = {
            "n": n,
            "total": total,
            "elapsed_s": elapsed,
            "rate": rate,
            "desc": "ep",
            "unit": "it",
            "postfix": "loss=1.5",
        }
        meter["remaining_s"] = None if rate is None else (total - n) / rate
        theirs = plain_tqdm.format_meter(
            n, total, elapsed, prefix="ep", rate=rate, postfix="loss=1.5", ncols=None
        )
        assert bar_text(meter) == re.sub(r",  +", ", ", theirs)
    unknown = {"n": 7, "total": None, "elapsed_s": 65.0, "rate": 2.0, "unit": "it"}
    assert bar_text(unknown) == "7it [01:05, 2.00it/s]"


@pytest.mark.parametrize("kind", ["tqdm(", "run.progress("])
def test_loop_ends_by_itself_where_somebody_stops_the_run(shared: Machine, kind: str) -> None:
    """Rule 7: no exception, though `log` inside the loop is a safe point as well; and the program goes on behind it."""
    name = f"stop-{kind[:4].strip('.')}"
    program = shared.train(
        f"""
        import farwatch, time
        from farwatch.tqdm import tqdm
        run = farwatch.init("stop", id="{name}", console=False, system=False)
        for epoch in {kind}range(3), desc="epoch"):
            for step in {kind}range(100_000), leave=False):
                run.log({{"loss": 1.0}})
                time.sleep(0.005)
            print("saved", epoch, flush=True)
        print("went on", flush=True)
        run.finish()
        """
    )
    with shared.api() as api:
        run = until(lambda: [one for one in api.runs("stop") if one.id == name], 30, "the run is there")[0]
        until(lambda: api.run(run.id).detail["progress"], 30, "its progress")

        order = api.run(run.id).stop()

        assert order.wait(20).state == "applied"
        assert program.wait(20) == 0
        assert re.findall(r"saved \d|went on", said(program)) == ["saved 0", "went on"]
        progress = ended(api, run.id, "stopped").detail["progress"]
        assert (progress["desc"], progress["n"], progress["ended"]) == ("epoch", 1, True)
