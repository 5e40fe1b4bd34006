"""Backup, restore and repair of a data folder: `log.db`, `series.db`, and beside them `meta.db` and `blobs/`.

A backup needs no pause. It opens a read transaction on each file and asks whether the log was trimmed in between; if
not, the three looks belong together: everything that is not in `series.db` is in the log. The order matters as well:
`meta.db` may lag behind the log, from which it catches up, but never be ahead of it. Another process may do it.

Nothing else of the folder is copied: what else lies there are credentials of chat services, which belong in no backup, and files on their
way to chats.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from farwatch.errors import DataError, UsageError
from farwatch.store.blobs import PARTIAL, list_blobs
from farwatch.store.sqlite.files import BLOBS, LOG, META, SERIES, open_reader, storage_errors
from farwatch.store.sqlite.store import SqliteStore

MANIFEST = "backup.json"
FORMAT = 1
LOOKS = 100  # a trim comes every few seconds at most, a look takes microseconds


def backup(source: SqliteStore | Path, target: Path) -> dict[str, object]:
    """Copy a data folder while it is in use, to be read by `restore`. Returns what is in it.

    `source`: the store, or its folder, of this or another process. `target`: a folder that does not exist or is empty.
    Ingest goes on meanwhile. Raises `UsageError` for a target with contents, `DataError` for damage, `DiskFullError`.
    """
    folder = source.folder if isinstance(source, SqliteStore) else source
    if not (folder / LOG).exists():
        raise UsageError(f"no data in this folder: `{folder}`")
    _empty(target)
    with _snapshots(folder) as snapshots:
        for name, connection in snapshots.items():
            with storage_errors(name), closing(sqlite3.connect(target / name)) as copy:
                connection.backup(copy)
        log, series = snapshots[LOG], snapshots[SERIES]
        manifest: dict[str, object] = {
            "format": FORMAT,
            "epoch": _value(log, "epoch"),
            "seq": max(
                log.execute("SELECT coalesce(max(seq), 0) FROM log").fetchone()[0],
                _value(series, "flushed") or 0,
            ),
            "files": sorted(snapshots),
        }
    manifest["blobs"] = _copy_blobs(folder / BLOBS, target / BLOBS)
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1))  # last: only a complete backup has it
    return manifest


def restore(source: Path, target: Path) -> str:
    """Make a data folder out of a backup. Returns the new epoch, by which agents see that they must offer again.

    `target` must not exist or be empty. Raises `UsageError` for anything else, and for a backup that is incomplete.
    """
    try:
        manifest = json.loads((source / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"not a complete backup: `{source}`", hint="make a new one with `farwatch backup`"
        ) from error
    if manifest.get("format") != FORMAT:
        raise UsageError("a backup of another format", hint="upgrade Farwatch")
    _empty(target)
    parts = target.with_name(target.name + ".restoring")
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(mode=0o700)
    for name in manifest["files"]:
        if name not in (LOG, SERIES, META):
            raise UsageError(f"a backup with a file that does not belong there: `{name}`")
        shutil.copyfile(source / name, parts / name)
    _copy_blobs(source / BLOBS, parts / BLOBS)
    epoch = os.urandom(8).hex()
    with storage_errors(LOG), closing(sqlite3.connect(parts / LOG)) as log:
        log.execute("UPDATE meta SET v = ? WHERE k = 'epoch'", (epoch,))
        log.commit()
    os.replace(parts, target)
    return epoch


@contextmanager
def _snapshots(folder: Path) -> Iterator[dict[str, sqlite3.Connection]]:
    """Read transactions on all files that belong together."""
    with ExitStack() as stack:
        names = [name for name in (META, SERIES, LOG) if (folder / name).exists()]
        found = {name: stack.enter_context(closing(open_reader(folder / name))) for name in names}
        for _ in range(LOOKS):
            before = _value(found[LOG], "trimmed")
            for name in names:  # the log comes last
                with storage_errors(name):
                    found[name].execute("BEGIN")
                    found[name].execute(
                        "SELECT count(*) FROM sqlite_master"
                    ).fetchone()  # the look begins here
            if _value(found[LOG], "trimmed") == before:
                yield found
                return
            for connection in found.values():
                connection.execute("ROLLBACK")
        raise DataError(
            "the log is trimmed faster than it can be copied", hint="try again when less is logged"
        )


def _value(connection: sqlite3.Connection, key: str) -> object:
    with storage_errors("meta"):
        row = connection.execute("SELECT v FROM meta WHERE k = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _empty(folder: Path) -> None:
    """Make sure that a folder is there and empty."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"not a folder: `{folder}`") from error
    if taken:
        raise UsageError(f"the folder is not empty: `{folder}`", hint="name a folder that does not exist yet")


def _copy_blobs(source: Path, target: Path) -> int:
    """Copy all complete blobs; one that is deleted meanwhile is left out. Returns how many."""
    if not source.is_dir():
        return 0
    count = 0
    for sha256, path in list_blobs(source):
        folder = target / sha256[:2]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, folder / sha256)
        except FileNotFoundError:
            continue
        count += 1
    (target / PARTIAL).mkdir(mode=0o700, parents=True, exist_ok=True)
    return count
