"""What a program prints is captured as its terminal shows it, and printing works whatever happens to us."""

import io
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farwatch.sdk.console import Console
from farwatch.sdk.lines import LINE_MAX, Screen


class Sink:
    """Collects what a console emits, and keeps the lines that a server would show."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, list[str], bool]] = []
        self.shown: dict[int, tuple[str, str]] = {}

    def __call__(self, stream: str, first: int, lines: list[str], open: bool) -> None:
        self.records.append((stream, first, lines, open))
        for offset, line in enumerate(lines):
            self.shown[first + offset] = (stream, line)

    @property
    def text(self) -> list[str]:
        return [self.shown[number][1] for number in sorted(self.shown)]


class Ticker:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    """Real text streams over memory; a test sets them itself, pytest would put its own over what is set here."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    yield out, err


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    data: Any = stream.buffer
    return bytes(data.getvalue()).decode()


def screen_of(text: str) -> list[str]:
    numbers = iter(range(10_000))
    screen = Screen(numbers.__next__)
    shown: dict[int, str] = {}
    for chunk in (*screen.feed(text), *screen.close()):
        shown |= {chunk.first + index: line for index, line in enumerate(chunk.lines)}
    return [shown[number] for number in sorted(shown)]


def test_lines_are_recorded_in_order_over_both_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink = Sink()
    console = Console(sink)

    print("one")
    print("two", file=sys.stderr)
    print("three\nfour")
    console.close()
    print("after")

    assert sink.records == [
        ("stdout", 0, ["one"], False),
        ("stderr", 1, ["two"], False),
        ("stdout", 2, ["three"], False),
        ("stdout", 3, ["four"], False),
    ]
    assert written(streams[0]) == "one\nthree\nfour\nafter\n"
    assert written(streams[1]) == "two\n"


