"""The contract of a store of files, as tests: subclass `BlobsContract` and give it a fixture `blobs`."""

import hashlib
import threading

import pytest

from farwatch.errors import BodyError, GapError, LimitError, NotFoundError, UsageError
from farwatch.store.blobs import Blobs


def sha256(data: bytes) -> str:
    """The name of a blob."""
    return hashlib.sha256(data).hexdigest()


class BlobsContract:
    """Tests that a `Blobs` passes, given a fixture `blobs` that yields a fresh, empty one."""

    DATA = bytes(range(256)) * 40

    def test_an_upload_in_pieces_appears_when_it_is_complete(self, blobs: Blobs) -> None:
        name, size = sha256(self.DATA), len(self.DATA)

        first = blobs.write("w", "a/../b", 0, self.DATA[:4000], size=size, sha256=name)
        between = (blobs.offset("w", "a/../b"), blobs.size(name))
        last = blobs.write("w", "a/../b", 4000, self.DATA[4000:], size=size, sha256=name)

        assert (first, between) == ((4000, False), (4000, None))
        assert last == (size, True)
        assert (blobs.size(name), blobs.offset("w", "a/../b")) == (size, 0)
        with blobs.open(name) as file:
            file.seek(250)
            assert file.read(10) == self.DATA[250:260]

    def test_pieces_sent_twice_are_skipped_and_gaps_are_refused(self, blobs: Blobs) -> None:
        name, size = sha256(self.DATA), len(self.DATA)
        blobs.write("w", "f", 0, self.DATA[:100], size=size, sha256=name)

        assert blobs.write("w", "f", 0, self.DATA[:50], size=size, sha256=name).offset == 100
        assert blobs.write("w", "f", 50, self.DATA[50:200], size=size, sha256=name).offset == 200
        with pytest.raises(GapError) as caught:
            blobs.write("w", "f", 300, self.DATA[300:], size=size, sha256=name)
        assert caught.value.details["expected"] == 200
        assert blobs.write("w", "f", 200, self.DATA[200:], size=size, sha256=name).done

    def test_an_upload_that_is_not_what_it_says_is_dropped(self, blobs: Blobs) -> None:
        with pytest.raises(BodyError):
            blobs.write("w", "f", 0, b"other", size=5, sha256=sha256(b"told"))

        assert (blobs.offset("w", "f"), blobs.size(sha256(b"told")), blobs.size(sha256(b"other"))) == (
            0,
            None,
            None,
        )

    def test_sizes_and_names_are_checked(self, blobs: Blobs) -> None:
        with pytest.raises(LimitError):
            blobs.write("w", "f", 3, b"abc", size=5, sha256=sha256(b"x"))
        for wrong in ("../../etc/passwd", "", "A" * 64, "a" * 63):
            with pytest.raises(UsageError):
                blobs.open(wrong)
            with pytest.raises(UsageError):
                blobs.write("w", "f", 0, b"abc", size=3, sha256=wrong)

    def test_uploads_of_writers_are_apart(self, blobs: Blobs) -> None:
        blobs.write("w1", "f", 0, b"one", size=6, sha256=sha256(b"oneone"))

        assert blobs.offset("w2", "f") == 0
        assert blobs.write("w2", "f", 0, b"two", size=3, sha256=sha256(b"two")).done
        assert blobs.write("w1", "f", 3, b"one", size=6, sha256=sha256(b"oneone")).done

    def test_blobs_are_put_counted_and_deleted(self, blobs: Blobs) -> None:
        name = blobs.put(b"hello")
        assert (name, blobs.put(b"hello")) == (sha256(b"hello"), name)
        empty = blobs.put(b"")
        assert (blobs.size(empty), blobs.total_bytes()) == (0, 5)
        blobs.put(self.DATA)
        assert blobs.total_bytes() == 5 + len(self.DATA)

        with blobs.open(name) as file:
            blobs.delete(name)
            assert file.read() == b"hello"
        blobs.delete(name)
        assert (blobs.size(name), blobs.total_bytes()) == (None, len(self.DATA))
        with pytest.raises(NotFoundError):
            blobs.open(name)

    def test_the_same_bytes_from_many_threads_are_one_blob(self, blobs: Blobs) -> None:
        threads = [threading.Thread(target=blobs.put, args=(self.DATA,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert blobs.total_bytes() == len(self.DATA)
