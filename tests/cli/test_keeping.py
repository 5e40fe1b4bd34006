"""Commands that keep: sync, status, backup, restore, fsck, login."""

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_server import Server, wait_until

from farwatch.agent.sync import status
from farwatch.api import Api
from tests.cli.conftest import new_server, seed

OFFLINE = """
import pathlib, farwatch

pathlib.Path("result.txt").write_text("forty-two")
with farwatch.init(project="offline", name="kept", config={"a": 1}, mode="offline", system=False) as run:
    for step in range(50):
        run.log({"loss": step / 7}, step=step)
    run.save("result.txt")
"""


def _journals(server: Server) -> list[dict[str, object]]:
    told: dict[str, list[dict[str, object]]] = json.loads(server.command("status", "--json").stdout)
    return [journal for journal in told["journals"] if journal["role"] == "trainer"]


def test_offline_run_is_listed_sent_once_and_cleared(alone: Server, tmp_path: Path) -> None:
    alone.train(OFFLINE)
    before = _journals(alone)
    assert [(j["project"], j["name"], j["complete"]) for j in before] == [("offline", "kept", False)]
    assert before[0]["records_unsent"] == before[0]["records"]

    refused = alone.command("sync")
    assert (refused.returncode, "farwatch serve" in refused.stderr) == (1, True)
    alone.start()
    first = alone.command("sync")
    second = alone.command("sync")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    with alone.api() as api:
        run = alone.ended(api, "offline")[0]
        assert (run.name, run.config, run.state) == ("kept", {"a": 1}, "finished")
        assert run.series("loss").values.tolist() == [step / 7 for step in range(50)]
        assert run.download("result.txt", to=tmp_path / "back.txt").read_text() == "forty-two"
    assert [(j["complete"], j["records_unsent"], j["files_unsent"]) for j in _journals(alone)] == [
        (True, 0, 0)
    ]
    asked = alone.command("status", "--clear")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert len(_journals(alone)) == 1
    assert alone.command("status", "--clear", "--yes").returncode == 0
    assert _journals(alone) == []


def test_clear_keeps_what_is_not_sent(alone: Server) -> None:
    alone.train(OFFLINE)

    done = json.loads(alone.command("status", "--clear", "--yes", "--json").stdout)

    assert (done["cleared"], len(_journals(alone))) == ([], 1)
    assert done["kept"] >= 1  # what the agent has written of the run, if it has come to it, is kept as well


def test_backup_of_a_running_server_restores_elsewhere_as_it_was(alone: Server, tmp_path: Path) -> None:
    alone.start()
    seed(alone)
    wait_until(lambda: all(journal.complete for journal in status(alone.folder)), "everything has arrived")
    with alone.api() as api:
        before = _everything(api)

    told = json.loads(alone.command("backup", str(tmp_path / "backup"), "--json").stdout)
    alone.stop()
    elsewhere = new_server(tmp_path / "elsewhere")
    try:
        restored = elsewhere.command(
            "restore", str(tmp_path / "backup"), "--data", str(elsewhere.folder / "server")
        )
        assert restored.returncode == 0, restored.stderr
        checked = elsewhere.command("fsck", "--json")
        elsewhere.start()
        with elsewhere.api() as api:
            after = _everything(api)
            assert api.info()["epoch"] != told["epoch"]
    finally:
        elsewhere.close()

    assert json.loads(checked.stdout)["ok"] is True
    assert after == before
    again = alone.command("backup", str(tmp_path / "backup"))
    assert (again.returncode, "not empty" in again.stderr) == (2, True)


def _everything(api: Api) -> list[object]:
    """What a person could see of all runs."""
    found: list[object] = []
    for run in api.runs(sort="created"):
        detail = {
            key: run.detail[key] for key in ("id", "name", "number", "state", "tags", "config", "points")
        }
        series = {
            name: (s.steps.tobytes(), s.times.tobytes(), s.values.tobytes())
            for name in run.metrics()
            for s in [run.series(name)]
        }
        found.append((detail, series, [line.text for line in run.console()]))
    assert found
    return found


def test_fsck_names_damage_and_exits_with_one(alone: Server) -> None:
    alone.start()
    seed(alone)
    alone.stop()
    largest = max((alone.folder / "server").glob("*.db"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    for page in range(4096, len(data), 4096):  # all but the first: which of them are in use is nobody's promise
        data[page + 1024 : page + 3072] = b"\xa5" * 2048
    largest.write_bytes(data)

    done = alone.command("fsck")

    assert (done.returncode, bool(done.stdout.strip()), "Traceback" in done.stderr) == (1, True, False)


def test_login_stores_a_token_that_only_its_owner_can_read(seeded: Server, alone: Server) -> None:
    secret = json.loads((seeded.folder / "server.json").read_text())["secret"]

    def login(token: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "farwatch.cli", "login", seeded.address, "--token-stdin", "--json"],
            input=token + "\n",
            env=alone.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    wrong, right = login("fw_wrong"), login(secret)

    assert (wrong.returncode, (alone.folder / "credentials.json").exists() and not right.stdout) == (1, False)
    assert (right.returncode, json.loads(right.stdout)["server"]) == (0, seeded.address)
    assert stat.S_IMODE((alone.folder / "credentials.json").stat().st_mode) == 0o600
    assert secret not in right.stdout + right.stderr
    assert "run-0" in alone.command("runs", "seed").stdout


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_cleanly_on_a_signal_and_takes_its_file_away(alone: Server, sign: signal.Signals) -> None:
    alone.start()
    process = alone.process
    assert process is not None

    alone.stop(sign)

    assert (process.returncode, (alone.folder / "server.json").exists()) == (0, False)


def test_second_server_of_the_same_folder_says_where_the_first_is(alone: Server) -> None:
    alone.start()

    second = alone.command("serve", "--no-open", "--port", "0")

    assert (second.returncode, alone.address in second.stderr) == (2, True)


def _process_ended(server: Server, expected: Callable[[dict[str, object]], bool]) -> bool:
    return all(expected(journal) for journal in _journals(server))


def test_status_shows_a_run_that_is_training(alone: Server) -> None:
    alone.start()
    with alone.driven("active") as trainer:
        trainer.log(0, loss=1.0)

        assert [(j["project"], j["alive"]) for j in _journals(alone)] == [("active", True)]
    wait_until(lambda: _process_ended(alone, lambda j: j["alive"] is False), "status sees the end")