def test_the_stream_objects_stay_the_same_and_are_given_back(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    out, _ = streams
    before = dict(vars(out))
    console = Console(Sink())

    assert sys.stdout is out and isinstance(sys.stdout, io.TextIOWrapper)
    assert sys.stdout.encoding == "utf-8" and not sys.stdout.isatty()
    assert sys.stdout.write("abc") == 3
    console.close()
    console.close()

    assert dict(vars(out)) == before


def test_open_line_is_recorded_at_a_flush_and_completed_later(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink = Sink()
    console = Console(sink, clock=Ticker())

    print("loading", end="", flush=True)
    print(" done")
    console.close()

    assert sink.records == [("stdout", 0, ["loading"], True), ("stdout", 0, ["loading done"], False)]


def test_progress_bar_is_one_line_at_ten_records_a_second(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink, clock = Sink(), Ticker()
    console = Console(sink, clock=clock)

    for step in range(1000):
        clock.now = step / 100
        sys.stderr.write(f"\r{step}%")
        sys.stderr.flush()
    sys.stderr.write("\n")
    console.close()

    assert sink.text == ["999%"]
    assert 50 <= len(sink.records) <= 102
    assert sink.records[-1] == ("stderr", 0, ["999%"], False)


def test_held_back_line_is_recorded_by_poll(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink, clock = Sink(), Ticker()
    console = Console(sink, clock=clock)
    sys.stderr.write("\r1%")
    sys.stderr.flush()
    sys.stderr.write("\r2%")
    sys.stderr.flush()

    clock.now = 1.0
    console.poll()

    assert sink.text == ["2%"]
    console.close()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("\n\nx\n", ["", "", "x"]),
        ("10%\r20%\r30%\n", ["30%"]),
        ("10%\r", ["10%"]),
        ("abc\b\bX\n", ["aX"]),
        ("\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
        ("\x1b]0;title\x07text\x1b[?25l\n", ["text"]),
        ("old\x1b[2K\rnew\n", ["new"]),
        ("one\ntwo\x1b[A\rONE\n\rTWO\n", ["ONE", "TWO"]),
        ("one\ntwo\n\x1b[2Aeins\nzwei\ndrei\n", ["eins", "zwei", "drei"]),
        ("", []),
        ("é→\n", ["é→"]),
    ],
)
def test_the_screen_shows_what_a_terminal_would(text: str, lines: list[str]) -> None:
    assert screen_of(text) == lines
    assert screen_of("".join(text)) == lines


def test_nested_bars_take_one_line_each(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink, clock = Sink(), Ticker()
    console = Console(sink, clock=clock)
    write = sys.stderr.write

    for epoch in range(3):
        for batch in range(20):
            clock.now += 0.05
            write(f"\repoch {epoch}")
            write(f"\n\rbatch {batch}\x1b[A")
            sys.stderr.flush()
    write("\n\n")
    console.close()

    assert sink.text == ["epoch 2", "batch 19"]
    assert len(sink.records) < 80


def test_very_long_line_goes_on_in_the_next() -> None:
    lines = screen_of("x" * (2 * LINE_MAX + 5) + "\n")

    assert [len(line) for line in lines] == [LINE_MAX, LINE_MAX, 5]


def test_many_lines_at_once_are_cut_into_records(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink = Sink()
    console = Console(sink)

    print("\n".join(str(number) for number in range(3000)))
    console.close()

    assert sink.text == [str(number) for number in range(3000)]
    assert max(len(lines) for _, _, lines, _ in sink.records) <= 500


def test_logging_is_captured_once_for_handlers_made_before_and_after(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    logger = logging.getLogger("farwatch-test")
    logger.propagate = False
    early = logging.StreamHandler()
    logger.addHandler(early)
    sink = Sink()
    console = Console(sink)
    late = logging.StreamHandler(sys.stderr)
    try:
        logger.warning("early")
        logger.removeHandler(early)
        logger.addHandler(late)
        logger.warning("late")
    finally:
        logger.removeHandler(late)
        logger.removeHandler(early)
    logging.getLogger("farwatch-test-none").warning("by the last resort")
    console.close()

    assert [entry for entry in sink.shown.values() if entry[1] in ("early", "late")] == [
        ("logging", "early"),
        ("logging", "late"),
    ]
    assert written(streams[1]).splitlines()[:2] == ["early", "late"]


def test_emit_that_prints_or_logs_does_not_recurse(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink = Sink()

    def emit(stream: str, first: int, lines: list[str], open: bool) -> None:
        sink(stream, first, lines, open)
        if len(sink.records) < 3:
            print("from inside", file=sys.stderr)

    console = Console(emit)
    print("hello")
    console.close()

    assert sink.text == ["hello", "from inside", "from inside"]


def test_emit_that_fails_never_hurts_the_program(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams

    def emit(stream: str, first: int, lines: list[str], open: bool) -> None:
        raise OSError("disk full")

    console = Console(emit)
    print("hello")
    print("again")

    assert written(streams[0]) == "hello\nagain\n"
    assert console.troubles == 2
    console.close()


def test_errors_of_the_stream_itself_are_the_programs(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink = Sink()
    console = Console(sink)
    streams[0].close()

    with pytest.raises(ValueError, match="closed file"):
        print("hello")

    assert sink.records == []
    console.close()


def test_somebody_who_wrapped_us_later_is_left_alone(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    out = streams[0]
    console = Console(Sink())
    ours = out.write
    seen: list[str] = []
    out.write = lambda text: (seen.append(text), ours(text))[1]

    console.close()
    print("x")

    assert seen == ["x", "\n"] and written(out) == "x\n"


def test_two_consoles_side_by_side_both_see_everything(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    first, second = Sink(), Sink()
    one = Console(first)
    two = Console(second)

    print("both")
    one.close()
    print("second only")
    two.close()

    assert first.text == ["both"] and second.text == ["both", "second only"]
    assert written(streams[0]) == "both\nsecond only\n"


def test_stream_that_cannot_be_wrapped_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slotted:
        __slots__ = ("texts",)

        def __init__(self) -> None:
            self.texts: list[str] = []

        def write(self, text: str) -> int:
            self.texts.append(text)
            return len(text)

        def flush(self) -> None: ...

        def fileno(self) -> int:
            return 77

    stream: Any = Slotted()
    monkeypatch.setattr(sys, "stdout", stream)
    sink = Sink()
    console = Console(sink)

    print("hello")
    assert sys.stdout.fileno() == 77
    console.close()

    assert sys.stdout is stream and stream.texts == ["hello", "\n"]
    assert sink.text == ["hello"]


def test_missing_stream_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    sink = Sink()

    console = Console(sink)
    print("to nobody")
    console.close()

    assert sink.records == []


def test_threads_lose_and_mix_nothing(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams
    sink = Sink()
    console = Console(sink)

    def work(name: int) -> None:
        for number in range(200):
            sys.stdout.write(f"{name}:{number}\n")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    console.close()

    assert sorted(sink.text) == sorted(f"{name}:{number}" for name in range(4) for number in range(200))


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2] / "src")
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_forked_child_passes_on_and_records_nothing(tmp_path: Path) -> None:
    script = """
        import os, sys, threading
        from farwatch.sdk.console import Console
        seen = []
        console = Console(lambda *record: seen.append(record))
        print("parent", flush=True)
        console._lock.acquire()  # as if another thread held it while this one forks
        pid = os.fork()
        if pid == 0:
            print("child", flush=True)
            console.close()
            console2 = seen[:]
            os.write(1, f"child saw {len(console2)}\\n".encode())
            os._exit(0)
        console._lock.release()
        os.waitpid(pid, 0)
        print("end", flush=True)
        console.close()
        print([line for _, _, lines, _ in seen for line in lines])
    """

    done = run_script(script)

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["parent", "child", "child saw 1", "end", "['parent', 'end']"]


def test_child_that_asks_for_it_is_captured_from_line_zero(tmp_path: Path) -> None:
    script = """
        import os, sys
        from farwatch.sdk.console import Console
        console = Console(lambda *record: None)
        print("parent", flush=True)
        if os.fork() == 0:
            seen = []
            console.reset_after_fork(lambda *record: seen.append(record))
            print("child", flush=True)
            os.write(1, f"{seen}\\n".encode())
            os._exit(0)
        os.wait()
    """

    done = run_script(script)

    assert done.stdout.splitlines() == ["parent", "child", "[('stdout', 0, ['child'], False)]"]


def test_signal_handler_that_prints_while_printing_is_captured() -> None:
    script = """
        import signal, sys
        from farwatch.sdk.console import Console
        lines = []
        def emit(stream, first, texts, open):
            lines.extend(texts)
            if len(lines) == 1:
                signal.raise_signal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
        console = Console(emit)
        print("start")
        print("end")
        console.close()
        print(lines, file=sys.stderr)
    """

    done = run_script(script)

    assert done.stderr.strip() == "['start', 'handled', 'end']"
