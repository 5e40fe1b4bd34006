"""Rows C1 to C4 and W3: bars that are shown in a chat, in programs that know nothing else of Farwatch."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from farwatch.testing.chat.discord import FakeDiscord
from farwatch.testing.chat.slack import FakeSlack
from tests.chat.party import Party
from tests.faults.machine import until

LOOP = """
    import time
    from farwatch.tqdm.{service} import trange
    for step in trange(200, desc="ep", {arguments}):
        time.sleep({pause})
"""
AUDITED = """
    import sys, threading
    events = []
    def hook(event, args):
        if event in ("socket.connect", "socket.bind", "_thread.start_new_thread"):
            events.append(event)
    sys.addaudithook(hook)
    import atexit
    atexit.register(lambda: print("events", events, threading.active_count(), flush=True))
"""


class Services(Party):
    """A server that is connected to nothing, and three services that programs may name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        del self.environ["FARWATCH_TELEGRAM_TOKEN"]
        self.discord, self.slack = FakeDiscord(), FakeSlack()
        self._serving = [self.discord.serving(), self.slack.serving()]
        for one in self._serving:
            self.on_loop(one.__aenter__())
        self._addresses = {"FARWATCH_DISCORD_URL": self.discord.url, "FARWATCH_SLACK_URL": self.slack.url}

    def __exit__(self, *error: Any) -> None:
        for one in self._serving:
            self.on_loop(one.__aexit__(None, None, None))
        super().__exit__(*error)

    def train(self, source: str, *args: object, **environ: str) -> "subprocess.Popen[bytes]":
        return super().train(source, *args, **self._addresses, **environ)

    def output(self) -> str:
        """What the last program has written."""
        return (self.folder / f"train{len(self._trainers) - 1}.log").read_text()


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    with Services(folder) as found:
        found.start_server()
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("bars") / "m") as found:
        yield found


def new(shared: Services, service: str) -> list[Any]:
    """Messages that stand there."""
    return list(shared.seen()) if service == "telegram" else list(getattr(shared, service).seen())


def ending(shared: Services, service: str, before: int, part: str) -> Any:
    """The newest message, once it says this and is newer than so many others."""

    def there() -> Any:
        found = new(shared, service)
        return found[-1] if len(found) > before and part in found[-1].text else None

    return until(there, 60, part)


def arguments(shared: Services, service: str) -> str:
    return {
        "telegram": f"token={shared.telegram.token!r}, chat_id={shared.telegram.chat.chat}",
        "discord": f"token={shared.discord.token!r}, channel_id={shared.discord.chat.chat}",
        "slack": f"token={shared.slack.token!r}, channel={shared.slack.chat.chat!r}",
    }[service]


@pytest.mark.parametrize("service", ["telegram", "discord", "slack"])
def test_loop_of_200_steps_is_one_message_that_ends_at_100_percent(shared: Services, service: str) -> None:
    """C1. No socket and no thread in the training; a chat that nobody has connected to the server hears nothing else."""
    before = {one.message_id for one in new(shared, service)}
    program = shared.train(AUDITED + LOOP.format(service=service, arguments=arguments(shared, service), pause=0.03))
    assert program.wait(90) == 0
    assert "events [] 1" in shared.output(), shared.output()

    def done() -> Any:
        mine = [one for one in new(shared, service) if one.message_id not in before]
        return mine and "100%" in mine[-1].text and mine

    mine = until(done, 45, "the last state")
    assert len(mine) == 1
    assert mine[0].edits >= 1
    assert "200/200" in mine[0].text and "ep: 100%|" in mine[0].text
    if service == "slack":
        times = [call.at_s for call in shared.slack.calls if call.method == "chat.update"]
        assert all(later - earlier >= 1.5 for earlier, later in pairwise(times))
    with shared.api() as api:
        people = api._contact.get("/people")
        assert (people["chats"], api._contact.get("/channels")["channels"]) == ([], [])


def test_webhooks_need_no_bot(shared: Services) -> None:
    before = len(new(shared, "discord"))
    program = shared.train(LOOP.format(service="discord", arguments=f"webhook={shared.discord.webhook!r}", pause=0.02))

    assert program.wait(90) == 0
    ending(shared, "discord", before, "200/200")
    assert any(call.path.startswith("/api/webhooks/") or "webhooks" in call.path for call in shared.discord.asked("PATCH"))


def test_text_of_the_bar_stands_in_a_code_span(shared: Services) -> None:
    """C2: description, 20 %, a bar of 10 cells, 4/20, times, rate and postfix; without a total count, time and rate only."""
    source = """
        import time
        from farwatch.tqdm.telegram import tqdm
        bar = tqdm(total={total}, desc="ep", postfix={{"loss": "1.5"}}, {arguments})
        for _ in range(4):
            bar.update()
            time.sleep(0.4)
        time.sleep(1.5)
        bar.refresh()
    """
    known = arguments(shared, "telegram")
    before = len(new(shared, "telegram"))
    program = shared.train(source.format(total=20, arguments=known))
    assert program.wait(60) == 0
    seen = ending(shared, "telegram", before, "4/20")
    assert re.search(r"ep:  20%\|██ {8}\| 4/20 \[00:\d\d<\d\d:\d\d, .*it.*, loss=1\.5\]", seen.text), seen.text
    last = [call for call in shared.telegram.calls if call.status == 200 and "4/20" in str(call.fields.get("text"))][-1]
    assert "<code>ep:" in last.fields["text"] or any(one["type"] == "code" for one in last.fields.get("entities", ())), last.fields

    before = len(new(shared, "telegram"))
    assert shared.train(source.format(total=None, arguments=known)).wait(60) == 0
    seen = ending(shared, "telegram", before, "ep: 4it")
    assert re.search(r"ep: 4it \[00:\d\d, .*, loss=1\.5\]", seen.text) and "%" not in seen.text, seen.text
    texts = [str(call.fields.get("text")) for call in shared.telegram.calls if call.method in ("sendMessage", "editMessageText")]
    assert all(one != two for one, two in pairwise(texts)), "equal texts cause one request"


