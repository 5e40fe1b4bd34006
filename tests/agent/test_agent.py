"""The agent as a process of its own, with real trainers, real deaths and a strict server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_server import FakeServer
from written_journals import WrittenJournal

from farwatch.agent.folder import JournalFolder, find_journals
from farwatch.agent.place import agent_file
from farwatch.agent.reader import Reader, records_of
from farwatch.machine import boot_id, pid_namespace, process_start
from farwatch.wire.records import Kind

TIMEOUT_S = 20.0


class AgentProcess:
    """Agents of one state folder, ended with the test."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> "subprocess.Popen[bytes]":
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {"FARWATCH_SAMPLE_S": "0.3", "FARWATCH_POLL_S": "0.02", **environment}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "farwatch.agent", "--state", str(self.state)],
            env={**kept, **given, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_S)
            assert errors == b""

    def log(self) -> str:
        return "".join(path.read_text() for path in (self.state / "agents").glob("*.log"))


def wait_for(what: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(token="tok") as running:
        yield running


@pytest.fixture
def state(tmp_path: Path, server: FakeServer) -> Path:
    folder = tmp_path / "state"
    (folder / "journals").mkdir(parents=True, mode=0o700)
    (folder / "credentials.json").write_text(json.dumps({server.address: {"token": "tok"}}))
    (folder / "credentials.json").chmod(0o600)
    return folder


@pytest.fixture
def agent(state: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(state)
    yield made
    made.close()


@pytest.fixture
def trainer() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def journal_of(state: Path, pid: int, server: FakeServer, **changes: object) -> WrittenJournal:
    told: dict[str, object] = {
        "pid": pid, "pid_start": process_start(pid), "boot_id": boot_id(), "pid_ns": pid_namespace(),
        "server": server.address, "credential": server.address,
    }  # fmt: skip
    return WrittenJournal(state / "journals", **(told | changes))


def lives(server: FakeServer, journal: WrittenJournal) -> list[dict]:
    return [
        beat["writers"][journal.writer_id]
        for beat in list(server.beats)
        if journal.writer_id in beat["writers"]
    ]


def test_agent_ships_what_a_trainer_writes(
    agent: AgentProcess, state: Path, server: FakeServer, trainer: "subprocess.Popen[bytes]"
) -> None:
    journal = journal_of(state, trainer.pid, server)
    agent.start()

    journal.steps(100)
    wait_for(lambda: len(server.steps(journal.writer_id)) == 100)
    journal.steps(100, first=100)
    wait_for(lambda: len(server.steps(journal.writer_id)) == 200)

    assert server.steps(journal.writer_id) == list(range(200))
    wait_for(lambda: lives(server, journal) and lives(server, journal)[-1]["alive"] is True)
    assert "tok" not in agent.log().replace(server.address, "")


def test_agent_tells_how_a_trainer_died_and_cuts_its_journal(
    agent: AgentProcess, state: Path, server: FakeServer, trainer: "subprocess.Popen[bytes]"
) -> None:
    journal = journal_of(state, trainer.pid, server)
    journal.steps(5)
    agent.start()
    wait_for(lambda: lives(server, journal))

    died = time.monotonic()
    trainer.kill()
    trainer.wait()
    wait_for(lambda: lives(server, journal)[-1]["alive"] is False)

    assert time.monotonic() - died < 5
    assert lives(server, journal)[-1]["cause"]["text"] in ("killed by SIGKILL", "ended without goodbye")
    assert journal.file.stat().st_size == journal.offset
    wait_for(lambda: JournalFolder(journal.path).answer().get("complete"))


def test_goodbye_is_believed_before_any_cause(
    agent: AgentProcess, state: Path, server: FakeServer, trainer: "subprocess.Popen[bytes]"
) -> None:
    journal = journal_of(state, trainer.pid, server)
    agent.start()
    wait_for(lambda: lives(server, journal))
    journal.goodbye()
    trainer.kill()
    trainer.wait()

    wait_for(lambda: JournalFolder(journal.path).answer().get("complete"))

    assert all("cause" not in life for life in lives(server, journal))


def test_second_agent_leaves_at_once(agent: AgentProcess, state: Path, server: FakeServer) -> None:
    journal_of(state, os.getpid(), server)
    first = agent.start()
    wait_for(lambda: agent_file(state, "beat").exists())

    second = agent.start()

    assert second.wait(TIMEOUT_S) == 0
    assert first.poll() is None


def test_idle_agent_leaves_and_takes_its_sign_of_life_along(agent: AgentProcess, state: Path) -> None:
    process = agent.start(FARWATCH_IDLE_EXIT_S="0.3")

    assert process.wait(TIMEOUT_S) == 0
    assert not agent_file(state, "beat").exists()


def test_agent_leaves_when_its_state_folder_is_deleted(
    agent: AgentProcess, state: Path, server: FakeServer
) -> None:
    journal_of(state, os.getpid(), server)
    process = agent.start()
    wait_for(lambda: agent_file(state, "beat").exists())

    shutil.rmtree(state)

    assert process.wait(TIMEOUT_S) == 0
    assert not state.exists()


def test_killed_agent_is_replaced_without_loss(
    agent: AgentProcess, state: Path, server: FakeServer, trainer: "subprocess.Popen[bytes]"
) -> None:
    journal = journal_of(state, trainer.pid, server)
    for life in range(4):
        journal.steps(50, first=50 * life)
        process = agent.start()
        wait_for(lambda n=life: len(server.steps(journal.writer_id)) > 50 * n)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    agent.start()

    wait_for(lambda: len(server.steps(journal.writer_id)) == 200)

    assert server.steps(journal.writer_id) == list(range(200))


def test_each_process_of_a_run_has_metrics_of_its_own(
    agent: AgentProcess, state: Path, server: FakeServer
) -> None:
    trainers = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
    run = "run-of-two"
    for rank, process in enumerate(trainers):
        journal_of(state, process.pid, server, rank=rank, run=run, system=True)
    agent.start()

    def names() -> set[tuple[int, str]]:
        found = set()
        for writer, told in list(server.writers.items()):
            if told["sidecar"].get("role") != "system":
                continue
            steps = [payload for payload in server.records[writer] if payload[0] == Kind.STEP]
            for payload in server.records[writer]:
                if payload[0] == Kind.SCHEMA and len(steps) >= 3:
                    found |= {(told["sidecar"]["rank"], key) for key in json.loads(payload[24:])["keys"]}
        return found

    wanted = {(rank, f"system/process/{name}") for rank in (0, 1) for name in ("cpu", "memory_bytes")}
    wait_for(lambda: wanted <= names())
    for process in trainers:
        process.kill()
        process.communicate()

    assert (0, "system/cpu") in names() and (0, "system/memory_bytes") in names()
    assert (1, "system/cpu") not in names()


def test_offline_run_opens_no_connection_and_keeps_its_metrics(
    agent: AgentProcess, state: Path, server: FakeServer, trainer: "subprocess.Popen[bytes]"
) -> None:
    journal_of(state, trainer.pid, server, mode="offline", system=True)
    agent.start()

    def system_steps() -> int:
        return sum(
            record.kind == Kind.STEP
            for path in find_journals(state / "journals")
            if (path / "writer.json").exists() and (folder := JournalFolder(path)).role == "system"
            for batch in iter(lambda reader=Reader(folder): reader.cut(1 << 20, now_us=0), None)
            for record in records_of(batch)
        )

    wait_for(lambda: system_steps() >= 2)

    assert server.asked == []


def test_code_in_the_working_folder_is_not_run(
    agent: AgentProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("psutil", "json", "http"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    monkeypatch.chdir(tmp_path)

    process = agent.start(FARWATCH_IDLE_EXIT_S="0")

    assert process.wait(TIMEOUT_S) == 0
    assert not (tmp_path / "canary").exists()


def test_agent_stays_small(
    agent: AgentProcess, state: Path, server: FakeServer, trainer: "subprocess.Popen[bytes]"
) -> None:
    journal = journal_of(state, trainer.pid, server, system=True, capacity=4 << 20)
    journal.steps(200_000)
    process = agent.start()
    wait_for(lambda: len(server.steps(journal.writer_id)) == 200_000)

    status = Path(f"/proc/{process.pid}/status").read_text()
    peak_mib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    assert peak_mib <= 60


def test_agent_is_the_first_to_go_under_memory_pressure(
    agent: AgentProcess, state: Path, server: FakeServer
) -> None:
    journal_of(state, os.getpid(), server)
    process = agent.start()
    wait_for(lambda: agent_file(state, "beat").exists())

    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "500"
    assert os.readlink(f"/proc/{process.pid}/cwd") == "/"
    assert os.getpriority(os.PRIO_PROCESS, process.pid) - os.getpriority(os.PRIO_PROCESS, 0) == 5
