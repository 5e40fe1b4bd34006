"""Imports go downward only (ARCHITECTURE.md), and what runs in the training process needs the standard library only."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "farwatch"
LEAF = {"errors", "clock", "settings", "machine", "servers", "version"}
WORDS = LEAF | {"wire"}
ALLOWED: dict[str, set[str]] = {  # package -> what it may import besides itself
    "errors": set(),
    "clock": {"errors"},
    "settings": {"errors", "clock"},
    "version": set(),
    "machine": set(),
    "servers": {"errors", "clock", "settings", "machine", "version"},
    "wire": LEAF,
    "sdk": WORDS,
    "agent": WORDS,
    "runner": WORDS | {"sdk", "agent"},
    "store": WORDS,
    "service": WORDS | {"store"},
    "bridges": WORDS | {"service"},
    "compat": WORDS | {"store", "service"},
    "server": WORDS | {"store", "service", "bridges", "compat"},
    "api": WORDS | {"agent"},
    "integrations": {"errors", "farwatch"},  # public names only
    "farwatch": WORDS | {"sdk", "api"},  # the package itself: `import farwatch`
    "tqdm": {"errors", "sdk"},
    "cli": WORDS | {"sdk", "agent", "runner", "store", "service", "server", "bridges", "compat", "api", "farwatch"},
    "testing": WORDS
    | {"sdk", "agent", "runner", "store", "service", "server", "bridges", "compat", "api", "cli", "farwatch"},
}
API_MAY_USE = {"farwatch.agent.transport"}


def _python_files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if "web" not in path.parts)


def _package(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "farwatch" if parts == ("__init__",) else parts[0]


def _imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Modules of ours that a file imports anywhere, also inside functions and type-checking blocks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            if node.module == "farwatch":
                for alias in node.names:
                    inside = (SOURCE / alias.name).is_dir() or (SOURCE / f"{alias.name}.py").exists()
                    yield node.lineno, f"farwatch.{alias.name}" if inside else "farwatch"
            elif node.module:
                yield node.lineno, node.module


def test_imports_go_downward_only() -> None:
    wrong = []
    for path in _python_files():
        package = _package(path)
        assert package in ALLOWED, f"{path.name}: a new top-level name needs a row in ALLOWED"
        for line, module in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            if module.split(".")[0] != "farwatch":
                continue
            target = module.split(".")[1] if "." in module else "farwatch"
            api_reaches_in = package == "api" and target == "agent" and module not in API_MAY_USE
            if target != package and (target not in ALLOWED[package] or api_reaches_in):
                wrong.append(f"{path.relative_to(SOURCE)}:{line}: {package} imports {module}")

    assert wrong == []


_ONLY_STANDARD_LIBRARY = """
import importlib, importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top != "farwatch":
            raise ModuleNotFoundError(f"third-party module imported: {name}", name=name)

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    importlib.import_module(name)
print("ok")
"""


def _modules(*packages: str) -> list[str]:
    names = []
    for path in _python_files():
        if _package(path) in packages and path.stem != "__main__":
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            names.append(".".join(part for part in parts if part != "__init__"))
    return names


def test_training_process_and_agent_need_the_standard_library_only() -> None:
    modules = _modules(
        "farwatch", "errors", "clock", "settings", "servers", "version", "wire", "sdk", "agent"
    )

    done = subprocess.run(
        [sys.executable, "-c", _ONLY_STANDARD_LIBRARY, *modules],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(SOURCE.parent)},
    )  # fmt: skip

    assert (done.stdout.strip(), done.returncode) == ("ok", 0), done.stderr


def test_import_of_farwatch_loads_no_network_and_no_array_library() -> None:
    code = "import sys, farwatch; print(sorted({n.partition('.')[0] for n in sys.modules}))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        env={"PYTHONPATH": str(SOURCE.parent)},
    )  # fmt: skip

    loaded = set(ast.literal_eval(done.stdout))
    assert (
        loaded
        & {"numpy", "torch", "ssl", "http", "asyncio", "sqlite3", "starlette", "click", "rich", "sqlalchemy"}
        == set()
    )
