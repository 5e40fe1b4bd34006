"""Rows O1 to O6, W1, W11, W17, B12: without a server, with a late one, with one that goes and comes back."""

import itertools
import json
import signal
import subprocess
import sys
import time

import pytest

from tests import pace
from tests.faults.machine import SOURCE, Machine, until
from tests.rows.program import ended, points, ran, said

DEAD = "http://127.0.0.1:9"


def test_a_point_logged_right_before_kill_9_is_delivered(machine: Machine) -> None:
    """O1: `kill -9` right behind a log call; `sync` delivers that point."""
    ran(
        machine,
        """
        import farwatch, os, signal
        run = farwatch.init("o1", id="o1", console=False, system=False)
        for i in range(123): run.log({"a": i / 4})
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        code=-9,
        FARWATCH_AGENT="0",
    )
    machine.start_server()
    assert machine.sync().returncode == 0
    assert machine.values("o1", "a") == [i / 4 for i in range(123)]


MODES = """
import farwatch, os, socket, sys
opened = []
connect = socket.socket.connect
socket.socket.connect = lambda self, address: (opened.append(address), connect(self, address))[1]
run = farwatch.init("o2", id="o2-" + os.environ.get("FARWATCH_MODE", "online"), config={"a": 1}, system=False)
run.log({"loss": 0.5}); run.extend("e", [1.0, 2.0]); run.log({"i": farwatch.Histogram([1.0, 2.0])})
run.tags.add("x"); run.summary["best"] = 1.0; run.notes = "n"; run.define_metric("loss", goal="min")
run.save(__file__)
print("waited", run.wait(20), flush=True)
run.finish()
print("opened", opened)
"""


def test_one_script_in_three_modes(machine: Machine) -> None:
    """O2: online is visible at once, offline opens no connection, disabled leaves no file and every call returns."""
    machine.start_server()
    assert "waited True" in ran(machine, MODES)
    with machine.api() as api:
        assert [run.id for run in api.runs("o2")] == ["o2-online"]
    until(lambda: any(machine.state.glob("journals/*/captured")))
    machine.kill_agents()
    before = set(machine.state.rglob("*"))

    told = ran(machine, MODES, FARWATCH_MODE="disabled")
    assert "waited False\nopened []" in told
    assert {path for path in machine.state.rglob("*") if "/server" not in str(path)} <= before
    assert machine.agents() == []

    log = (machine.folder / "server.log").read_text()
    assert "opened []" in ran(machine, MODES, FARWATCH_MODE="offline")
    with machine.api() as api:
        assert [run.id for run in api.runs("o2")] == ["o2-online"]
    for agent in machine.agents():
        links = subprocess.run(["ls", "-l", f"/proc/{agent}/fd"], capture_output=True, text=True, check=False).stdout
        assert "socket:" not in links
    assert (machine.folder / "server.log").read_text() == log


def test_an_offline_run_is_the_same_run_after_sync_and_again_after_a_second(machine: Machine) -> None:
    """O3: identical points, files and times; a second sync changes nothing."""
    source = """
        import farwatch, os, sys
        open("o3.bin", "wb").write(bytes(range(256)) * 100)
        with farwatch.init("o3", id=sys.argv[1], mode=sys.argv[2], config={"lr": 0.5}, source=[], system=False) as run:
            for i in range(500): run.log({"a": i / 3}, step=i, time=1_700_000_000_000 + i)
            run.log({"text": "hello"}, step=7)
            run.save("o3.bin")
            print("printed")
    """
    ran(machine, source, "o3-off", "offline")
    machine.start_server()
    assert machine.sync().returncode == 0
    ran(machine, source, "o3-on", "online")

    def seen(ref: str) -> dict:
        with machine.api() as api:
            run = ended(api, ref)
            until(lambda: all(file.sha256 for file in run.files()))
            return {
                "points": points(run, "a"),
                "files": sorted((file.path, file.size_bytes, file.sha256) for file in run.files()),
                "config": run.config,
                "texts": [(item["step"], item["text"]) for item in run.media()],
                "console": [line.text for line in run.console() if not line.text.startswith("farwatch:")],
                "count": run.detail["points"],
            }

    def whole(ref: str) -> str:
        with machine.api() as api:
            return json.dumps([api.run(ref).detail, api.run(ref).media(), points(api.run(ref), "a")], sort_keys=True)

    assert seen("o3-off") == seen("o3-on")
    first = whole("o3-off")
    assert machine.sync().returncode == 0
    assert whole("o3-off") == first


def test_status_counts_what_is_unsent_and_clear_takes_only_what_is_sent(machine: Machine) -> None:
    """O4: with S down, status lists unsent runs with counts; clear removes only fully sent ones, after asking."""
    source = """
        import farwatch, sys
        run = farwatch.init("o4", id=sys.argv[1], mode="offline", console=False, source=[])
        for i in range(50): run.log({"a": 1.0})
        run.finish()
    """
    machine.start_server()
    ran(machine, source, "sent")
    assert machine.sync().returncode == 0
    machine.kill_agents()
    machine.kill_server()
    ran(machine, source, "unsent")
    machine.kill_agents()

    def journals() -> dict[str, dict]:
        found = json.loads(machine.cli("status").stdout)["journals"]
        return {journal["run"]: journal for journal in found if journal["role"] == "trainer"}

    told = journals()
    assert (told["sent"]["records_unsent"], told["sent"]["complete"]) == (0, True)
    assert told["unsent"]["records_unsent"] == told["unsent"]["records"] > 50
    refused = machine.cli("status", "--clear", check=False)
    assert refused.returncode != 0 and "--yes" in refused.stderr
    assert set(journals()) == {"sent", "unsent"}
    machine.cli("status", "--clear", "--yes")
    assert set(journals()) == {"unsent"}
    machine.start_server()
    assert machine.sync().returncode == 0
    assert machine.values("unsent", "a") == [1.0] * 50


@pytest.mark.nightly
def test_a_server_that_is_away_for_20_s_misses_nothing(machine: Machine) -> None:
    """O5: S stopped for 20 s in mid-run and restarted; tests/faults has the short version."""
    machine.start_server()
    counting = machine.count("o5", pause_s=0.002, count=15_000)
    until(lambda: counting.returned > 300)
    machine.kill_server(signal.SIGTERM)
    away = time.monotonic() + 20
    until(lambda: time.monotonic() > away, 30)
    machine.start_server()
    counting.process.wait(timeout=120)
    until(lambda: len(machine.values("o5")) == 15_000, 60)
    assert machine.values("o5") == [float(step) for step in range(15_000)]


def test_lag_is_shown_by_status_and_by_the_server(machine: Machine) -> None:
    """O6: what has not arrived is shown by `farwatch status`; the run's page is told by the server."""
    machine.start_server()
    counting = machine.count("o6", pause_s=0.001)
    until(lambda: len(machine.values("o6")) > 10)
    with machine.api() as api:
        assert {"records", "bytes"} <= set(api.run("o6").detail["lag"])
    machine.kill_server()
    begin = counting.returned
    until(lambda: counting.returned > begin + 500)

    (told,) = (j for j in json.loads(machine.cli("status").stdout)["journals"] if j["role"] == "trainer")
    assert told["alive"] is True
    assert told["records_unsent"] >= 500 and told["bytes_unsent"] > 500 * 32
    counting.kill()


def test_the_disk_cap_stops_growth_with_one_warning(machine: Machine) -> None:
    """O6: the journal stops growing at the cap, says so once, and the run ends as it should."""
    told = ran(
        machine,
        """
        import farwatch
        run = farwatch.init("o6", id="o6", console=False, system=False)
        for i in range(200_000): run.log({"a": float(i)})
        run.finish()
        """,
        FARWATCH_JOURNAL_MAX_BYTES=str(4 << 20),
        FARWATCH_AGENT="0",
    )
    assert told.count("dropped") == 1, told
    held = sum(path.stat().st_size for path in (machine.state / "journals").rglob("*") if path.is_file())
    assert held <= (4 << 20) + (128 << 10)
    machine.start_server()
    machine.sync()
    with machine.api() as api:
        run = ended(api, "o6")
        values = points(run, "a")[2]
        assert values == [float(i) for i in range(len(values))]
        assert run.detail["meter"]["dropped"] == 200_000 - len(values) > 0


NAMES = """
import farwatch, os, socket, sys, time
with_client = sys.argv[1] == "1"
def broken(*_, **__): raise OSError("no name resolution")
run = farwatch.init("w1", id="w1", console=False, system=False) if with_client else None
began = time.monotonic()
for i in range(1000):
    if run: run.log({"a": float(i)})
    if i == 300:
        socket.getaddrinfo = socket.gethostbyname = broken
        open("break", "w").close()
        while not os.path.exists("broken"): time.sleep(0.001)
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end: pass
print(time.monotonic() - began)
if run: run.finish()
"""


def test_killing_the_server_and_the_names_does_not_hurt_training(machine: Machine) -> None:
    """W1: S killed and name resolution broken amid 1000 calls: exit code 0, at most 10% + 2 s more than without the client."""
    spent = []
    for with_client in (0, 1):
        for name in ("break", "broken"):
            (machine.folder / name).unlink(missing_ok=True)
        machine.start_server()
        # The agent inherits a resolver that cannot work; the address is a name.
        trainer = machine.train(
            NAMES, with_client, FARWATCH_SERVER="http://no-such-host.invalid:1" if with_client else "", RES_OPTIONS="timeout:1"
        )
        until(lambda: (machine.folder / "break").exists())
        machine.kill_server()
        (machine.folder / "broken").touch()
        trainer.wait(60)
        assert trainer.returncode == 0, said(trainer)
        spent.append(float(next(line for line in said(trainer).splitlines() if line.replace(".", "").isdigit())))

    assert spent[1] < 1.1 * spent[0] + 2 * pace.slowness()
    machine.kill_agents()
    machine.start_server()
    assert machine.cli("sync", "--server", machine.address, check=False).returncode == 0
    assert machine.values("w1", "a") == [float(i) for i in range(1000)]


def test_the_end_of_a_program_does_not_wait_for_a_dead_server(machine: Machine) -> None:
    """W1: leaving the interpreter costs at most 2 s more."""
    source = """
        import farwatch, sys, time
        run = farwatch.init("w1", console=False, system=False, server=sys.argv[1])
        run.log({"a": 1.0})
        print(time.time())
    """
    told = ran(machine, source, DEAD)
    assert time.time() - float(told.splitlines()[-1]) < 3


@pytest.mark.parametrize(("turns", "pause_s"), [(4, 0.6), pytest.param(6, 5.0, marks=pytest.mark.nightly)])
def test_sync_while_the_run_still_writes_shows_growing_data(machine: Machine, turns: int, pause_s: float) -> None:
    """W11: sync every 5 s during a 30 s offline run (here faster): growing data, at the end complete, nothing twice."""
    machine.start_server()
    trainer = machine.train(
        """
        import farwatch, os, time
        with farwatch.init("w11", id="w11", mode="offline", console=False, system=False) as run:
            i = 0
            while not os.path.exists("stop"):
                run.log({"value": float(i)}); i += 1
                time.sleep(0.002)
        print(i)
        """
    )
    until(lambda: (machine.state / "journals").exists() and any((machine.state / "journals").iterdir()))
    seen = [0]
    for _ in range(turns):
        due = time.monotonic() + pause_s
        until(lambda due=due: time.monotonic() > due)
        assert machine.sync().returncode == 0
        values = machine.values("w11")
        assert values == [float(i) for i in range(len(values))]
        seen.append(len(values))
    assert all(later > sooner for sooner, later in itertools.pairwise(seen)), seen
    (machine.folder / "stop").touch()
    trainer.wait(30)
    assert machine.sync().returncode == 0
    count = int(said(trainer).splitlines()[-1])
    assert machine.values("w11") == [float(i) for i in range(count)]
    with machine.api() as api:
        assert ended(api, "w11").attempt == 1


BARRIER = """
import multiprocessing, sys, time
def work(rank, barrier, with_client, spent):
    import farwatch
    run = farwatch.init("w17", ranks=(rank, 2), console=False, server="http://10.255.255.1:1", system=False) if with_client else None
    barrier.wait()
    began = time.monotonic()
    for step in range(100):
        if run: run.log({"loss": float(step)}, step=step)
        end = time.perf_counter() + 0.005
        while time.perf_counter() < end: pass
        barrier.wait(30)
    if run: run.finish()
    spent[rank] = time.monotonic() - began
if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    for with_client in (False, True):
        barrier, spent = spawn.Barrier(2), spawn.Array("d", 2)
        both = [spawn.Process(target=work, args=(rank, barrier, with_client, spent)) for rank in (0, 1)]
        [one.start() for one in both]; [one.join() for one in both]
        print(max(spent), [one.exitcode for one in both])
"""


def test_rank_0_blocks_nobody_without_a_network(machine: Machine) -> None:
    """W17: a 2-process barrier loop of 100 steps ends within the normal time + 2 s; rank 0 talks to nobody."""
    lines = [line.split(" ", 1) for line in ran(machine, BARRIER).splitlines() if not line.startswith("farwatch")]

    assert [codes for _, codes in lines] == ["[0, 0]", "[0, 0]"]
    normal, with_client = (float(spent) for spent, _ in lines)
    assert with_client < normal + 2 * pace.slowness()


def test_a_login_node_follows_a_folder_that_nodes_write_to(machine: Machine) -> None:
    """B12: `farwatch sync DIR --watch` on a login node: live while nodes without network write, afterwards nothing is missing."""
    machine.start_server()
    shared = machine.folder / "shared"
    source = """
        import farwatch, os, sys, time
        with farwatch.init("b12", id="node-" + sys.argv[1], mode="offline", console=False, system=False) as run:
            i = 0
            while not os.path.exists("stop"):
                run.log({"value": float(i), "at": time.time()}); i += 1
                time.sleep(0.005)
        print(i)
    """
    nodes = [machine.train(source, n, FARWATCH_DIR=str(shared / f"node{n}"), FARWATCH_AGENT="0") for n in range(2)]
    folders = [shared / f"node{n}" for n in range(2)]
    until(lambda: all((folder / "journals").exists() for folder in folders))
    watching = [
        subprocess.Popen(
            [sys.executable, "-m", "farwatch.cli", "sync", str(folder), "--watch", "--server", machine.address],
            env={**machine.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for folder in folders
    ]  # fmt: skip
    try:
        until(lambda: all(len(machine.values(f"node-{n}")) > 20 for n in range(2)), 30, "points of both nodes")
        worst = 0.0
        for _ in range(20):
            now = time.time()
            lag = now - machine.values("node-0", "at")[-1]
            worst = max(worst, lag)
            until(lambda now=now: time.time() > now + 0.1)
        assert worst < 2.5  # the poll is 1 s; the rest is this machine's
        (machine.folder / "stop").touch()
        counts = [(node.wait(30), int(said(node).splitlines()[-1]))[1] for node in nodes]
        until(lambda: [len(machine.values(f"node-{n}")) for n in range(2)] == counts, 20, f"{counts}")
        with machine.api() as api:
            for n in range(2):
                assert points(ended(api, f"node-{n}"), "value")[2] == [float(i) for i in range(counts[n])]
    finally:
        for one in watching:
            one.send_signal(signal.SIGINT)
        assert [one.wait(20) for one in watching] == [0, 0]
