"""What a writer says of itself when it registers, checked: everything in it comes from outside."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farwatch.errors import UsageError
from farwatch.settings import Settings
from farwatch.wire.ids import is_run_id, is_writer_id, run_name

NAME_MAX = 200  # characters of names, groups, hosts
PROJECT_MAX = 128
KEY_MAX = 1_000
ARGV_MAX = 1_000
RANK_MAX = 1 << 20
NO_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The known part of a `writer.json`. `sibling_of`: the writer of whose process this one is a fork, or that it watches;
    `clone_of`: the writer that another copy of this journal goes on as. `runs_it`: it is `farwatch run`, the parent of the program;
    `runner`: the writer of the `farwatch run` whose run this one continues. `settled`: a person has chosen the project.
    """

    writer: str
    run: str
    run_given: bool
    resume: str
    from_step: float | None
    project: str
    name: str | None
    group: str | None
    job_type: str | None
    parent: str | None
    notes: str | None
    tags: list[str]
    host: str
    user: str
    machine: str
    argv: list[str]
    python: str
    rank: int
    world_size: int
    rendezvous: str | None
    main: bool
    system: bool
    http: bool
    runs_it: bool
    runner: str | None
    settled: bool
    sibling_of: str | None
    clone_of: str | None
    started_ms: int
    wall_us: int
    total_steps: float | None

    @property
    def run_name(self) -> str:
        """The name that the run gets."""
        return self.name or run_name(self.run)

    @classmethod
    def parse(cls, body: Mapping[str, Any], settings: Settings) -> "Sidecar":
        """Read a body. Raises `UsageError` for ids that are none and numbers out of range; other oddities are read as absent."""
        writer, run = body.get("writer"), body.get("run")
        if not isinstance(writer, str) or not is_writer_id(writer):
            raise UsageError(f"a writer id is 32 hexadecimal digits, not: `{str(writer)[:60]}`")
        if not isinstance(run, str) or not is_run_id(run):
            raise UsageError(
                f"a run id is 1 to 128 of letters, digits, `.`, `_`, `-`, beginning with a letter or digit, not: `{str(run)[:150]}`"
            )
        resume = body.get("resume") or "allow"
        if resume not in ("allow", "must", "never"):
            raise UsageError(f"`resume` is allow, must or never, not: `{str(resume)[:60]}`")
        wall_us = _integer(body.get("wall_us"), 0)
        return cls(
            writer=writer,
            run=run,
            run_given=body.get("run_given") is True,
            resume=resume,
            from_step=_number(body.get("from_step")),
            project=project_name(body.get("project")),
            name=text(body.get("name"), NAME_MAX),
            group=text(body.get("group"), NAME_MAX),
            job_type=text(body.get("job_type"), NAME_MAX),
            parent=text(body.get("parent"), NAME_MAX),
            notes=text(body.get("notes"), settings.text_max_bytes),
            tags=tag_list(body.get("tags"))[: settings.tags_max],
            host=text(body.get("host"), NAME_MAX) or "",
            user=text(body.get("user"), NAME_MAX) or "",
            machine=f"{body.get('boot_id') or ''}/{body.get('pid_ns') or ''}"[:KEY_MAX],
            argv=[
                word
                for item in _list(body.get("argv"))[:ARGV_MAX]
                if (word := text(item, 10_000)) is not None
            ],
            python=text(body.get("python"), NAME_MAX) or "",
            rank=_ranged(body.get("rank"), "rank", 0, RANK_MAX),
            world_size=_ranged(body.get("world_size") or 1, "world_size", 1, RANK_MAX),
            rendezvous=text(body.get("rendezvous"), KEY_MAX),
            main=body.get("main") is not False,
            system=body.get("role") == "system",
            http=body.get("role") == "http",
            runs_it=body.get("role") == "runner",
            runner=text(body.get("runner"), 32),
            settled=body.get("project_given") is not False,
            sibling_of=text(body.get("watches") or body.get("sibling_of"), 32),
            clone_of=text(body.get("clone_of"), 32),
            started_ms=_integer(body.get("started_ms"), wall_us // 1000),
            wall_us=wall_us,
            total_steps=_number(body.get("total_steps")),
        )


def text(value: Any, longest: int) -> str | None:
    """A text cut to so many characters, fit for every database; None for anything else and for an empty one."""
    if not isinstance(value, str) or not value:
        return None
    value = value[:longest].replace("\0", "�")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def tag_list(value: Any) -> list[str]:
    """Tags, each once, in order."""
    return list(dict.fromkeys(tag for item in _list(value) if (tag := text(item, NAME_MAX)) is not None))


def project_name(value: Any) -> str:
    """A project's name; `default` where none was given."""
    return (text(value, PROJECT_MAX) or "").strip() or NO_PROJECT


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any, otherwise: int) -> int:
    number = _number(value)
    return otherwise if number is None or abs(number) > 1 << 62 else int(value)


def _ranged(value: Any, name: str, low: int, high: int) -> int:
    if value is None:
        value = 0
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"`{name}` is a whole number from {low} to {high}, not: `{str(value)[:60]}`")
    return value
