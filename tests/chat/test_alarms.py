"""Rows B24, M3, C6, C12, W2, W20: what somebody is told at three in the morning, and what one press of a button does."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from farwatch.bridges.base import Address
from tests.chat.party import Party
from tests.chat.programs import COUNTS, FLAT, SPIKES, STEERED
from tests.faults.machine import until

BO = 7002


def settings(party: Party, **changes: object) -> None:
    """Change Ann's chat."""
    with party.api() as api:
        chats = api._contact.get("/people")["chats"]
        for chat in chats:
            api._contact.send("PATCH", f"/chats/{chat['no']}", changes)


def test_alarm_says_what_matters_with_the_picture_and_one_press_helps(tmp_path: Path) -> None:
    """B24: facts, picture, four answers; a button within 90 s is the confirmation; the message then shows what happened."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(SPIKES, "heron")

        alarm = party.message_with("▲ calm-heron")
        head = alarm.text[:60]
        assert "calm-heron #1" in head and "train/loss" in head and "NaN" in head, head
        assert all(words in alarm.text for words in ("grad/norm", "no checkpoint known", "left", "page: only on that machine")), alarm.text
        assert alarm.pictures and alarm.pictures[0].startswith(b"\x89PNG")
        assert alarm.buttons == ("■ Stop", "lr ÷ 3", "Let it run", "Snooze 1 h")
        assert not alarm.silent

        party.press(alarm, "lr ÷ 3")
        until(lambda: 0.1 in party_values(party, "heron"), 30, "the value is set")
        answered = until(lambda: next((one for one in party.seen() if "✓ Ann: lr ÷ 3 · applied at step" in one.text), None), 30)
        assert answered.message_id == alarm.message_id and answered.buttons == ()
        healed = until(lambda: next((one for one in party.seen() if one.text.startswith("✓ calm-heron")), None), 40, "it heals")
        assert healed.message_id == alarm.message_id
        trainer.kill()


def party_values(party: Party, run: str) -> list[float]:
    with party.api() as api:
        knobs = api.run(run).detail["steer"]["knobs"]
    return [knobs["lr"]["value"]]


def test_two_people_see_the_first_answer_on_their_own_copy(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        bo = Address(str(BO))
        party.on_loop(party.telegram.write("hello", user=BO, name="Bo", chat=bo))
        party.pair(name="Bo", user=BO, chat=bo)
        party.train(SPIKES, "heron")

        mine, his = party.message_with("▲ calm-heron"), party.message_with("▲ calm-heron", chat=bo)
        party.press(his, "Let it run", user=BO)
        until(lambda: "✓ Bo: let it run" in next(one.text for one in party.seen() if one.message_id == mine.message_id), 30)
        assert next(one for one in party.seen() if one.message_id == mine.message_id).buttons == ()


def test_run_that_fails_rings_once_with_its_exception(tmp_path: Path) -> None:
    """M3, C6: exactly one message with a sound, which holds the exception's type and the last metrics."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        greeted = len(party.seen())
        party.train(COUNTS, "otter", 100, "raise").wait(60)

        crash = party.message_with("ValueError")
        time.sleep(2)  # nothing more is to come: there is no condition to wait for
        loud = [one for one in party.seen()[greeted:] if not one.silent]
        assert [one.message_id for one in loud] == [crash.message_id]
        assert all(word in crash.text for word in ("otter", "bad input 17", "accuracy", "loss")), crash.text


def test_start_lines_and_finish_with_the_result(tmp_path: Path) -> None:
    """C6: one start, ten lines with step, loss and accuracy, one finish with the final test accuracy."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        assert "10" in party.ask("every 10 steps")
        party.train(COUNTS, "owl", 100, "end").wait(60)

        finish = party.message_with("finished after")
        assert "test_accuracy 0.973" in finish.text

        def lines_so_far() -> list[str]:
            told = [text for text in party.texts() if "finished" not in text and "▶" not in text]
            return [line for text in told for line in text.splitlines() if all(word in line for word in ("step", "loss", "accuracy"))]

        lines = until(lambda: found if len(found := lines_so_far()) >= 10 else None, 30, "ten lines")
        assert len(lines) == 10
        assert [f"step {10 * n}:" in line for n, line in enumerate(lines, 1)] == [True] * 10
        assert f"accuracy {0.99:g}" in lines[-1]


def test_progress_is_one_silent_message_and_its_last_state_arrives_through_a_flood(tmp_path: Path) -> None:
    """W2, C12: 429 twice and a hang: nothing is sent meanwhile, the end arrives once, and no step waits for it."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.train(STEERED, "heron")
        message = party.message_with("heron #1")
        assert message.silent
        party.telegram.misbehave("busy", 2, retry_after_s=3)
        edited = until(lambda: next((one for one in party.seen() if one.message_id == message.message_id and one.edits >= 2), None), 60)
        assert "step" in edited.text
        party.telegram.misbehave("hang", 1, seconds=5)
        party.write("stop")
        party.message_with("stopped after", 90)
        assert sum("stopped after" in text for text in party.texts()) == 1
        steps = party.values("heron", "train/loss")
        with party.api() as api:
            times = api.run("heron").series("train/loss").times
        assert len(steps) > 10
        assert max(b - a for a, b in pairwise(times[5:])) < 3_000


