"""The door, bodies and headers, without a socket."""

import json
import time
import tracemalloc

import pytest

from farwatch.errors import FarwatchError, UsageError
from farwatch.server import bodies, download
from farwatch.server.answers import accepted, compress, json_bytes
from farwatch.server.guard import Names, is_loopback_name, refuse_secrets, split_path
from farwatch.server.peers import is_loopback
from farwatch.server.route import Endpoint, check
from farwatch.settings import load

SETTINGS = load({})


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:3279", "127.0.0.1", "127.0.0.1:1", "127.8.9.1:65535", "[::1]", "[::1]:80"],
)
def test_loopback_names_are_ours_in_local_mode(host: str) -> None:
    assert Names.of("", local=True).accepts(host)
    assert not Names.of("", local=False).accepts(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:3279",
        "0.0.0.0",
        "0",
        "127.1",
        "2130706433",
        "localhost@evil.example",
        "evil.example/localhost",
        "localhost:99999",
        "localhost:",
        "localhost:80:80",
        "127.0.0.1#",
        "127.0.0.256",
        "[::]",
        "[::ffff:10.0.0.1]",
        "::1",
        "[::1",
        "localhost.",
        " localhost",
        "localhost\t",
        "[::1].evil.example",
        "127.0.0.1%00",
        "l\u00f6calhost",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not Names.of("", local=True).accepts(host)
    assert not is_loopback_name(host)


def test_the_public_address_is_ours_literally() -> None:
    names = Names.of("https://Watch.example.org:8443/farwatch", local=True)

    assert names.accepts("watch.example.org:8443")
    assert not names.accepts("watch.example.org") and not names.accepts("x.watch.example.org:8443")
    assert names.own_origin("https://watch.example.org:8443", "watch.example.org:8443")
    assert not names.own_origin("http://watch.example.org:8443", "watch.example.org:8443")
    assert names.prefix == ("farwatch",)


@pytest.mark.parametrize(
    "url", ["javascript:1", "ftp://x", "https://", "https://a@b", "https://a/?x=1", "//a"]
)
def test_a_public_address_that_is_none_stops_the_server(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Names.of(url, local=True)

    assert "public address" in caught.value.message


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://localhost:7000",
        "http://evil.example",
        "http://localhost:3279.evil.example",
        "file://",
    ],
)
def test_other_origins_are_foreign(origin: str) -> None:
    assert not Names.of("", local=True).own_origin(origin, "localhost:3279")


def test_segments_are_decoded_one_by_one() -> None:
    assert split_path(b"/api/v1/runs/digits%2312") == ("api", "v1", "runs", "digits#12")
    assert split_path(b"/p/team%2Fdigits/") == ("p", "team/digits")
    assert split_path(b"/p/%E6%95%B0") == ("p", "\u6570")
    assert split_path(b"/") == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"*",
        b"http://x/",
        b"/../x",
        b"/a/./b",
        b"/a//b",
        b"//",
        b"/a%2f..%2fb",
        b"/%2e%2e/x",
        b"/a%00",
        b"/a%0d%0aX:1",
        b"/a\\b",
        b"/a%5cb",
        b"/%ff",
        b"/%ed%a0%80",
        b"/%zz",
        b"/%",
        b"/a b",
        b"/\x80",
        b"/" + b"a" * 9_000,
        b"/%c0%ae%c0%ae/",
    ],
)
def test_paths_that_two_readers_could_read_differently_are_refused(raw: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        split_path(raw)

    assert caught.value.http_status == 400


@pytest.mark.parametrize("query", [b"token=x", b"a=1&api_key=2", b"TOKEN=x", b"access_token", b"q=&Token="])
def test_secrets_in_addresses_are_refused(query: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_secrets(query)

    assert "x" not in caught.value.message.split()


def test_harmless_queries_pass() -> None:
    for query in (b"q=token&where=x%3D1&tokens=3", b"", b"cursor=abc&name=token%2Floss"):
        assert refuse_secrets(query) is None  # type: ignore[func-returns-value]


def test_json_keeps_what_is_harmless() -> None:
    body = {"a": [1, 2.5, None, True, "\u6570\U0001f600"], "s": "[" * 500 + "{" * 500 + '"\\'}

    assert bodies.parse(json.dumps(body).encode(), SETTINGS) == body


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 100_000,
        b"1" * 65,
        b"-" + b"1" * 5_000,
        b"1." + b"0" * 70,
        b"1e" + b"9" * 70,
        b"{",
        b"nul",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xff\xfe[\x001\x00]\x00",
        b"[1]x",
        b'{"a":1}' * 2,
    ],
)
def test_json_that_is_a_bomb_or_none_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        bodies.parse(body, SETTINGS)

    assert caught.value.http_status == 400


def test_lone_surrogates_are_replaced_and_pairs_are_not() -> None:
    assert bodies.parse(rb'{"\ud800k": ["\udfffx", "\ud83d\ude00"]}', SETTINGS) == {
        "\ufffdk": ["\ufffdx", "\U0001f600"]
    }


