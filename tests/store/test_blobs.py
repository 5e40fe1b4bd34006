"""Blobs in a folder: the contract, restarts in the middle of an upload, and a full disk."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from farwatch.store.blobs import FolderBlobs
from farwatch.testing.blobs import BlobsContract, sha256


class TestFolderBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FolderBlobs:
        return FolderBlobs(tmp_path / "blobs")


def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    data = bytes(1000) + b"end"
    FolderBlobs(tmp_path).write("w", "f", 0, data[:600], size=len(data), sha256=sha256(data))

    again = FolderBlobs(tmp_path)

    assert again.offset("w", "f") == 600
    assert again.write("w", "f", 600, data[600:], size=len(data), sha256=sha256(data)).done
    assert FolderBlobs(tmp_path).total_bytes() == len(data)


def test_unfinished_uploads_are_swept(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    blobs.write("w", "f", 0, b"ab", size=3, sha256=sha256(b"abc"))

    assert blobs.sweep(before_s=0) == 0
    assert blobs.sweep(before_s=2**40) == 1
    assert blobs.offset("w", "f") == 0


FULL = """
import resource, signal, sys
from pathlib import Path
from farwatch.errors import DiskFullError
from farwatch.store.blobs import FolderBlobs
from hashlib import sha256

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
blobs, data = FolderBlobs(Path(sys.argv[1])), bytes(8000)
blobs.write("w", "f", 0, data[:4000], size=8000, sha256=sha256(data).hexdigest())
try:
    blobs.write("w", "f", 4000, data[4000:], size=8000, sha256=sha256(data).hexdigest())
except DiskFullError:
    print("full", blobs.offset("w", "f"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(blobs.write("w", "f", 4000, data[4000:], size=8000, sha256=sha256(data).hexdigest()).done)
"""


def test_a_full_disk_keeps_what_was_there_and_the_upload_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == ["full", "4000", "True"], done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
