"""What a run was made from is captured beside it, by the trainer's interpreter, and without any secret."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from farwatch.agent.facts import gpu_facts, run_bounded
from farwatch.agent.folder import JournalFolder
from farwatch.agent.sources import looks_secret
from farwatch.wire.ids import new_writer_id
from farwatch.wire.records import Kind
from farwatch.wire.segment import read_journal

CANARY = "ghp_" + "canary01" * 5


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder of a project, outside of any repository."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("print('train')\n")
    return folder


@pytest.fixture
def repository(work: Path) -> Path:
    """The same as a repository with one commit, a remote with a token in it, and an ignored key."""
    (work / ".gitignore").write_text("*.tmp\nprivate/\n")
    git(work, "init", "-q")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "first\n\nwith a body")
    git(work, "remote", "add", "origin", f"https://user:{CANARY}@example.org/a/b.git")
    return work


def capture(tmp_path: Path, work: Path, **sidecar: Any) -> tuple[dict[str, Any], Path]:
    """Run the capture as the agent does; returns everything it said, merged, and its folder."""
    writer = new_writer_id()
    journal = tmp_path / "journals" / writer
    journal.mkdir(parents=True, mode=0o700)
    told = {
        "format": 1, "wire": 1, "writer": writer, "run": "run1", "project": "p", "mode": "online", "server": None,
        "credential": "canary-key", "rank": 0, "cwd": str(work), "script": str(work / "train.py"), "source": None,
        "requirements": "infer", "argv": ["train.py"],
    }  # fmt: skip
    (journal / "writer.json").write_text(json.dumps(told | sidecar))
    (journal / "writer.json").chmod(0o600)
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, "-P", "-m", "farwatch.agent.capture", str(journal)]
    environ = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    merged: dict[str, Any] = {}
    for record in read_journal(folder):
        if record.kind == Kind.PATCH:
            merged |= record.body()["capture"]
    return merged, folder


def spooled(folder: Path, name: str) -> bytes:
    return (folder / "spool" / name).read_bytes()


def kept_sources(found: dict[str, Any]) -> list[str]:
    return sorted(item["path"] for item in found.get("source", []))


def test_capture_is_a_journal_of_its_own_beside_the_other(tmp_path: Path, work: Path) -> None:
    found, folder = capture(tmp_path, work)

    opened = JournalFolder(folder)
    records = list(read_journal(folder))
    assert opened.sidecar["role"] == "capture" and opened.sidecar["run"] == "run1"
    assert opened.sidecar["credential"] == "canary-key"
    assert records[0].kind == Kind.HELLO and "credential" not in records[0].body()
    assert records[-1].kind == Kind.GOODBYE
    assert [record.number for record in records] == list(range(len(records)))
    assert sorted(os.listdir(tmp_path / "journals")) == sorted([folder.name, opened.sidecar["watches"]])
    assert oct(os.stat(folder).st_mode & 0o777) == "0o700"
    assert found["hardware"]["cores"] >= 1 and found["hardware"]["memory_bytes"] > 1 << 20
    opened.close()


def test_outside_of_a_repository_nothing_fails_and_the_script_is_kept(tmp_path: Path, work: Path) -> None:
    found, folder = capture(tmp_path, work)

    assert "git" not in found and "capture_problems" not in found
    assert kept_sources(found) == ["train.py"]
    assert spooled(folder, found["source"][0]["spool"]) == b"print('train')\n"


def test_git_state_and_one_line_diff(tmp_path: Path, repository: Path) -> None:
    (repository / "train.py").write_text("print('changed')\n")
    (repository / "new.txt").write_text("untracked")

    found, folder = capture(tmp_path, repository)

    facts = found["git"]
    assert facts["commit"] == git(repository, "rev-parse", "HEAD")
    assert facts["branch"] == "main"
    assert facts["message"] == "first\n\nwith a body"
    assert facts["author"] == "Ada <ada@example.org>"
    assert facts["dirty"] is True and facts["untracked"] == 1
    assert facts["remotes"] == {"origin": "https://•••@example.org/a/b.git"}
    diff = spooled(folder, found["diff_spool"]).decode()
    assert "-print('train')\n+print('changed')\n" in diff
    assert "untracked" not in diff


def test_clean_and_unborn_and_detached_repositories(tmp_path: Path, work: Path) -> None:
    git(work, "init", "-q")
    unborn, _ = capture(tmp_path, work)
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "x")
    git(work, "checkout", "-q", "--detach")
    detached, _ = capture(tmp_path, work)

    assert "commit" not in unborn["git"] and unborn["git"]["branch"] == "main"
    assert detached["git"]["branch"] is None and detached["git"]["dirty"] is False
    assert "diff_spool" not in detached


def test_programs_that_a_repository_names_are_not_run(tmp_path: Path, repository: Path) -> None:
    trap = tmp_path / "trap"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {trap}\ncat\n")
    script.chmod(0o755)
    hook = repository / ".git" / "hooks" / "post-index-change"
    hook.write_text(script.read_text())
    hook.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "core.pager", "diff.evil.textconv"):
        git(repository, "config", name, str(script))
    (repository / ".gitattributes").write_text("*.py diff=evil\n")
    (repository / "train.py").write_text("print('changed')\n")

    found, _ = capture(tmp_path, repository)

    assert found["git"]["dirty"] is True and "diff_spool" in found
    assert not trap.exists()


def test_no_secret_is_found_anywhere(tmp_path: Path, repository: Path) -> None:
    (repository / "private").mkdir()
    (repository / "private" / "config.yaml").write_text("canary")
    (repository / "server.key").write_text("canary")
    (repository / ".env").write_text("TOKEN=canary")
    git(repository, "add", "-f", ".env")
    git(repository, "commit", "-q", "-m", "oops")
    (repository / ".env").write_text("TOKEN=canary2")
    (repository / "train.py").write_text(f"login('{CANARY}')\nurl = 'https://u:canary@h/x'\n")
    os.symlink("/etc/hostname", repository / "link.txt")

    found, folder = capture(tmp_path, repository, source=["**/*"])

    assert kept_sources(found) == [".gitignore", "train.py"]
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "writer.json":
            assert b"canary" not in path.read_bytes(), path


def test_globs_keep_exactly_what_they_name(tmp_path: Path, work: Path) -> None:
    for name in ("a.yaml", "pkg/b.py", "pkg/deep/c.py", "pkg/d.yaml", "e.txt", "venv/lib/x.py", "pkg/[x].py"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / "venv" / "pyvenv.cfg").write_text("")
    (work / "big.py").write_bytes(b"x" * 5_000_001)

    def kept(*patterns: str) -> list[str]:
        return kept_sources(capture(tmp_path, work, source=list(patterns))[0])

    assert kept("**/*.py", "*.yaml") == ["a.yaml", "pkg/[x].py", "pkg/b.py", "pkg/deep/c.py", "train.py"]
    assert kept() == []
    assert kept("pkg/*.py") == ["pkg/[x].py", "pkg/b.py"]
    assert kept(str(work / "pkg" / "deep" / "*")) == ["pkg/deep/c.py"]
    assert kept("[ab].yaml", "nothing/**") == ["a.yaml"]
    assert kept("../**") == []


def test_packages_are_inferred_or_a_requirements_file_is_kept_unchanged(tmp_path: Path, work: Path) -> None:
    content = b"numpy==1.0\r\n# comment \xc3\xa9\n\n"
    (work / "requirements.txt").write_bytes(content)

    inferred, _ = capture(tmp_path, work)
    given, folder = capture(tmp_path, work, requirements="requirements.txt")
    missing, _ = capture(tmp_path, work, requirements="nowhere.txt")

    assert inferred["packages"]["numpy"] == version("numpy")
    assert spooled(folder, given["requirements_spool"]) == content and "packages" not in given
    assert missing["packages"]["numpy"] == version("numpy")
    assert any("nowhere.txt" in problem for problem in missing["capture_problems"])


def test_entry_script_outside_of_the_folder_goes_by_its_name(tmp_path: Path, work: Path) -> None:
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text("1")

    found, _ = capture(tmp_path, work, script=str(elsewhere))

    assert kept_sources(found) == ["elsewhere.py"]


def test_notebook_is_kept_or_its_absence_explained(tmp_path: Path, work: Path) -> None:
    (work / "note.ipynb").write_text("{}")
    kernel = ["/x/ipykernel_launcher.py", "-f", "k.json"]
    with subprocess.Popen(
        ["sleep", "60"], env={"JPY_SESSION_NAME": str(work / "note.ipynb"), "PATH": "/bin:/usr/bin"}
    ) as sleep:
        found, folder = capture(tmp_path, work, script=None, argv=kernel, pid=sleep.pid)
        sleep.kill()
    unknown, _ = capture(tmp_path, work, script=None, argv=kernel, pid=None)

    assert spooled(folder, found["notebook_spool"]) == b"{}"
    assert "does not say" in unknown["notebook"]


def test_journal_of_somebody_else_or_nothing_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "farwatch.agent.capture", str(tmp_path / "0" / ("a" * 32))]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}

    done = subprocess.run(command, env=environ, capture_output=True, text=True)

    assert done.returncode == 1 and "nothing captured" in done.stderr and "Traceback" not in done.stderr


def test_command_that_hangs_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()

    assert run_bounded(["sleep", "30"], tmp_path, dict(os.environ), 0.2, 100) is None
    assert run_bounded(["yes"], tmp_path, dict(os.environ), 20, 100) == b"y\n" * 50
    assert run_bounded(["/no/such/program"], tmp_path, {}, 1, 100) is None
    assert time.monotonic() - start < 10


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text(
        "#!/bin/sh\necho 'NVIDIA H200, 143771, 570.1, GPU-1'\necho 'NVIDIA H200, [N/A], 570.1, GPU-2'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert gpu_facts() == [
        {"name": "NVIDIA H200", "memory_bytes": 143_771 << 20, "driver": "570.1", "uuid": "GPU-1"},
        {"name": "NVIDIA H200", "memory_bytes": None, "driver": "570.1", "uuid": "GPU-2"},
    ]


@pytest.mark.parametrize(
    "name", [".env", "a/.env.local", "x.pem", "id_rsa", "hf_token", "client_secret.json", ".netrc"]
)
def test_names_that_look_like_secrets(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["secrets.py", "token_model.py", "tokenizer.json", "train.py", "keys.md", "environment.yml"]
)
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)
