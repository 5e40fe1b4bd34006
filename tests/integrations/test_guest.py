"""What an integration offers people while its framework trains, and takes back afterwards."""

import signal

import pytest

import farwatch
from farwatch.errors import UsageError
from tests.integrations.logged_run import Logged


def test_hooks_and_signals_are_there_while_it_trains_and_then_no_more(logged: Logged) -> None:
    guest = logged.run._steering.guest()
    for _ in range(2):  # a second training in the same run
        guest.begin()
        guest.on("stop", lambda: None)
        guest.on("checkpoint", lambda: "here")
        assert logged.steer()["hooks"] == ["stop", "checkpoint"]
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        save = logged.ask("checkpoint")
        assert guest.step_end() is False
        assert logged.ended(save)["result"] == "here"

        guest.end()
        guest.end()
        assert logged.steer()["hooks"] == []
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_folds_around_a_training_do_not_outlive_a_stop(logged: Logged) -> None:
    guest = logged.run._steering.guest()
    told = []

    with pytest.raises(farwatch.Stopped):
        for fold in range(10):
            guest.begin()
            if fold == 0:
                logged.ask("stop")
            told.append(guest.step_end())
            guest.end()
    guest.end()

    assert told == [True, True, True]  # the training that was told, and two more, each for one step


def test_a_command_and_a_knob_of_a_training_that_is_over_are_refused(logged: Logged) -> None:
    calls: list[int] = []
    guest = logged.run._steering.guest()
    guest.begin()
    guest.knob("log_every", 50, set=calls.append)

    def evaluate(n: int = 100) -> str:
        """Evaluate after this batch."""
        calls.append(n)
        return "it begins now"

    guest.command(evaluate)
    first = logged.ask("call", name="evaluate", args={"n": 7})
    guest.step_end()
    guest.end()
    asked = [logged.ask("call", name="evaluate"), logged.ask("set", name="log_every", value=5)]
    logged.run.poll()

    assert logged.ended(first)["result"] == "it begins now" and calls == [7]
    assert logged.steer()["commands"]["evaluate"]["doc"] == "Evaluate after this batch."
    assert [logged.ended(one)["reason"] for one in asked] == ["the training that it belongs to has ended"] * 2


def test_a_training_that_an_exception_left_is_taken_back_where_the_next_begins(logged: Logged) -> None:
    calls: list[int] = []
    guest = logged.run._steering.guest()
    guest.begin()
    guest.on("checkpoint", lambda: calls.append(1))
    guest.begin()
    guest.on("checkpoint", lambda: calls.append(2))
    logged.ask("checkpoint")
    guest.step_end()

    assert calls == [2]


def test_while_it_trains_a_log_stops_nothing_and_afterwards_it_does(logged: Logged) -> None:
    guest = logged.run._steering.guest()
    guest.begin()
    logged.run.log({"loss": 1.0})
    logged.ask("stop")
    logged.run.log({"loss": 1.0})
    assert guest.step_end() is True
    logged.run.log({"loss": 1.0})  # of the framework's own end
    guest.end()
    logged.run.finish()

    assert logged.run.state == "stopped"
    assert logged.series("loss")[0] == [0, 1, 2]


def test_a_stop_behind_the_training_ends_the_program_at_its_next_log(logged: Logged) -> None:
    guest = logged.run._steering.guest()
    guest.begin()
    guest.end()
    logged.ask("stop")

    with pytest.raises(farwatch.Stopped):
        logged.run.log({"loss": 1.0})


def test_a_name_with_a_slash_is_one_name_and_a_usage_error_refuses_with_its_words(logged: Logged) -> None:
    def refuse(value: float) -> None:
        raise UsageError("not on a Sunday")

    logged.run.knob("opt/lr", 0.1, set=refuse)
    asked = logged.ask("set", name="opt/lr", value=0.2)
    logged.run.poll()

    assert list(logged.steer()["knobs"]) == ["opt/lr"]
    assert (logged.ended(asked)["state"], logged.ended(asked)["reason"]) == ("refused", "not on a Sunday")
