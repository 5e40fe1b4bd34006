"""Which run, attempt and rank a process gets, and where its steps begin."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from farwatch.errors import BusyError, ExistsError, NotFoundError, RefusedError, UsageError
from farwatch.wire.ids import new_writer_id
from tests.service.conftest import Inside, Process


def steps(inside: Inside, run: str, name: str, attempt: int = 1, rank: int = 0) -> list[float]:
    from farwatch.store.base import SeriesKey

    return inside.store.points(SeriesKey(run, name, rank, attempt)).steps.tolist()


def test_runs_that_start_at_once_get_the_numbers_one_two_three(inside: Inside) -> None:
    processes = [inside.process() for _ in range(3)]

    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(Process.register, processes))

    assert sorted(one["number"] for one in told) == [1, 2, 3]
    assert {one["project"] for one in told} == {"digits"}


def test_numbers_are_counted_per_project_and_not_given_twice_after_a_delete(inside: Inside) -> None:
    first = inside.process().register()
    inside.runs.delete(first["run"], "ann")
    inside.runs.purge(first["run"])

    second, other = inside.process().register(), inside.process(project="letters").register()

    assert (second["number"], other["number"]) == (2, 1)


def test_registering_again_changes_nothing(inside: Inside) -> None:
    process = inside.process()
    first = process.register()

    again = process.register()

    assert again == first
    assert inside.runs.list()["total"] == 1


def test_answer_names_what_the_agent_needs(inside: Inside) -> None:
    process = inside.process(name="calm")

    told = process.register()

    assert told["run"] == process.sidecar["run"]
    assert (told["name"], told["attempt"], told["rank"], told["expected"], told["step_base"]) == (
        "calm",
        1,
        0,
        0,
        0,
    )
    assert told["epoch"] == inside.store.epoch
    assert told["url"].endswith(f"r/{told['short']}")
    assert told["missing"] == []


def test_second_start_after_a_goodbye_is_a_new_attempt_that_counts_on(inside: Inside) -> None:
    first = inside.started(run="mine")
    for i in range(5):
        first.log({"loss": float(i)})
    first.goodbye().send()
    inside.clock.advance(10)

    second = inside.started(run="mine")
    second.log({"loss": 9.0}).log({"loss": 10.0}).send()

    assert inside.runs.writer_status(second.id)["attempt"] == 2
    assert steps(inside, "mine", "loss", attempt=2) == [5, 6]
    assert inside.runs.row("mine")["state"] == "running"
    assert inside.runs.row("mine")["step"] == 6


def test_explicit_steps_are_not_shifted(inside: Inside) -> None:
    inside.started(run="mine").log({"loss": 1.0}, step=100).goodbye().send()
    inside.clock.advance(10)

    inside.started(run="mine").log({"loss": 1.0}, step=50).send()

    assert steps(inside, "mine", "loss", attempt=2) == [50]


def test_from_step_goes_back_and_hides_what_lies_beyond(inside: Inside) -> None:
    first = inside.started(run="mine")
    for i in range(10):
        first.log({"loss": float(i), "val": float(i)})
    first.goodbye().send()
    assert inside.runs.detail("mine")["summary"] == {"loss": 9, "val": 9}
    inside.clock.advance(10)

    second = inside.started(run="mine", from_step=4)
    second.log({"loss": 40.0}).send()

    assert steps(inside, "mine", "loss", attempt=2) == [4]
    visible = [(key.attempt, hi) for key, _, hi in inside.runs.visible("mine", "val")]
    assert len(visible) == 1 and 3 <= visible[0][1] < 4
    summary = inside.runs.detail("mine")["summary"]
    assert summary == {"loss": 40, "val": 3}
    assert inside.runs.metrics("mine")["metrics"][0]["max"] == 40


def test_a_process_beside_a_living_one_is_a_peer_in_the_same_attempt(inside: Inside) -> None:
    first = inside.started(run="mine")
    inside.clock.advance(1)
    second = inside.process(run="mine")
    with pytest.raises(BusyError) as refused:
        second.register()
    inside.clock.advance(1)
    first.log({"a": 1.0}).send()

    told = second.register()

    assert refused.value.details["retry_after_s"] > 0
    assert told["attempt"] == 1
    second.log({"b": 1.0}).send()
    assert inside.runs.row("mine")["points"] == 2


def test_a_beat_that_says_alive_decides_like_a_record(inside: Inside) -> None:
    first = inside.started(run="mine")
    inside.clock.advance(1)
    second = inside.process(run="mine")
    with pytest.raises(BusyError):
        second.register()
    inside.clock.advance(1)

    inside.beat(first)

    assert second.register()["attempt"] == 1


@pytest.mark.parametrize("jump_s", [-7200, 7200])
@pytest.mark.parametrize("before_its_end", [True, False])
def test_clock_that_is_set_makes_no_peer_of_a_resumed_process(inside: Inside, jump_s: float, before_its_end: bool) -> None:
    """A peer takes no commands: whoever resumes a run must be its newest attempt, whatever the wall clock did meanwhile."""
    first = inside.started(run="mine")
    inside.clock.advance(100)
    first.log({"loss": 1.0}).send()
    if before_its_end:
        inside.clock.jump(jump_s)
    first.log({"loss": 2.0}).goodbye().send()
    inside.clock.jump(0 if before_its_end else jump_s)
    inside.clock.advance(5)

    second = inside.started(run="mine")
    second.log({"loss": 3.0}).send()

    assert inside.runs.writer_status(second.id)["attempt"] == 2
    assert steps(inside, "mine", "loss", attempt=2) == [2]


@pytest.mark.parametrize("jump_s", [-7200, 7200])
def test_clock_that_is_set_makes_no_attempt_of_a_peer(inside: Inside, jump_s: float) -> None:
    """Two processes at once, delivered one behind the other, are one attempt: the second began before the first had ended."""
    first = inside.started(run="mine")
    inside.clock.advance(10)
    second = inside.process(run="mine")
    inside.clock.advance(10)
    first.log({"loss": 1.0}).goodbye().send()
    inside.clock.jump(jump_s)

    assert second.register()["attempt"] == 1


def test_a_process_that_its_agent_saw_go_is_followed_by_a_new_attempt(inside: Inside) -> None:
    first = inside.started(run="mine").log({"a": 1.0})
    first.send()
    inside.clock.advance(1)
    inside.beat(first, alive=False, cause={"signal": 9})

    assert inside.process(run="mine").register()["attempt"] == 2
    assert inside.runs.detail("mine")["attempts"][0]["reason"] == "killed by signal 9"


def test_silence_is_taken_for_an_end_after_a_while(inside: Inside) -> None:
    first = inside.started(run="mine").log({"a": 1.0})
    first.send()
    inside.clock.advance(1)
    second = inside.process(run="mine")
    with pytest.raises(BusyError):
        second.register()

    inside.clock.advance(20)

    assert second.register()["attempt"] == 2
    assert inside.runs.detail("mine")["attempts"][0]["state"] == "lost"


def test_four_processes_with_one_run_id_make_one_run_with_all_points(inside: Inside) -> None:
    processes = [inside.process(run="shared") for _ in range(4)]
    processes[0].register()
    inside.clock.advance(1)
    processes[0].log({"p0": 0.0}).send()
    for process in processes[1:]:
        process.register()

    for n, process in enumerate(processes):
        for i in range(1000):
            process.log({f"p{n}": float(i)}, step=i)
        process.goodbye().send()

    row = inside.runs.row("shared")
    assert (row["points"], row["attempt"], row["state"]) == (4001, 1, "finished")
    assert inside.runs.metrics("shared")["total"] == 4


def test_run_ends_only_when_all_its_peers_have_ended(inside: Inside) -> None:
    first = inside.started(run="mine")
    inside.clock.advance(1)
    first.log({"a": 1.0}).send()
    second = inside.process(run="mine", started_ms=inside.clock.wall_us() // 1000 - 500)
    second.register()

    first.goodbye("failed", "boom").send()
    while_second_lives = inside.runs.row("mine")["state"]
    second.goodbye().send()

    assert while_second_lives == "running"
    assert (inside.runs.row("mine")["state"], inside.runs.row("mine")["reason"]) == ("failed", "boom")


def test_forked_worker_writes_to_its_parents_run_and_its_end_decides_nothing(inside: Inside) -> None:
    parent = inside.started()
    worker = inside.started(run=parent.sidecar["run"], main=False, sibling_of=parent.id)
    worker.log({"loader/ms": 3.0}).goodbye("failed").send()

    inside.beat(worker, alive=False, cause={"signal": 9})

    assert worker.run == parent.run
    assert inside.runs.row(parent.run)["state"] == "running"


def test_system_writer_finds_the_run_of_the_writer_that_it_watches(inside: Inside) -> None:
    trainer = inside.started()

    system = inside.started(run="provisional", role="system", watches=trainer.id, main=False)
    system.log({"system/cpu": 40.0}).send()

    assert system.run == trainer.run
    row = inside.runs.row(trainer.run)
    assert (row["main_metric"], row["step"], row["points"]) == (None, None, 1)
    assert inside.runs.detail(trainer.run)["summary"] == {}


def test_other_ranks_wait_for_rank_zero_and_join_its_run(inside: Inside) -> None:
    one = inside.process(rank=1, world_size=2, rendezvous="job-7", run="provisional-1")
    with pytest.raises(BusyError):
        one.register()

    zero = inside.started(rank=0, world_size=2, rendezvous="job-7")
    told = one.register()

    assert (told["run"], told["rank"], told["attempt"]) == (zero.run, 1, 1)
    assert inside.runs.row(zero.run)["world_size"] == 2
    assert inside.runs.list()["total"] == 1


def test_same_rendezvous_of_a_later_launch_binds_to_the_later_run(inside: Inside) -> None:
    """A static rendezvous gives every launch the same key; only lives that overlap belong together."""
    early = inside.started(rendezvous="static", world_size=2)
    early.log({"a": 1.0}).goodbye().send()
    inside.clock.advance(60)
    late_one = inside.process(rank=1, rendezvous="static", world_size=2)
    with pytest.raises(BusyError):
        late_one.register()

    late = inside.started(rendezvous="static", world_size=2)

    assert late_one.register()["run"] == late.run
    assert late.run != early.run


def test_offline_ranks_of_two_launches_find_their_own_launch(inside: Inside) -> None:
    start = inside.clock.wall_us()
    early = inside.started(rendezvous="k")
    inside.clock.advance(100)
    early.log({"a": 1.0}).goodbye().send()
    inside.clock.advance(100)
    late = inside.started(rendezvous="k")
    inside.clock.advance(100)
    late.log({"a": 1.0}).goodbye().send()

    told = [
        inside.process(
            rank=1, rendezvous="k", started_ms=start // 1000 + s * 1000
        ).register()["run"]
        for s in (1, 201)
    ]

    assert told == [early.run, late.run]


def test_a_rank_whose_rank_zero_never_comes_is_seen_in_the_end(inside: Inside) -> None:
    alone = inside.process(rank=3, world_size=8, rendezvous="nobody")
    with pytest.raises(BusyError):
        alone.register()
    inside.clock.advance(700)

    assert alone.register()["run"] == alone.sidecar["run"]
    alone.log({"a": 1.0}).goodbye().send()
    assert inside.runs.row(alone.run)["state"] == "finished"


def test_resume_never_refuses_an_id_that_exists_and_must_refuses_one_that_does_not(inside: Inside) -> None:
    inside.started(run="taken").goodbye().send()

    with pytest.raises(ExistsError):
        inside.process(run="taken", resume="never").register()
    with pytest.raises(NotFoundError):
        inside.process(run="absent", resume="must").register()
    assert inside.process(run="taken", resume="must").register()["attempt"] == 2


def test_deleted_run_takes_no_new_attempt_until_it_is_brought_back(inside: Inside) -> None:
    inside.started(run="gone").goodbye().send()
    inside.runs.delete("gone", "ann")

    with pytest.raises(RefusedError):
        inside.process(run="gone").register()
    inside.runs.undelete("gone", "ann")

    assert inside.process(run="gone").register()["attempt"] == 2


@pytest.mark.parametrize(
    "wrong",
    [{"writer": "x"}, {"writer": None}, {"run": "a b"}, {"run": ""}, {"run": 3}, {"resume": "perhaps"}, {"rank": -1}, {"rank": "0"},
     {"world_size": -3}],
)  # fmt: skip
def test_sidecar_that_cannot_be_right_is_refused(inside: Inside, wrong: dict) -> None:
    with pytest.raises(UsageError):
        inside.process(**wrong).register()


def test_odd_sidecar_is_read_as_far_as_it_makes_sense(inside: Inside) -> None:
    odd = inside.process(
        name=7,
        tags=["a", "a", 3, "", "b\0\ud800"],
        notes=["x"],
        project="a/b#c",
        argv="none",
        total_steps="many",
        from_step=float("nan"),
    )

    told = odd.register()

    row = inside.runs.row(told["run"])
    assert (row["project"], row["tags"], row["notes"], row["total_steps"]) == (
        "a/b#c",
        ["a", "b\ufffd?"],
        "",
        None,
    )


def test_clone_of_a_journal_is_a_peer_of_the_original(inside: Inside) -> None:
    original = inside.started()
    twin = inside.process(**{**original.sidecar, "writer": new_writer_id(), "clone_of": original.id})

    told = twin.register()

    assert (told["run"], told["attempt"]) == (original.run, 1)
