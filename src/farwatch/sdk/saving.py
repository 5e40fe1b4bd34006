"""`Run.save`: files copied beside the journal and named in it; and a config that is kept as one because of its size."""

import glob
import json
import os
import time
from pathlib import Path
from typing import Any

from farwatch.sdk.spool import Spool
from farwatch.wire.records import Kind, encode_json

CONFIG_BYTES = 16 << 20  # what a server takes as a change of config, unless its settings say otherwise


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


def kept_config(run: Any, spool: Spool | None, config: dict[str, Any]) -> bool:
    """Keep a config that is larger than a server takes as a file, and say so; False for one that is not."""
    text = json.dumps(config, ensure_ascii=True)
    if len(text) <= CONFIG_BYTES or spool is None or run._finished or not run._alive[0]:
        return False
    try:
        stored, size = spool.keep(text.encode(), ".json")
    except OSError:
        return False  # no room: the journal has none either, and says so
    name = f"config/{stored}"
    body = {"path": name, "spool": stored, "size": size, "mtime_ms": time.time_ns() // 1_000_000}
    run._journal.append(encode_json(Kind.FILE, body, time=run._now_us()), vital=True)
    run._trouble.warn("config", f"a config of {size:,} bytes is more than a server takes: it is kept as the file {name}")
    return True
