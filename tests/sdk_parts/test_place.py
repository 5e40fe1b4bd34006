"""Where a process is, and where its journal may live."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from farwatch import machine
from farwatch import settings as settings_module
from farwatch.sdk import place


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    return folder


def script_in(folder: Path, name: str = "train.py") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    return str(folder / name)


# --- names of projects


def test_project_is_the_git_root_of_the_script_from_anywhere(tmp_path: Path) -> None:
    root = repository(tmp_path / "digits")
    script = script_in(root / "src" / "deep")

    assert place.project_name({}, script, "/") == "digits"
    assert place.project_name({}, "src/deep/train.py", str(root)) == "digits"


def test_project_is_the_folder_of_the_script_outside_of_a_repository(tmp_path: Path) -> None:
    assert place.project_name({}, script_in(tmp_path / "plain"), "/") == "plain"


def test_output_folder_of_a_job_is_never_a_project(tmp_path: Path) -> None:
    outputs = tmp_path / "digits" / "outputs" / "2024-01-31" / "12-00-00"
    multirun = tmp_path / "digits" / "multirun" / "2024-01-31" / "12-00-00" / "3"
    marked = tmp_path / "digits" / "custom" / "7"
    for folder in (outputs, multirun, marked / ".hydra"):
        folder.mkdir(parents=True)

    for folder in (outputs, multirun):
        assert place.project_name({}, "", str(folder)) == "digits"
        assert place.project_name({}, "-c", str(folder)) == "digits"
    assert place.project_name({}, "", str(marked)) == "custom"
    assert place.project_name({}, script_in(tmp_path / "digits"), str(outputs)) == "digits"


def test_installed_command_is_named_by_the_working_folder(tmp_path: Path) -> None:
    command = script_in(tmp_path / "env" / "bin", "accelerate")

    assert place.project_name({}, command, str(tmp_path)) == tmp_path.name


def test_worktree_counts_as_its_repository_and_home_as_nothing(tmp_path: Path) -> None:
    root = repository(tmp_path / "digits")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=root, check=True)
    subprocess.run([*git, "worktree", "add", "-q", str(tmp_path / "branch")], cwd=root, check=True)
    home = repository(tmp_path / "home")

    assert place.project_name({}, script_in(tmp_path / "branch"), "/") == "digits"
    assert place.project_name({"HOME": str(home)}, script_in(home / "exp"), "/") == "exp"


def test_nameless_folder_gets_a_name() -> None:
    assert place.project_name({}, "", "/") == "default"


# --- processes


def test_process_start_tells_processes_apart() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        mine, its = machine.process_start(os.getpid()), machine.process_start(child.pid)
        assert mine is not None and its is not None and its >= mine
        assert place.parent_of(child.pid) == os.getpid()
        child.kill()

    assert machine.process_start(child.pid) is None
    assert machine.process_start(2**22 + 5) is None


def test_name_of_a_process_with_brackets_is_no_trouble(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "60"]) as child:
        assert place.parent_of(child.pid) == os.getpid()
        child.kill()


def test_machine_has_an_identity() -> None:
    assert len(machine.boot_id() or "") == 36
    assert machine.pid_namespace() == os.stat("/proc/self/ns/pid").st_ino
    assert machine.host_name() == os.uname().nodename
    assert place.user_name()


def test_user_without_a_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54_321)

    assert place.user_name() == "54321"


def test_script_path_is_the_file_of_main(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    script = tmp_path / "x.py"
    code = "from farwatch.sdk.place import script_path; print(script_path())"
    script.write_text(code)

    def out(*arguments: str) -> str:
        environ = {**os.environ, "PYTHONPATH": str(source)}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True
        ).stdout

    assert out("x.py").strip() == str(script)
    assert out("-m", "x").strip() == str(script)
    assert out("-c", code).strip() == "None"


def test_notebook_is_known_by_its_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell: ...

    class ColabShell(ZMQInteractiveShell): ...

    class TerminalInteractiveShell: ...

    class FakeIPython:
        shell: Any = None

        @classmethod
        def get_ipython(cls) -> Any:
            return cls.shell

    assert not place.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", FakeIPython)
    for shell, expected in ((None, False), (TerminalInteractiveShell(), False), (ColabShell(), True)):
        FakeIPython.shell = shell
        assert place.in_notebook() is expected
        assert not expected or place.script_path() is None


@pytest.mark.parametrize("name", ["SLURM_PROCID", "GITHUB_ACTIONS", "COLAB_RELEASE_TAG", "PBS_JOBID"])
def test_jobs_take_their_agent_with_them(name: str) -> None:
    assert place.agent_dies_with_us({name: "1"})


def test_ordinary_machine_keeps_its_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "pid_namespace", lambda: place.INITIAL_PID_NAMESPACE)

    assert not place.agent_dies_with_us({})


@pytest.mark.parametrize(
    ("parents", "first", "dies"),
    [
        ({100: 1}, "python", True),
        ({100: 50, 50: 1}, "bash", True),
        ({100: 50, 50: 1}, "sshd", False),
        ({100: 50, 50: 0}, "bash", False),  # docker exec: the shell's parent is outside
    ],
)
def test_container_takes_its_agent_with_it_if_its_program_is_ours(
    monkeypatch: pytest.MonkeyPatch, parents: dict[int, int], first: str, dies: bool
) -> None:
    monkeypatch.setattr(place, "pid_namespace", lambda: 4_026_532_000)
    monkeypatch.setattr(place, "parent_of", parents.get)
    monkeypatch.setattr(place, "_read", lambda path: first + "\n" if path == "/proc/1/comm" else None)
    monkeypatch.setattr(os, "getpid", lambda: 100)

    assert place.agent_dies_with_us({}) is dies


def test_silence_of_the_agent_is_measured_by_its_beat(tmp_path: Path) -> None:
    from farwatch.agent.place import agent_file

    assert place.agent_silence_s(tmp_path) == math.inf
    beat = agent_file(tmp_path, "beat")
    beat.touch()
    assert place.agent_silence_s(tmp_path) < 5
    os.utime(beat, (time.time() - 100, time.time() - 100))
    assert 99 < place.agent_silence_s(tmp_path) < 200


# --- file systems

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /netuser rw - nfs4 server:/netuser rw
24 23 254:1 / /netuser/local\\040disk rw - xfs /dev/vdb rw
25 22 0:22 / /dev/shm rw - tmpfs tmpfs rw
26 22 0:23 / /scratch rw shared:1 master:2 - lustre x rw
27 22 0:24 / /odd rw - fuse.sshfs x rw
28 22 0:25 / /over rw - ext4 /dev/vdc rw
29 28 0:26 / /over rw - nfs4 x rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        ("/data/x", "ext4", True),
        ("/netuser/me/x", "nfs4", False),
        ("/netuser/local disk/x", "xfs", True),
        ("/netuser/local", "nfs4", False),
        ("/netusers/x", "ext4", True),
        ("/dev/shm/x", "tmpfs", True),
        ("/scratch/x", "lustre", False),
        ("/odd", "fuse.sshfs", False),
        ("/over/x", "nfs4", False),
    ],
)
def test_file_systems_are_allowed_by_name(
    monkeypatch: pytest.MonkeyPatch, path: str, kind: str, local: bool
) -> None:
    monkeypatch.setattr(place, "_read", lambda _: MOUNTS)
    monkeypatch.setattr(os.path, "realpath", lambda path: str(path))

    assert place.filesystem_type(path) == kind
    assert place.is_local_filesystem(path) is local


def test_real_mounts_are_read(tmp_path: Path) -> None:
    assert place.filesystem_type("/proc/self") == "proc"
    assert place.is_local_filesystem(tmp_path / "not" / "there" / "yet")
    assert place.disk_free(tmp_path) > 0


def test_journals_go_to_the_state_folder(tmp_path: Path) -> None:
    root = place.choose_journal_root(tmp_path / "state", {})

    assert root == tmp_path / "state" / "journals"
    assert oct(root.stat().st_mode & 0o777) == oct((tmp_path / "state").stat().st_mode & 0o777) == "0o700"


def kinds(monkeypatch: pytest.MonkeyPatch, table: dict[Path, str]) -> None:
    """Let each folder be on a file system of our choice."""

    def kind(path: Any) -> str:
        return next((found for folder, found in table.items() if Path(path).is_relative_to(folder)), "nfs4")

    monkeypatch.setattr(place, "filesystem_type", kind)


def test_state_folder_on_a_network_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, slurm, temporary = tmp_path / "home", tmp_path / "slurm", tmp_path / "tmp"
    for folder in (slurm, temporary):
        folder.mkdir()
    kinds(monkeypatch, {slurm: "ext4", temporary: "xfs"})
    environ = {"SLURM_TMPDIR": str(slurm), "TMPDIR": str(temporary)}

    root = place.choose_journal_root(home, environ)

    assert root == slurm / f"farwatch-{os.getuid()}" / "journals"
    assert not home.exists()
    assert place.choose_journal_root(home, {"TMPDIR": str(temporary)}) == (
        temporary / f"farwatch-{os.getuid()}" / "journals"
    )


def test_memory_is_the_last_choice_unless_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, temporary = tmp_path / "chosen", tmp_path / "tmp"
    temporary.mkdir()
    kinds(monkeypatch, {chosen: "tmpfs", temporary: "ext4"})
    environ = {"TMPDIR": str(temporary)}

    assert place.choose_journal_root(chosen, environ) == chosen / "journals"
    monkeypatch.setattr(settings_module, "state_dir", lambda _: chosen)
    assert place.choose_journal_root(chosen, environ) == temporary / f"farwatch-{os.getuid()}" / "journals"
    kinds(monkeypatch, {chosen: "tmpfs"})
    assert place.choose_journal_root(chosen, environ) == chosen / "journals"


def test_without_a_local_disk_there_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds(monkeypatch, {})

    assert place.choose_journal_root(tmp_path, {}) is None


def test_trap_in_a_shared_folder_is_not_stepped_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    shared.mkdir()
    elsewhere.mkdir()
    (shared / f"farwatch-{os.getuid()}").symlink_to(elsewhere)
    kinds(monkeypatch, {shared: "ext4", elsewhere: "ext4"})

    assert place.choose_journal_root(tmp_path / "home", {"TMPDIR": str(shared)}) is None
    assert list(elsewhere.iterdir()) == []


def test_open_journals_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "state" / "journals").mkdir(parents=True, mode=0o777)
    (tmp_path / "state" / "journals").chmod(0o777)

    root = place.choose_journal_root(tmp_path / "state", {})

    assert root is not None and oct(root.stat().st_mode & 0o777) == "0o700"
