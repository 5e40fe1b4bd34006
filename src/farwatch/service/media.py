"""Points that are no numbers, as they are shown: whatever a writer sends, a reader gets what the API declares."""

import json
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from farwatch.service.table import plain
from farwatch.store.meta import RunRow

NONFINITE = frozenset({"NaN", "Infinity", "-Infinity"})
Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: Any) -> bool:
    return _real(value) or (isinstance(value, str) and value in NONFINITE)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


ALWAYS: dict[str, Check] = {
    "caption": _text, "media_type": _text, "width": _whole, "height": _whole, "size": _whole, "text": _text, "counts": _list_of(_real),
    "edges": _list_of(_number), "columns": _list_of(_text), "rows": _list_of(lambda row: isinstance(row, list)), "index": _whole,
}  # fmt: skip
SOMETIMES: dict[str, Check] = {
    "count": _whole, "nonfinite": _whole, "rate": _real, "channels": _whole, "seconds": _real, "frames": _whole, "fps": _real,
    "note": _text,
}  # fmt: skip


def media_item(run: RunRow, row: Any) -> dict[str, Any]:
    """One point of a row of `Reads.media`. A field of another type than declared is left out, as if it had not been sent."""
    body = json.loads(row.body_json)
    told = {name: body[name] if check(body.get(name)) else None for name, check in ALWAYS.items()}
    told |= {name: body[name] for name, check in SOMETIMES.items() if check(body.get(name))}
    media_type = told["media_type"] or row.blob_type
    document = row.type in ("figure", "html") and str(media_type).partition(";")[0].strip().lower() == "text/html"
    return {
        **told,
        "name": row.name, "type": row.type, "step": plain(row.step), "time_ms": row.time_ms, "rank": row.rank, "attempt": row.attempt,
        "media_type": media_type, "size": row.blob_size if row.blob_size is not None else told["size"], "sha256": row.sha256,
        "url": None if row.sha256 is None else f"blobs/{row.sha256}" + (f"?type={quote(media_type)}" if media_type else ""),
        "frame": f"runs/{run.id}/figures/{row.sha256}" if document and row.sha256 is not None else None,
    }  # fmt: skip
