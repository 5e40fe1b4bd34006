"""Messages over HTTP: to whom, in which form, with which files, what became of them, and taking them back."""

import base64
import http.client
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chatting import Telegram, answered, connected, fresh, paired, until
from serving import LIMIT_S, Running

from farwatch.bridges.outgoing import FILE_MAX_BYTES, Outgoing
from farwatch.errors import BusyError, NotFoundError

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElFTkSuQmCC")
WORDS = "a_b*c[1] <b>&"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Telegram, dict[str, Any]]]:
    """A server with Ann on Telegram."""
    with fresh(tmp_path_factory.mktemp("notify")) as (server, other):
        connected(server, other)
        yield server, other, paired(server, other)


def said(server: Running, **asked: Any) -> list[dict[str, Any]]:
    """What became of a message."""
    return answered(server.api("POST", "/notify", {"wait_s": 30, **asked}))["messages"]  # type: ignore[no-any-return]


def file(name: str, content: bytes, **more: str) -> dict[str, str]:
    return {"name": name, "base64": base64.b64encode(content).decode(), **more}


def test_message_arrives_once_with_ids(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, ann = place
    before = len(other.seen())

    (told,) = said(server, text="hello")

    (seen,) = (seen for seen in other.seen()[before:] if seen.text == "hello")  # the greeting after the pairing may come in between
    assert seen.text == "hello" and not seen.silent
    assert told == {"chat": ann["chats"][0], "channel": "telegram", "outcome": "sent", "reason": "", "ids": [seen.message_id]}


@pytest.mark.parametrize("style", ["text", "markdown", "html", "mono"])
def test_every_format_takes_every_letter(place: tuple[Running, Telegram, dict[str, Any]], style: str) -> None:
    server, other, _ = place

    (told,) = said(server, text=WORDS, format=style)

    assert told["outcome"] == "sent"
    assert WORDS in other.texts()[-1]


def test_silent_and_preview_are_flags_of_the_request(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, _ = place

    said(server, text="https://example.org", silent=True)
    said(server, text="https://example.org", preview=True)

    quiet, open_ = (call.fields for call in other.fake.asked("sendMessage")[-2:])
    assert quiet["disable_notification"] and quiet["link_preview_options"]["is_disabled"]
    assert "disable_notification" not in open_ and not open_.get("link_preview_options", {}).get("is_disabled")


def test_long_text_comes_whole_in_pieces(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, _ = place
    text = "".join(f"line {place:04}\n" for place in range(1_000))
    before = len(other.seen())

    (told,) = said(server, text=text)

    pieces = [one.text for one in other.seen()[before:]]
    assert "\n".join(pieces).split() == text.split() and len(told["ids"]) == len(pieces) == 3


def test_files_arrive_with_their_bytes_and_captions(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, _ = place
    before = len(other.fake.calls)
    large = bytes(range(256)) * (10 << 12)  # 10 MiB: too large for JSON
    reply = server.ask("POST", "/api/v1/notify/uploads?name=model.bin", raw=large, headers={"Content-Type": "application/octet-stream"})

    files = [
        file("data.csv", b"a,b\n1,2\n", caption="numbers"), file("beep.wav", b"RIFFxxxxWAVE"), file("film.mp4", b"\0\0\0\x18ftyp"),
        {"upload": answered(reply)["upload"], "caption": "weights"},
    ]  # fmt: skip
    (told,) = said(server, text="look", picture=file("plot.png", PNG), files=files)

    assert told["outcome"] == "sent" and not told["reason"], told
    calls = [call for call in other.fake.calls[before:] if call.method.startswith("send")]
    assert [call.method for call in calls] == ["sendPhoto", "sendDocument", "sendAudio", "sendVideo", "sendDocument"]
    sent = [next(iter(call.files.values())) for call in calls]
    assert [one[2] for one in sent] == [PNG, b"a,b\n1,2\n", b"RIFFxxxxWAVE", b"\0\0\0\x18ftyp", large]
    assert [call.fields.get("caption", "") for call in calls] == ["look", "numbers", "", "", "weights"]
    assert sent[-1][0] == "model.bin"


def test_chosen_chats_and_topics_alone_get_it(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, ann = place
    forum = other.fake.group("Forum", topics=(5,))
    lab = answered(server.api("POST", "/chats", {"channel": "telegram", "address": f"{forum}/5", "title": "Lab"}))["no"]

    (one,) = said(server, text="to the lab", to=[lab])
    both = said(server, text="to both", to=["telegram", lab, str(lab)])

    assert one["chat"] == lab and [two["chat"] for two in both] == [ann["chats"][0], lab]
    assert other.fake.asked("sendMessage")[-1].fields.get("message_thread_id", 5) == 5
    assert "to the lab" not in [seen.text for seen in other.seen(other.fake.chat)]
    assert [seen.text for seen in other.seen() if seen.chat == f"{forum}/5"] == ["to the lab", "to both"]
    answered(server.api("DELETE", f"/chats/{lab}"))


def test_what_takes_longer_is_waiting_and_arrives(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, _ = place
    other.fake.misbehave("busy", retry_after_s=1)

    (told,) = said(server, text="later", wait_s=0)

    assert (told["outcome"], told["ids"]) == ("waiting", [])
    until(lambda: "later" in other.texts(), "it arrives all the same")


def test_quiet_hours_hold_it_back_and_say_so(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, ann = place
    chat = ann["chats"][0]
    answered(server.api("PATCH", f"/chats/{chat}", {"muted_until_ms": 1 << 50}))
    before = other.fake.requests

    (told,) = said(server, text="psst")

    assert told["outcome"] == "held" and "muted" in told["reason"]
    assert other.fake.requests == before
    answered(server.api("PATCH", f"/chats/{chat}", {"muted_until_ms": None}))


def test_minimal_chat_gets_no_words_and_no_files(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, ann = place
    chat = ann["chats"][0]
    answered(server.api("PATCH", f"/chats/{chat}", {"detail": "minimal"}))

    said(server, text="secret loss 0.1", files=[file("secret.csv", b"1")])

    assert other.texts()[-1] == "a run has a message for you" and not other.seen()[-1].files
    answered(server.api("PATCH", f"/chats/{chat}", {"detail": None}))


def test_messages_are_taken_back_by_their_ids(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, _ = place
    (told,) = said(server, text="oops " * 2_000)
    wanted = [{"chat": told["chat"], "ids": told["ids"][:1]}]

    gone = answered(server.api("POST", "/notify/delete", {"messages": wanted}))["messages"]
    again = answered(server.api("POST", "/notify/delete", {"messages": wanted}))["messages"]

    assert gone == [{"chat": told["chat"], "outcome": "sent", "reason": ""}]
    assert not [text for text in other.texts() if "oops" in text]  # the pieces of one message go together
    assert again[0]["outcome"] == "refused"


def test_nothing_else_is_taken_back(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    """An alarm, an answer or what a person wrote is not a program's to delete."""
    server, other, ann = place
    chat = ann["chats"][0]
    answered(server.api("POST", f"/chats/{chat}/test"))
    ours, theirs = other.seen()[-1].message_id, other.write("hm")

    asked = {"messages": [{"chat": chat, "ids": [ours]}, {"chat": chat, "ids": [theirs]}, {"chat": 99, "ids": ["1"]}]}
    told = answered(server.api("POST", "/notify/delete", asked))["messages"]

    assert [one["outcome"] for one in told] == ["refused", "refused", "gone"]
    assert other.fake.asked("deleteMessage") == [] or ours in {one.message_id for one in other.seen()}


def test_refusal_to_delete_is_told_and_no_error(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    server, other, _ = place
    (told,) = said(server, text="for ever")
    other.fake.misbehave("refuse", description="Bad Request: message can't be deleted", status=400)

    reply = answered(server.api("POST", "/notify/delete", {"messages": [{"chat": told["chat"], "ids": told["ids"]}]}))

    assert reply["messages"][0]["outcome"] in ("refused", "gone") and reply["messages"][0]["reason"]


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({}, 400, "nothing to say"),
        ({"text": "  "}, 400, "nothing to say"),
        ({"text": 5}, 400, "`text`"),
        ({"text": "x" * 100_001}, 400, "`text`"),
        ({"text": "x", "format": "rtf"}, 400, "no format"),
        ({"text": "x", "format": ["text"]}, 400, "no format"),
        ({"text": "x", "silent": 1}, 400, "`silent`"),
        ({"text": "x", "wait_s": 31}, 400, "`wait_s`"),
        ({"text": "x", "wait_s": True}, 400, "`wait_s`"),
        ({"text": "x", "colour": "red"}, 400, "no `colour`"),
        ({"text": "x", "to": []}, 400, "`to`"),
        ({"text": "x", "to": [True]}, 400, "`to`"),
        ({"text": "x", "to": [99]}, 404, "no chat"),
        ({"text": "x", "to": ["99"]}, 404, "no chat"),
        ({"text": "x", "to": ["pigeon"]}, 404, "no channel"),
        ({"picture": "x"}, 400, "`picture`"),
        ({"picture": {"name": "a.txt", "base64": "aGk="}}, 400, "`picture`"),
        ({"files": {"name": "a"}}, 400, "`files`"),
        ({"files": [{"name": "a", "base64": "aGk="}] * 11}, 400, "`files`"),
        ({"files": [{"name": "a", "base64": "%%%"}]}, 400, "no base64"),
        ({"files": [{"name": "a"}]}, 400, "without bytes"),
        ({"files": [{"base64": "aGk="}]}, 400, "`name`"),
        ({"files": [{"name": "a", "path": "/etc/passwd"}]}, 400, "`files`"),
        ({"files": [{"upload": "../../server.json"}]}, 404, "upload"),
    ],
)
def test_wrong_messages_say_what_is_wrong(
    place: tuple[Running, Telegram, dict[str, Any]], asked: dict[str, Any], status: int, message: str
) -> None:
    server, other, _ = place
    before = other.fake.requests

    reply = server.api("POST", "/notify", asked)

    assert reply.status == status, reply.body
    assert message in reply.json["error"]["message"]
    assert other.fake.requests == before


def test_same_id_is_sent_once_also_after_a_restart(tmp_path: Path) -> None:
    with fresh(tmp_path) as (server, other):
        connected(server, other)
        paired(server, other)
        first = said(server, text="once", id="message-0001")

        again = said(server, text="once", id="message-0001")
        server.stop()
        server.start()
        (later,) = said(server, text="once", id="message-0001")

        assert again == first and (later["chat"], later["outcome"]) == (first[0]["chat"], "sent")
        assert other.texts().count("once") == 1
        assert server.api("POST", "/notify", {"text": "x", "id": "../x"}).code == "bad-request"


@pytest.mark.parametrize("messages", [None, [], [{"chat": "1", "ids": ["1"]}], [{"chat": 1, "ids": []}], [{"chat": 1, "ids": [1]}]])
def test_wrong_deletes_say_what_is_wrong(place: tuple[Running, Telegram, dict[str, Any]], messages: Any) -> None:
    reply = place[0].api("POST", "/notify/delete", {"messages": messages})

    assert (reply.status, reply.code) == (400, "bad-request")


def test_many_who_wait_hold_up_nobody(place: tuple[Running, Telegram, dict[str, Any]]) -> None:
    """A message waits for its service in no thread of the server: reading goes on."""
    server, other, _ = place
    other.fake.misbehave("hang", seconds=3)
    waiting = [threading.Thread(target=said, args=(server,), kwargs={"text": f"m{place}"}) for place in range(6)]
    for one in waiting:
        one.start()
    until(lambda: not other.fake._menu, "the service hangs")

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=1.5)
    connection.request("GET", "/api/v1/projects")

    assert connection.getresponse().status == 200
    connection.close()
    for one in waiting:
        one.join(LIMIT_S)


def test_nobody_connected_is_an_empty_list(own_server: Running) -> None:
    assert said(own_server, text="hello?") == []


def test_uploads_lie_in_a_folder_of_ours_and_are_gone_after_a_restart(own_server: Running) -> None:
    server = own_server
    kept = answered(server.ask("POST", "/api/v1/notify/uploads?name=../../a%2Fb.txt", raw=b"words"))["upload"]
    folder = server.folder / "server" / "outgoing"
    (path,) = folder.iterdir()

    assert path.name == kept and path.read_bytes() == b"words"
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    server.stop()
    server.start()
    assert not folder.exists()
    assert server.api("POST", "/notify", {"files": [{"upload": kept}]}).status == 404


def test_uploads_have_a_name_and_a_limit(own_server: Running) -> None:
    assert own_server.ask("POST", "/api/v1/notify/uploads", raw=b"x").code == "bad-request"
    head = {"Content-Length": str(FILE_MAX_BYTES + 1)}
    connection = http.client.HTTPConnection("127.0.0.1", own_server.port, timeout=LIMIT_S)
    connection.putrequest("POST", "/api/v1/notify/uploads?name=x")
    for name, value in head.items():
        connection.putheader(name, value)
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()
    assert not list((own_server.folder / "server").glob("outgoing/*"))


# --- how long they are kept


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_us = 0

    def mono_us(self) -> int:
        return self.now_us

    def wall_us(self) -> int:
        return self.now_us

    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)


def test_unused_uploads_go_after_ten_minutes_and_used_ones_stay_as_long_as_they_are_tried(tmp_path: Path) -> None:
    clock = Clock()
    outgoing = Outgoing(tmp_path, clock)
    unused, used = outgoing.put("a", "text/plain", b"a"), outgoing.put("b", "text/plain", b"b")
    sent = outgoing.attachment(used)

    clock.sleep(601)
    outgoing.sweep()

    assert sent.read() == b"b"
    with pytest.raises(NotFoundError, match="upload it again"):
        outgoing.attachment(unused)
    assert [path.name for path in (tmp_path / "outgoing").iterdir()] == [used]
    clock.sleep(4_000)
    outgoing.sweep()
    assert list((tmp_path / "outgoing").iterdir()) == []


def test_files_on_their_way_take_no_more_than_their_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farwatch.bridges.outgoing.WHOLE_MAX_BYTES", 10)
    outgoing = Outgoing(tmp_path, Clock())
    outgoing.put("a", "text/plain", b"123456")

    with pytest.raises(BusyError):
        outgoing.put("b", "text/plain", b"123456")

    assert len(list((tmp_path / "outgoing").iterdir())) == 1
    outgoing.put("c", "text/plain", b"1234")
