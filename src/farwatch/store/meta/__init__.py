"""What is known of runs beside their points: one SQL database, SQLite or Postgres.

`tables` says what there is, `migrations` how it came to be, `rows` how it looks in memory, `database` who writes when, `reads` and
`writes` what may be asked and done. No SQL stands anywhere else.
"""

from farwatch.store.meta.database import Meta
from farwatch.store.meta.people import ChatRow, DeliveryRow, IdentityRow, PersonRow, PostRow, StrangerRow
from farwatch.store.meta.reads import Reads
from farwatch.store.meta.rows import AlertRow, AttemptRow, CommandRow, DetailRow, RunRow, WriterRow
from farwatch.store.meta.writes import Writes

__all__ = [
    "AlertRow", "AttemptRow", "ChatRow", "CommandRow", "DeliveryRow", "DetailRow", "IdentityRow", "Meta", "PersonRow", "PostRow",
    "Reads", "RunRow", "StrangerRow", "WriterRow", "Writes",
]  # fmt: skip
