"""How an older meta database becomes today's: numbered steps, forward only, one transaction each.

A fresh database is made from `tables` at once. Step n turns version n - 1 into n and is never edited once released; the test
`tests/meta/test_meta.py` compares the outcome of all steps with a fresh database.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    inspect,
    select,
)

from farwatch.clock import Clock
from farwatch.errors import DataError
from farwatch.store.meta.tables import schema_version, tables

Step = Callable[[Connection], None]


def _alerts(connection: Connection) -> None:
    """Alerts, and what people changed of the rules behind them."""
    made = MetaData()
    serial = BigInteger().with_variant(Integer, "sqlite")
    alert = Table(
        "alert", made,
        Column("no", serial, primary_key=True), Column("run_no", Integer), Column("attempt", Integer, nullable=False),
        Column("rule", Text, nullable=False), Column("metric", Text), Column("title", Text, nullable=False),
        Column("text", Text, nullable=False), Column("level", Text, nullable=False), Column("state", Text, nullable=False),
        Column("opened_ms", BigInteger, nullable=False), Column("fired_ms", BigInteger), Column("resolved_ms", BigInteger),
        Column("modified_ms", BigInteger, nullable=False), Column("snoozed_until_ms", BigInteger),
        Column("acknowledged_ms", BigInteger), Column("acknowledged_by", Text), Column("times", Integer, nullable=False),
        Column("facts_json", Text, nullable=False), Column("consequence_json", Text),
    )  # fmt: skip
    Index("alert_of_run", alert.c.run_no)
    Index("alert_by_state", alert.c.state)
    Table(
        "rule", made,
        Column("scope", Text, primary_key=True), Column("name", Text, primary_key=True), Column("changes_json", Text, nullable=False),
    )  # fmt: skip
    made.create_all(connection)


def _commands(connection: Connection) -> None:
    """What people ask of runs, and what they may ask."""
    made = MetaData()
    serial = BigInteger().with_variant(Integer, "sqlite")
    command = Table(
        "command", made,
        Column("no", serial, primary_key=True), Column("id", Text, nullable=False, unique=True),
        Column("run_no", Integer, nullable=False), Column("attempt", Integer, nullable=False),
        Column("seq", BigInteger, nullable=False), Column("op", Text, nullable=False), Column("args_json", Text, nullable=False),
        Column("actor", Text, nullable=False), Column("channel", Text, nullable=False), Column("text", Text, nullable=False),
        Column("agent", Text), Column("state", Text, nullable=False), Column("reason", Text, nullable=False),
        Column("accepted_ms", BigInteger, nullable=False), Column("expires_ms", BigInteger, nullable=False),
        Column("delivered_ms", BigInteger), Column("started_ms", BigInteger), Column("ended_ms", BigInteger),
        Column("step", Float), Column("told_json", Text, nullable=False),
    )  # fmt: skip
    Index("command_of_run", command.c.run_no, command.c.seq)
    Index("command_by_state", command.c.state)
    made.create_all(connection)
    connection.exec_driver_sql("ALTER TABLE detail ADD COLUMN steer_json TEXT DEFAULT '{}' NOT NULL")


def _people(connection: Connection) -> None:
    """Who may be told of runs and ask something of them by chat, where, and what became of it."""
    made = MetaData()
    serial = BigInteger().with_variant(Integer, "sqlite")
    Table(
        "person", made,
        Column("no", serial, primary_key=True), Column("name", Text, nullable=False), Column("scopes_json", Text, nullable=False),
        Column("settings_json", Text, nullable=False), Column("created_ms", BigInteger, nullable=False), Column("removed_ms", BigInteger),
    )  # fmt: skip
    identity = Table(
        "identity", made,
        Column("channel", Text, primary_key=True), Column("user", Text, primary_key=True), Column("person_no", Integer, nullable=False),
        Column("name", Text, nullable=False), Column("paired_ms", BigInteger, nullable=False),
    )  # fmt: skip
    Index("identity_of_person", identity.c.person_no)
    chat = Table(
        "chat", made,
        Column("no", serial, primary_key=True), Column("channel", Text, nullable=False), Column("address", Text, nullable=False),
        Column("person_no", Integer), Column("title", Text, nullable=False), Column("place", Integer, nullable=False),
        Column("settings_json", Text, nullable=False), Column("created_ms", BigInteger, nullable=False), Column("removed_ms", BigInteger),
    )  # fmt: skip
    Index("chat_by_address", chat.c.channel, chat.c.address, unique=True)
    Table(
        "stranger", made,
        Column("channel", Text, primary_key=True), Column("user", Text, primary_key=True), Column("name", Text, nullable=False),
        Column("address", Text, nullable=False), Column("first_ms", BigInteger, nullable=False),
        Column("last_ms", BigInteger, nullable=False), Column("times", Integer, nullable=False),
    )  # fmt: skip
    post = Table(
        "post", made,
        Column("no", serial, primary_key=True), Column("chat_no", Integer, nullable=False), Column("about", Text, nullable=False),
        Column("message_ids_json", Text, nullable=False), Column("sent_ms", BigInteger, nullable=False),
    )  # fmt: skip
    Index("post_by_about", post.c.about, post.c.chat_no)
    Index("post_of_chat", post.c.chat_no, post.c.sent_ms)
    delivery = Table(
        "delivery", made,
        Column("no", serial, primary_key=True), Column("at_ms", BigInteger, nullable=False), Column("channel", Text, nullable=False),
        Column("chat_no", Integer, nullable=False), Column("kind", Text, nullable=False), Column("about", Text, nullable=False),
        Column("outcome", Text, nullable=False), Column("reason", Text, nullable=False), Column("tries", Integer, nullable=False),
        Column("took_ms", BigInteger, nullable=False),
    )  # fmt: skip
    Index("delivery_by_about", delivery.c.about)
    Index("delivery_by_time", delivery.c.at_ms)
    made.create_all(connection)


FIRST = 1
STEPS: dict[int, Step] = {2: _alerts, 3: _commands, 4: _people}  # version it makes -> step
VERSION = max(STEPS, default=FIRST)


def migrate(engine: Engine, clock: Clock, *, steps: dict[int, Step] | None = None) -> None:
    """Bring a database to today's version. Copies a SQLite file to `<name>.before-<version>` first.

    Raises `DataError` if a newer Farwatch has written it.
    """
    steps = STEPS if steps is None else steps
    newest = max(steps, default=FIRST)
    version = _version(engine)
    if version is None:
        with engine.connect() as connection, connection.begin():
            tables.create_all(connection)
            connection.execute(schema_version.insert().values(version=newest, at_ms=clock.wall_us() // 1000))
        return
    if version > newest:
        raise DataError(
            f"the meta database has version {version}, this Farwatch reads up to {newest}",
            hint="upgrade farwatch, or start from the copy that the upgrade left beside it",
        )
    if version < newest:
        _copy(engine, version)
    for number in range(version + 1, newest + 1):
        with engine.connect() as connection, connection.begin():
            steps[number](connection)
            connection.execute(schema_version.insert().values(version=number, at_ms=clock.wall_us() // 1000))


def _version(engine: Engine) -> int | None:
    """The version of a database; None for an empty one. Raises `DataError` for one that is not ours."""
    with engine.connect() as connection, connection.begin():
        names = inspect(connection).get_table_names()
        if schema_version.name in names:
            return (
                connection.execute(select(schema_version.c.version).order_by(schema_version.c.version.desc()))
                .scalars()
                .first()
            )
    if set(names) & set(tables.tables):
        raise DataError(
            "a database with tables of these names that is not Farwatch's", hint="name another database"
        )
    return None


def _copy(engine: Engine, version: int) -> None:
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    path = Path(engine.url.database)
    target = path.with_name(f"{path.name}.before-{version + 1}")
    source = sqlite3.connect(path)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    target.chmod(0o600)
