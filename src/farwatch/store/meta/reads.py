"""What can be asked of the meta database, inside one transaction."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select

from farwatch.store.meta import tables
from farwatch.store.meta.people import PeopleReads
from farwatch.store.meta.rows import AlertRow, AttemptRow, CommandRow, DetailRow, RunRow, WriterRow
from farwatch.wire.commands import RESUME, CommandState, Op

CHUNK = 500


class Reads:
    """A consistent view; lives as long as its transaction, on one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def people(self) -> PeopleReads:
        """People, their chats, and what was sent there."""
        return PeopleReads(self._connection)

    def all_runs(self) -> Iterator[RunRow]:
        """Every run that was ever made, oldest first."""
        for found in self._connection.execute(select(tables.run).order_by(tables.run.c.no)):
            yield RunRow.read(found)

    def setting(self, key: str) -> Any:
        """A stored value by key; None if there is none."""
        table = tables.key_value
        text = self._connection.execute(select(table.c.value_json).where(table.c.key == key)).scalar()
        return None if text is None else json.loads(text)

    def projects(self) -> dict[str, dict[str, Any]]:
        """Projects by name: `created_ms`, `main_metric`."""
        table = tables.project
        found = self._connection.execute(select(table.c.name, table.c.created_ms, table.c.main_metric))
        return {row.name: {"created_ms": row.created_ms, "main_metric": row.main_metric} for row in found}

    def writer(self, writer_id: str) -> WriterRow | None:
        """A writer by its id."""
        found = self._connection.execute(select(tables.writer).where(tables.writer.c.id == writer_id)).first()
        return None if found is None else WriterRow.read(found)

    def writers_of(self, run_no: int) -> list[WriterRow]:
        """All writers of a run, oldest first."""
        table = tables.writer
        return [
            WriterRow.read(row)
            for row in self._connection.execute(
                select(table).where(table.c.run_no == run_no).order_by(table.c.no)
            )
        ]

    def writers_at(self, rendezvous: str, rank: int) -> list[WriterRow]:
        """Main writers of a rank that met under a key, oldest first."""
        table = tables.writer
        query = select(table).where(
            table.c.rendezvous == rendezvous, table.c.rank == rank, table.c.role == "main"
        )
        return [WriterRow.read(row) for row in self._connection.execute(query.order_by(table.c.no))]

    def living_writers(self) -> list[WriterRow]:
        """Writers that have not ended."""
        table = tables.writer
        return [
            WriterRow.read(row)
            for row in self._connection.execute(select(table).where(table.c.ended_ms.is_(None)))
        ]

    def detail(self, run_no: int) -> DetailRow | None:
        """Config and other large things of a run."""
        found = self._connection.execute(
            select(tables.detail).where(tables.detail.c.run_no == run_no)
        ).first()
        return None if found is None else DetailRow.read(found)

    def configs(self, run_nos: Sequence[int]) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
        """(run, config, own summary values) of some runs; runs without any are left out."""
        table = tables.detail
        for start in range(0, len(run_nos), CHUNK):
            part = run_nos[start : start + CHUNK]
            query = select(table.c.run_no, table.c.config_json, table.c.given_json).where(
                table.c.run_no.in_(part)
            )
            for no, config, given in self._connection.execute(query):
                yield no, json.loads(config), json.loads(given)

    def attempts(self, run_no: int) -> list[AttemptRow]:
        """Attempts of a run, oldest first."""
        table = tables.attempt
        query = select(table).where(table.c.run_no == run_no).order_by(table.c.attempt)
        return [AttemptRow.read(row) for row in self._connection.execute(query)]

    def layout(self, no: int) -> list[str]:
        """The names of a summary's rows."""
        table = tables.layout
        return json.loads(
            self._connection.execute(select(table.c.names_json).where(table.c.no == no)).scalar_one()
        )

    def summaries(self, run_nos: Sequence[int]) -> Iterator[tuple[int, int, bytes]]:
        """(run, layout, body) of some runs; runs without any are left out."""
        table = tables.summary
        for start in range(0, len(run_nos), CHUNK):
            query = select(table.c.run_no, table.c.layout, table.c.body).where(
                table.c.run_no.in_(run_nos[start : start + CHUNK])
            )
            for row in self._connection.execute(query):
                yield row[0], row[1], row[2]

    def layouts_of(self, run_nos: Sequence[int]) -> list[int]:
        """The layouts that summaries of some runs have."""
        table = tables.summary
        found: set[int] = set()
        for start in range(0, len(run_nos), CHUNK):
            query = (
                select(table.c.layout).where(table.c.run_no.in_(run_nos[start : start + CHUNK])).distinct()
            )
            found.update(self._connection.execute(query).scalars())
        return sorted(found)

    # --- console, media, files

    def console(
        self, run_no: int, rank: int, *, first: int | None, limit: int, tail: bool, text: str | None
    ) -> tuple[list[dict[str, Any]], int]:
        """Lines of a rank in order, from number `first` on or the last ones, and how many there are.

        `text`: only lines that contain it, whatever the case.
        """
        table = tables.console
        where = [table.c.run_no == run_no, table.c.rank == rank]
        if text:
            where.append(table.c.text.icontains(text, autoescape=True))
        total = self._connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()
        if first is not None:
            where.append(table.c.n >= first)
        query = select(table.c.n, table.c.stream, table.c.time_ms, table.c.text).where(*where).limit(limit)
        found = self._connection.execute(query.order_by(table.c.n.desc() if tail else table.c.n)).all()
        lines = [{"n": row[0], "stream": row[1], "time_ms": row[2], "text": row[3]} for row in found]
        return (lines[::-1] if tail else lines), total

    def media_names(self, run_no: int) -> list[dict[str, Any]]:
        """What points that are no numbers a run has, by name."""
        table = tables.media
        query = (
            select(
                table.c.name,
                func.max(table.c.type),
                func.count(),
                func.min(table.c.step),
                func.max(table.c.step),
            )
            .where(table.c.run_no == run_no)
            .group_by(table.c.name)
            .order_by(table.c.name)
        )
        keys = ("name", "type", "count", "step_min", "step_max")
        return [dict(zip(keys, row, strict=True)) for row in self._connection.execute(query)]

    def media(
        self,
        run_no: int,
        *,
        name: str | None = None,
        step_min: float | None = None,
        step_max: float | None = None,
        sha256: str | None = None,
        limit: int,
    ) -> list[Row[Any]]:
        """Points that are no numbers: the newest `limit`, in order of name and step, each with `sha256`, `blob_size` and `blob_type`."""
        table, spool = tables.media, tables.spool
        where: list[ColumnElement[bool]] = [table.c.run_no == run_no]
        if name is not None:
            where.append(table.c.name == name)
        if step_min is not None:
            where.append(table.c.step >= step_min)
        if step_max is not None:
            where.append(table.c.step <= step_max)
        if sha256 is not None:
            where.append(spool.c.sha256 == sha256)
        query = (
            select(
                table, spool.c.sha256, spool.c.size.label("blob_size"), spool.c.media_type.label("blob_type")
            )
            .select_from(
                table.outerjoin(
                    spool, and_(spool.c.writer_no == table.c.writer_no, spool.c.name == table.c.spool)
                )
            )
            .where(*where)
            .order_by(table.c.step.desc(), table.c.no.desc())
            .limit(limit)
        )
        return sorted(
            self._connection.execute(query).all(), key=lambda row: (row.name, row.step or 0, row.no)
        )

    def files(self, run_no: int, path: str | None = None) -> list[Row[Any]]:
        """Files of a run by path, each with `sha256`, which is None until it has come, and `blob_size`."""
        table, spool = tables.file, tables.spool
        where = [table.c.run_no == run_no]
        if path is not None:
            where.append(table.c.path == path)
        query = (
            select(
                table, spool.c.sha256, spool.c.size.label("blob_size"), spool.c.media_type.label("blob_type")
            )
            .select_from(
                table.outerjoin(
                    spool, and_(spool.c.writer_no == table.c.writer_no, spool.c.name == table.c.spool)
                )
            )
            .where(*where)
            .order_by(table.c.path)
        )
        return list(self._connection.execute(query).all())

    def missing_spool(self, *, writer_no: int | None = None, run_no: int | None = None) -> list[str]:
        """Names of files that records name and that have not come."""
        table = tables.spool
        where: list[ColumnElement[bool]] = [table.c.wanted.is_(True), table.c.sha256.is_(None)]
        if writer_no is not None:
            where.append(table.c.writer_no == writer_no)
        if run_no is not None:
            where.append(table.c.run_no == run_no)
        return list(
            self._connection.execute(select(table.c.name).where(*where).order_by(table.c.name)).scalars()
        )

    def spool_hash(self, writer_no: int, name: str) -> str | None:
        """The hash of a file that a journal names; None until it has come."""
        table = tables.spool
        query = select(table.c.sha256).where(table.c.writer_no == writer_no, table.c.name == name)
        found: str | None = self._connection.execute(query).scalar()
        return found

    def blob_used(self, sha256: str) -> bool:
        """Whether any run still refers to a blob."""
        table = tables.spool
        return (
            self._connection.execute(select(table.c.name).where(table.c.sha256 == sha256).limit(1)).first()
            is not None
        )

    def runs_with_blob(self, sha256: str) -> list[int]:
        """Row numbers of the runs that refer to a blob: who may read one of them may read it."""
        table = tables.spool
        return list(
            self._connection.execute(
                select(table.c.run_no).where(table.c.sha256 == sha256).distinct()
            ).scalars()
        )

    def gaps(self, run_no: int) -> list[dict[str, Any]]:
        """Records that are gone for good."""
        gap, writer = tables.gap, tables.writer
        query = (
            select(writer.c.id, gap.c.first, gap.c.count, gap.c.reason)
            .join(writer, writer.c.no == gap.c.writer_no)
            .where(gap.c.run_no == run_no)
            .order_by(gap.c.writer_no, gap.c.first)
        )
        keys = ("writer", "first", "count", "reason")
        return [dict(zip(keys, row, strict=True)) for row in self._connection.execute(query)]

    def events(self, run_no: int) -> list[dict[str, Any]]:
        """Beginnings and ends of commands, as the trainer told them."""
        table = tables.event
        query = select(table.c.step, table.c.time_ms, table.c.body_json).where(table.c.run_no == run_no)
        rows = self._connection.execute(query.order_by(table.c.time_ms, table.c.writer_no, table.c.number))
        return [{"step": row[0], "time_ms": row[1], **json.loads(row[2])} for row in rows]

    # --- alerts

    def alerts(
        self,
        *,
        run_nos: Sequence[int] | None = None,
        states: Sequence[str] | None = None,
        rule: str | None = None,
        before: int | None = None,
        limit: int = 1_000,
    ) -> list[AlertRow]:
        """Alerts, newest first. `before`: only those with a smaller number."""
        table = tables.alert
        where: list[ColumnElement[bool]] = []
        if run_nos is not None:
            where.append(table.c.run_no.in_(run_nos))
        if states is not None:
            where.append(table.c.state.in_(states))
        if rule is not None:
            where.append(table.c.rule == rule)
        if before is not None:
            where.append(table.c.no < before)
        query = select(table).where(*where).order_by(table.c.no.desc()).limit(limit)
        return [AlertRow.read(row) for row in self._connection.execute(query)]

    def alert(self, no: int) -> AlertRow | None:
        """An alert by its number."""
        found = self._connection.execute(select(tables.alert).where(tables.alert.c.no == no)).first()
        return None if found is None else AlertRow.read(found)

    def alert_events(self, run_no: int) -> list[tuple[str, int, float | None, int, dict[str, Any]]]:
        """What a program said by `run.alert`: writer, number of the record, step, time in ms, and its words; oldest first."""
        event, writer = tables.event, tables.writer
        query = (
            select(writer.c.id, event.c.number, event.c.step, event.c.time_ms, event.c.body_json)
            .join(writer, writer.c.no == event.c.writer_no)
            .where(event.c.run_no == run_no, event.c.body_json.startswith('{"alert":'))
            .order_by(event.c.writer_no, event.c.number)
        )
        found = [(row[0], row[1], row[2], row[3], json.loads(row[4])["alert"]) for row in self._connection.execute(query)]
        return [row for row in found if isinstance(row[4], dict)]

    def messages(self, run_no: int, limit: int) -> list[dict[str, Any]]:
        """What a program said by `run.notify`, newest first."""
        table = tables.event
        query = (
            select(table.c.step, table.c.time_ms, table.c.body_json)
            .where(table.c.run_no == run_no, table.c.body_json.startswith('{"notify":'))
            .order_by(table.c.time_ms.desc(), table.c.number.desc())
            .limit(limit)
        )
        return [{"step": row[0], "time_ms": row[1], **json.loads(row[2])["notify"]} for row in self._connection.execute(query)]

    def rule_changes(self) -> dict[str, dict[str, dict[str, Any]]]:
        """What people changed of rules: scope -> rule -> changes."""
        changes: dict[str, dict[str, dict[str, Any]]] = {}
        for scope, name, body in self._connection.execute(select(tables.rule)):
            changes.setdefault(scope, {})[name] = json.loads(body)
        return changes

    # --- commands

    def command(self, command_id: str) -> CommandRow | None:
        """A command by its id."""
        table = tables.command
        found = self._connection.execute(select(table).where(table.c.id == command_id)).first()
        return None if found is None else CommandRow.read(found)

    def commands(self, run_no: int, limit: int, before: int | None = None) -> list[CommandRow]:
        """Commands to a run, newest first; `before`: those with a lower `seq`."""
        table = tables.command
        query = select(table).where(table.c.run_no == run_no).order_by(table.c.seq.desc(), table.c.no.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.seq < before)
        return [CommandRow.read(row) for row in self._connection.execute(query)]

    def count_commands(self, run_no: int) -> int:
        """How many commands a run has had."""
        table = tables.command
        query = select(func.count()).select_from(table).where(table.c.run_no == run_no)
        return int(self._connection.execute(query).scalar() or 0)

    def newest_seq(self, run_no: int) -> int:
        """`seq` of the newest command to a run, 0 if there is none."""
        table = tables.command
        return int(self._connection.execute(select(func.max(table.c.seq)).where(table.c.run_no == run_no)).scalar() or 0)

    def pending_commands(self, run_no: int | None = None) -> list[CommandRow]:
        """Commands that have not ended, of one run or of all, oldest first."""
        table = tables.command
        query = select(table).where(table.c.state == CommandState.PENDING).order_by(table.c.no)
        if run_no is not None:
            query = query.where(table.c.run_no == run_no)
        return [CommandRow.read(row) for row in self._connection.execute(query)]

    def commands_since(self, run_no: int, seq: int) -> list[CommandRow]:
        """Commands to a run behind `seq` that were done, or may be."""
        table = tables.command
        query = select(table).where(table.c.run_no == run_no, table.c.seq > seq)
        query = query.where(table.c.state.in_([CommandState.PENDING, CommandState.APPLIED]))
        return [CommandRow.read(row) for row in self._connection.execute(query.order_by(table.c.seq))]

    def applied_commands(self, run_no: int) -> list[CommandRow]:
        """What was done in a run, in the order in which it was done."""
        table = tables.command
        query = select(table).where(table.c.run_no == run_no, table.c.state == CommandState.APPLIED)
        query = query.order_by(table.c.ended_ms, table.c.no)
        return [CommandRow.read(row) for row in self._connection.execute(query)]

    def wishes(self, run_no: int) -> list[CommandRow]:
        """Values of knobs that people have set in a run, oldest first."""
        table = tables.command
        query = select(table).where(
            table.c.run_no == run_no, table.c.op == Op.SET, table.c.state == CommandState.APPLIED, table.c.channel != RESUME
        )
        return [CommandRow.read(row) for row in self._connection.execute(query.order_by(table.c.seq))]

    def audit(self, limit: int, object_: str | None = None) -> list[dict[str, Any]]:
        """Who did what, newest first."""
        table = tables.audit
        query = select(table.c.at_ms, table.c.actor, table.c.action, table.c.object, table.c.body_json)
        if object_ is not None:
            query = query.where(table.c.object == object_)
        found = self._connection.execute(query.order_by(table.c.no.desc()).limit(limit))
        return [
            {"at_ms": row[0], "actor": row[1], "action": row[2], "object": row[3], **json.loads(row[4])}
            for row in found
        ]
