"""Services that cannot hear: what the environment names is written to without any pairing, and its secrets stand nowhere."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from farwatch.bridges import registry
from farwatch.bridges.channels import ChannelFile
from farwatch.bridges.switchboard import Switchboard
from farwatch.clock import SystemClock
from farwatch.service.people import People
from farwatch.store.meta import Meta
from farwatch.testing.chat.discord import FakeDiscord
from farwatch.testing.chat.ntfy import FakeNtfy
from farwatch.testing.chat.slack import FakeSlack
from farwatch.testing.chat.webhook import FakeWebhook

Given = Callable[[Any], dict[str, str]]
SERVICES: dict[str, tuple[Callable[[], Any], Given, Callable[[Any], list[str]]]] = {  # fake, environment, secrets
    "slack": (
        FakeSlack, lambda fake: {"FARWATCH_SLACK_TOKEN": fake.token, "FARWATCH_SLACK_CHAT": "#runs", "FARWATCH_SLACK_URL": fake.url},
        lambda fake: [fake.token],
    ),
    "slack by webhook": (FakeSlack, lambda fake: {"FARWATCH_SLACK_WEBHOOK": fake.webhook}, lambda fake: [fake.hook]),
    "discord": (FakeDiscord, lambda fake: {"FARWATCH_DISCORD_WEBHOOK": fake.webhook}, lambda fake: [fake.hook_token]),
    "ntfy": (
        FakeNtfy, lambda fake: {"FARWATCH_NTFY_TOPIC": fake.topic, "FARWATCH_NTFY_TOKEN": fake.token, "FARWATCH_NTFY_URL": fake.url},
        lambda fake: [fake.topic, fake.token],
    ),
    "webhook": (
        FakeWebhook, lambda fake: {"FARWATCH_WEBHOOK_URL": fake.url, "FARWATCH_WEBHOOK_SECRET": fake.secret},
        lambda fake: [fake.url, fake.secret],
    ),
}  # fmt: skip


@contextlib.asynccontextmanager
async def board(folder: Path, environ: dict[str, str]) -> AsyncIterator[tuple[Switchboard, People]]:
    """A switchboard as a server has it, in its own thread."""
    clock = SystemClock()
    folder.mkdir(mode=0o700)
    meta = Meta(folder / "meta.db", clock)
    people = People(meta, clock, owner="owner")
    made = Switchboard(ChannelFile(folder, clock), people, meta, clock, environ)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    made.on_ready = lambda: loop.call_soon_threadsafe(ready.set) and None
    made.start()
    try:
        await asyncio.wait_for(ready.wait(), 30)
        yield made, people
    finally:
        await asyncio.to_thread(made.close)
        meta.close()


@pytest.mark.parametrize("name", SERVICES)
def test_the_environment_alone_is_enough(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make, given, secrets = SERVICES[name]

    async def test() -> None:
        async with make().serving() as fake, FakeWebhook().serving() as other:
            async with board(tmp_path / "data", given(fake)) as (switchboard, people):
                (chat,) = people.chats()
                told = await asyncio.to_thread(switchboard.call, lambda: switchboard.test(chat.no, "loss is NaN"))
                shown = switchboard.channels()

            assert told["outcome"] == "sent", told
            assert [one.text for one in fake.seen()] == ["loss is NaN"]
            assert other.requests == 0
            kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            for secret in secrets(fake):
                assert secret.encode() not in kept
                assert secret not in f"{chat} {shown} {told}"
                assert not any(secret in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(test())


def test_a_person_who_connects_it_again_has_no_second_chat(tmp_path: Path) -> None:
    async def test() -> None:
        async with FakeDiscord().serving() as fake, board(tmp_path / "data", {}) as (switchboard, people):
            values = {"webhook": fake.webhook}
            for _ in range(2):
                called = await asyncio.to_thread(switchboard.call, lambda: switchboard.connect("team", "discord", values, "owner"))
                assert called == "the webhook training"
            assert [(one.channel, one.address) for one in people.chats()] == [("team", "webhook")]

    asyncio.run(test())


@pytest.mark.parametrize("name", registry.OURS)
def test_every_service_says_what_to_do_first(name: str) -> None:
    kind = registry.kind(name)

    assert kind.name == name and kind.title and kind.steps
    assert all(one.name.islower() and one.text and one.text[-1] != "." for one in kind.fields)
    assert len({one.name for one in kind.fields}) == len(kind.fields)
    assert not any(one.default for one in kind.fields if one.secret)
