"""Rows X1 to X4, V7, V8, B3, B11, B13, B15: several processes, one run; and what they are told apart by."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.faults.machine import Machine, until
from tests.rows.program import ended, points, ran, said


def test_four_processes_with_one_run_id_make_one_run(shared: Machine) -> None:
    """X1: four processes with one run ID log 1000 points each on different paths: one run, 4000 points."""
    source = """
        import farwatch, sys
        with farwatch.init("x1", id="x1", console=False, system=False) as run:
            for i in range(1000): run.log({f"part{sys.argv[1]}/value": i + 0.5 * int(sys.argv[1])})
    """
    programs = [shared.train(source, n) for n in range(4)]
    assert [program.wait(60) for program in programs] == [0] * 4
    with shared.api() as api:
        run = until(lambda: (found := ended(api, "x1")).detail["points"] == 4000 and found)
        assert len(api.runs("x1")) == 1
        metrics = run.metrics()
        assert {name: metric.count for name, metric in metrics.items()} == {f"part{n}/value": 1000 for n in range(4)}
        for n in range(4):
            assert points(run, f"part{n}/value", attempt=metrics[f"part{n}/value"].attempts[0])[2] == [
                i + 0.5 * n for i in range(1000)
            ]


TORCHRUN = """
import farwatch, os
run = farwatch.init("x2", console=False, system=False)
for step in range(50): run.log({"loss": float(step) + 100 * int(os.environ["RANK"])}, step=step)
run.wait(20)
print("id", os.environ["RANK"], run.id, flush=True)
run.finish()
"""


def test_a_launch_of_two_processes_is_one_run_with_one_line(shared: Machine) -> None:
    """X2: a 2-process CPU launch by torchrun: one run, one start line, one id."""
    script = shared.folder / "x2.py"
    script.write_text(TORCHRUN)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    told = ran(shared, f"import os, sys\nos.execv(sys.executable, [sys.executable, *{command!r}])\n")

    assert len([line for line in told.splitlines() if "farwatch:" in line]) == 1, told
    with shared.api() as api:
        (listed,) = api.runs("x2")
        run = ended(api, listed.id)
        assert set(re.findall(r"id [01] (\S+)", told)) == {run.id}
        assert sorted(rank["rank"] for rank in run.detail["ranks"]) == [0, 1]
        for rank in (0, 1):
            assert points(run, "loss", rank=rank)[2] == [step + 100.0 * rank for step in range(50)]


LOADERS = """
import os, statistics, sys, threading, time
from torch.utils.data import DataLoader, Dataset
repetitions, ratio = int(sys.argv[1]), float(sys.argv[2])
class Data(Dataset):
    def __len__(self): return 32
    def __getitem__(self, i):
        time.sleep(0.0005)
        return i, threading.active_count(), len(os.listdir("/proc/self/task"))
def repetition(run):
    began = time.perf_counter()
    most = 0
    for _, threads, tasks in DataLoader(Data(), batch_size=4, num_workers=4, multiprocessing_context="fork"):
        most = max(most, int(threads.max()))
        if run: run.log({"loss": 1.0})
    return time.perf_counter() - began, most
bare, tracked = [], []
repetition(None)
import farwatch
run = farwatch.init("x3", id="x3", console=False, system=False)
threads = 0
# In turns, so that a busy machine is busy for both; and longer where others have filled it just when it was one of the two's turn.
while len(bare) < repetitions or (min(tracked) > ratio * min(bare) and len(bare) < 6 * repetitions):
    spent, without = repetition(None); bare.append(spent)
    spent, most = repetition(run); tracked.append(spent)
    threads = max(threads, most - without)
run.finish()
print(statistics.median(bare), statistics.median(tracked), min(bare), min(tracked), threads)
"""


@pytest.mark.parametrize(
    ("repetitions", "ratio"), [(10, 1.5), pytest.param(100, 1.1, marks=pytest.mark.nightly)]
)  # ten repetitions of 0.15 s find a hang and a thread, not a tenth of the time
def test_forked_workers_of_loaders_neither_hang_nor_slow_down(
    shared: Machine, repetitions: int, ratio: float
) -> None:
    """X3: repetitions with 4 forked workers: no deadlock, no client thread in workers, within 10% of the time without."""
    told = ran(shared, LOADERS, repetitions, ratio)
    bare, tracked, least_bare, least_tracked, threads = map(float, told.splitlines()[-1].split())

    assert threads == 0
    assert min(tracked / bare, least_tracked / least_bare) < ratio, told


COMPILED = """
import farwatch, torch
data = torch.randn(20, 8, 4, generator=torch.Generator().manual_seed(0))
for inside in (False, True):
    for backend in ("", "eager"):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        with farwatch.init("x4", id=f"x4-{inside}-{backend}", console=False, system=False) as run:
            def step(x):
                loss = model(x).square().mean()
                if inside: run.log({"loss": loss})
                return loss
            call = torch.compile(step, backend=backend) if backend else step
            for x in data:
                optimizer.zero_grad()
                loss = call(x)
                if not inside: run.log({"loss": loss})
                loss.backward()
                optimizer.step()
