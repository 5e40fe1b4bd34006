"""What people ask, rightly and wrongly, at once and again: each gets a clear answer, and no training dies of it."""

import concurrent.futures
import json
import secrets
import sqlite3
from pathlib import Path

import pytest

from farwatch.errors import BusyError, ForbiddenError
from farwatch.service.access import Actor
from farwatch.service.permission import Permission
from farwatch.wire.commands import Op
from tests.faults.machine import Machine, until
from tests.service.conftest import ManualClock
from tests.steer.conftest import Steered, http_ask


def test_wrong_requests_say_what_is_wrong_and_the_training_goes_on(run: Steered) -> None:
    run.start()
    wrong = [
        ("set", {"name": "lt", "value": 1}, 422, "no knob is called `lt`", "did you mean `lr`?"),
        ("set", {"name": "lr", "value": "abc"}, 422, "lr is a number, not: `abc`", None),
        ("set", {"name": "lr", "value": 2}, 422, "lr is from 1e-06 to 1, not: `2`", None),
        ("set", {"name": "lr", "value": float("nan")}, 422, "lr is a finite number, not: `nan`", None),
        ("set", {"name": "lr", "value": {"a": [1]}}, 422, "the value of a knob is a number, a text, or on or off, not: `{'a': [1]}`", None),
        ("set", {"name": "layers", "value": 2.5}, 422, "layers is a whole number, not: `2.5`", None),
        ("set", {"name": "mode", "value": "<b>x</b>"}, 422, "mode is one of easy, hard, not: `<b>x</b>`", None),
        ("set", {"name": "lr"}, 422, "set needs `name` and `value`", None),
        ("set", [1], 400, "`args` is an object", None),
        ("call", {"name": "evaluat"}, 422, "no command is called `evaluat`", "did you mean `evaluate`?"),
        ("call", {"name": "evaluate", "args": {"m": 1}}, 422, "evaluate has no argument `m`", "its arguments: n"),
        ("call", {"name": "evaluate", "args": {"n": "x" * 4_000}}, 422, None, None),
        ("call", {"name": "evaluate", "args": {"n": {"deep": [[[[]]]]}}}, 422, None, None),
        ("call", {"name": "\0\n", "args": {}}, 422, None, None),
        ("jump", {}, 422, "no such command: `jump`", None),
        ("start", {}, 422, None, None),
        (5, {}, 422, None, None),
        ("kill", {}, 409, None, "stop lets it save; or confirm"),
        ("set", {"name": "lr", "value": 0.001}, 409, "lr 0.1 → 0.001 is a change by a factor of 100", "confirm to set it"),
    ]
    for op, args, status, message, hint in wrong:
        answered, body = run.post(op, args=args)
        assert answered == status, (op, args, body)
        assert message is None or body["error"]["message"] == message
        assert hint is None or body["error"]["hint"] == hint

    for extra in ({"id": "short"}, {"id": "with spaces in it"}, {"expires_s": 0}, {"expires_s": "10"}, {"expires_s": float("inf")}):
        assert run.post("pause", **extra)[0] in (400, 422)
    assert http_ask(run.machine, "POST", f"/runs/{run.run}/commands", b"{not json")[0] in (400, 422)
    assert run.post("pause", args={"anything": "x" * 5_000})[0] == 202
    assert run.end(run.ask("unpause"))["state"] == "applied"


def test_values_are_read_as_people_write_them(run: Steered) -> None:
    run.start()

    for typed, value in (("２ｅ－１", 0.2), (" 0.5 ", 0.5), ("٠.٣", 0.3)):
        assert run.end(run.ask("set", args={"name": "lr", "value": typed}))["new"] == pytest.approx(value)


def test_texts_come_back_as_they_are(run: Steered) -> None:
    run.start()
    said = '<script>alert("ж")</script>\n\u202e\x07' + "鸟" * 900

    command = run.ask("call", args={"name": "evaluate", "args": {"n": 5}}, text=said, channel="resume")

    row = run.end(command)
    assert (row["text"], row["channel"]) == (said[:1_000], "api")  # the server's own words for a way are nobody else's
    assert run.end(run.ask("call", args={"name": "broken"}))["reason"] == "broken raised RuntimeError: no <b>data</b>"


