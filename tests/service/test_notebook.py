"""A run in a notebook: a cell that raises is told, and ends nothing. (Rule 13.)"""

from farwatch.wire.records import Kind
from tests.service.conftest import Inside
from tests.service.test_states import quiet, state


def test_a_cell_that_raised_is_told_while_the_run_goes_on(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.patch(capture={"in_notebook": True, "cell_error": "ValueError: no\nsuch batch"})
    process.send()

    assert state(inside, process.run) == ("running", "last cell raised: ValueError: no such batch")
    assert inside.runs.detail(process.run)["capture"]["cell_error"] == "ValueError: no\nsuch batch"


def test_a_cell_that_ends_well_takes_it_back(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.patch(capture={"cell_error": "ValueError: no"})
    process.send()

    process.patch(capture={"cell_error": None})
    process.send()

    assert state(inside, process.run) == ("running", "")


def test_an_idle_notebook_still_tells_what_its_last_cell_raised(inside: Inside) -> None:
    process = inside.started()
    process.patch(capture={"in_notebook": True})
    for _ in range(4):
        process.log({"a": 1.0}).send()
        quiet(inside, process, 10)
    process.patch(capture={"cell_error": "ValueError: no"})
    process.send()

    quiet(inside, process, 700)

    name, reason = state(inside, process.run)
    assert name == "idle"
    assert reason.startswith("last cell raised: ValueError: no; nothing logged for")


def test_an_error_that_comes_late_does_not_change_how_a_run_ended(inside: Inside) -> None:
    process = inside.started().log({"a": 1.0})
    process.add(Kind.GOODBYE, {"state": "finished", "reason": ""}).send()
    sibling = inside.started(run=process.run, role="capture", sibling_of=process.id, main=False)

    sibling.patch(capture={"cell_error": "ValueError: no"})
    sibling.send()

    assert state(inside, process.run) == ("finished", "")
