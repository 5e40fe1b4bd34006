"""`Run.save`: the files that a pattern matches, copied beside the journal and named in it."""

import glob
import os
from pathlib import Path
from typing import Any

from farwatch.sdk.spool import Spool
from farwatch.wire.records import Kind, encode_json


def save(run: Any, spool: Spool, pattern: str, base: str | os.PathLike[str] | None) -> list[str]:
    """Copy what matches, each file recorded as soon as it is copied. Returns the names, relative to `base`.

    A file that cannot be read is warned about, and the others are kept.
    """
    root = Path(base).resolve() if base is not None else Path.cwd()
    found = sorted(path for path in glob.glob(pattern, recursive=True, include_hidden=True) if os.path.isfile(path))
    if not found:
        run._trouble.warn(f"save:{pattern}", f"save(`{pattern}`) matches no file")
    kept = []
    for path in found:
        full = Path(path).resolve()
        name = full.relative_to(root).as_posix() if full.is_relative_to(root) else full.name
        try:
            stored, size = spool.keep(full, full.suffix[:16])
        except OSError as error:
            run._trouble.leave_out(f"save:{name}", f"`{name}` was not kept: {error}")
            continue
        body = {"path": name, "spool": stored, "size": size, "mtime_ms": full.stat().st_mtime_ns // 1_000_000}
        run._journal.append(encode_json(Kind.FILE, body, time=run._now_us()))
        kept.append(name)
    return kept
