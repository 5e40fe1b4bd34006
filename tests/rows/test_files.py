"""Rows E1, F1, G1, G2, G3, W15, W19: pictures, files and source, from the trainer's disk to a reader's."""

import hashlib
import io
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from farwatch.api import Run
from tests.faults.machine import Machine, until
from tests.rows.program import ended, points, ran

CANARY = "ghp_" + "canary01" * 5


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def captured(run: Run, *names: str) -> dict:
    """What the agent found out about the program, once all of these are there."""

    def whole() -> dict | None:
        found = run.detail["capture"]
        return found if set(names) <= set(found) else None

    return until(whole, 30, f"{names} were captured")


def sources(run: Run) -> list[str]:
    """Paths of the kept source files that have arrived."""
    listed = [file.path for file in run.files() if file.sha256]
    return sorted(path.removeprefix("source/") for path in listed if path.startswith("source/"))


def test_arrays_tensors_and_pil_images_have_their_colours(shared: Machine) -> None:
    """E1: a float array in 0..1, one in 0..255, a tensor and a PIL image."""
    from PIL import Image

    ran(
        shared,
        """
        import farwatch, numpy as np, torch
        from PIL import Image
        colours = np.array([[[255, 0, 0], [0, 128, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
        with farwatch.init("e1", id="e1", console=False, system=False) as run:
            run.log({"unit": farwatch.Image(colours / 255.0), "bytes": farwatch.Image(colours.astype(float)),
                     "tensor": farwatch.Image(torch.tensor(colours).permute(2, 0, 1)), "pil": farwatch.Image(Image.fromarray(colours))})
        """,
    )
    colours = [[[255, 0, 0], [0, 128, 0]], [[0, 0, 255], [255, 255, 255]]]
    with shared.api() as api:
        run = ended(api, "e1")
        urls = {item["name"]: item["url"] for item in run.media()}
        assert sorted(urls) == ["bytes", "pil", "tensor", "unit"]
        for name, url in urls.items():
            data, _ = api._contact.bytes_of(f"/{url}", 0, 1 << 20)
            shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            assert shown.tolist() == colours, name


def test_globs_keep_exactly_the_tree_and_downloads_are_equal(shared: Machine, tmp_path: Path) -> None:
    """F1: `**/*.yaml` uploads exactly the matching tree, equal hashes, deleting one removes only it."""
    tree = shared.folder / "f1"
    content = {name: os.urandom(1000 + 7 * i) for i, name in enumerate(("a.yaml", "deep/b.yaml", "deep/er/ä c.yaml", ".hidden/d.yaml"))}
    content["empty.yaml"] = b""
    for name, data in {**content, "deep/no.txt": b"no", "a.yaml.bak": b"no"}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    ran(
        shared,
        """
        import farwatch, os
        os.chdir("f1")
        with farwatch.init("f1", id="f1", source=[], console=False, system=False) as run:
            run.save("**/*.yaml")
        """,
    )
    with shared.api() as api:
        run = ended(api, "f1")
        listed = until(lambda: (found := run.files()) and all(file.sha256 for file in found) and found)
        files = {file.path: file for file in listed}
        assert set(files) == set(content)
        for name, data in content.items():
            assert files[name].sha256 == hashlib.sha256(data).hexdigest()
            assert run.download(name, tmp_path / "got").read_bytes() == data
        run.delete_file("deep/b.yaml")
        assert {file.path for file in run.files()} == set(content) - {"deep/b.yaml"}
        with pytest.raises(Exception, match="no file"):
            run.download("deep/b.yaml", tmp_path / "got")
        assert run.download("a.yaml", tmp_path / "got").read_bytes() == content["a.yaml"]


def test_a_pickle_comes_back_and_was_opened_by_nobody(shared: Machine, tmp_path: Path) -> None:
    """F1: a pickled object round-trips; whoever would unpickle it on the way would leave a mark."""
    mark = tmp_path / "unpickled"
    ran(
        shared,
        f"""
        import farwatch, pickle
        class Marks:
            def __reduce__(self): return (open, ({str(mark)!r}, "w"))
        open("state.pkl", "wb").write(pickle.dumps({{"weights": [1.5, 2.5], "marks": Marks()}}))
        with farwatch.init("f1", id="f1-pickle", console=False, system=False) as run:
            run.save("state.pkl")
        """,
    )
    with shared.api() as api:
        run = ended(api, "f1-pickle")
        until(lambda: any(file.path == "state.pkl" and file.sha256 for file in run.files()))
        got = run.download("state.pkl", tmp_path).read_bytes()
    assert got == (shared.folder / "state.pkl").read_bytes()
    assert not mark.exists()


