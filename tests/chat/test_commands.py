"""Rows K1 to K6, W5, W7, W8: a person with nothing but Telegram, a real server and real training programs."""

import time
from pathlib import Path

import pytest

from farwatch.bridges.base import Address
from tests.chat.party import Party
from tests.chat.programs import LISTENS, STEERED
from tests.faults.machine import until

BO, STRANGER = 7002, 666


def running(party: Party, run: str) -> None:
    until(lambda: len(party.values(run, "train/loss")) > 3, 60, f"{run} logs")


def test_person_looks_at_a_run_and_steers_it(tmp_path: Path) -> None:
    """K2, K4, K5, W7: status, parameters, curve, log; a value set with old and new; wrong ones refused; a stop that says who."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(STEERED, "heron")
        running(party, "heron")

        began = time.monotonic()
        status = party.ask("status")
        assert time.monotonic() - began < 3 or "heron" in status
        assert all(word in status for word in ("heron", "train/loss", "running", "page: only on that machine")), status
        assert "lr = 0.05" in party.ask("参数") and "wd = 0.01" in party.ask("params")
        assert "0.93" in party.ask("evaluate n=5")

        set_it = party.ask("lr 0.01")
        assert "0.05 → 0.01" in until(lambda: next((one for one in party.texts() if "0.05 → 0.01" in one), None), 30), set_it
        until(lambda: 0.01 in party.values("heron", "lr"), 30, "the loop uses it")
        for wrong, part in (("lr abc", "abc"), ("lr 1 2", "1 2"), ("lr 7", "from 1e-06 to 1"), ("lrr 0.01", "lr")):
            assert part in party.ask(wrong), wrong
        assert party.values("heron", "lr")[-1] == 0.01
        assert "checkpoint" in party.ask("存").lower() or "检查点" in party.texts()[-1]

        party.write("plot loss last 2h")
        picture = until(lambda: next((one.pictures for one in party.seen() if one.pictures), None), 10, "a picture")
        assert picture[0].startswith(b"\x89PNG") and len(picture[0]) > 3_000
        assert "step" in party.ask("log 5")

        party.write("停止")
        assert trainer.wait(60) == 0
        with party.api() as api:
            until(lambda: api.run("heron").state == "stopped", 30)
            assert "Ann" in api.run("heron").reason
        party.message_with("stopped")
        party.message_with("✓ heron #1：停止")


def test_strangers_get_silence_and_stand_on_the_list(tmp_path: Path) -> None:
    """W5: a command by somebody who is not paired changes nothing, is not answered, and is listed."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(STEERED, "heron")
        running(party, "heron")
        before = party.telegram.requests

        for text in ("/start", "/help", "status", "stop", "ABCDEFGH", "lr 0.5"):
            party.write(text, user=STRANGER, chat=Address(str(STRANGER)))
        with party.api() as api:
            listed = until(
                lambda: [one for one in api._contact.get("/people")["strangers"] if one["user"] == str(STRANGER) and one["times"] >= 6], 30
            )
            assert listed[0]["channel"] == "telegram"
            assert api.run("heron").state == "running"
        assert party.telegram.requests == before
        assert trainer.poll() is None


