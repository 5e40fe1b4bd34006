"""Alerts as people and programs reach them: a real server, a real training process, the live stream, `farwatch.Api`."""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farwatch.api import Api
from farwatch.errors import NotFoundError, UsageError
from farwatch.settings import load
from tests.server.serving import SOURCE, Running, running

SCRIPT = """
import math, farwatch
run = farwatch.init(project="digits", system=False, console=False)
for step in range(60):
    run.log({"train/loss": 1 / (step + 1), "grad_norm": 1.0 + 0.01 * (step % 3)})
for step in range(5):
    run.log({"train/loss": math.nan, "grad_norm": 1e6})
farwatch.alert("odd batch", "label 11", level="error")
farwatch.alert("odd batch")
farwatch.notify("hello", file=__file__)
print(run.id, run.wait(20))
run.finish()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("alerts") / "state") as started:
        yield started


@pytest.fixture
def api(server: Running) -> Iterator[Api]:
    with Api(server.told["address"], settings=load({"FARWATCH_DIR": str(server.folder)})) as made:
        yield made


def until(check: Callable[[], Any], limit_s: float = 60.0) -> Any:
    deadline = time.monotonic() + limit_s
    while True:
        found = check()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def fed(server: Running, project: str = "curl") -> str:
    return str(server.api("POST", "/runs", {"project": project, "name": "x"}).json["id"])


def log(server: Running, run: str, first: int, values: list[float]) -> None:
    spelled = ["NaN" if math.isnan(value) else value for value in values]
    body = [{"step": first + step, "metrics": {"loss": value}} for step, value in enumerate(spelled)]
    assert server.api("POST", f"/runs/{run}/log", body).status == 200


def test_training_process_alerts_and_its_nan_is_seen_by_the_api(server: Running, api: Api, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARWATCH_")}
    environment |= {"FARWATCH_DIR": str(server.folder), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    run_id, waited = done.stdout.split()
    assert waited == "True", done.stderr

    run = api.run(run_id)
    alerts = until(lambda: found if len(found := run.alerts()) == 2 else None)

    by_rule = {alert.rule: alert for alert in alerts}
    assert (by_rule["program"].title, by_rule["program"].row["said"]) == ("odd batch", "error")
    assert by_rule["nan"].step == 60 and math.isnan(by_rule["nan"].value or 0.0)
    assert [one["name"] for one in by_rule["nan"].row["moved"]] == ["grad_norm"]
    (message,) = run.messages()
    assert message["text"] == "hello" and message["file"]["name"] == "train.py"
    assert run.download(message["file"]["path"], tmp_path / "copy").read_text() == SCRIPT


def test_alert_comes_within_two_seconds_of_its_point_through_the_live_stream(server: Running) -> None:
    run = fed(server)
    log(server, run, 0, [1 / (step + 1) for step in range(40)])
    cursor = server.api("POST", "/live", {"runs": [run]}).json["cursor"]
    heard: list[tuple[float, dict[str, Any]]] = []

    def listen() -> None:
        at = cursor
        while not heard:
            answer = server.api("POST", "/live", {"runs": [run], "cursor": at, "wait_s": 10}).json
            at = answer["cursor"]
            heard.extend((time.monotonic(), row) for row in answer["alerts"] if row["state"] == "firing")

    listener = threading.Thread(target=listen)
    listener.start()
    sent = time.monotonic()
    log(server, run, 40, [math.nan])
    listener.join(20)

    ((at, row),) = heard[:1]
    assert row["run"] == run and row["rule"] == "nan"
    assert at - sent < 2.0 + 1.0  # a busy machine's own second


def test_people_answer_and_the_row_counts(server: Running, api: Api) -> None:
    run = fed(server, "people")
    log(server, run, 0, [*(1 / (step + 1) for step in range(20)), *[math.nan] * 3])
    (alert,) = until(lambda: api.alerts("people", state="firing"))
    assert server.api("GET", f"/runs/{run}").json["alerts"] == 1
    assert server.api("GET", f"/runs/{run}").json["advice"]["say"] == "stop"

    assert alert.snooze(60).state == "silenced"
    assert api.alerts("people", state="firing") == [] and len(api.alerts("people", state="silenced")) == 1
    assert alert.snooze(0).state == "firing"
    assert alert.acknowledge().row["acknowledged_by"]
    assert server.api("GET", f"/runs/{run}").json["alerts"] == 0
    assert alert.resolve().state == "resolved"
    assert alert.refresh().row["resolution"].startswith("by ")


def test_rules_are_read_and_changed_at_three_levels(server: Running, api: Api) -> None:
    run = fed(server, "tuned")
    api.set_rules({"plateau": {"after_s": 600}})
    api.set_rules({"plateau": {"after_s": 60, "level": "ring"}}, "tuned")
    changed = server.api("PUT", f"/runs/{run}/rules", {"rules": {"plateau": {"on": False}}})

    assert api.rules()["plateau"]["thresholds"][0]["value"] == 600
    assert api.rules("tuned")["plateau"]["level"] == "ring"
    rule = {one["name"]: one for one in changed.json["rules"]}["plateau"]
    assert (rule["on"], rule["thresholds"][0]["value"], changed.json["changes"]) == (False, 60, {"plateau": {"on": False}})
    api.set_rules({"plateau": None})
    assert api.rules()["plateau"]["thresholds"][0]["value"] == 1_800
    with pytest.raises(UsageError):
        api.set_rules({"plateau": {"after_s": -1}})
    assert server.api("PUT", "/projects/nosuch/rules", {"rules": {}}).status == 404
    assert server.api("PUT", "/rules", {"nan": {}}).status == 400
    with pytest.raises(NotFoundError):
        api.run("zzzzzzz")


def test_alert_survives_a_kill_of_the_server(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server:
        run = fed(server)
        log(server, run, 0, [*(1 / (step + 1) for step in range(20)), *[math.nan] * 3])
        assert until(lambda: server.api("GET", f"/runs/{run}/alerts?state=firing").json["alerts"])

        server.kill()
        server.start()
        log(server, run, 23, [math.nan] * 3)
        time.sleep(1.0)  # two turns of the rules: what would come twice has come

        assert [row["times"] for row in server.api("GET", "/alerts").json["alerts"]] == [1]


def test_terminal_shows_what_fires_and_what_to_do(server: Running) -> None:
    run = fed(server, "terminal")
    log(server, run, 0, [*(1 / (step + 1) for step in range(20)), *[math.nan] * 3])
    assert until(lambda: server.api("GET", f"/runs/{run}/alerts?state=firing").json["alerts"])
    environment = {**os.environ, "FARWATCH_DIR": str(server.folder), "PYTHONPATH": str(SOURCE), "FARWATCH_SERVER": server.told["address"]}

    done = subprocess.run(
        [sys.executable, "-m", "farwatch.cli", "show", run], env=environment, capture_output=True, text=True, timeout=60, check=True
    )

    assert "alert    loss is NaN since step 20" in done.stdout and "advice   stop: " in done.stdout
