"""Rows 19, 21, 27, 39 and 41 of the threat table, as attackers and careless people meet them; row 20 is with U4."""

import http.client
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from serving import as_stranger

from farwatch.wire import segment
from farwatch.wire.records import Kind, encode_json
from tests.faults.machine import Machine, until
from tests.rows.program import ended, points, ran

CANARY = "hf_canary" + "Ab3" * 9


def files_with(folder: Path, word: str) -> list[str]:
    """Files below a folder that hold a word, in whatever form the store keeps text."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_other_account_can_neither_ask_nor_look(machine: Machine) -> None:
    """Row 19: every list is refused with 401, and the state folder cannot be listed."""
    machine.start_server()
    port, state = machine.port, str(machine.state)

    def look() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/api/v1/runs")
        status = connection.getresponse().status
        connection.close()
        try:
            return status, str(os.listdir(state))
        except OSError as error:
            return status, type(error).__name__

    assert look()[0] == 200  # the owner; and all that Python needs for this is loaded before the account changes
    if os.geteuid() == 0:  # only root can become somebody else
        opened = [folder for folder in (machine.folder, *machine.folder.parents) if not os.stat(folder).st_mode & 0o001]
        for folder in opened:  # so that it is the state folder that refuses
            os.chmod(folder, os.stat(folder).st_mode | 0o011)
        assert as_stranger(look) == [401, "PermissionError"]
    assert os.stat(machine.state).st_mode & 0o777 == 0o700


def test_crafted_journal_sends_no_file_of_its_machine_and_names_the_error(machine: Machine) -> None:
    """Row 21: files outside of its folder, by a relative path, an absolute one and through a link."""
    canary = machine.folder / "canary.txt"
    canary.write_text(CANARY)
    ran(
        machine,
        """
        import farwatch
        open("f.txt", "w").write("fine")
        with farwatch.init("p", id="it", mode="offline", console=False, system=False) as run:
            run.save("f.txt"); run.log({"value": 1.0})
        """,
        FARWATCH_AGENT="0",
    )
    (folder,) = (machine.state / "journals").iterdir()
    (folder / "spool" / "link").symlink_to(canary)
    (path,) = segment.list_segments(folder)
    data = path.read_bytes()
    header = segment.SegmentHeader.decode(data)
    found = segment.scan(data, segment.HEADER_SIZE, header.seed)
    crc, added = found.crc, b""
    for name in ("link", "../../../canary.txt", str(canary)):
        framed, crc = segment.frame(encode_json(Kind.FILE, {"path": f"stolen-{len(name)}", "spool": name, "size": 9, "mtime_ms": 1}), crc)
        added += framed
    path.write_bytes(data[: found.end] + added)
    machine.start_server()

    done = machine.sync()

    with machine.api() as api:
        run = api.run("it")
        assert points(run, "value")[2] == [1.0]
        until(lambda: {file.path for file in run.files() if file.sha256} == {"f.txt"}, 20, "the honest file is there")
    assert files_with(machine.state / "server", CANARY) == []
    said = done.stdout + done.stderr + "".join(one.read_text() for one in (folder / "aside").glob("*"))
    assert "cannot open `link`" in said and "a link, or not yours?" in said, said


def test_secrets_of_environment_and_command_line_are_found_nowhere(machine: Machine) -> None:
    """Row 27: not in the state folder, the data, the page, or any answer."""
    machine.start_server()
    ran(
        machine,
        """
        import argparse, farwatch
        asked = argparse.ArgumentParser()
        asked.add_argument("--hub_token"); asked.add_argument("--url")
        with farwatch.init("row27", id="row27", config=asked.parse_args()) as run:
            run.log({"loss": 1.0})
            print("started")
        """,
        "--hub_token", CANARY, "--url", f"https://u:{CANARY}@h/x",
        HF_TOKEN=CANARY,
    )  # fmt: skip
    with machine.api() as api:
        run = ended(api, "row27")
        until(lambda: "packages" in run.detail["capture"], 30, "what surrounds it is captured")
        until(lambda: all(file.sha256 for file in run.files()), 30, "its files are there")
        ask = api._contact.get
        told = [ask("/runs/row27"), ask("/runs", project="row27", columns="config.*"), ask("/runs/row27/console"), ask("/runs/row27/files")]
        page = api._contact.bytes_of("/runs/row27/files/source/train0.py", 0, 1 << 20)[0]
    machine.cli("status")
    machine.kill_server(15)

    assert "--hub_token" in json.dumps(told) and "•••" in json.dumps(told, ensure_ascii=False)
    assert CANARY not in json.dumps(told) and CANARY.encode() not in page
    assert files_with(machine.state, CANARY) == files_with(machine.state, "canaryAb3Ab3") == []


class _Redirect(http.server.BaseHTTPRequestHandler):
    """Sends everybody to a second listener."""

    to = ""

    def do_POST(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(307)
        self.send_header("Location", f"{self.to}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing: the test speaks through its assertions."""


