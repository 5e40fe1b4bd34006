"""Which processes join one run: by real chains of processes, and by what launchers put into the environment."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from farwatch.sdk import launch
from farwatch.sdk.launch import Ranks, detect_ranks, given_ranks
from farwatch.wire.ids import is_run_id, short_id

SOURCE = str(Path(__file__).parents[2] / "src")
PRINT = """
    import json, os
    from dataclasses import asdict
    from farwatch.sdk.launch import detect_ranks
    found = detect_ranks(os.environ, ["train.py"])
    print(json.dumps({**asdict(found), "run_id": found.run_id}))
"""


def clean_environ(**values: str) -> dict[str, str]:
    foreign = (
        "SLURM_",
        "OMPI_",
        "PMI",
        "TORCHELASTIC_",
        "FARWATCH_",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_",
        "MASTER_",
        "TF_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": SOURCE, **values}


def ranked(rank: int, world: int = 2, **more: str) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        **more,
    }


def test_alone_is_rank_zero_of_one() -> None:
    assert detect_ranks({}) == Ranks()
    assert Ranks().run_id is None
    assert detect_ranks({"RANK": "0", "WORLD_SIZE": "1"}) == Ranks()


@pytest.mark.parametrize(
    ("environ", "launcher", "rank", "local", "world"),
    [
        ({**ranked(1, 4), "TORCHELASTIC_RUN_ID": "abc"}, "torchrun", 1, 1, 4),
        (ranked(3, 4), "environment", 3, 3, 4),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1", "NODE_RANK": "0"}, "environment", 1, 1, 2),
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "2"}, "horovod", 1, 1, 2),
        (
            {
                "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "prterun-h-17@1",
            },
            "mpi", 5, 1, 8,
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}, "mpi", 1, 1, 2),
        (
            {
                "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
                "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_NODEID": "1",
            },
            "slurm", 5, 1, 8,
        ),
        ({"JAX_PROCESS_ID": "1", "JAX_NUM_PROCESSES": "2"}, "jax", 1, 0, 2),
        (
            {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1", "a:2"]}, "task": {"type": "worker", "index": 1}})},
            "tensorflow", 1, 1, 2,
        ),
    ],
)  # fmt: skip
def test_launchers_are_recognised(
    environ: dict[str, str], launcher: str, rank: int, local: int, world: int
) -> None:
    found = detect_ranks(environ)

    assert (found.launcher, found.rank, found.local_rank, found.world_size) == (launcher, rank, local, world)
    assert found.rendezvous is not None and found.hint is None


@pytest.mark.parametrize(
    "environ",
    [
        {"RANK": "x", "WORLD_SIZE": "2"},
        {"RANK": "5", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"WORLD_SIZE": "2"},
        {"TF_CONFIG": "{"},
        {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}})},
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "0"},
    ],
)
def test_words_that_make_no_sense_count_as_absent(environ: dict[str, str]) -> None:
    assert detect_ranks(environ) == Ranks()


def test_batch_script_of_slurm_is_one_process(tmp_path: Path) -> None:
    batch = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_TMPDIR": str(tmp_path)}

    for environ in (batch, {**batch, "SLURM_STEP_ID": "4294967291", "SLURM_STEP_NUM_TASKS": "8"}):
        found = detect_ranks(environ)
        assert (found.rank, found.world_size, found.rendezvous) == (0, 1, None)


# --- who joins


def processes(environs: list[dict[str, str]], prefix: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Start processes from this one, all at once; what each says about itself."""
    command = [*prefix, sys.executable, "-c", textwrap.dedent(PRINT)]
    started = [
        subprocess.Popen(command, env=clean_environ(**environ), stdout=subprocess.PIPE, text=True)
        for environ in environs
    ]
    return [json.loads(process.communicate(timeout=60)[0]) for process in started]


def test_children_of_one_launcher_join_and_of_two_do_not() -> None:
    mine = processes([ranked(0), ranked(1)])
    launcher = textwrap.dedent(f"""
        import os, subprocess, sys
        for rank in "01":
            subprocess.run([sys.executable, "-c", {textwrap.dedent(PRINT)!r}], env=dict(os.environ, RANK=rank, LOCAL_RANK=rank,
                WORLD_SIZE="2", LOCAL_WORLD_SIZE="2"))
    """)
    other = [
        json.loads(line)
        for line in subprocess.run(
            [sys.executable, "-c", launcher], env=clean_environ(), capture_output=True, text=True, timeout=60
        ).stdout.splitlines()
    ]

    assert mine[0]["rendezvous"] == mine[1]["rendezvous"] and f":{os.getpid()}:" in mine[0]["rendezvous"]
    assert other[0]["rendezvous"] == other[1]["rendezvous"] != mine[0]["rendezvous"]
    assert [found["rank"] for found in other] == [0, 1]


def test_wrapper_between_launcher_and_trainer_is_looked_through() -> None:
    direct = processes([ranked(0)])[0]
    wrapped = processes([ranked(1)], prefix=("/bin/sh", "-c", '"$@"; true', "sh"))[0]

    assert wrapped["rendezvous"] == direct["rendezvous"]


def test_static_rendezvous_of_two_launches_differs() -> None:
    """The id, the address and the port of torchrun's static rendezvous are the same for each launch."""
    static = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    code = f"""
import os, subprocess, sys
environ = dict(os.environ, RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
subprocess.run([sys.executable, "-c", {textwrap.dedent(PRINT)!r}], env=environ)
"""

    launches = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code], env=clean_environ(**static), capture_output=True, text=True
            ).stdout
        )
        for _ in range(2)
    ]

    assert launches[0]["rendezvous"] != launches[1]["rendezvous"]