def test_nested_bars_are_one_message_and_leave_takes_it_away(shared: Services) -> None:
    """C3: 10 epochs with an inner bar make at most 2 messages; with leave=False the message is deleted."""
    source = """
        import time
        from farwatch.tqdm.telegram import trange
        for epoch in trange(10, desc="epochs", leave={leave}, {arguments}):
            for step in trange(20, desc="steps", leave=False, {arguments}):
                time.sleep(0.02)
    """
    known = arguments(shared, "telegram")
    before = len(shared.telegram.asked("sendMessage"))
    assert shared.train(source.format(leave=True, arguments=known)).wait(90) == 0
    until(lambda: any("epochs: 100%" in one.text for one in new(shared, "telegram")), 60, "the end")
    assert len(shared.telegram.asked("sendMessage")) - before <= 2

    standing = len(new(shared, "telegram"))
    deletes = len(shared.telegram.asked("deleteMessage"))
    assert shared.train(source.format(leave=False, arguments=known)).wait(90) == 0
    until(lambda: len(shared.telegram.asked("deleteMessage")) == deletes + 1, 60, "a delete")
    until(lambda: len(new(shared, "telegram")) == standing, 10, "and nothing that stands")


def test_variables_choose_the_service_and_the_token_is_nowhere(tmp_path: Path) -> None:
    """C4: only Slack's variables are set, so only Slack is told; the token is in one private file, and nowhere else."""
    with services(tmp_path / "m") as here:
        source = """
            import time
            from farwatch.tqdm.slack import tqdm as slack
            from farwatch.tqdm.telegram import tqdm as telegram
            for tqdm in (slack, telegram):
                for step in tqdm(range(20), desc=tqdm.__name__):
                    time.sleep(0.05)
        """
        program = here.train(source, TQDM_SLACK_TOKEN=here.slack.token, TQDM_SLACK_CHANNEL=here.slack.chat.chat)
        assert program.wait(60) == 0
        until(lambda: any("100%" in one.text for one in here.slack.seen()), 45, "the end")
        assert (here.telegram.requests, here.discord.requests) == (0, 0)
        assert here.output().count("TQDM_TELEGRAM_TOKEN") == 1

        holding = [path for path in here.folder.rglob("*") if path.is_file() and here.slack.token.encode() in path.read_bytes()]
        assert holding == [here.state / "bars.json"]
        assert os.stat(holding[0]).st_mode & 0o077 == 0
        with here.api() as api:
            pages = [api._contact.get(path) for path in ("/channels", "/people", "/deliveries", "/runs")]
        assert here.slack.token not in str(pages)


def test_muted_bar_is_seen_in_the_chat_alone(shared: Services) -> None:
    """W3: stderr is empty, and the chat gets all of it."""
    before = len(new(shared, "telegram"))
    script = shared.folder / "muted.py"
    script.write_text(
        "import time\nfrom farwatch.tqdm.telegram import trange\n"
        f"for step in trange(60, desc='quiet', mute=True, {arguments(shared, 'telegram')}):\n    time.sleep(0.03)\n"
    )

    done = subprocess.run([sys.executable, str(script)], env=shared.environ, capture_output=True, timeout=90)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    ending(shared, "telegram", before, "60/60")


def test_program_with_a_run_of_its_own_tells_the_chat_of_its_progress_alone(shared: Services) -> None:
    """Alarms and ends are for people: a chat that a bar names gets the one message."""
    before = len(new(shared, "telegram"))
    source = f"""
        import farwatch, time
        from farwatch.tqdm.telegram import trange
        run = farwatch.init("named", name="whole", console=False, system=False)
        for step in trange(40, {arguments(shared, "telegram")}):
            run.log({{"loss": 1.0 / (1 + step)}})
            time.sleep(0.05)
        raise ValueError("bad input 17")
    """
    assert shared.train(source).wait(90) == 1
    with shared.api() as api:
        until(lambda: [run for run in api.runs("named") if run.state == "failed"], 60)
    until(lambda: "40/40" in new(shared, "telegram")[-1].text, 45, "the end")
    time.sleep(1.0)  # were there more, it would have come with it
    mine = new(shared, "telegram")[before:]
    assert len(mine) == 1 and "whole #1" in mine[0].text and "17" not in mine[0].text


def test_server_elsewhere_is_said_to_know_no_chat(tmp_path: Path) -> None:
    source = LOOP.format(service="telegram", arguments="token='110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw', chat_id=7001", pause=0)
    with Services(tmp_path / "m") as here:
        program = here.train(source, FARWATCH_SERVER="http://127.0.0.1:9", FARWATCH_TOKEN="x" * 20, FARWATCH_AGENT="0")

        assert program.wait(60) == 0
        assert here.output().count("farwatch connect telegram") == 1
