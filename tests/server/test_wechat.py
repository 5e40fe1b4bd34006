"""A person on WeChat by a scan, with a real server: who they are, what is answered, how many messages are left."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chatting import Loop, answered, channel, running, until
from writing import Feeder

from farwatch.testing.chat.ilink import FakeIlink


@contextlib.contextmanager
def wechat() -> Iterator[tuple[FakeIlink, Loop]]:
    loop, fake = Loop(), FakeIlink()
    serving = fake.serving()
    loop.run(serving.__aenter__())
    try:
        yield fake, loop
    finally:
        loop.run(serving.__aexit__(None, None, None))
        loop.close()


def test_status_says_how_many_messages_are_left(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server, wechat() as (fake, loop):
        answered(server.api("PUT", "/channels/wechat", {"kind": "wechat", "values": {"url": fake.url, "cdn": fake.url}}))
        until(lambda: answered(server.api("POST", "/channels/wechat/login", {}))["state"] == "confirmed", "the scan")
        until(lambda: fake.polls, "it listens")
        Feeder(server, "digits", more={"name": "heron"})

        loop.run(fake.write("status"))

        until(lambda: any("heron" in one.text for one in fake.seen()), "the answer")
        said = next(one.text for one in fake.seen() if "heron" in one.text and "running" in one.text)
        assert said.endswith("more messages until you write again"), said
        left = int(said.rpartition("wechat: ")[2].split()[0])
        people = channel(server, "wechat")["facts"]["people"]
        assert left == people[fake.user]["left"]
