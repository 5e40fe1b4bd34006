"""The page behind a path of somebody else's server: every address of it is relative."""

import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from e2e_server import Server
from playwright.sync_api import Browser, expect

PREFIX = "/tools/farwatch"
LIMIT_S = 40


class Gate(BaseHTTPRequestHandler):
    """A reverse proxy that serves one server below a path, and nothing else."""

    protocol_version = "HTTP/1.1"
    port = 0
    refused: list[str]

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith(f"{PREFIX}/"):
            self.refused.append(self.path)
            self.send_error(404)
            return
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "content-length")}
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            upstream.request(self.command, self.path.removeprefix(PREFIX), body or None, kept)
            answer = upstream.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("connection", "content-length", "transfer-encoding", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the page has gone
        finally:
            upstream.close()

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _pass_on

    def log_message(self, *_: object) -> None:
        """Nothing: the test speaks through its assertions."""


@pytest.fixture
def gate(server: Server) -> Iterator[ThreadingHTTPServer]:
    Gate.port = int(server.address.rpartition(":")[2])
    Gate.refused = []
    made = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, name="gate", daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_page_behind_a_path_finds_everything_and_moves(
    server: Server, gate: ThreadingHTTPServer, browser: Browser, project: str
) -> None:
    """Home, project, run and its tabs, opened there or walked to; a point that comes while it is open; nothing asked outside."""
    base = f"http://127.0.0.1:{gate.server_port}{PREFIX}"
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    troubles: list[str] = []
    page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    with server.driven(project, name="quiet-otter") as trainer:
        trainer.log(0, loss=1.0)
        page.goto(f"{base}/")
        page.locator(f"a[href$='/p/{project}'], a[href='p/{project}']").first.click()
        expect(page.get_by_role("figure", name="loss", exact=True)).to_be_visible(timeout=20_000)
        assert page.url.startswith(f"{base}/p/")
        page.get_by_role("link", name="quiet-otter").first.click()
        expect(page).to_have_url(re.compile(rf"^{re.escape(base)}/r/"))
        page.reload()
        value = page.get_by_role("figure", name="loss", exact=True).locator("output.value")
        expect(value).to_have_text("1", timeout=20_000)
        trainer.log(1, loss=0.25)
        expect(value).to_have_text("0.25", timeout=4_000)
        for tab in ("console", "config", "files", "history"):
            page.goto(f"{base}/r/{trainer.run_id[:7]}/{tab}")
            expect(page.get_by_role("heading", name="quiet-otter")).to_be_visible(timeout=20_000)
        page.get_by_role("link", name="Projects").first.click()
        expect(page).to_have_url(f"{base}/")
    page.context.close()

    assert (Gate.refused, troubles) == ([], [])