def test_sweep_of_many_runs_becomes_two_messages(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        settings(party, progress="off")
        trainers = [party.train(COUNTS, f"sweep{n}", 20, "end", "sweep") for n in range(6)]
        for trainer in trainers:
            trainer.wait(60)
        with party.api() as api:
            until(lambda: len([run for run in api.runs("digits") if run.state == "finished"]) == 6, 60)
        party.message_with("finished after")
        time.sleep(2)
        assert sum("finished after" in text for text in party.texts()) == 1


def test_minimal_chat_holds_no_name_and_no_value(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        settings(party, detail="minimal")
        greeted = len(party.seen())
        party.train(SPIKES, "heron")
        until(lambda: any(one.text.startswith("▲") for one in party.seen()), 60)
        party.ask("status")
        for text in ("params", "plot", "log 5", "gpu"):
            assert "no names and no values" in party.ask(text)
        told = party.seen()[greeted:]
        assert "Knobs" not in party.ask("help")
        for one in told:
            assert not any(word in one.text for word in ("heron", "loss", "NaN", "0.3", "grad")), one.text
            assert one.pictures == ()


def test_nothing_of_the_token_is_in_any_file_but_one(tmp_path: Path) -> None:
    """C4: the token is found in no run folder, database, log or page."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        party.train(COUNTS, "owl", 20, "end").wait(60)
        party.message_with("finished after")
        party.kill_server(15)
        secret = party.telegram.token.encode()
        holding = [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]
        assert holding == []


def test_alarm_that_nobody_answers_does_what_its_rule_says_and_says_so(tmp_path: Path) -> None:
    """B24: the dead-man rule: at once announced, done when nobody has answered in time, shown in the same message."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        with party.api() as api:
            api.set_rules({"nan": {"then": {"op": "pause", "unless_answered_s": 4}}})
        party.train(SPIKES, "heron")

        alarm = party.message_with("▲ calm-heron")
        assert "pause by itself at" in alarm.text
        until(lambda: "pause was asked for by itself" in next(one.text for one in party.seen() if one.message_id == alarm.message_id), 30)
        with party.api() as api:
            until(lambda: api.run("heron").state == "paused", 30)


def test_alarm_that_is_answered_in_time_keeps_the_rule_from_acting(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        with party.api() as api:
            api.set_rules({"nan": {"then": {"op": "stop", "unless_answered_s": 6}}})
        trainer = party.train(SPIKES, "heron")

        alarm = party.message_with("▲ calm-heron")
        party.press(alarm, "Let it run")
        until(lambda: "let it run" in next(one.text for one in party.seen() if one.message_id == alarm.message_id), 30)
        time.sleep(8)
        assert trainer.poll() is None


def test_late_press_asks_back_and_a_forged_one_does_nothing(tmp_path: Path) -> None:
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        trainer = party.train(SPIKES, "heron")
        alarm = party.message_with("▲ calm-heron")

        post = party.telegram._posts[(7001, int(alarm.message_id))]
        party.on_loop(party.telegram.push(_press(post, "a.1.stop.aaaaaaaaaaaaaaaa")))
        until(lambda: party.telegram.asked("answerCallbackQuery"), 20, "the press is heard")
        assert trainer.poll() is None

        party.kill_server(15)  # who restarts the server an hour later presses an old alarm
        party.start_server()
        until(lambda: party.telegram.polling, 30)
        party.press(alarm, "■ Stop")
        asked = party.message_with("Sure?")
        assert asked.buttons == ("Yes", "No")
        party.press(asked, "Yes")
        assert trainer.wait(60) == 0


def _press(post: Any, data: str) -> dict[str, Any]:
    sender = {"id": 7001, "is_bot": False, "first_name": "Ann"}
    return {"callback_query": {"id": "555", "from": sender, "message": post.shown(), "chat_instance": "1", "data": data}}


def test_flat_loss_is_one_hint_without_a_sound(tmp_path: Path) -> None:
    """W20: a loss that is flat for the configured time causes exactly one message; a hint wakes nobody."""
    with Party(tmp_path) as party:
        party.start_server()
        party.pair()
        with party.api() as api:
            api.set_rules({"plateau": {"after_s": 4, "share": 0.2}})
        party.train(FLAT, "fox")

        hint = party.message_with("△ tall-fox", 60)
        assert "flat" in hint.text and hint.silent
        party.message_with("finished after", 60)
        assert sum("tall-fox #1: loss has been flat" in text for text in party.texts()) == 1
        with party.api() as api:
            assert [(alert.rule, alert.row["told"][0]["who"]) for alert in api.alerts("digits")] == [("plateau", "Ann")]
