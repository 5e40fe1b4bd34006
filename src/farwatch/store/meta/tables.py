"""The tables of the meta database, as they are today; `migrations` says how older ones become these.

Times are integer milliseconds since the Unix epoch, UTC, and end in `_ms`. Numbers that may be NaN or infinite are kept as text or
in blobs: SQLite stores NaN as NULL. Text columns that end in `_json` hold JSON.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

tables = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

schema_version = Table(
    "schema_version",
    tables,
    Column("version", Integer, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)

key_value = Table(
    "key_value",
    tables,
    Column("key", Text, primary_key=True),
    Column("value_json", Text, nullable=False),
)

project = Table(
    "project",
    tables,
    Column("name", Text, primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
    Column(
        "runs_made", Integer, nullable=False, default=0
    ),  # the number of the newest run, never given twice
    Column("main_metric", Text),
)

run = Table(
    "run",
    tables,
    Column("no", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("short", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column(
        "ends_as", Text
    ),  # the state that a goodbye or a death has named, while something of the run is still on its way
    Column("ends_reason", Text, nullable=False, default=""),
    Column("created_ms", BigInteger, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("contact_ms", BigInteger, nullable=False),
    Column("owner", Text, nullable=False, default=""),
    Column("creator", Text, nullable=False, default=""),  # the actor whose token made the run
    Column("host", Text, nullable=False, default=""),
    Column("attempt", Integer, nullable=False, default=1),
    Column("group_name", Text),
    Column("job_type", Text),
    Column("parent", Text),
    Column("tags_json", Text, nullable=False, default="[]"),
    Column("notes", Text, nullable=False, default=""),
    Column("archived", Boolean, nullable=False, default=False),
    Column("deleted_ms", BigInteger),
    Column("purged", Boolean, nullable=False, default=False),
    Column("step", Float),
    Column("total_steps", Float),
    Column("progress_json", Text),
    Column("points", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("world_size", Integer, nullable=False, default=1),
    Column("first_metric", Text),
    Column("main_metric", Text),
    Column("main_last", Text),  # as Python writes a float, so that NaN stays NaN
    Column("role", Text, nullable=False, default="sdk"),
    Index("run_of_project", "project", "number"),
    Index("run_by_short", "short"),
    Index("run_by_state", "state"),
)

detail = Table(
    "detail",
    tables,
    Column("run_no", Integer, primary_key=True),
    Column("config_json", Text, nullable=False, default="{}"),
    Column("given_json", Text, nullable=False, default="{}"),  # summary values that the program set by itself
    Column("definitions_json", Text, nullable=False, default="[]"),
    Column("capture_json", Text, nullable=False, default="{}"),
    Column("argv_json", Text, nullable=False, default="[]"),
    Column("python", Text, nullable=False, default=""),
    Column("traceback", Text),
    Column("steer_json", Text, nullable=False, default="{}", server_default="{}"),  # what people may do with the run
)

writer = Table(
    "writer",
    tables,
    Column("no", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("run_no", Integer, nullable=False),
    Column("run", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("role", Text, nullable=False),  # main, peer, fork, system, http: see `service.register`
    Column("rendezvous", Text),
    Column("host", Text, nullable=False, default=""),
    Column("machine", Text, nullable=False, default=""),  # boot id and PID namespace
    Column("agent", Text),
    Column("wall_us", BigInteger, nullable=False),
    Column("step_base", BigInteger, nullable=False, default=0),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("ending", Text),  # goodbye, gone or lost
    Column("last_ms", BigInteger, nullable=False),  # time of the newest record, by the writer's clock
    Column(
        "applied", BigInteger, nullable=False, default=-1
    ),  # number of the last record whose changes are in this database
    Column("console_base", BigInteger),
    Column("console_next", BigInteger, nullable=False, default=0),
    Column("meter_json", Text),
    Column("cause_json", Text),
    Column("records_behind", BigInteger, nullable=False, default=0),
    Column("bytes_behind", BigInteger, nullable=False, default=0),
    Column("set_aside", BigInteger, nullable=False, default=0),
    Index("writer_of_run", "run_no", "rank", "attempt"),
    Index("writer_by_rendezvous", "rendezvous"),
)

attempt = Table(
    "attempt",
    tables,
    Column("run_no", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("first_step", Float),
    Column("last_step", Float),
    Column("step_base", BigInteger, nullable=False, default=0),
    Column("from_step", Float),
    Column("host", Text, nullable=False, default=""),
)

layout = Table(
    "layout",
    tables,
    Column("no", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("names_json", Text, nullable=False),
)

summary = Table(
    "summary",
    tables,
    Column("run_no", Integer, primary_key=True),
    Column("layout", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

media = Table(
    "media",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("run_no", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("step", Float),
    Column("time_ms", BigInteger, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("writer_no", Integer, nullable=False),
    Column("spool", Text),
    Column("body_json", Text, nullable=False),
    Index("media_of_run", "run_no", "name", "step"),
)

console = Table(
    "console",
    tables,
    Column("run_no", Integer, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("n", BigInteger, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
)

file = Table(
    "file",
    tables,
    Column("run_no", Integer, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("writer_no", Integer, nullable=False),
    Column("spool", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ms", BigInteger, nullable=False),
    Column("media_type", Text),
)

spool = Table(
    "spool",
    tables,
    Column("writer_no", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("run_no", Integer, nullable=False),
    Column("wanted", Boolean, nullable=False),  # a record names it
    Column("sha256", Text),  # None: has not come yet
    Column("size", BigInteger),
    Column("media_type", Text),
    Index("spool_of_run", "run_no"),
    Index("spool_by_hash", "sha256"),
)

gap = Table(
    "gap",
    tables,
    Column("writer_no", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("run_no", Integer, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("gap_of_run", "run_no"),
)

event = Table(
    "event",
    tables,
    Column("writer_no", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("run_no", Integer, nullable=False),
    Column("step", Float),
    Column("time_ms", BigInteger, nullable=False),
    Column("body_json", Text, nullable=False),
    Index("event_of_run", "run_no"),
)

command = Table(
    "command",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("run_no", Integer, nullable=False),  # 0: for an agent, not for a run
    Column("attempt", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),  # rises within a run
    Column("op", Text, nullable=False),
    Column("args_json", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("text", Text, nullable=False, default=""),  # as the person wrote it
    Column("agent", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("accepted_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("delivered_ms", BigInteger),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("step", Float),
    Column("told_json", Text, nullable=False, default="{}"),  # old and new value, result
    Index("command_of_run", "run_no", "seq"),
    Index("command_by_state", "state"),
)

audit = Table(
    "audit",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("body_json", Text, nullable=False, default="{}"),
)

alert = Table(
    "alert",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("run_no", Integer),  # null: it is about the server
    Column("attempt", Integer, nullable=False),
    Column("rule", Text, nullable=False),  # name of the rule, or `program`
    Column("metric", Text),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("level", Text, nullable=False),  # ring or hint
    Column("state", Text, nullable=False),  # pending, firing or resolved
    Column("opened_ms", BigInteger, nullable=False),
    Column("fired_ms", BigInteger),
    Column("resolved_ms", BigInteger),
    Column("modified_ms", BigInteger, nullable=False),
    Column("snoozed_until_ms", BigInteger),
    Column("acknowledged_ms", BigInteger),
    Column("acknowledged_by", Text),
    Column("times", Integer, nullable=False, default=1),
    Column("facts_json", Text, nullable=False, default="{}"),  # value, band, since, what moved, …
    Column("consequence_json", Text),  # the command that it asks for, and how far that is
    Index("alert_of_run", "run_no"),
    Index("alert_by_state", "state"),
)

rule = Table(
    "rule",
    tables,
    Column("scope", Text, primary_key=True),  # `server`, `project/<name>` or `run/<id>`
    Column("name", Text, primary_key=True),
    Column("changes_json", Text, nullable=False),
)

person = Table(
    "person",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes_json", Text, nullable=False),
    Column("settings_json", Text, nullable=False, default="{}"),  # language, time zone, quiet hours
    Column("created_ms", BigInteger, nullable=False),
    Column("removed_ms", BigInteger),
)

identity = Table(
    "identity",
    tables,
    Column("channel", Text, primary_key=True),
    Column("user", Text, primary_key=True),  # the service's own immutable id
    Column("person_no", Integer, nullable=False),
    Column("name", Text, nullable=False),  # for showing only
    Column("paired_ms", BigInteger, nullable=False),
    Index("identity_of_person", "person_no"),
)

chat = Table(
    "chat",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("address", Text, nullable=False),  # the service's id of the conversation, and of the topic in it
    Column("person_no", Integer),  # whose it is; null: a group, or what the environment names
    Column("title", Text, nullable=False, default=""),
    Column("place", Integer, nullable=False, default=0),  # in the order in which a person's chats are tried
    Column("settings_json", Text, nullable=False, default="{}"),  # what is sent, how often, in how much detail
    Column("created_ms", BigInteger, nullable=False),
    Column("removed_ms", BigInteger),
    Index("chat_by_address", "channel", "address", unique=True),
)

stranger = Table(
    "stranger",
    tables,
    Column("channel", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("times", Integer, nullable=False),
)

post = Table(
    "post",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("chat_no", Integer, nullable=False),
    Column("about", Text, nullable=False),  # `alert/12`, `run/5`, `progress/5`, `command/<id>`
    Column("message_ids_json", Text, nullable=False),
    Column("sent_ms", BigInteger, nullable=False),
    Index("post_by_about", "about", "chat_no"),
    Index("post_of_chat", "chat_no", "sent_ms"),
)

delivery = Table(
    "delivery",
    tables,
    Column("no", _Serial, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("chat_no", Integer, nullable=False),
    Column("kind", Text, nullable=False),  # alarm, event or progress
    Column("about", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("tries", Integer, nullable=False, default=1),
    Column("took_ms", BigInteger, nullable=False, default=0),  # from the notice to the answer of the service
    Index("delivery_by_about", "about"),
    Index("delivery_by_time", "at_ms"),
)

__all__ = [
    "alert", "attempt", "audit", "chat", "console", "delivery", "detail", "event", "file", "gap", "identity", "key_value", "layout",
    "media", "person", "post", "project", "rule", "run", "schema_version", "spool", "stranger", "summary", "tables", "writer",
]  # fmt: skip
