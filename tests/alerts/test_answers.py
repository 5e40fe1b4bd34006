"""Alerts of programs, what people do with alerts and rules, commands as consequence, advice."""

import pytest

from farwatch.errors import FarwatchError, NotFoundError, UsageError
from farwatch.service.alerts.register import rings, state_of
from farwatch.wire.records import Kind
from tests.alerts.conftest import NAN, Alerted, curve, started
from tests.service.conftest import Process

# --- from programs


def alert(process: Process, title: str, **more: object) -> Process:
    body = {"title": title, "text": "", "level": "warn", "cooldown_s": 300, **more}
    return process.add(Kind.EVENT, {"alert": body}, step=7)


def test_alert_of_a_program_stands_until_a_person_takes_it(alerted: Alerted) -> None:
    process = started(alerted)
    alert(process, "odd batch", text="look").send()
    alerted.turn()
    (row,) = alerted.alerts()
    assert (row.rule, row.state, row.title, row.text, row.facts["step"]) == ("program", "firing", "odd batch", "look", 7)

    alerted.register.answer(row.no, {"acknowledge": True}, "ann")

    assert [(row.state, row.acknowledged_by) for row in alerted.alerts()] == [("resolved", "ann")]


def test_same_title_within_its_cooldown_counts_and_does_not_ring_again(alerted: Alerted) -> None:
    process = started(alerted)
    for _ in range(4):
        alert(process, "odd batch").send()
        alerted.turn()
        alerted.clock.advance(10)
    alerted.clock.advance(300)
    alert(process, "odd batch").send()
    alerted.turn()

    (row,) = alerted.alerts()
    assert row.times == 5
    assert [what for what, *_ in alerted.news] == ["fired", "changed", "changed", "changed", "again"]


def test_info_of_a_program_is_a_hint(alerted: Alerted) -> None:
    process = started(alerted)
    alert(process, "halfway", level="info").send()
    alerted.turn()

    assert [row.level for row in alerted.alerts()] == ["hint"]


def test_alert_of_a_program_that_the_rules_missed_is_found_after_a_restart_once(alerted: Alerted) -> None:
    process = started(alerted)
    alert(process, "odd batch").send()  # committed; no turn

    for _ in range(2):
        alerted.restart()
        alerted.turn()

    assert [(row.title, row.times) for row in alerted.alerts()] == [("odd batch", 1)]


# --- people


def test_snoozed_alert_is_silenced_and_wakes(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 3])
    (row,) = alerted.alerts()
    assert alerted.runs.row(process.run)["alerts"] == 1

    alerted.register.answer(row.no, {"snooze_s": 60}, "ann")
    assert [row.state for row in alerted.alerts("silenced")] == ["firing"] and alerted.alerts("firing") == []
    assert alerted.runs.row(process.run)["alerts"] == 0

    alerted.clock.advance(61)
    assert len(alerted.alerts("firing")) == 1 and alerted.runs.row(process.run)["alerts"] == 1


def test_acknowledged_alert_of_a_condition_stays_until_it_is_over_but_needs_nobody(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, [*curve(20), *[NAN] * 3])
    (row,) = alerted.alerts()

    row = alerted.register.answer(row.no, {"acknowledge": True}, "ann")

    assert state_of(row, alerted.register.now_ms()) == "firing" and not rings(row, alerted.register.now_ms())
    alerted.log(process, [0.5] * 4)
    assert [row.state for row in alerted.alerts()] == ["resolved"]


def test_rule_that_is_snoozed_or_off_rings_nobody(alerted: Alerted) -> None:
    first, second = started(alerted), started(alerted)
    alerted.book.change("run/" + first.run, {"nan": {"snooze_s": 600}}, "ann", alerted.register.now_ms())
    alerted.book.change("run/" + second.run, {"nan": {"on": False}}, "ann", 0)

    for process in (first, second):
        alerted.log(process, [*curve(20), *[NAN] * 3])

    assert [state_of(row, alerted.register.now_ms()) for row in alerted.alerts()] == ["silenced"]


