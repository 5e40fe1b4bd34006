"""A network that misbehaves: a TCP proxy between agent and server, told at each request what to do."""

import socket
import threading
import time
from collections.abc import Callable

FAULTS = ("ok", "slow", "cut-before", "cut-after", "500", "garbage")
_ERROR = b'HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}'


class Proxy:
    """Listens on a port of its own. `choose(request head)` names one of `FAULTS` for each request.

    `slow` waits 0.2 s. `cut-before` drops the request. `cut-after` lets the server do it and drops the answer.
    """

    def __init__(self, target: int, choose: Callable[[bytes], str]) -> None:
        self._target = target
        self._choose = choose
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.counts = dict.fromkeys(FAULTS, 0)
        self._open = True
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._open = False
        self._listening.close()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="proxy-connection", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(60)
            try:
                while self._one(client):
                    pass
            except OSError:
                return

    def _one(self, client: socket.socket) -> bool:
        request = _message(client)
        if request is None:
            return False
        fault = self._choose(request.partition(b"\r\n\r\n")[0])
        self.counts[fault] += 1
        if fault == "cut-before":
            return False
        if fault == "500":
            client.sendall(_ERROR)
            return False
        if fault == "garbage":
            client.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            return False
        if fault == "slow":
            time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", self._target), timeout=60) as server:
            server.sendall(request)
            answer = _message(server)
        if answer is None or fault == "cut-after":
            return False
        client.sendall(answer)
        return True


def _message(stream: socket.socket) -> bytes | None:
    """One HTTP message with its body, by Content-Length; None if the other side has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(65_536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        piece = stream.recv(1 << 20)
        if not piece:
            return None
        body += piece
    return head + b"\r\n\r\n" + body
