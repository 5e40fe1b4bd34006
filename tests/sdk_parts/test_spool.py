"""Files that a program saves, beside its journal: as they were, without a copy where the file system can."""

import os
import shutil
from pathlib import Path

import pytest

from farwatch.sdk import spool
from farwatch.sdk.spool import FICLONE, Spool


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights" * 1000)
    return path


def test_what_the_program_does_to_its_file_later_changes_nothing(tmp_path: Path, model: Path) -> None:
    name, size = Spool(tmp_path).keep(model, ".pt")

    with open(model, "r+b") as file:  # in place, as through a hard link
        file.write(b"changed")

    kept = tmp_path / "spool" / name
    assert (name.endswith(".pt"), size, kept.read_bytes()) == (True, 7000, b"weights" * 1000)
    assert os.stat(kept).st_ino != os.stat(model).st_ino


def test_a_file_system_that_clones_is_asked_to_and_nothing_is_copied(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As btrfs and xfs answer; a clone needs no room either."""

    def clone(new: int, request: int, old: int) -> int:
        assert request == FICLONE == 0x40049409
        os.pwrite(new, os.pread(old, 10_000, 0), 0)
        return 0

    def copy(*_: object) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(spool.fcntl, "ioctl", clone)
    monkeypatch.setattr(shutil, "copyfile", copy)
    monkeypatch.setattr(spool, "disk_free", lambda _: 100)

    name, size = Spool(tmp_path).keep(model)

    assert (size, (tmp_path / "spool" / name).read_bytes()) == (7000, model.read_bytes())


def test_a_file_without_room_leaves_nothing_behind(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "disk_free", lambda _: 100)

    with pytest.raises(OSError, match="no room for a copy of 7000 bytes"):
        Spool(tmp_path).keep(model)

    assert list((tmp_path / "spool").iterdir()) == []
