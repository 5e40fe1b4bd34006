"""A server from start to stop: its file, its port, and what survives."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from serving import LIMIT_S, SOURCE, Running, chart, running, until
from writing import Feeder

from farwatch.wire import columns

COLUMNS = {"Accept": columns.CONTENT_TYPE}


def test_what_was_acknowledged_survives_a_kill(own_server: Running) -> None:
    feeder = Feeder(own_server, "durable")
    for step in range(50):
        feeder.log(step, loss=step / 3)
    made = own_server.api("POST", "/runs", {"project": "durable"}).json["id"]
    own_server.api("POST", f"/runs/{made}/log", {"metrics": {"x": 1}})

    own_server.kill()
    own_server.start()

    assert chart(own_server, str(feeder.run), "loss")["pv"] == [step / 3 for step in range(50)]
    assert own_server.api("GET", f"/writers/{feeder.writer}").json["expected"] == feeder.expected
    assert own_server.api("POST", f"/runs/{made}/log", {"metrics": {"x": 2}}).json["next_step"] == 2
    assert chart(own_server, made, "x")["pv"] == [1, 2]


def test_sigterm_answers_what_waits_and_leaves_nothing_behind(own_server: Running) -> None:
    feeder = Feeder(own_server, "closing")
    cursor = own_server.api("POST", "/live", {"cursor": None}).json["cursor"]
    body = json.dumps({"cursor": cursor, "wait_s": 25}).encode()
    sock = socket.create_connection(("127.0.0.1", own_server.port), timeout=LIMIT_S)
    sock.sendall(
        f"POST /api/v1/live HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    feeder.log(1, loss=1)
    began = time.monotonic()

    assert own_server.stop() == 0

    assert time.monotonic() - began < 10
    assert sock.recv(100).startswith(b"HTTP/1.1 200")
    sock.close()
    assert not (own_server.folder / "server.json").exists()
    own_server.start()
    assert chart(own_server, str(feeder.run), "loss")["pv"] == [1]


def test_the_server_file_says_where_the_server_is(own_server: Running) -> None:
    told = own_server.file

    assert stat.S_IMODE((own_server.folder / "server.json").stat().st_mode) == 0o600
    assert (
        told["address"] == own_server.told["address"]
        and told["port"] == own_server.port
        and told["host"] == "127.0.0.1"
    )
    assert own_server.process is not None and told["pid"] == own_server.process.pid
    assert {"pid_start", "server_id", "secret", "started_ms", "version", "data"} <= set(told)


def test_a_second_server_of_the_same_user_is_refused_and_one_that_died_is_not_in_the_way(
    own_server: Running,
) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "farwatch.server",
        "--json",
        "--port",
        "0",
        "--dir",
        str(own_server.folder),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]),
    }

    second = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    other_dir = [*command[:-1], str(own_server.folder) + "-2", "--data", own_server.told["data"]]
    same_data = subprocess.run(
        other_dir, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )

    assert second.returncode == 2 and own_server.told["address"] in second.stderr
    assert same_data.returncode == 2 and "another server uses" in same_data.stderr
    own_server.kill()
    assert (own_server.folder / "server.json").exists()
    own_server.start()
    assert own_server.api("GET", "/runs").status == 200


def test_every_setting_is_given_by_its_name_and_no_other_name_is_taken(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--set", "url=https://watch.example", "--set", "host=localhost") as server:
        assert server.api("GET", "/info").json["url"] == "https://watch.example"

    for wrong in ("nonsense=1", "url", "head_s=soon"):
        command = [sys.executable, "-P", "-m", "farwatch.server", "--dir", str(tmp_path / "none"), "--set", wrong]
        refused = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert refused.returncode == 2 and wrong.partition("=")[0] in refused.stderr.lower(), wrong
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_named_and_the_next_one_used(tmp_path: Path) -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with running(tmp_path / "state", "--port", str(port)) as server:
        assert port < server.port < port + 20
        assert f"port {port} is taken by pid {os.getpid()}" in server.told["notice"]
    taken.close()


def test_an_idle_server_costs_next_to_nothing(own_server: Running) -> None:
    assert own_server.process is not None
    own_server.api("POST", "/live", {"cursor": None})

    def cpu() -> float:
        fields = Path(f"/proc/{own_server.process.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    until(lambda: own_server.api("GET", "/session").status == 200, "it has started")
    began, before = time.monotonic(), cpu()
    cursor = own_server.api("POST", "/live", {"cursor": None}).json["cursor"]
    own_server.api("POST", "/live", {"cursor": cursor, "wait_s": 3, "project": "*"})

    assert (cpu() - before) / (time.monotonic() - began) < 0.05


def test_an_interrupt_ends_the_server_quietly(own_server: Running) -> None:
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGINT)

    assert own_server.process.wait(LIMIT_S) == 0
    assert "Traceback" not in own_server.log


def test_short_answers_on_a_kept_connection_wait_for_no_acknowledgement(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    spent = []
    for _ in range(20):
        began = time.monotonic()
        connection.request("GET", "/api/v1/info")
        assert connection.getresponse().read()
        spent.append(time.monotonic() - began)
    connection.close()

    assert min(spent) < 0.03  # a delayed acknowledgement takes 0.04 s, every time