def test_codes_are_good_once_and_guessing_closes_the_door(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        with party.api() as api:
            code = api._contact.post("/people/pair", {"name": "Bo", "scopes": ["read"]})["code"]
            for n in range(30):  # a code of the right form, guessed by many
                party.write(f"BCDEFG{n // 8 + 2}{n % 8 + 2}", user=9_000 + n, chat=Address(str(9_000 + n)))
            until(lambda: api._contact.get("/people")["closed"], 30, "the door closes")
            party.write(code, user=BO, chat=Address(str(BO)))
            until(lambda: any(one["user"] == str(BO) for one in api._contact.get("/people")["strangers"]), 30)
            assert api._contact.get("/people")["people"] == []

            code = api._contact.post("/people/pair", {"name": "Bo", "scopes": ["read"]})["code"]  # whoever makes one opens it again
            party.write(code.lower(), user=BO, chat=Address(str(BO)))
            until(lambda: [one["name"] for one in api._contact.get("/people")["people"]] == ["Bo"], 30)
            party.write(code, user=STRANGER, chat=Address(str(STRANGER)))
            until(lambda: any(one["user"] == str(STRANGER) for one in api._contact.get("/people")["strangers"]), 30)


def test_who_may_only_look_steers_nothing(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        bo = Address(str(BO))
        party.on_loop(_started(party, BO))
        party.pair(name="Bo", user=BO, chat=bo, scopes=("read",))
        party.train(STEERED, "heron")
        running(party, "heron")

        assert "heron" in party.ask("status", user=BO, chat=bo)
        assert "scope" in party.ask("stop", user=BO, chat=bo)
        with party.api() as api:
            assert api.run("heron").state == "running"


def test_two_runs_are_told_apart_by_number_by_name_and_by_quoting(tmp_path: Path) -> None:
    """W8: "stop" asks which one, and "stop NAME" stops only that one."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        heron, otter = party.train(STEERED, "heron"), party.train(STEERED, "otter")
        running(party, "heron")
        running(party, "otter")

        asked = party.ask("stop")
        assert "1" in asked and "heron" in asked and "otter" in asked
        place = next(line for line in asked.splitlines() if "otter" in line).split()[0]
        party.write(place)
        assert otter.wait(60) == 0
        assert heron.poll() is None

        quoted = party.message_with("heron #")
        party.write("lr 0.02", reply_to=quoted.message_id)
        until(lambda: 0.02 in party.values("heron", "lr"), 30)
        party.write("stop heron")
        assert heron.wait(60) == 0


def test_group_is_answered_only_when_it_speaks_to_the_bot(tmp_path: Path) -> None:
    """K6: and a stranger in it is not answered even then."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        group = party.telegram.group("Lab")
        party.train(STEERED, "heron")
        running(party, "heron")

        party.write("status", chat=group)
        party.write("@farwatch_bot status", chat=group, user=STRANGER)
        answer = party.ask("@farwatch_bot status", chat=group)
        assert "heron" in answer
        assert "heron" in party.ask("/status@farwatch_bot", chat=group)
        assert len(party.seen(group)) == 2


def test_function_that_waits_is_started_once_and_again_with_other_values(tmp_path: Path) -> None:
    """K1: 开始 launches it once; a second one answers that it runs; a stop followed by a start never leaves two."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.train(LISTENS)
        with party.api() as api:
            until(lambda: any(run.name == "trainer" for run in api.runs("digits")), 60)

            def training() -> list[str]:
                return [run.id for run in api.runs("digits") if run.detail["job_type"] != "listener" and run.state == "running"]

            assert "lr: 0.1" in party.ask("开始")
            first = until(training, 30)
            assert len(first) == 1
            assert "already running" in party.ask("start")
            party.write("lr 0.05")
            until(lambda: 0.05 in party.values(first[0], "used_lr"), 30)
            party.write("停止")
            until(lambda: not training(), 30, "it ends")
            party.write("开始")
            until(lambda: training() and training() != first, 40, "the next one runs")
            assert len(training()) == 1


@pytest.mark.parametrize(("hours", "done"), [(23, False), (0, True)])
def test_old_messages_command_nothing(tmp_path: Path, hours: int, done: bool) -> None:
    """A stop that waited at Telegram for 23 hours is not done, and said not to be."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(STEERED, "heron")
        running(party, "heron")

        party.write("stop", date=int(time.time()) - hours * 3_600)
        if done:
            assert trainer.wait(60) == 0
        else:
            party.message_with("23.0 h ago and was not done")
            assert trainer.poll() is None


def test_forwarded_and_edited_messages_command_nothing(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(STEERED, "heron")
        running(party, "heron")

        party.write("stop", forwarded=True)
        party.write("stop", edited=party.write("status"))
        party.write("evaluate 3")
        party.message_with("accuracy")
        assert "heron" in party.ask("status")
        with party.api() as api:
            commands = api._contact.get("/runs/heron/commands")["commands"]
        assert [one["op"] for one in commands] == ["call"]
        assert trainer.poll() is None


async def _started(party: Party, user: int) -> None:
    """A person opens a private chat with the bot."""
    await party.telegram.write("hello", user=user, name=f"User {user}", chat=Address(str(user)))
