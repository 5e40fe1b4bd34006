"""Chats where things go wrong, with a real server and real programs: hanging services, dead servers, hostile names, crowds."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from farwatch.bridges.base import Address
from farwatch.testing.chat.ntfy import FakeNtfy
from tests.chat.party import Party
from tests.chat.programs import STEERED
from tests.faults.machine import until

BO = 7002
HOSTILE = "@everyone <!channel> [x](tg://user?id=1) *b* `c` \u202e\u0627\u0644\u0639 🦩"

LOUD = """
    import farwatch, sys, time
    run = farwatch.init("digits", id=sys.argv[1], console=False, system=False)
    costs = []
    for step in range(150):
        began = time.perf_counter()
        run.log({"loss": 1.0 / (1 + step)}, step=step)
        costs.append(time.perf_counter() - began)
        if step == 50:
            run.alert("odd batch", "look")
            run.notify("half way")
        time.sleep(0.01)
    began = time.perf_counter()
    run.finish()
    print(sorted(costs)[len(costs) // 2], max(costs), time.perf_counter() - began)
"""

WIDE = """
    import farwatch, sys, time
    run = farwatch.init("digits", id=sys.argv[1], console=True, system=False)
    for line in range(60):
        print(f"{line:03d}", "<b>&*_[`" * 1250, flush=True)
    for step in range(20):
        wide = {f"layer{n}/norm": float(n) for n in range(20_000)}
        run.log(wide if step == 0 else {"__proto__": 0.5 + step, "constructor": 1.0}, step=step)
    run.wait(60)
    time.sleep(600)
"""


def ended(party: Party, count: int, state: str, group: str | None = None, name: str | None = None) -> None:
    """So many runs, made and ended by requests, as fast as the server takes them."""
    with party.api() as api:

        def one(n: int) -> None:
            run = api._contact.post("/runs", {"project": "digits", "name": name or f"seed{n}", "group": group})["id"]
            api._contact.post(f"/runs/{run}/log", [{"step": 1, "metrics": {"loss": 1.0 / (n + 1)}}])
            api._contact.post(f"/runs/{run}/finish", {"state": state, "reason": "ValueError: bad input 17" if state == "failed" else ""})

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(one, range(count)))


def sends(party: Party, part: str) -> list[str]:
    return [text for text in party.texts() if part in text]


def test_service_that_hangs_costs_neither_training_nor_ingest_anything(tmp_path: Path) -> None:
    """Runs start, alarm, say something and end while every request to Telegram takes seconds."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.telegram.misbehave("hang", 10_000, seconds=4)
        trainers = [party.train(LOUD, f"loud{n}") for n in range(8)]
        with party.api() as api:
            fed = api._contact.post("/runs", {"project": "fed", "name": "fed"})["id"]
            took = []
            for step in range(60):
                began = time.monotonic()
                api._contact.post(f"/runs/{fed}/log", [{"step": step, "metrics": {"loss": 1.0}}])
                took.append(time.monotonic() - began)
                time.sleep(0.05)
            for trainer in trainers:
                assert trainer.wait(120) == 0
            until(lambda: [run.state for run in api.runs("digits")].count("finished") == 8, 60, "all end at the server")
            assert all(len(party.values(f"loud{n}", "loss")) == 150 for n in range(8))
        assert median(took) < 1.0, took  # a request to Telegram takes four
        for script in tmp_path.glob("train*.log"):
            middle, longest, finish = map(float, script.read_text().split()[-3:])
            assert middle < 0.001 and longest < 2.0 and finish < 10.0, script.read_text()

        party.telegram._menu.clear()
        until(lambda: len(sends(party, "odd batch")) + len(sends(party, "a message of the program")) >= 4, 90, "the alarms come")
        until(lambda: len(sends(party, "half way")) == 8, 90, "and the messages")


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.15])
def test_server_killed_at_a_command_does_it_once_or_never(tmp_path: Path, after_s: float) -> None:
    """The same update comes again after the restart, as it does when nobody has confirmed it."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.train(STEERED, "heron")
        until(lambda: len(party.values("heron", "train/loss")) > 3, 60)
        party.write("evaluate n=5")
        update = party.telegram._updates[-1][2]
        time.sleep(after_s)
        party.kill_server()

        party.start_server()
        until(lambda: party.telegram.polling, 60)
        party.on_loop(party.telegram.push(update))
        party.on_loop(party.telegram.push(update))
        assert "heron" in party.ask("status")
        party.ask("lr 0.02")
        until(lambda: 0.02 in party.values("heron", "lr"), 60)
        with party.api() as api:
            ops = [one["op"] for one in api._contact.get("/runs/heron/commands")["commands"]]
        assert ops.count("call") <= 1 and ops.count("set") == 1, ops


def test_hostile_name_is_read_as_it_stands_and_calls_nobody(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.environ["FARWATCH_URL"] = "https://farwatch.example.org/"
        party.start_server()
        del party.environ["FARWATCH_URL"]  # where phones find the server, not programs of this machine
        party.pair()
        ended(party, 1, "failed", name=HOSTILE * 3)
        alarm = party.message_with("▲ @everyone")
        assert alarm.text.splitlines()[0][:60].endswith("failed: ValueError: bad") or "failed" in alarm.text[:60], alarm.text
        assert "page: https://farwatch.example.org/r/" in alarm.text  # where there is a public address
        ended(party, 1, "finished", name=HOSTILE)
        finish = party.message_with("finished after")
        assert "[x](tg://user?id=1) *b* `c`" in finish.text and "<!channel>" in finish.text
        asked = [call.fields for call in party.telegram.calls if call.method in ("sendMessage", "sendPhoto", "editMessageText")]
        assert all(call.status == 200 for call in party.telegram.calls if call.method.startswith(("send", "edit")))
        assert not any("tg://" in str(fields.get("reply_markup")) or "text_mention" in str(fields.get("entities")) for fields in asked)


def test_three_hundred_runs_that_end_at_once_are_one_message_and_that_fail_two(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        with party.api() as api:
            chat = api._contact.get("/people")["chats"][0]["no"]
            api._contact.send("PATCH", f"/chats/{chat}", {"progress": "off"})
        greeted = len(party.seen())
        ended(party, 150, "finished", "sweep")
        ended(party, 150, "failed", "sweep")

        grown = until(lambda: sends(party, "sweep: 149 more: failed"), 90, "the rest in one message")
        assert len(grown) == 1
        assert len(party.seen()) - greeted == 3  # one that finished, one that failed, all others that failed
        assert len([one for one in party.seen()[greeted:] if not one.silent]) == 3


def test_odd_metrics_and_endless_lines_are_answered(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.train(WIDE, "wide")
        until(lambda: len(party.values("wide", "__proto__")) == 19, 90, "it logs")

        party.write("plot __proto__ constructor")
        picture = until(lambda: next((one for one in party.seen() if one.pictures), None), 30, "a picture")
        assert "__proto__ 19.5" in picture.text
        assert "layer" in party.ask("plot layer7/norm")
        assert "no metric no/such" in party.ask("plot no/such")
        assert "<b>&*_[`" in party.ask("log 1000")
        assert "__proto__ 19.5" in party.ask("status")
        assert all(call.status == 200 for call in party.telegram.calls if call.method.startswith(("send", "edit")))


def test_what_is_old_when_it_comes_is_told_to_nobody(tmp_path: Path) -> None:
    """Journals of last week are synced: hundreds of runs must not begin, reach what is watched, and end, on somebody's phone."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.ask("watch loss<0.3")
        party.ask("every 1 steps")
        before = len(party.seen())
        week_ms = int(time.time() * 1000) - 7 * 86_400_000
        with party.api() as api:
            old, new = (api._contact.post("/runs", {"project": "digits", "name": name})["id"] for name in ("old", "new"))
            for run, time_ms in ((old, week_ms), (new, None)):
                body = [{"step": step, "metrics": {"loss": 0.1}, **({"time_ms": time_ms} if time_ms else {})} for step in range(5)]
                api._contact.post(f"/runs/{run}/log", body)
        party.message_with("◎ new #2")
        until(lambda: "new #2 step 5" in "".join(party.texts()), 30, "the lines")
        assert not any("old" in text for text in party.texts()[before:] if not text.startswith("▶ old #1 started")), party.texts()[before:]