@pytest.mark.parametrize("how", ["agent", "sync"])
def test_redirected_token_reaches_nobody(machine: Machine, how: str) -> None:
    """Row 39: a server answers 307 to a second listener, which gets no request; the run is kept."""
    listeners = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Redirect) for _ in range(2)]
    first, second = listeners
    for one in listeners:
        one.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=one.serve_forever, name="listener", daemon=True).start()
    _Redirect.to = f"http://127.0.0.1:{second.server_port}"
    try:
        named = {"FARWATCH_SERVER": f"http://127.0.0.1:{first.server_port}", "FARWATCH_TOKEN": "fw_canary"}
        machine.environ |= named
        ran(
            machine,
            "import farwatch\nrun = farwatch.init('p', id='it', console=False, system=False)\nrun.log({'value': 1.0})\nrun.finish()\n",
            **({} if how == "agent" else {"FARWATCH_AGENT": "0"}),
        )
        done = machine.cli("sync", check=False) if how == "sync" else None
        until(lambda: first.asked, 30, "the first was asked")  # type: ignore[attr-defined]
    finally:
        for one in listeners:
            one.shutdown()
            one.server_close()

    assert second.asked == []  # type: ignore[attr-defined]
    assert done is None or (done.returncode != 0 and "redirect" in done.stderr)
    machine.kill_agents()
    for name in named:
        del machine.environ[name]
    machine.start_server()
    assert machine.cli("sync", "--server", machine.address, check=False).returncode == 0
    assert machine.values("it") == [1.0]


def test_code_in_the_folder_where_training_starts_runs_in_no_agent(machine: Machine, tmp_path: Path) -> None:
    """Row 41: `init()` in a folder with modules of usual names: neither the agent nor what it starts ever loads them."""
    machine.environ["FARWATCH_SAMPLE_S"] = "0.2"
    machine.start_server()
    trap = tmp_path / "trap"
    trap.mkdir()
    names = ("psutil", "json", "http", "socket", "farwatch", "platform", "subprocess", "importlib", "zlib")
    for name in names:
        (trap / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\n")
    script = machine.folder / "train.py"
    script.write_text(
        "import farwatch, time\nwith farwatch.init('row41', id='row41') as run:\n"
        "    for i in range(100): run.log({'value': float(i)}); time.sleep(0.02)\n"
    )

    done = subprocess.run([sys.executable, str(script)], cwd=trap, env=machine.environ, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    with machine.api() as api:
        run = ended(api, "row41")
        until(lambda: {"packages", "git"} & set(run.detail["capture"]), 30, "the agent's helpers have run in that folder")
        until(lambda: any(name.startswith("system/") for name in run.metrics()), 30, "the agent has sampled")
    assert not (tmp_path / "sprung").exists(), (tmp_path / "sprung").read_text()
