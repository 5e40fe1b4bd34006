"""`run.alert` and `run.notify` in the training process: never in the way."""

from typing import Any

import pytest

from farwatch.sdk.notices import Notices


class Fake:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.warned: list[str] = []
        self.now_s = 0.0

    def write_event(self, body: dict[str, Any]) -> None:
        self.events.append(body)

    def keep_beside(self, content: Any, media_type: str | None, suffix: str) -> dict[str, Any]:
        if not isinstance(content, bytes):
            content = content.read_bytes()
        return {"spool": f"0{suffix}", "size": len(content)}

    def as_picture(self, value: Any) -> Any:
        from farwatch.sdk.media import Image

        return Image(value)

    def warn_once(self, cause: str, text: str) -> None:
        self.warned.append(cause)


@pytest.fixture
def run() -> Fake:
    return Fake()


def test_same_title_is_written_once_per_cooldown(run: Fake) -> None:
    notices = Notices(run, lambda: run.now_s)
    for now_s in (0.0, 10.0, 299.0, 300.0, 301.0):
        run.now_s = now_s
        notices.alert("odd", "", "warn", 300)
        notices.alert(f"other {now_s}", "", "warn", 300)

    titles = [event["alert"]["title"] for event in run.events]
    assert titles.count("odd") == 2 and len(titles) == 7


@pytest.mark.parametrize("cooldown_s", [None, "x", float("nan"), -5, 1e300, object()])
@pytest.mark.parametrize("title", [None, 5, "", "\ud800", "x" * 10_000, b"bytes", object()])
def test_whatever_is_given_becomes_an_alert(run: Fake, title: Any, cooldown_s: Any) -> None:
    Notices(run, lambda: 0.0).alert(title, title, "loud", cooldown_s)

    (event,) = run.events
    told = event["alert"]
    assert 0 < len(told["title"]) <= 200 and told["level"] == "warn" and 0 <= told["cooldown_s"] <= 1e9
    told["title"].encode()


def test_titles_with_numbers_do_not_fill_the_memory(run: Fake) -> None:
    notices = Notices(run, lambda: 0.0)
    for number in range(5_000):
        notices.alert(f"step {number}", "", "info", 1e9)

    assert len(notices._said_s) <= 1_000


def test_message_goes_without_what_cannot_be_read(run: Fake, tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("abc")
    notices = Notices(run, lambda: 0.0)
    notices.notify("one", [[0, 1], [1, 0]], tmp_path / "a.txt")
    notices.notify("two", object(), tmp_path / "missing")

    first, second = (event["notify"] for event in run.events)
    assert first["file"] == {"spool": "0.txt", "size": 3, "name": "a.txt"} and first["image"]["width"] == 2
    assert second == {"text": "two"} and run.warned == ["notify:image", "notify:file"]