@pytest.mark.parametrize("piece", [b'"', b"[", b'\\"', b"[]", b'"a"', b"{}", b'"\\'])
def test_no_body_of_the_largest_size_takes_long(piece: bytes) -> None:
    body = (piece * (SETTINGS.json_max_bytes // len(piece)))[: SETTINGS.json_max_bytes]
    began = time.process_time()

    with pytest.raises(UsageError):
        bodies.parse(body, SETTINGS)

    assert time.process_time() - began < 1.5


def test_answers_survive_whatever_was_stored() -> None:
    stored = {"name": "\ud800 \U0001f600 \u2028", "x": [float("nan"), float("-inf"), 1.5], "set": {1}}

    assert json.loads(json_bytes(stored)) == {
        "name": "\ufffd \U0001f600 \u2028",
        "x": ["NaN", "-Infinity", 1.5],
        "set": [1],
    }


def test_compression_only_where_it_pays() -> None:
    import os

    assert accepted("gzip, deflate, br, zstd") == "zstd"
    assert accepted("gzip;q=1.0, zstd;q=0") == "gzip"
    assert accepted("br") is None and accepted("") is None
    assert compress(b"a" * 100, "zstd") == (b"a" * 100, None)
    noise = os.urandom(50_000)
    assert compress(noise, "gzip") == (noise, None)
    assert len(compress(b"a" * 50_000, "zstd")[0]) < 100


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", (0, 9)),
        ("bytes=90-", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=0-999", (0, 99)),
        ("bytes=-999", (0, 99)),
        ("bytes=100-", (-1, -1)),
        ("bytes=-0", (-1, -1)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=" + "0-0," * 10_000, None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=\u0661-2", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert download.byte_range(header, 100) == expected


def test_a_long_range_header_costs_nothing() -> None:
    header = "bytes=" + ",".join(f"{n}-{n}" for n in range(100_000))
    began = time.process_time()

    for _ in range(100):
        download.byte_range(header, 1 << 30)

    assert time.process_time() - began < 0.05


@pytest.mark.parametrize(
    "name",
    [
        'a\r\nSet-Cookie: x=1".html',
        "\u6570\u636e.csv",
        "../../etc/passwd",
        "\ud800.bin",
        'a";b="c',
        "",
        "a%0d%0a.txt",
    ],
)
def test_file_names_make_one_header_of_plain_characters(name: str) -> None:
    made = download.disposition(name, inline=False)

    assert made.isascii() and "\r" not in made and "\n" not in made
    assert made.startswith('attachment; filename="')
    assert made.count('"') == 2 and "/" not in made and made.count(";") == 2


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("text/html", "text/html; charset=utf-8"),
        ("image/svg+xml", "image/svg+xml"),
        ("text/javascript", "text/plain; charset=utf-8"),
        ("application/javascript", "text/plain; charset=utf-8"),
        ("application/xhtml+xml", "text/plain; charset=utf-8"),
        ("text/css", "text/plain; charset=utf-8"),
        ("application/wasm", "text/plain; charset=utf-8"),
        ("image/png; x=1", "image/png"),
        ("multipart/x-mixed-replace", "application/octet-stream"),
        (None, "application/octet-stream"),
        ("a\r\nb", "application/octet-stream"),
    ],
)
def test_no_file_is_sent_as_a_program(asked: str | None, expected: str) -> None:
    assert download.media_type_of(asked) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::", False),
        ("x", False),
        ("", False),
    ],
)
def test_loopback_addresses(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_a_route_without_a_permission_stops_the_server() -> None:
    async def nothing(_: object) -> None: ...

    for scope in ("", "anyone", "READ"):
        with pytest.raises(FarwatchError, match="without a permission"):
            check([Endpoint("GET", "/x", scope, nothing, "…")])  # type: ignore[arg-type]
    with pytest.raises(FarwatchError, match="two routes"):
        check([Endpoint("GET", "/x", "read", nothing, "…")] * 2)  # type: ignore[arg-type]


def test_every_query_and_path_check_is_cheap_in_memory() -> None:
    tracemalloc.start()
    split_path(b"/" + b"a/" * 4_000 + b"a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4 << 20


def test_a_reader_that_takes_nothing_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from farwatch.server import sending
    from farwatch.server.connection import STATE

    monkeypatch.setattr(sending, "READER_IDLE_S", 0.05)
    seen: list[str] = []

    class Peer:
        def abort(self) -> None:
            seen.append("aborted")

    async def send(message: dict[str, object]) -> None:
        if message.get("body"):
            await asyncio.Event().wait()

    body = bytes(3 * sending.PIECE)
    pieces = sending.Pieces(sending.slices(body), 200, {"Content-Length": str(len(body))})
    asyncio.run(pieces({"type": "http", "state": {STATE: Peer()}}, None, send))  # type: ignore[arg-type]

    assert seen == ["aborted"]
    assert list(pieces._pieces) == []
