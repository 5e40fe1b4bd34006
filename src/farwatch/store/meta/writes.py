"""What can be changed in the meta database, inside one transaction."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, and_, delete, exists, func, insert, not_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError, StatementError

from farwatch.store.meta import tables
from farwatch.store.meta.people import PeopleWrites
from farwatch.store.meta.reads import Reads
from farwatch.store.meta.rows import AlertRow, AttemptRow, CommandRow, DetailRow, RunRow, WriterRow, dump

if TYPE_CHECKING:
    from farwatch.store.meta.database import Meta

CHUNK = 500  # rows per statement: SQLite takes 32,766 parameters


@dataclasses.dataclass(slots=True)
class Pending:
    """Rows that a transaction has changed and that others see once it is committed."""

    runs: dict[int, RunRow] = dataclasses.field(default_factory=dict)
    writers: dict[str, WriterRow] = dataclasses.field(default_factory=dict)
    details: dict[int, DetailRow] = dataclasses.field(default_factory=dict)
    run_nos: dict[str, int] = dataclasses.field(default_factory=dict)
    after: list[Callable[[], None]] = dataclasses.field(default_factory=list)

    def fork(self) -> "Pending":
        """A copy for a change that may fail."""
        return Pending(
            dict(self.runs), dict(self.writers), dict(self.details), dict(self.run_nos), list(self.after)
        )


class Writes(Reads):
    """One change. Lives as long as its transaction, on the writing thread; rows are newest, whoever made them."""

    def __init__(self, connection: Connection, meta: "Meta", pending: Pending) -> None:
        super().__init__(connection)
        self._meta = meta
        self._pending = pending

    @property
    def people(self) -> PeopleWrites:
        """People, their chats, and what was sent there."""
        return PeopleWrites(self._connection)

    def after_commit(self, follow_up: Callable[[], None]) -> None:
        """Call this once the change is committed, in the writing thread; must not raise nor wait."""
        self._pending.after.append(follow_up)

    @contextmanager
    def attempt_alone(self) -> Iterator[None]:
        """Undo what is done inside if it raises, and let the rest of the change stand.

        What the database does not take because of its contents is a `ValueError`; that it cannot be written now is not.
        """
        before = self._pending.fork()
        try:
            with self._connection.begin_nested():
                yield
        except BaseException as error:
            for field in dataclasses.fields(before):
                setattr(self._pending, field.name, getattr(before, field.name))
            if isinstance(error, StatementError) and not isinstance(error, OperationalError):
                raise ValueError(str(error)) from error
            raise

    # --- runs

    def run(self, no: int) -> RunRow | None:
        """A run by its row number."""
        return self._pending.runs.get(no) or self._meta.run(no)

    def run_by_id(self, run_id: str) -> RunRow | None:
        """A run by its whole id."""
        no = self._pending.run_nos.get(run_id)
        return self._pending.runs[no] if no is not None else self._known_run(run_id)

    def _known_run(self, run_id: str) -> RunRow | None:
        known = self._meta.run_by_id(run_id)
        return None if known is None else self.run(known.no)

    def add_run(self, row: RunRow) -> RunRow:
        """Store a new run in its project, which is made if need be; returns it with its numbers."""
        number = self.next_number(row.project, row.created_ms)
        fresh = dataclasses.replace(row, number=number)
        columns = fresh.columns()
        del columns["no"]
        no = self._connection.execute(insert(tables.run).values(columns)).inserted_primary_key[0]  # type: ignore[index]
        stored = dataclasses.replace(fresh, no=no)
        self._pending.runs[no] = stored
        self._pending.run_nos[row.id] = no
        return stored

    def next_number(self, name: str, now_ms: int) -> int:
        """Take the next number of a project's runs; the project is made if need be."""
        project = tables.project
        made = self._connection.execute(
            update(project)
            .where(project.c.name == name)
            .values(runs_made=project.c.runs_made + 1)
            .returning(project.c.runs_made)
        ).scalar()
        if made is None:
            self._connection.execute(insert(project).values(name=name, created_ms=now_ms, runs_made=1))
            return 1
        return int(made)

    def put_run(self, row: RunRow) -> RunRow:
        """Store a changed run."""
        old = self.run(row.no)
        assert old is not None, "a run is added before it is changed"
        changes = row.changes(old)
        if changes:
            self._connection.execute(update(tables.run).where(tables.run.c.no == row.no).values(changes))
            self._pending.runs[row.no] = row
        return row

    def pin_main_metric(self, project: str, name: str | None) -> None:
        """Choose the main metric of a project's runs."""
        self._connection.execute(
            update(tables.project).where(tables.project.c.name == project).values(main_metric=name)
        )

    def detail(self, run_no: int) -> DetailRow:
        """Config and other large things of a run."""
        return self._pending.details.get(run_no) or self._meta.detail(run_no)

    def put_detail(self, row: DetailRow) -> None:
        """Store them."""
        old = self.detail(row.run_no)
        changes = row.changes(old)
        if changes:
            self._upsert(tables.detail, [{**row.columns(), "run_no": row.run_no}], ["run_no"])
            self._pending.details[row.run_no] = row

    def put_attempt(self, row: AttemptRow) -> None:
        """Store a new or changed attempt."""
        self._upsert(tables.attempt, [row.columns()], ["run_no", "attempt"])

    # --- writers

    def writer(self, writer_id: str) -> WriterRow | None:
        """A writer by its id."""
        return self._pending.writers.get(writer_id) or self._meta.writer(writer_id)

    def add_writer(self, row: WriterRow) -> WriterRow:
        """Store a new writer; returns it with its row number."""
        columns = row.columns()
        del columns["no"]
        no = self._connection.execute(insert(tables.writer).values(columns)).inserted_primary_key[0]  # type: ignore[index]
        stored = dataclasses.replace(row, no=no)
        self._pending.writers[row.id] = stored
        return stored

    def put_writer(self, row: WriterRow) -> WriterRow:
        """Store a changed writer."""
        old = self.writer(row.id)
        assert old is not None, "a writer is added before it is changed"
        changes = row.changes(old)
        if changes:
            self._connection.execute(
                update(tables.writer).where(tables.writer.c.no == row.no).values(changes)
            )
            self._pending.writers[row.id] = row
        return row

    def writers_of(self, run_no: int) -> list[WriterRow]:
        """All writers of a run, oldest first."""
        return [self._pending.writers.get(row.id, row) for row in super().writers_of(run_no)]

    # --- what records bring

    def put_console(self, lines: Iterable[dict[str, Any]]) -> None:
        """Store console lines; a line with a known number replaces it."""
        self._upsert(tables.console, list(lines), ["run_no", "rank", "n"])

    def add_media(self, items: list[dict[str, Any]]) -> None:
        """Store points that are no numbers."""
        for start in range(0, len(items), CHUNK):
            self._connection.execute(insert(tables.media), items[start : start + CHUNK])

    def put_file(self, file: dict[str, Any]) -> None:
        """Store that a run has a file; one with the same path replaces it."""
        self._upsert(tables.file, [file], ["run_no", "path"])

    def want_spool(self, writer_no: int, run_no: int, names: Iterable[str]) -> None:
        """Note that records name files, whether these have come or not."""
        rows = [{"writer_no": writer_no, "name": name, "run_no": run_no, "wanted": True} for name in names]
        self._upsert(tables.spool, rows, ["writer_no", "name"])

    def put_spool(self, row: dict[str, Any]) -> None:
        """Note that a file has come, whether a record names it or not."""
        table = tables.spool
        known = self._connection.execute(
            update(table)
            .where(table.c.writer_no == row["writer_no"], table.c.name == row["name"])
            .values(sha256=row["sha256"], size=row["size"], media_type=row["media_type"])
        ).rowcount
        if not known:
            self._connection.execute(insert(table).values({**row, "wanted": False}))

    def put_gap(self, row: dict[str, Any]) -> None:
        """Note that records are gone for good."""
        self._upsert(tables.gap, [row], ["writer_no", "first"])

    def close_gap(self, writer_no: int, first: int, count: int) -> None:
        """Forget a gap of exactly these records: they have come after all."""
        table = tables.gap
        self._connection.execute(
            delete(table).where(table.c.writer_no == writer_no, table.c.first == first, table.c.count == count)
        )

    def put_event(self, row: dict[str, Any]) -> None:
        """Keep a command's beginning or end as the trainer told it."""
        self._upsert(tables.event, [row], ["writer_no", "number"])

    def add_command(self, row: CommandRow) -> CommandRow:
        """Store a new command; returns it with its number in its run (`seq`)."""
        numbered = dataclasses.replace(row, seq=self.newest_seq(row.run_no) + 1)
        columns = numbered.columns()
        del columns["no"]
        no = self._connection.execute(insert(tables.command).values(columns)).inserted_primary_key[0]  # type: ignore[index]
        return dataclasses.replace(numbered, no=no)

    def put_command(self, row: CommandRow) -> CommandRow:
        """Store a changed command."""
        self._connection.execute(
            update(tables.command).where(tables.command.c.no == row.no).values(row.columns())
        )
        return row

    def put_summary(self, run_no: int, names: list[str], body: bytes) -> None:
        """Store the summary of a run: `body` has one row of numbers per name."""
        self._upsert(
            tables.summary, [{"run_no": run_no, "layout": self._layout(names), "body": body}], ["run_no"]
        )

    def _layout(self, names: list[str]) -> int:
        text = dump(names)
        digest = hashlib.sha256(text.encode()).hexdigest()
        table = tables.layout
        no = self._connection.execute(select(table.c.no).where(table.c.digest == digest)).scalar()
        if no is None:
            fresh = insert(table).values(digest=digest, names_json=text)
            no = self._connection.execute(fresh).inserted_primary_key[0]  # type: ignore[index]
        return int(no)

    # --- alerts

    def put_alert(self, row: AlertRow) -> AlertRow:
        """Store a new alert, whose number is 0, or a changed one; returns it with its number."""
        columns = row.columns()
        del columns["no"]
        if row.no:
            self._connection.execute(update(tables.alert).where(tables.alert.c.no == row.no).values(columns))
            return row
        no = self._connection.execute(insert(tables.alert).values(columns)).inserted_primary_key[0]  # type: ignore[index]
        return dataclasses.replace(row, no=no)

    def delete_alert(self, no: int) -> None:
        """Forget an alert that nobody was told of."""
        self._connection.execute(delete(tables.alert).where(tables.alert.c.no == no))

    def put_rule(self, scope: str, name: str, changes: dict[str, Any] | None) -> None:
        """Store what a person changed of a rule; None forgets it."""
        if changes is None:
            table = tables.rule
            self._connection.execute(delete(table).where(table.c.scope == scope, table.c.name == name))
        else:
            self._upsert(tables.rule, [{"scope": scope, "name": name, "changes_json": dump(changes)}], ["scope", "name"])

    # --- deleting

    def delete_media(self, run_no: int, names: list[str]) -> None:
        """Forget points of these names that are no numbers."""
        table = tables.media
        self._connection.execute(delete(table).where(table.c.run_no == run_no, table.c.name.in_(names)))

    def delete_files(self, run_no: int, paths: list[str]) -> int:
        """Forget files; returns how many there were."""
        table = tables.file
        return self._connection.execute(
            delete(table).where(table.c.run_no == run_no, table.c.path.in_(paths))
        ).rowcount

    def release_blobs(self, run_no: int) -> list[str]:
        """Forget files of a run that nothing names any more; returns the hashes that no run has now."""
        spool, media, file = tables.spool, tables.media, tables.file
        in_media = exists().where(
            media.c.run_no == run_no, media.c.writer_no == spool.c.writer_no, media.c.spool == spool.c.name
        )
        in_file = exists().where(
            file.c.run_no == run_no, file.c.writer_no == spool.c.writer_no, file.c.spool == spool.c.name
        )
        unnamed = and_(spool.c.run_no == run_no, spool.c.wanted.is_(True), not_(in_media), not_(in_file))
        gone = (
            self._connection.execute(delete(spool).where(unnamed).returning(spool.c.sha256)).scalars().all()
        )
        return sorted({sha256 for sha256 in gone if sha256 is not None and not self.blob_used(sha256)})

    def purge_run(self, run_no: int) -> list[str]:
        """Forget everything of a run but that it was; returns the hashes of files that no run has now."""
        spool = tables.spool
        held = (
            self._connection.execute(select(spool.c.sha256).where(spool.c.run_no == run_no).distinct())
            .scalars()
            .all()
        )
        for table in (
            tables.detail, tables.summary, tables.media, tables.console, tables.file, tables.spool,
            tables.gap, tables.event, tables.attempt, tables.alert, tables.command,
        ):  # fmt: skip
            self._connection.execute(delete(table).where(table.c.run_no == run_no))
        self._pending.details[run_no] = DetailRow(run_no, {}, {}, [], {}, [], "", None)
        return [sha256 for sha256 in held if sha256 is not None and not self.blob_used(sha256)]

    # --- the rest

    def set_setting(self, key: str, value: Any) -> None:
        """Store a value by key."""
        self._upsert(tables.key_value, [{"key": key, "value_json": dump(value)}], ["key"])

    def add_audit(
        self, at_ms: int, actor: str, action: str, object_: str, body: dict[str, Any] | None = None
    ) -> None:
        """Note who did what."""
        row = {
            "at_ms": at_ms,
            "actor": actor,
            "action": action,
            "object": object_,
            "body_json": dump(body or {}),
        }
        self._connection.execute(insert(tables.audit).values(row))

    def _upsert(self, table: Table, rows: list[dict[str, Any]], key: list[str]) -> None:
        """Insert rows; where the key is known, the given columns replace the old ones."""
        make = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            fresh = make(table)
            given = [column for column in part[0] if column not in key]
            if given:
                changed = {column: getattr(fresh.excluded, column) for column in given}
                statement = fresh.on_conflict_do_update(index_elements=key, set_=changed)
            else:
                statement = fresh.on_conflict_do_nothing(index_elements=key)
            self._connection.execute(statement, part)

    def console_end(self, run_no: int, rank: int) -> int:
        """The number behind the last console line of a rank."""
        table = tables.console
        last = self._connection.execute(
            select(func.max(table.c.n)).where(table.c.run_no == run_no, table.c.rank == rank)
        ).scalar()
        return 0 if last is None else int(last) + 1