def test_rule_of_the_run_counts_before_the_project_and_the_server(alerted: Alerted) -> None:
    alerted.book.change("server", {"spike": {"times": 3.0, "noises": 9.0}}, "ann", 0)
    alerted.book.change("project/digits", {"spike": {"times": 4.0}}, "ann", 0)
    alerted.book.change("run/abc", {"spike": {"level": "hint"}, "nan": {"metrics": ["x/*"]}}, "ann", 0)

    rules = alerted.book.of("digits", "abc")
    assert (rules["spike"].numbers["times"], rules["spike"].numbers["noises"], rules["spike"].level) == (4.0, 9.0, "hint")
    assert alerted.book.of("other", "def")["spike"].numbers["times"] == 3.0
    alerted.restart()
    assert alerted.book.of("digits", "abc") == rules
    alerted.book.change("run/abc", {"spike": None, "nan": {"metrics": None}}, "ann", 0)
    assert alerted.book.changes("run/abc") == {}


@pytest.mark.parametrize(
    "asked",
    [
        {"nosuch": {}}, {"nan": {"nosuch": 1}}, {"nan": {"wait_s": -1}}, {"nan": {"wait_s": True}}, {"nan": {"on": 1}}, {"nan": 3},
        {"failed": {"metrics": ["x"]}}, {"nan": {"metrics": "x"}}, {"nan": {"then": {"op": "kill"}}}, {"nan": {"level": "loud"}},
    ],
)  # fmt: skip
def test_rule_that_cannot_be_is_refused_and_nothing_changes(alerted: Alerted, asked: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        alerted.book.change("server", asked, "ann", 0)

    assert alerted.book.changes("server") == {}


@pytest.mark.parametrize("asked", [{}, {"nosuch": 1}, {"snooze_s": -1}, {"snooze_s": "long"}])
def test_answer_that_is_none_is_refused(alerted: Alerted, asked: dict[str, object]) -> None:
    process = started(alerted)
    alert(process, "odd").send()
    alerted.turn()

    with pytest.raises(UsageError):
        alerted.register.answer(1, asked, "ann")
    with pytest.raises(NotFoundError):
        alerted.register.answer(99, {"acknowledge": True}, "ann")


# --- consequences


def test_consequence_is_asked_for_at_once_and_once(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.book.change("server", {"nan": {"then": {"op": "stop"}}}, "ann", 0)

    alerted.log(process, [*curve(20), *[NAN] * 10])
    alerted.restart()
    alerted.turn()

    assert alerted.asked == [("stop", {}, "rule nan", "rule")]
    (row,) = alerted.alerts()
    assert row.consequence is not None and (row.consequence["state"], row.consequence["command"]) == ("sent", "c1")


@pytest.mark.parametrize("answer", [None, {"acknowledge": True}, {"snooze_s": 60}, {"resolve": True}])
def test_consequence_waits_for_an_answer_also_across_a_restart(alerted: Alerted, answer: dict[str, object] | None) -> None:
    process = started(alerted)
    then = {"op": "set", "args": {"name": "lr", "value": 1e-4}, "unless_answered_s": 300}
    alerted.book.change("server", {"nan": {"then": then}}, "ann", 0)
    alerted.log(process, [*curve(20), *[NAN] * 3])
    alerted.turn(200)
    assert alerted.asked == []

    if answer is not None:
        alerted.register.answer(1, answer, "bob")
    alerted.restart()
    alerted.turn(101)

    expected = [("set", {"name": "lr", "value": 1e-4}, "rule nan", "rule")]
    assert alerted.asked == (expected if answer is None else [])


def test_consequence_that_is_refused_says_why(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.book.change("server", {"nan": {"then": {"op": "stop"}}}, "ann", 0)

    def refuse(*args: object, **more: object) -> None:
        raise FarwatchError("it cannot be steered")

    alerted.engine.submit = refuse
    alerted.log(process, [*curve(20), *[NAN] * 3])

    (row,) = alerted.alerts()
    assert row.consequence is not None
    assert (row.consequence["state"], row.consequence["reason"]) == ("refused", "it cannot be steered")


# --- advice


def test_advice_says_stop_for_nan_and_continue_for_a_loss_that_falls(alerted: Alerted) -> None:
    process = started(alerted)
    alerted.log(process, curve(60))
    run = alerted.meta.run_by_id(process.run)
    assert run is not None
    told = alerted.engine.advice(run)
    assert told["say"] == "continue" and "train/loss" in told["why"]

    alerted.log(process, [NAN] * 5)

    assert alerted.engine.advice(run)["say"] == "stop"