def test_same_id_is_done_once_and_answered_again(run: Steered) -> None:
    run.start()
    body = {"op": "call", "args": {"name": "evaluate"}, "id": secrets.token_hex(8)}

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http_ask(run.machine, "POST", f"/runs/{run.run}/commands", body), range(8)))
    ended = run.end(body["id"])
    again = run.post(**body)

    assert {(status, told["id"]) for status, told, _ in answers} == {(202, body["id"])}
    assert again == (202, ended)
    assert run.notes() == ["evaluate 3"]
    other = Steered(run.machine, f"{run.run}-b").start()
    status, said = other.post(**body)
    other.kill()
    assert (status, said["error"]["code"]) == (409, "exists")
    assert run.post("pause", id=body["id"])[0] == 409


def test_thousand_commands_at_once_are_answered_and_done_in_order(machine: Machine) -> None:
    """More than a minute's share of one person, and more than fit an inbox: nothing is lost, and who is told to wait knows how long."""
    run = Steered(machine, "busy").start(pause_s=0.05)
    bodies = [{"op": "call", "args": {"name": "evaluate", "args": {"n": n}}, "id": f"number-{n}"} for n in range(1_000)]
    path = f"/runs/{run.run}/commands"

    answers = [http_ask(machine, "POST", path, body) for body in bodies[:100]]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers += pool.map(lambda body: http_ask(machine, "POST", path, body), bodies[100:])

    taken = [body["id"] for status, body, _ in answers if status == 202]
    busy = [(body, headers) for status, body, headers in answers if status == 429]
    assert len(taken) >= 60 and len(taken) + len(busy) == 1_000
    assert all(body["error"]["code"] == "busy" and 1 <= int(headers["retry-after"]) <= 60 for body, headers in busy)
    ends = [run.end(one) for one in taken]
    assert [one["state"] for one in ends] == ["applied"] * len(taken)
    assert run.notes() == [f"evaluate {one['args']['args']['n']}" for one in sorted(ends, key=lambda one: one["seq"])]
    assert http_ask(machine, "POST", path, bodies[0])[:2] == (202, run.get("number-0"))  # an old request is no new command
    run.kill()


def test_two_people_and_a_script_set_one_knob_within_a_second(run: Steered) -> None:
    run.start(pause_s=0.2)
    people = ((0.2, "page"), (0.3, "cli"), (0.4, "api"))
    wishes = [run.ask("set", args={"name": "lr", "value": value}, channel=way) for value, way in people]

    ends = [run.end(one) for one in wishes]

    assert ends[-1]["state"] == "applied" and {one["state"] for one in ends} <= {"applied", "superseded"}
    until(lambda: run.row()["steer"]["knobs"]["lr"]["value"] == 0.4, what="the last one counts")
    listed = http_ask(run.machine, "GET", f"/runs/{run.run}/commands")[1]["commands"]
    assert [(one["args"]["value"], one["channel"]) for one in listed] == [(0.4, "api"), (0.3, "cli"), (0.2, "page")]


def test_stop_during_a_pause_ends_both(run: Steered) -> None:
    run.start()
    run.end(run.ask("pause"))

    stopped = run.end(run.ask("stop"))

    assert run.process is not None and run.process.wait(timeout=20) == 0
    assert stopped["state"] == "applied"
    until(lambda: run.row()["state"] == "stopped", what="stopped")
    status, body = run.post("pause")
    assert (status, body["error"]["code"]) == (409, "run-ended")


def test_commands_to_runs_that_nobody_can_ask_are_refused_at_once(run: Steered) -> None:
    http_ask(run.machine, "POST", "/runs", {"project": "steer", "id": f"{run.run}-fed"})
    run.start()
    run.ask("stop")
    assert run.process is not None and run.process.wait(timeout=20) == 0
    until(lambda: run.row()["state"] == "stopped", what="stopped")
    http_ask(run.machine, "DELETE", f"/runs/{run.run}")

    fed = Steered(run.machine, f"{run.run}-fed").post("pause")
    deleted = run.post("pause")
    nobody = Steered(run.machine, "no-such-run").post("pause")

    assert (fed[0], fed[1]["error"]["code"]) == (409, "run-ended") and "fed by requests" in fed[1]["error"]["message"]
    assert deleted[0] in (404, 409)
    assert nobody[0] == 404