@pytest.fixture
def repository(machine: Machine) -> Path:
    """The folder of the trainers as a repository with one commit, a remote with a token in it and an ignored key file."""
    folder = machine.folder
    (folder / ".gitignore").write_text("*\n!.gitignore\n!*.py\n!pkg/\n!*.yaml\n")
    (folder / "pkg").mkdir()
    for name in ("a.yaml", "pkg/b.py", "pkg/c.yaml", "d.py"):
        (folder / name).write_text(f"# {name}\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first message\n\nwith a body")
    git(folder, "remote", "add", "origin", f"https://user:{CANARY}@example.org/a/b.git")
    return folder


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, ["train0.py"]),
        ([], []),
        (["**/*.py", "*.yaml"], ["a.yaml", "d.py", "pkg/b.py", "train0.py"]),
    ],
    ids=["default", "none", "globs"],
)
def test_source_that_was_chosen_is_kept(machine: Machine, repository: Path, source: list[str] | None, expected: list[str]) -> None:
    """G1: the default is the entry script, [] none, globs exactly those."""
    machine.start_server()
    ran(machine, f"import farwatch\nfarwatch.init('g1', id='g1', source={source!r}, console=False, system=False).finish()\n")
    with machine.api() as api:
        run = ended(api, "g1")
        captured(run, "packages", "git")
        until(lambda: sources(run) == expected, 20, f"{expected}, not {sources(run)}")
        for name in expected:
            got = run.download(f"source/{name}", machine.folder / "got")
            assert got.read_bytes() == (repository / name).read_bytes()


def test_git_state_diff_and_packages_without_any_secret(machine: Machine, repository: Path) -> None:
    """G2, G3, W19: commit, branch, message, author, dirty, remotes, the one-line diff; numpy's version; no secret anywhere in S."""
    machine.start_server()
    (repository / "d.py").write_text("# d.py\nchanged = True\n")
    (repository / "secret.key").write_text(CANARY)  # ignored
    (repository / ".env").write_text(f"API_TOKEN={CANARY}\n")
    ran(
        machine,
        f"import farwatch\nfarwatch.init('g2', id='g2', source=['**/*'], config={{'api_key': {CANARY!r}, 'lr': 1.0}}, system=False)\n"
    )
    with machine.api() as api:
        run = ended(api, "g2")
        found = captured(run, "packages", "git")
        state = found["git"]
        assert state["commit"] == git(repository, "rev-parse", "HEAD")
        assert (state["branch"], state["message"].splitlines()[0], state["dirty"]) == ("main", "first message", True)
        assert "Ada" in str(state["author"]) and "example.org/a/b.git" in json.dumps(state["remotes"])
        assert found["packages"]["numpy"] == np.__version__
        diff = until(lambda: [file.path for file in run.files() if file.path.endswith(".diff") and file.sha256], 20, "the diff")[0]
        text = run.download(diff, machine.folder / "got.diff").read_text()
        assert "+changed = True" in text.splitlines()
        until(lambda: sources(run))
        everything = json.dumps([run.detail, [line.text for line in run.console()]])
    machine.kill_server(15)
    assert CANARY not in everything
    held = [path for path in (machine.state / "server").rglob("*") if path.is_file() and b"canary01" in path.read_bytes()]
    assert held == []


def test_outside_of_a_repository_nothing_fails_and_requirements_are_kept_unchanged(shared: Machine) -> None:
    """G2, G3: no repository is no trouble; a given requirements file is stored unchanged."""
    content = b"numpy==1.0\r\n# comment \xc3\xa9\n\n"
    (shared.folder / "needs.txt").write_bytes(content)
    ran(shared, "import farwatch\nfarwatch.init('g3', id='g3', requirements='needs.txt', console=False, system=False).finish()\n")
    with shared.api() as api:
        run = ended(api, "g3")
        found = captured(run, "hardware")
        assert "git" not in found or not found["git"]
        path = until(lambda: [file.path for file in run.files() if file.path == "source/requirements.txt" and file.sha256], 20)[0]
        assert run.download(path, shared.folder / "got.txt").read_bytes() == content


@pytest.mark.parametrize("mib", [192, pytest.param(1024, marks=pytest.mark.nightly)])
def test_points_arrive_within_3_s_while_a_big_file_goes_up(machine: Machine, mib: int) -> None:
    """W15: 1 GB goes up (here less, at night all of it); meanwhile every point is readable within 3 s of its call."""
    machine.start_server(disk_files_percent=0, disk_warn_percent=0)
    with open(machine.folder / "big.bin", "wb") as file:
        block = os.urandom(1 << 20)
        for _ in range(mib):
            file.write(block)
    machine.train(
        """
        import farwatch, os, time
        run = farwatch.init("w15", id="w15", source=[], console=False, system=False)
        began = time.time()
        run.save("big.bin")
        print(time.time() - began, flush=True)
        for _ in range(100_000):
            run.log({"at": time.time()})
            if os.path.exists("stop"): break
            time.sleep(0.05)
        run.finish()
        """
    )
    late, seen, during = 0.0, 0, 0
    with machine.api() as api:
        run = until(lambda: api.runs("w15") and api.run("w15"))

        def there() -> bool:
            return any(file.path == "big.bin" and file.sha256 for file in run.files())

        while not there():
            values = points(run, "at")[2]
            if len(values) > seen:
                late = max(late, time.time() - values[seen])
                seen, during = len(values), during + 1
            elif values:
                late = max(late, time.time() - values[-1])
            assert late < 3
        (machine.folder / "stop").touch()
        ended(api, "w15", limit_s=60)
        entry = next(file for file in run.files() if file.path == "big.bin")
    assert entry.size_bytes == mib << 20
    assert during >= 2, "the upload was over before anything could be looked at"