def test_ids_of_launchers_join_across_nodes() -> None:
    step = {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "2",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
    }
    nodes = [
        {**step, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank // 2), "SLURM_LOCALID": str(rank % 2)}
        for rank in range(4)
    ]
    elastic = [
        {**ranked(rank, 2), "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "abc"} for rank in range(2)
    ]
    named = [{**ranked(rank, 2), "LOCAL_WORLD_SIZE": "1", "FARWATCH_RUN_ID": "mine"} for rank in range(2)]

    assert len({detect_ranks(environ).rendezvous for environ in nodes}) == 1
    assert detect_ranks({**nodes[0], "SLURM_STEP_ID": "3"}).rendezvous != detect_ranks(nodes[0]).rendezvous
    assert {detect_ranks(environ).rendezvous for environ in elastic} == {"torchelastic::abc"}
    assert {detect_ranks(environ).rendezvous for environ in named} == {"run:mine"}


def test_nodes_without_a_common_id_make_a_run_each_and_say_how_to_join() -> None:
    node = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1", "TORCHELASTIC_RUN_ID": "none"}

    first = detect_ranks({**node, "RANK": "2", "LOCAL_RANK": "0"})
    second = detect_ranks({**node, "RANK": "3", "LOCAL_RANK": "1"})

    assert (first.rank, first.world_size) == (0, 2) and (second.rank, second.world_size) == (1, 2)
    assert first.rendezvous == second.rendezvous is not None
    assert first.hint is not None and "FARWATCH_RUN_ID" in first.hint and second.hint is None
    alone = detect_ranks({**node, "LOCAL_WORLD_SIZE": "1", "RANK": "1", "LOCAL_RANK": "0"})
    assert alone.rendezvous is None and alone.rank == 0 and alone.hint is not None


def test_given_ranks_of_spawned_processes_join() -> None:
    found = [given_ranks(rank, 2, {}) for rank in range(2)]

    assert found[0].rendezvous == found[1].rendezvous is not None
    assert [one.rank for one in found] == [0, 1] and found[0].launcher == "given"
    assert given_ranks(0, 1, {}).rendezvous is None


# --- Slurm arrays, and starting again


def slurm(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"SLURM_JOB_ID": "70", "SLURM_CLUSTER_NAME": "c", "SLURM_TMPDIR": str(tmp_path), **more}


def test_array_is_a_group(tmp_path: Path) -> None:
    environ = slurm(tmp_path, SLURM_ARRAY_JOB_ID="69", SLURM_ARRAY_TASK_ID="3", SLURM_JOB_NAME="sweep")

    assert detect_ranks(environ).group == "sweep-69"
    assert detect_ranks(slurm(tmp_path)).group is None


def test_requeued_task_resumes_its_run(tmp_path: Path) -> None:
    first = processes([slurm(tmp_path)])[0]
    (tmp_path / "requeued").mkdir()
    again = processes([slurm(tmp_path, SLURM_RESTART_COUNT="1")])[0]
    other_node = processes([slurm(tmp_path / "requeued", SLURM_RESTART_COUNT="1")])[0]
    other_job = processes([slurm(tmp_path, SLURM_JOB_ID="71")])[0]

    assert is_run_id(first["run_id"]) and len(short_id(first["run_id"])) == 7
    assert first["run_id"] == again["run_id"] == other_node["run_id"] != other_job["run_id"]


def test_one_command_run_several_times_in_one_job_makes_several_runs(tmp_path: Path) -> None:
    before = [processes([slurm(tmp_path)])[0]["run_id"] for _ in range(3)]
    after = [processes([slurm(tmp_path, SLURM_RESTART_COUNT="1")])[0]["run_id"] for _ in range(3)]

    assert len(set(before)) == 3
    assert after == before


def test_ask_twice_in_one_process_gives_the_same_id(tmp_path: Path) -> None:
    environ = slurm(tmp_path)

    first, second = detect_ranks(environ, ["a"]), detect_ranks(environ, ["a"])

    assert first.run_id == second.run_id is not None
    assert first.run_id_of(2) not in (None, first.run_id)
    assert detect_ranks(environ, ["b"]).run_id != first.run_id
    assert detect_ranks({**environ, "FARWATCH_RUN_ID": "x"}, ["a"]).run_id is None


def test_only_rank_zero_of_a_step_has_an_id(tmp_path: Path) -> None:
    step = slurm(tmp_path, SLURM_STEP_ID="0", SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1")

    ids = [detect_ranks({**step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}, ["a"]).run_id for rank in "01"]

    assert ids[0] is not None and ids[1] is None


def test_elastic_restart_of_workers_resumes_the_run() -> None:
    elastic = {**ranked(0), "TORCHELASTIC_RUN_ID": "abc"}

    first = detect_ranks({**elastic, "TORCHELASTIC_RESTART_COUNT": "0"}, ["a"])
    again = detect_ranks({**elastic, "TORCHELASTIC_RESTART_COUNT": "1"}, ["a"])

    assert first.run_id == again.run_id is not None


def test_unwritable_place_for_counting_means_a_new_run_each_time(tmp_path: Path) -> None:
    (tmp_path / f"farwatch-{os.getuid()}").write_text("a file is in the way")

    assert detect_ranks(slurm(tmp_path)).run_id is None


def test_real_torchrun_makes_one_rendezvous(tmp_path: Path) -> None:
    script = tmp_path / "print.py"
    script.write_text(textwrap.dedent(PRINT).replace('["train.py"]', "None"))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]

    done = subprocess.run(
        command, env=clean_environ(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=120
    )

    found = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda one: one["rank"])
    assert [one["rank"] for one in found] == [0, 1] and {one["world_size"] for one in found} == {2}
    assert found[0]["rendezvous"] == found[1]["rendezvous"] is not None
    assert found[0]["launcher"] == "torchrun"
    assert launch.Ranks().run_id is None
