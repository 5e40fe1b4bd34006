"""A small server that implements the contract strictly and can be told to fail: what journals are shipped to in tests."""

import contextlib
import hashlib
import hmac
import json
import re
import socket
import threading
import zlib
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from backports import zstd

from farwatch.wire.batch import FLAG_GAP, FLAG_SPILL, Batch
from farwatch.wire.records import Record
from farwatch.wire.segment import WORD, first_seed, padded, scan, split

BATCHES = re.compile(r"/api/v1/writers/([0-9a-f]{32})/batches")
WRITER = re.compile(r"/api/v1/writers/([0-9a-f]{32})")
SPOOL = re.compile(r"/api/v1/writers/([0-9a-f]{32})/spool/([^/?]+)")
BEAT = re.compile(r"/api/v1/agents/([^/]+)/beat")


class Reply(Exception):
    """An answer that is not 200."""

    def __init__(
        self, status: int, code: str, message: str = "no", retry_after: str | None = None, **more: object
    ):
        self.status = status
        self.body = {"error": {"code": code, "message": message, "hint": "", "id": "1"}, **more}
        self.retry_after = retry_after


class Cut(Exception):
    """Close the connection without an answer."""


Fault = Callable[[str, str], None]


class FakeServer:
    """State of the server: what it holds per writer, what was asked, and the faults to come.

    `script`: faults for the next requests whose path contains a word: `(word, when, fault)`; `when` is `before` or
    `after` the server acted; the fault raises `Reply` or `Cut`, or sleeps. `refuse`: says per record whether the server
    refuses it for good.
    """

    def __init__(self, *, secret: str | None = None, token: str | None = None, port: int = 0):
        self.lock = threading.Lock()
        self.epoch = "epoch-1"
        self.server_id = "server-1"
        self.secret = secret
        self.token = token
        self.impostor = False
        self.writers: dict[str, dict] = {}
        self.records: dict[str, list[bytes]] = {}
        self.gaps: list[tuple[str, int, int, str]] = []
        self.files: dict[tuple[str, str], bytearray] = {}
        self.done: dict[tuple[str, str], str] = {}
        self.beats: list[dict] = []
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.tokens: list[str | None] = []
        self.script: deque[tuple[str, str, Fault]] = deque()
        self.refuse: Callable[[Record], str | None] = lambda record: None
        self.max_count = 1 << 30
        self.slow_files: Callable[[], None] = lambda: None
        self._http = _Server(("127.0.0.1", port), _handler_of(self))
        self.port = self._http.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="fake-server")
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._http.close_connections()
        self._thread.join()

    def __enter__(self) -> "FakeServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fail(self, word: str, fault: Fault | Exception, *, when: str = "before", times: int = 1) -> None:
        def raise_it(method: str, path: str) -> None:
            raise fault  # type: ignore[misc]

        for _ in range(times):
            self.script.append((word, when, raise_it if isinstance(fault, Exception) else fault))

    def steps(self, writer: str) -> list[float | int | None]:
        """The steps of the STEP records that the server holds."""
        with self.lock:
            return [Record(0, payload).step for payload in self.records.get(writer, []) if payload[0] == 3]

    def restore(self, keep: int, epoch: str = "epoch-2") -> None:
        """Go back to an older backup: every writer's first `keep` records; files are gone."""
        with self.lock:
            self.epoch = epoch
            self.done.clear()
            self.files.clear()
            for writer, state in self.writers.items():
                kept = self.records[writer][:keep]
                crc = first_seed(writer)
                for payload in kept:
                    crc = zlib.crc32(payload, crc)
                self.records[writer] = kept
                state["expected"], state["crc"] = len(kept), crc

    # --- routes

    def answer(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> dict:
        if method == "POST" and path == "/api/v1/prove":
            nonce = json.loads(body)["nonce"]
            secret = "wrong" if self.impostor else self.secret or ""
            message = f"farwatch-server:{self.port}:{nonce}".encode()
            return {
                "proof": hmac.new(secret.encode(), message, hashlib.sha256).hexdigest(),
                "server_id": "s",
                "version": "1",
            }
        wanted = self.secret or self.token
        if wanted and headers.get("authorization") != f"Bearer {wanted}":
            raise Reply(401, "denied")
        with self.lock:
            if path == "/api/v1/info":
                return {"version": "1", "server_id": self.server_id, "epoch": self.epoch, "wire": 1}
            if method == "POST" and path == "/api/v1/writers":
                return self._register(json.loads(body))
            if found := BATCHES.fullmatch(path):
                return self._batch(found[1], headers.get("content-encoding", "identity"), body)
            if found := SPOOL.fullmatch(path):
                return self._spool(method, found[1], found[2], query, body)
            if found := WRITER.fullmatch(path):
                return self._status(found[1])
            if BEAT.fullmatch(path):
                told = json.loads(body)
                self.beats.append(told)
                known = {
                    w: {"expected": self.writers[w]["expected"]} for w in told["writers"] if w in self.writers
                }
                return {"epoch": self.epoch, "writers": known}
        raise Reply(404, "not-found")

    def _register(self, sidecar: dict) -> dict:
        writer = sidecar["writer"]
        if "credential" in sidecar:
            raise Reply(422, "bad-body", "a credential was sent")
        if writer not in self.writers:
            self.writers[writer] = {"sidecar": sidecar, "expected": 0, "crc": first_seed(writer)}
            self.records[writer] = []
        return self._status(writer)

    def _status(self, writer: str) -> dict:
        state = self.writers.get(writer)
        if state is None:
            raise Reply(404, "not-found")
        return {
            "run": state["sidecar"]["run"], "name": "calm-heron", "project": "digits", "number": 1, "short": "abc",
            "url": self.address + "/r/abc", "attempt": 1, "rank": 0, "expected": state["expected"], "crc": state["crc"],
            "epoch": self.epoch, "step_base": 0, "missing": [],
        }  # fmt: skip

    def _batch(self, writer: str, encoding: str, packed: bytes) -> dict:
        data = {"zstd": zstd.decompress, "deflate": zlib.decompress, "identity": bytes}[encoding](packed)
        batch = Batch.decode(data)
        state = self.writers.get(writer)
        if state is None:
            raise Reply(404, "not-found")
        assert batch.writer_id == writer
        if batch.count > self.max_count:
            raise Reply(413, "limit")
        mark = {"expected": state["expected"], "crc": state["crc"], "epoch": self.epoch}
        if batch.first > state["expected"]:
            raise Reply(409, "gap", **mark)
        if batch.first + batch.count < state["expected"]:
            return {**mark, "seq": 1, "set_aside": False}
        if batch.first < state["expected"]:
            if batch.first + batch.count == state["expected"]:
                if batch.crc_after != state["crc"]:
                    raise Reply(409, "fork", **mark)
                return {**mark, "seq": 1, "set_aside": False}
            raise Reply(409, "gap", **mark)
        if batch.crc_before != state["crc"]:
            raise Reply(409, "fork", **mark)
        self._keep(writer, batch)
        state["expected"], state["crc"] = batch.first + batch.count, batch.crc_after
        return {
            "expected": state["expected"],
            "crc": state["crc"],
            "epoch": self.epoch,
            "seq": 1,
            "set_aside": False,
        }

    def _keep(self, writer: str, batch: Batch) -> None:
        if batch.flags & FLAG_GAP:
            self.gaps.append((writer, batch.first, batch.count, bytes(batch.body).decode()))
            self.records[writer] += [b"\0" * 24] * batch.count
            return
        body = bytes(batch.body)
        if batch.flags & FLAG_SPILL:
            length = WORD.unpack_from(body)[0] >> 32
            content = body[8 + padded(length) :]
            assert scan(body, 0, batch.crc_before, limit=1).crc == batch.crc_after
            new = [content]
        else:
            found = scan(body, 0, batch.crc_before)
            if (found.count, found.crc, found.end) != (batch.count, batch.crc_after, len(body)):
                raise Reply(422, "bad-body", "the batch is not what it says")
            new = [record.payload for record in split(body, batch.first)]
        for n, payload in enumerate(new):
            reason = self.refuse(Record(batch.first + n, payload))
            if reason:
                raise Reply(422, "bad-body", reason)
        self.records[writer] += new

    def _spool(self, method: str, writer: str, name: str, query: dict[str, str], body: bytes) -> dict:
        key = (writer, name)
        if writer not in self.writers:
            raise Reply(404, "not-found")
        held = self.files.setdefault(key, bytearray())
        if method == "GET":
            return {"offset": len(held)}
        if key in self.done:
            return {"offset": int(query["size"]), "done": True}
        if int(query["offset"]) != len(held):
            return {"offset": len(held), "done": False}
        assert len(body) <= 8 << 20
        held += body
        if len(held) < int(query["size"]):
            return {"offset": len(held), "done": False}
        if hashlib.sha256(held).hexdigest() != query["sha256"]:
            del self.files[key]
            raise Reply(422, "bad-body", "another checksum")
        self.done[key] = query["sha256"]
        return {"offset": len(held), "done": True}


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, *args: object):
        self.open: set[socket.socket] = set()
        super().__init__(*args)  # type: ignore[arg-type]

    def server_close(self) -> None:
        self.close_connections()
        super().server_close()

    def close_connections(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, peer = super().get_request()
        self.open.add(connection)
        return connection, peer

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that are cut are part of the script."""


def _handler_of(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append((self.command, parts.path))
            server.bodies.append(body)
            server.tokens.append(headers.get("authorization"))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            try:
                self._fault("before", parts.path)
                if "/spool/" in parts.path:
                    server.slow_files()
                answer = server.answer(self.command, parts.path, query, headers, body)
                self._fault("after", parts.path)
                self._send(200, answer, None)
            except Reply as reply:
                self._send(reply.status, reply.body, reply.retry_after)
            except Cut:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        def _fault(self, when: str, path: str) -> None:
            with server.lock:
                script = server.script
                if not script or script[0][1] != when or script[0][0] not in path:
                    return
                fault = script.popleft()[2]
            fault(self.command, path)

        def _send(self, status: int, body: dict, retry_after: str | None) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _serve

    return Handler