"""


def test_a_compiled_step_logs_what_the_eager_one_logs(shared: Machine) -> None:
    """X4: torch.compile, with `log` outside and inside of the compiled function: as many points as eager, and the same."""
    told = ran(shared, COMPILED)
    assert "left out" not in told and "kept nothing" not in told, told
    seen = {}
    for run_id in ("x4-False-", "x4-False-eager", "x4-True-", "x4-True-eager"):
        with shared.api() as api:
            seen[run_id] = points(ended(api, run_id), "loss")[2]
    first = seen["x4-False-"]
    assert len(first) == 20
    for run_id, values in seen.items():
        assert values == pytest.approx(first, rel=1e-5), run_id


def test_each_process_of_a_run_has_its_own_hardware(machine: Machine) -> None:
    """V7: within 25 s each of two processes on one run has CPU and memory series of its own with 2 points; no GPU is no error."""
    machine.environ["FARWATCH_SAMPLE_S"] = "1"  # 5 without it: two samples then take 10 s
    machine.start_server()
    source = """
        import farwatch, sys, time, os
        run = farwatch.init("v7", id="v7", ranks=(int(sys.argv[1]), 2), console=False)
        while not os.path.exists("stop"):
            run.log({"a": 1.0}); time.sleep(0.05)
        run.finish()
    """
    shared_ = {"FARWATCH_RUN_ID": "v7", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    programs = [machine.train(source, rank, **shared_) for rank in range(2)]

    def enough() -> bool:
        with machine.api() as api:
            if not api.runs("v7"):
                return False
            run = api.run("v7")
            names = [name for name in run.metrics() if name.startswith("system/")]
            mine = [name for name in names if re.search(r"proc.*(cpu|mem|rss)|(cpu|mem|rss).*proc", name)]
            return len(mine) >= 2 and all(len(points(run, name, rank=rank)[0]) >= 2 for name in mine for rank in (0, 1))

    try:
        until(enough, 25, "two points of CPU and memory for both processes")
    finally:
        (machine.folder / "stop").touch()
    assert [program.wait(30) for program in programs] == [0, 0]
    logs = "".join(path.read_text() for path in (machine.state / "agents").glob("*.log"))
    assert "Traceback" not in logs and "ERROR" not in logs


@pytest.mark.parametrize("lost_s", [6, pytest.param(None, marks=pytest.mark.nightly)])
def test_with_the_agent_killed_as_well_a_run_is_lost_and_comes_back(machine: Machine, lost_s: int | None) -> None:
    """V8: with the agent killed as well: lost within 60 s (here sooner), and running again if it speaks."""
    machine.start_server(**({} if lost_s is None else {"lost_s": lost_s}))
    counting = machine.count("v8", pause_s=0.01)
    until(lambda: len(machine.values("v8")) > 10)

    def state() -> str:
        with machine.api() as api:
            return api.run("v8").state

    assert state() == "running"
    os.kill(counting.process.pid, signal.SIGSTOP)  # it would start another agent
    machine.kill_agents()
    until(lambda: state() == "lost", 60, "lost")
    os.kill(counting.process.pid, signal.SIGCONT)
    if lost_s is not None:  # a trainer looks after its agent once a minute; one that starts does so at once, after 15 s
        for beat in (machine.state / "agents").glob("*.beat"):
            os.utime(beat, (0, 0))
        ran(machine, "import farwatch\nfarwatch.init('v8', id='other', console=False, system=False).finish()\n")
    until(lambda: state() == "running", 90, "running again")
    returned = counting.kill()
    until(lambda: state() == "failed", 5, "failed")
    until(lambda: len(machine.values("v8")) >= returned, 10)


def test_a_sweep_is_captured_two_runs_at_a_time(machine: Machine) -> None:
    """W1: twenty runs that start at once do not start twenty programs that look at their code and packages."""
    machine.start_server()
    ran(
        machine,
        "import farwatch\nfor n in range(20): farwatch.init('sweep', id=f'sweep-{n}', console=False, system=False).finish()\n",
    )
    most = 0

    def all_captured() -> bool:
        nonlocal most
        commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        most = max(most, sum(b"farwatch.agent.capture" in one and str(machine.state).encode() in one for one in commands))
        return len(list((machine.state / "journals").glob("*/captured"))) == 20

    until(all_captured, 60, "all twenty are captured")
    assert 1 <= most <= 4  # each may just be starting a program of its own


def test_nothing_of_ours_is_in_the_trainer(shared: Machine) -> None:
    """B3: threads and open sockets are what they were before `init`, with a server, while logging and after a fork."""
    told = ran(
        shared,
        """
        import os, threading
        def seen():
            links = []
            for number in os.listdir("/proc/self/fd"):
                try: links.append(os.readlink(f"/proc/self/fd/{number}"))
                except OSError: pass
            return (sorted(t.name for t in threading.enumerate()), len(os.listdir("/proc/self/task")),
                    sorted(l for l in links if "socket" in l),
                    open(f"/proc/self/task/{os.getpid()}/children").read())
        before = seen()
        import farwatch
        run = farwatch.init("b3", id="b3", system=True)
        print("init", seen() == before)
        for i in range(20_000): run.log({"a": float(i), "s": "text"} if i % 1000 == 0 else {"a": float(i)})
        run.save(__file__)
        print("log", seen() == before)
        print("wait", run.wait(30), seen() == before)
        run.finish()
        print("finish", seen() == before)
        """,
    )
    assert [line for line in told.splitlines() if "False" in line] == []
    assert all(word in told for word in ("init True", "log True", "wait True True", "finish True"))


MANY = """
import farwatch, os, sys, time
rank, ranks, steps = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
run = farwatch.init("b13", ranks=(rank, ranks), console=False)
for step in range(steps):
    run.log({"loss": step + rank / 8}, step=step)