def test_whoever_lacks_the_scope_is_refused() -> None:
    permission = Permission(ManualClock())
    viewer = Actor("Vic", frozenset({"read", "log"}), "session", "vic")

    with pytest.raises(ForbiddenError, match="this needs the scope: `steer`"):
        permission.check(viewer, Op.STOP)
    with pytest.raises(ForbiddenError, match="this needs the scope: `start`"):
        permission.check(Actor("Mel", frozenset({"steer"}), "session", "mel"), Op.START)


def test_person_asks_so_often_and_no_more() -> None:
    """Sixty commands a minute and five starts an hour, each for one person; who asks too often is told how long to wait."""
    clock = ManualClock()
    permission = Permission(clock)
    ann, bob = (Actor(name, frozenset({"steer", "start"}), "session", name.lower()) for name in ("Ann", "Bob"))
    for _ in range(60):
        permission.check(ann, Op.SET)

    with pytest.raises(BusyError, match="60 commands in 60 s are the most") as too_often:
        permission.check(ann, Op.STOP)
    permission.check(bob, Op.STOP)
    clock.advance(61)
    for _ in range(5):
        permission.check(ann, Op.START)
    with pytest.raises(BusyError, match="5 starts in 3600 s are the most"):
        permission.check(ann, Op.START)
    permission.check(ann, Op.SET)

    assert too_often.value.hint == "wait 60 s"


def test_an_agent_says_nothing_of_commands_that_it_was_not_handed(run: Steered) -> None:
    run.start("silent")
    wish = run.ask("set", args={"name": "lr", "value": 0.2})

    lie = {"delivered": [{"id": wish}], "ended": [{"id": wish, "state": "applied"}, 5, {"id": []}], "wait_s": 0}
    status, orders, _ = http_ask(run.machine, "POST", "/agents/somebody-else/commands", lie)

    assert (status, orders["commands"]) == (200, [])
    assert run.get(wish)["state"] == "pending"
    assert http_ask(run.machine, "POST", "/agents/x/commands", {"wait_s": -1})[0] in (400, 422)


def test_interventions_are_the_same_in_the_file_and_on_the_server(run: Steered) -> None:
    run.start()
    for body in ({"name": "lr", "value": 0.2}, {"name": "layers", "value": 7}, {"name": "lr", "value": 0.3}):
        run.end(run.ask("set", args=body))
    run.end(run.ask("checkpoint"))
    run.end(run.ask("call", args={"name": "broken"}))

    status, body, headers = http_ask(run.machine, "GET", f"/runs/{run.run}/interventions.jsonl")

    assert status == 200 and headers["content-type"].startswith("application/jsonl")
    served = [json.loads(line) for line in body["raw"].splitlines()]
    kept = [json.loads(line) for line in (run.machine.state / "runs" / run.run / "interventions.jsonl").read_text().splitlines()]
    fields = ("op", "args", "actor", "channel", "old", "new", "result")
    assert [(one["id"], *map(one.get, fields)) for one in served] == [(one["command"], *map(one.get, fields)) for one in kept]
    assert len(served) == 4


def test_secret_among_arguments_reaches_the_program_and_is_kept_nowhere(machine: Machine) -> None:
    secret = "an0ther-s3cret-of-mine"
    run = Steered(machine, "login").start()

    asked = run.ask("call", args={"name": "login", "args": {"token": secret, "layers": 3}}, text=f"login token={secret}")
    done = run.end(asked)
    status, wrong = run.post("call", args={"name": "login", "args": {"token": [secret]}})

    assert done["args"] == {"name": "login", "args": {"token": "•••", "layers": 3}}
    assert (done["state"], done["text"]) == ("applied", "login token=•••")
    assert (status, wrong["error"]["message"]) == (422, "token does not take this value")
    assert run.notes() == [f"login with {len(secret)} characters, 3 layers"]
    with sqlite3.connect(_meta_of(machine.state)) as database:
        kept = [str(row) for table in ("command", "audit") for row in database.execute(f"select * from {table}")]
    assert any("login" in row for row in kept)
    assert not any(secret in row for row in kept)
    ways = ("inbox", "meta.db")  # by which it went
    files = [path for path in machine.state.rglob("*") if path.is_file() and not path.name.startswith(ways)]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def _meta_of(state: Path) -> Path:
    (found,) = state.rglob("meta.db")
    return found