def test_more_than_twenty_words_a_minute_are_not_read(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        before = len(party.seen())
        for _ in range(30):
            party.write("runs")
        party.message_with("More than 20 messages in a minute", 60)
        party.write("help")
        until(lambda: party.telegram._updates == [] or party.telegram.polling, 30)
        answers = [text for text in party.texts()[before:] if "No run is known" in text]
        assert len(answers) <= 20 and not any("understand" in text for text in party.texts()[before:])


def test_fault_of_ours_is_said_and_what_has_waited_too_long_is_said_once(tmp_path: Path) -> None:
    """A full disk beneath an answer, and a person who asked three times while nothing was heard: silence would be taken for done."""
    with Party(tmp_path) as party:
        patch = tmp_path / "patch"
        patch.mkdir()
        (patch / "sitecustomize.py").write_text(
            "import farwatch.bridges.answers as answers\n"
            "def full(self, *more):\n    raise OSError(28, 'No space left on device')\n"
            "answers.Answers.status = full\n"
        )
        path = party.environ["PYTHONPATH"]
        party.environ["PYTHONPATH"] = f"{patch}:{path}"
        party.start_server()
        party.environ["PYTHONPATH"] = path
        party.pair()
        ended(party, 1, "finished")
        assert "Something went wrong here" in party.ask("status")
        for _ in range(3):
            party.write("runs", date=int(time.time()) - 3 * 3_600)
        party.write("runs")
        party.message_with("1  ✓ seed0 #1")
        assert len(sends(party, "written 3.0 h ago and was not done")) == 1


def test_question_of_somebody_who_is_removed_or_may_less_by_now_is_not_answered(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(STEERED, "heron")
        until(lambda: len(party.values("heron", "train/loss")) > 3, 60)

        number = party.ask("lr 0.9").rpartition("ok ")[2].split()[0]
        with party.api() as api:
            person = api._contact.get("/people")["people"][0]["no"]
            api._contact.send("PATCH", f"/people/{person}", {"scopes": ["read"]})
            assert "scope" in party.ask(f"ok {number}")
            api._contact.send("PATCH", f"/people/{person}", {"scopes": ["read", "steer"]})
            number = party.ask("lr 0.9").rpartition("ok ")[2].split()[0]
            api._contact.send("DELETE", f"/people/{person}")
            before = party.telegram.requests
            party.write(f"ok {number}")
            until(lambda: api._contact.get("/people")["strangers"], 30, "a stranger wrote")
            assert party.telegram.requests == before
            assert 0.9 not in party.values("heron", "lr") and trainer.poll() is None


def test_token_that_is_revoked_is_shown_and_the_other_channel_goes_on(tmp_path: Path) -> None:
    ntfy = FakeNtfy()
    with Party(tmp_path) as party:
        stack = AsyncExitStack()
        party.on_loop(stack.enter_async_context(ntfy.serving()))
        try:
            party.environ |= {"FARWATCH_NTFY_URL": ntfy.url, "FARWATCH_NTFY_TOPIC": ntfy.topic, "FARWATCH_NTFY_TOKEN": ntfy.token}
            party.start_server()
            party.pair()
            party.telegram.token = "1:made-anew"
            party.write("anything")  # ends the poll that is held

            def condition() -> dict[str, Any]:
                with party.api() as api:
                    return next(one for one in api._contact.get("/channels")["channels"] if one["name"] == "telegram")

            until(lambda: condition()["code"] == "revoked", 60, "it is told")
            assert not condition()["ok"]
            ended(party, 1, "failed")
            until(lambda: any("▲ seed0" in one.text for one in ntfy.seen()), 60, "the alarm is told elsewhere")

            def refused() -> list[dict[str, Any]]:
                with party.api() as api:
                    return [one for one in api._contact.get("/deliveries")["deliveries"] if one["outcome"] == "revoked"]

            until(lambda: [one for one in refused() if one["channel"] == "telegram" and one["kind"] == "alarm"], 30, "and where it was not")
        finally:
            party.kill_server(15)
            party.on_loop(stack.aclose())


def test_where_nothing_can_be_changed_a_quarter_is_a_line_and_a_step_is_none(tmp_path: Path) -> None:
    """C13: a loop of a hundred steps is told at its start, at each quarter and at its end, where messages cannot be edited."""
    ntfy = FakeNtfy()
    with Party(tmp_path) as party:
        stack = AsyncExitStack()
        party.on_loop(stack.enter_async_context(ntfy.serving()))
        try:
            party.environ |= {"FARWATCH_NTFY_URL": ntfy.url, "FARWATCH_NTFY_TOPIC": ntfy.topic, "FARWATCH_NTFY_TOKEN": ntfy.token}
            party.start_server()
            with party.api() as api:
                until(lambda: [one for one in api._contact.get("/people")["chats"] if one["channel"] == "ntfy"], 30, "its chat")
                run = api._contact.post("/runs", {"project": "digits", "name": "heron", "total_steps": 100})["id"]
                for step in range(0, 100, 5):
                    api._contact.post(f"/runs/{run}/log", [{"step": step, "metrics": {"loss": 1.0}}])
                    time.sleep(0.3)
                api._contact.post(f"/runs/{run}/finish", {"state": "finished"})
            until(lambda: any("finished after" in one.text for one in ntfy.seen()), 60, "the end")
        finally:
            party.kill_server(15)
            party.on_loop(stack.aclose())
        shares = [int(one.text.partition(" %")[0].rpartition(" ")[2]) for one in ntfy.seen() if " %" in one.text]
        quarters = [max(mark for mark in (0, 25, 50, 75) if mark <= share) for share in shares]
        assert quarters in ([0, 25, 50, 75], [25, 50, 75]), shares
        assert len(ntfy.seen()) <= 5, [one.text for one in ntfy.seen()]


def test_bot_that_a_person_blocked_is_asked_seldom(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.train(STEERED, "heron")
        party.message_with("heron #1")
        party.telegram.block(Address("7001"))
        until(lambda: any(call.status == 403 for call in party.telegram.calls), 60)
        time.sleep(12)  # two edits would have gone out
        refused = [call for call in party.telegram.calls if call.status == 403]
        assert len(refused) <= 2, [call.method for call in refused]
        with party.api() as api:
            rows = [one for one in api._contact.get("/deliveries")["deliveries"] if one["outcome"] == "gone"]
        assert len(rows) <= 1
