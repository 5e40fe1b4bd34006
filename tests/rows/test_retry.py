"""`farwatch sync --retry`: what a server refused for good comes to it once the reason is gone, exactly once."""

import json

from farwatch.agent.folder import JournalFolder
from farwatch.agent.retry import offer_again
from farwatch.agent.sync import status
from tests.faults.machine import Machine
from tests.rows.program import ended, points, ran

PROGRAM = """
import farwatch
with farwatch.init("limits", id="limited", console=False, system=False) as run:
    for step in range(20):
        run.log({"loss": 1 / (step + 1)})
    for step in range(20):
        run.log({f"layer/{n}": float(step) for n in range(30)})
    run.log({"loss": 9.0})
    run.wait()
"""


def refused(machine: Machine) -> int:
    """A run of which the server has refused 20 calls, and a server that would take them now. Returns how many records were set aside.

    After a row of refusals a whole batch is set aside, so that one good call behind them is as well.
    """
    machine.start_server(names_per_run=10)
    ran(machine, PROGRAM)
    with machine.api() as api:
        run = ended(api, "limited")
        assert points(run, "layer/7")[0] == []
        assert sum(gap["count"] for gap in run.detail["gaps"]) >= 20
    machine.kill_agents()
    machine.kill_server()
    machine.start_server(names_per_run=1000)
    aside = int(trainer(machine)["set_aside"])
    assert aside >= 20
    return aside


def trainer(machine: Machine) -> dict:
    (told,) = [j for j in json.loads(machine.cli("status").stdout)["journals"] if j["role"] == "trainer"]
    return told


def test_records_refused_under_a_limit_arrive_once_it_is_raised(machine: Machine) -> None:
    aside = refused(machine)
    machine.cli("status", "--clear", "--yes")  # keeps what was set aside

    first = machine.cli("sync", "--retry")
    again = machine.cli("sync", "--retry")

    assert f"{aside} records and files" in first.stderr
    assert "0 records and files" in again.stderr
    with machine.api() as api:
        run = ended(api, "limited")
        steps, times, values = points(run, "layer/7")
        assert (steps, values) == ([float(step) for step in range(20, 40)], [float(step) for step in range(20)])
        assert points(run, "loss")[0] == [*map(float, range(20)), 40.0]
        assert times == sorted(times) and run.detail["attempt"] == 1
        assert run.detail["gaps"] == []
        began, finished = run.detail["started_ms"], run.detail["ended_ms"]
        assert began <= times[0] <= times[-1] <= finished
    assert trainer(machine)["set_aside"] == 0


def test_a_retry_under_the_same_limit_keeps_the_records(machine: Machine) -> None:
    aside = refused(machine)
    machine.kill_server()
    machine.start_server(names_per_run=10)

    done = machine.cli("sync", "--retry", check=False)

    assert done.returncode == 1
    with machine.api() as api:
        assert sum(gap["count"] for gap in api.run("limited").detail["gaps"]) >= 20  # still
    assert sum(journal["set_aside"] for journal in json.loads(machine.cli("status").stdout)["journals"]) >= 20 <= aside

    machine.kill_server()
    machine.start_server(names_per_run=1000)
    machine.cli("sync", "--retry")
    with machine.api() as api:
        assert points(ended(api, "limited"), "layer/29")[0] == [float(step) for step in range(20, 40)]


def test_a_retry_that_broke_off_makes_the_same_journal(machine: Machine) -> None:
    refused(machine)
    (journal,) = [found for found in status(machine.state) if found.set_aside]
    kept = {path.name: path.read_bytes() for path in (journal.path / "aside").iterdir()}
    offer_again(JournalFolder(journal.path))
    machine.cli("sync")
    for name, content in kept.items():  # as if it had ended before it deleted anything
        (journal.path / "aside" / name).write_bytes(content)

    machine.cli("sync", "--retry")

    with machine.api() as api:
        assert len(points(ended(api, "limited"), "layer/7")[0]) == 20
    assert not list((journal.path / "aside").iterdir())


def test_a_file_that_was_refused_is_sent_again(machine: Machine) -> None:
    machine.start_server(blob_max_bytes=1000)
    (machine.folder / "model.bin").write_bytes(b"m" * 5000)
    ran(
        machine,
        """
        import farwatch
        run = farwatch.init("limits", id="filed", console=False, system=False)
        run.save("model.bin")
        run.log({"loss": 1.0})
        run.finish(timeout_s=10)
        """,
    )
    machine.sync()
    assert trainer(machine)["set_aside"] == 1
    machine.kill_agents()
    machine.kill_server()
    machine.start_server()

    machine.cli("sync", "--retry")

    with machine.api() as api:
        assert {file.path: file.size_bytes for file in api.run("filed").files()}["model.bin"] == 5000
    assert trainer(machine)["set_aside"] == 0