while not os.path.exists("over"): time.sleep(0.05)
run.finish(timeout_s=120)
"""


HARDWARE = {"system/cpu", "system/memory_percent", "system/disk/free_bytes"}


@pytest.mark.parametrize(("ranks", "steps"), [(8, 10_000)])
def test_eight_ranks_of_ten_thousand_steps_are_one_run_without_loss(machine: Machine, ranks: int, steps: int) -> None:
    """B13: 8 processes log 10,000 steps each: per-rank series, mean, min and max, the slowest rank, hardware, one start notice."""
    machine.environ["FARWATCH_SAMPLE_S"] = "0.5"
    machine.start_server()
    launched = {"FARWATCH_RUN_ID": "b13", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29518"}
    programs = [machine.train(MANY, rank, ranks, steps, **launched) for rank in range(ranks)]

    def hardware() -> bool:
        with machine.api() as api:
            return bool(api.runs("b13")) and set(api.run("b13").metrics()) >= HARDWARE

    until(hardware, what="the node has been looked at while the run lived")
    (machine.folder / "over").touch()
    assert [program.wait(150) for program in programs] == [0] * ranks
    lines = [line for program in programs for line in said(program).splitlines() if line.startswith("farwatch:")]
    assert len(lines) == 1, lines

    with machine.api() as api:
        run = until(lambda: api.runs("b13") and (found := ended(api, "b13")).metrics()["loss"].count == ranks * steps and found, 60)
        assert len(api.runs("b13")) == 1
        assert sorted(rank["rank"] for rank in run.detail["ranks"]) == list(range(ranks))
        for rank in range(ranks):
            series = run.series("loss", rank=rank)
            assert np.array_equal(series.steps, np.arange(steps, dtype=float))
            assert np.array_equal(series.values, np.arange(steps) + rank / 8)

        def chart(which: str) -> tuple[dict, dict]:
            body = {"lines": [{"run": "b13", "name": "loss"}], "ranks": which, "buckets": 250}
            return api._contact.columns("/charts", body)

        meta, arrays = chart("mean")
        assert len(meta["lines"]) == 1
        assert float(np.max(arrays["max"])) == steps - 1 + (ranks - 1) / 8 and float(np.min(arrays["min"])) == 0.0
        first = float(arrays["mean"][0]) - float(arrays["x"][0])
        assert first == pytest.approx((ranks - 1) / 16, abs=1e-3)
        assert set(run.metrics()) >= HARDWARE  # of the one node
        assert len(chart("all")[0]["lines"]) == ranks
        assert len(chart("slowest")[0]["lines"]) == 1
        assert run.detail["gaps"] == []


@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        ("sys.exit(0)", "finished", ""),
        ("raise RuntimeError('CUDA out of memory')", "failed", "CUDA out of memory"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", "stopped", "interrupted"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", "failed", "SIGTERM|15|ended without goodbye"),
        ("os.kill(os.getpid(), signal.SIGKILL); time.sleep(9)", "failed", "SIGKILL|9|ended without goodbye"),
    ],
    ids=["exit", "exception", "ctrl-c", "term", "kill"],
)
def test_endings_are_told_apart(shared: Machine, ending: str, state: str, reason: str, request: pytest.FixtureRequest) -> None:
    """B11: exit 0, exception, Ctrl-C, SIGTERM and SIGKILL are told apart within 5 s where the agent lives."""
    run_id = f"b11-{request.node.callspec.id}"
    trainer = shared.train(
        f"import farwatch, os, signal, sys, time\nrun = farwatch.init('b11', id={run_id!r}, console=False, system=False)\n"
        f"run.log({{'a': 1.0}})\nrun.wait(20)\n{ending}\n"
    )
    trainer.wait(60)
    with shared.api() as api:
        run = ended(api, run_id, state, limit_s=5)
        assert re.search(reason, run.reason), run.reason


def test_out_of_memory_is_told_apart(machine: Machine) -> None:
    """B11: a trainer that its control group kills for memory failed, and the reason says memory where the system can tell."""
    group = "/sys/fs/cgroup/memory/farwatch-test" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup/farwatch-test"
    machine.start_server()
    try:
        os.mkdir(group)
        limit = "memory.limit_in_bytes" if "/memory/" in group else "memory.max"
        with open(f"{group}/{limit}", "w") as file:
            file.write(str(200 << 20))
        limited = True
    except OSError:
        limited = False  # this machine lets nobody make a group: then only the kill is seen
    ending = "hold = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]" if limited else "os.kill(os.getpid(), signal.SIGKILL)"
    join = f"open({group + '/cgroup.procs'!r}, 'w').write(str(os.getpid()))" if limited else ""
    trainer = machine.train(
        f"import farwatch, os, signal\n{join}\nrun = farwatch.init('b11', id='oom', console=False, system=False)\n"
        f"run.log({{'a': 1.0}})\nrun.wait(20)\n{ending}\n"
    )
    trainer.wait(60)
    with machine.api() as api:
        reason = ended(api, "oom", "failed", limit_s=5).reason
    if limited:
        until(lambda: _removed(group), 10, "the group is empty")
    assert re.search("memory" if limited else "SIGKILL|9|ended without goodbye", reason), reason


def _removed(group: str) -> bool:
    try:
        os.rmdir(group)
    except OSError:
        return False
    return True


def test_the_meter_tells_what_logging_cost(shared: Machine) -> None:
    """B15: total time in `log`, share of wall time, worst call, points dropped (0)."""
    told = ran(
        shared,
        """
        import farwatch, statistics, time
        for n in range(5):
            run = farwatch.init("b15", id=f"b15-{n}", console=False, system=False)
            began, spent = time.perf_counter(), []
            for i in range(5_000):
                call = time.perf_counter(); run.log({"a": 1.0, "b": 2.0}); spent.append(time.perf_counter() - call)
            run.finish()
            print("spent", statistics.median(spent) * len(spent), time.perf_counter() - began)
        """,
    )
    measured = [tuple(map(float, line.split()[1:])) for line in told.splitlines() if line.startswith("spent")]
    with shared.api() as api:
        meters = [ended(api, f"b15-{n}").detail["meter"] for n in range(5)]
    for meter, (_, wall) in zip(meters, measured, strict=True):
        assert 4_900 <= meter["calls"] <= 5_100
        assert meter["dropped"] == 0
        assert 0 < meter["worst_ns"] <= meter["total_ns"]
        assert 0.5 * wall < meter["wall_ns"] / 1e9 < 2 * wall + 1
    # One call of 16 is timed and stands for its neighbours: on a busy machine one interruption counts 16 times.
    ratios = [meter["total_ns"] / 1e9 / spent for meter, (spent, _) in zip(meters, measured, strict=True)]
    assert 0.2 < min(ratios) < 4, ratios


