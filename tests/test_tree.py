"""What no file of this tree may contain."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "farwatch"
BINARY = {".png", ".ico", ".woff2", ".db", ".parquet", ".jpg", ".wav", ".mp4", ".zst", ".fwj"}

# Calls through which data could become code, or a file could land where it wants.
FORBIDDEN_CALLS = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "eval", "exec", "compile",
    "yaml.load", "yaml.unsafe_load", "os.system", "os.popen", "__import__", "tempfile.mktemp",
}  # fmt: skip
FORBIDDEN_METHODS = {"extractall"}
ENVIRONMENT = {"os.environ", "os.getenv", "os.putenv", "os.environb"}


@cache
def _texts() -> list[tuple[str, str]]:
    """Every text file that belongs to the tree, by its relative path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:  # an unpacked source archive
        paths = [
            path
            for path in ROOT.rglob("*")
            if not {".venv", "build", "node_modules", "__pycache__"} & set(path.parts)
        ]
    found = []
    for path in paths:
        if path.is_file() and path.suffix not in BINARY:
            try:
                found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
            except UnicodeDecodeError:
                continue
    return found


def _sources() -> list[tuple[str, ast.Module]]:
    return [
        (name, ast.parse(text))
        for name, text in _texts()
        if name.startswith("src/farwatch/") and name.endswith(".py")
    ]


def test_nothing_is_unpickled_evaluated_or_extracted() -> None:
    found = []
    for name, tree in _sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            shell = any(keyword.arg == "shell" and not _is_false(keyword.value) for keyword in node.keywords)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called in FORBIDDEN_CALLS or method in FORBIDDEN_METHODS or shell:
                found.append(f"{name}:{node.lineno}: {called}")

    assert found == []


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def test_environment_is_read_in_settings_only() -> None:
    found = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, tree in _sources()
        if name != "src/farwatch/settings.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ENVIRONMENT
    ]

    assert found == []


def test_no_file_holds_a_path_of_a_particular_machine() -> None:
    personal = re.compile(r"(?:^|[\s'\"=(`])/(?:root|home|work)/[\w.]")

    found = [name for name, text in _texts() if personal.search(text)]

    assert found == []


def test_no_file_names_a_package_registry() -> None:
    hosts = [
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry.npm" + "js",
        "npmmirror" + ".com",
        "index" + "-url",
    ]

    found = [f"{name}: {host}" for name, text in _texts() for host in hosts if host in text]

    assert found == []


def test_lock_files_hold_no_download_addresses() -> None:
    locks = [
        (name, text)
        for name, text in _texts()
        if Path(name).name in {"package-lock.json", "uv.lock", "poetry.lock"}
    ]

    assert [name for name, text in locks if re.search(r'"resolved":|registry = "', text)] == []


def test_module_names_say_something() -> None:
    empty = {"utils", "helpers", "common", "misc", "manager", "core", "util"}

    assert [
        name for name, _ in _texts() if Path(name).stem in empty and name.endswith((".py", ".ts", ".svelte"))
    ] == []


def test_no_test_is_skipped() -> None:
    marks = re.compile(r"@pytest\.mark\.(?:skip|skipif|xfail)|pytest\.(?:skip|xfail|importorskip)\(")

    found = [
        name
        for name, text in _texts()
        if name.startswith("tests/") and name != "tests/test_tree.py" and marks.search(text)
    ]

    assert found == []


def test_files_stay_small_enough_to_read() -> None:
    limit = 500
    code = (".py", ".ts", ".svelte", ".css")
    made = {"web/src/api/types.ts"}  # by a program, from what is small enough

    found = {
        name: text.count("\n")
        for name, text in _texts()
        if name.endswith(code) and name not in made and text.count("\n") > limit
    }

    assert found == {}
