"""`run.log` and `run.extend`: what a program logs is what stands in its journal."""

import math

from farwatch.wire import segment
from farwatch.wire.records import Kind
from tests.sdk.conftest import Program

START = "import farwatch\nrun = farwatch.init('p', console=False)\n"


def test_numbers_come_back_exactly(program: Program) -> None:
    ended = program(
        START
        + """
for step in range(100):
    run.log({"loss": 1 / (step + 1)}, step=step)
run.log({"train": {"loss": 1, "acc": 2}})
run.extend("e", [x / 7 for x in range(1000)], steps=list(range(0, 3000, 3)), times=[1_700_000_000_123 + x for x in range(1000)])
run.finish()
"""
    )

    journal = ended.journal
    assert journal.series("loss") == (list(map(float, range(100))), [1 / (step + 1) for step in range(100)])
    assert journal.series("train/acc") == ([100.0], [2.0])
    assert journal.series("e") == ([3.0 * x for x in range(1000)], [x / 7 for x in range(1000)])
    decoded = journal.decoded
    mine = decoded.index == decoded.names.index("e")
    assert decoded.points.times[mine].tolist() == [(1_700_000_000_123 + x) * 1000 for x in range(1000)]
    kinds = dict(zip(decoded.names, decoded.kinds, strict=True))
    assert (kinds["loss"], kinds["train/acc"]) == ("f", "i")


def test_the_counter_follows_rule_1(program: Program) -> None:
    ended = program(
        START
        + """
run.log({"a": 0.0}); run.log({"a": 1.0}, commit=False); run.log({"a": 2.0}); run.log({"a": 3.0}, step=10)
run.log({"a": 4.0}); run.log({"a": 5.0}, step=2.5); run.log({"a": 6.0}); run.log({"a": 7.0}, step=-3)
run.log({"a": 8.0})
run.extend("a", [9.0, 10.0])
run.log({"a": 11})
run.finish()
"""
    )

    steps, values = ended.journal.series("a")

    assert steps == [0, 1, 1, 10, 11, 2.5, 3.5, -3, -2, -1, 0, 1]
    assert values == [*map(float, range(12))]


def test_nan_infinity_and_any_order_are_kept(program: Program) -> None:
    ended = program(
        START
        + "for step, v in zip((5, 3, 5, 4), (1.0, float('nan'), float('inf'), 2.0)): run.log({'a': v}, step=step)\n"
    )

    steps, values = ended.journal.series("a")

    assert (ended.code, steps, values[0], values[3]) == (0, [5, 3, 5, 4], 1, 2)
    assert math.isnan(values[1])
    assert values[2] == math.inf


def test_values_of_every_library_are_numbers(program: Program) -> None:
    ended = program(
        START
        + """
import numpy as np, torch, decimal, fractions
for _ in range(3):
    run.log({"f32": np.float32(0.1), "f64": np.float64(0.1), "i": np.int64(7), "b": np.bool_(True), "zero": np.array(3.5),
             "one": np.array([4.5]), "t": torch.tensor(0.25, requires_grad=True) * 2, "ti": torch.tensor(3),
             "bf": torch.tensor(1.5, dtype=torch.bfloat16), "d": decimal.Decimal("0.5"), "fr": fractions.Fraction(1, 4)})
run.finish()
"""
    )

    journal = ended.journal
    expected = {
        "f32": 0.10000000149011612, "f64": 0.1, "i": 7.0, "b": 1.0, "zero": 3.5, "one": 4.5, "t": 0.5, "ti": 3.0, "bf": 1.5,
        "d": 0.5, "fr": 0.25,
    }  # fmt: skip
    assert {name: journal.series(name) for name in expected} == {
        name: ([0, 1, 2], [v] * 3) for name, v in expected.items()
    }
    assert ended.err.count("farwatch:") == 1


def test_a_cpu_tensor_is_read_at_once(program: Program) -> None:
    ended = program(
        START
        + """
import torch
total = torch.zeros(())
for _ in range(3):
    total += 1
    run.log({"total": total})
run.finish()
"""
    )

    assert ended.journal.series("total")[1] == [1, 2, 3]


def test_odd_values_warn_once_and_hurt_nothing(program: Program) -> None:
    ended = program(
        START
        + """
class Broken:
    def __float__(self): raise RuntimeError("no")
for step in range(50):
    run.log({"list": [1, 2], "object": object(), "broken": Broken(), "none": None, "complex": 1j, "good": 1.5})
run.log("text"); run.log(None); run.log({"a": 1.0}, step="x"); run.log({"a": 1.0}, step=float("nan")); run.log({1: 2.0, "": 3.0})
run.extend("e", 5); run.extend("e", [1, 2], steps=[1]); run.extend("e", [[1]])
run.finish()
"""
    )

    assert ended.code == 0
    assert ended.journal.series("good")[1] == [1.5] * 50
    assert ended.journal.series("1")[1] == [2.0]
    assert ended.journal.series("unnamed")[1] == [3.0]
    lines = [line for line in ended.err.splitlines() if "left out" in line]
    assert len(lines) == len(set(lines)) == 5
    assert any("Histogram" in line and "extend" in line for line in lines)
    assert "Traceback" not in ended.err


def test_what_is_left_out_is_counted_where_the_page_counts_it(program: Program) -> None:
    """Rule 5: one warning per cause, a count on the page."""
    ended = program(
        START
        + """
for step in range(50):
    run.log({"list": [1, 2], "none": None, "good": 1.5})
run.log("text"); run.extend("e", 5); run.save("/proc/self/mem")
run.finish()
"""
    )

    assert ended.journal.goodbye["meter"]["dropped"] == 50 + 50 + 2 + 1
    assert ended.journal.series("good")[1] == [1.5] * 50


def test_points_without_room_are_counted_and_nothing_else(program: Program) -> None:
    """What the meter itself would have said is no point."""
    ended = program(
        START
        + """
for step in range(200_000):
    run.log({"value": float(step)}, step=step)
    if step % 1_000 == 0: run._care_ns = 0  # as every ten seconds
run.finish()
""",
        FARWATCH_JOURNAL_MAX_BYTES=str(4 << 20),
    )

    kept = len(ended.journal.series("value")[1])
    assert 0 < ended.journal.goodbye["meter"]["dropped"] == 200_000 - kept


def test_causes_that_change_for_ever_flood_neither_terminal_nor_memory(program: Program) -> None:
    ended = program(
        START
        + """
for step in range(3_000):
    run.log({"value": type(f"Kind{step}", (), {})()})
print(len(run._trouble._causes))
run.finish()
"""
    )

    said = [line for line in ended.err.splitlines() if "left out" in line]
    assert (ended.code, int(ended.out), len(said)) == (0, 200, 200)
    assert "further ones are counted" in ended.err
    assert ended.journal.goodbye["meter"]["dropped"] == 3_000


def test_text_and_long_integers_keep_value_and_type(program: Program) -> None:
    ended = program(
        START
        + """
run.log({"line": "x" * 20_000, "big": 2**70, "int": 2**40, "flag": True}, step=4)
run.finish()
"""
    )

    points = {body["name"]: body for body in ended.journal.bodies(Kind.POINT)}
    assert points["line"]["text"] == "x" * 20_000
    assert points["big"] == {"name": "big", "type": "integer", "text": str(2**70)}
    decoded = ended.journal.decoded
    kinds = dict(zip(decoded.names, decoded.kinds, strict=True))
    assert (kinds["int"], kinds["flag"]) == ("i", "b")
    assert ended.journal.series("int")[1] == [float(2**40)]


def test_given_times_are_kept_to_the_microsecond(program: Program) -> None:
    ended = program(
        START
        + """
from datetime import datetime, timezone
run.log({"a": 1.0}, time=datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc))
run.log({"a": 1.0}, time=1_700_000_000_123)
run.log({"a": 1.0}, time=1_700_000_000.25)
run.finish()
"""
    )

    assert ended.journal.decoded.points.times.tolist() == [
        1767323045678901,
        1700000000123000,
        1700000000250000,
    ]


def test_threads_signals_and_finalizers_lose_no_call(program: Program) -> None:
    ended = program(
        START
        + """
import signal, threading
class F:
    def __init__(self): self.me = self
    def __del__(self): run.log({"finalizer": 1.0})
ticks = 0
def tick(*_):
    global ticks
    ticks += 1
    run.log({"signal": float(ticks)})
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
threads = [threading.Thread(target=lambda n=n: [run.log({f"thread{n}": float(i)}) for i in range(5000)]) for n in range(3)]
[t.start() for t in threads]
for i in range(20000):
    run.log({"main": float(i)}); F()
[t.join() for t in threads]
signal.setitimer(signal.ITIMER_REAL, 0)
import gc; gc.collect()
print(ticks)
run.finish()
"""
    )

    journal = ended.journal
    assert journal.series("main")[1] == [float(i) for i in range(20000)]
    for n in range(3):
        assert journal.series(f"thread{n}")[1] == [float(i) for i in range(5000)]
    assert len(journal.series("finalizer")[1]) == 20000
    assert sorted(journal.series("signal")[1]) == [float(i + 1) for i in range(int(ended.out))]
    steps = sorted(step for name in journal.decoded.names for step in journal.series(name)[0])
    assert steps == [float(i) for i in range(len(steps))]


def test_wide_steps_and_many_names(program: Program) -> None:
    ended = program(
        START
        + """
for step in range(3):
    run.log({f"layer{i}/weight": i + step / 10 for i in range(10_000)}, step=step)
run.log({f"n{i}": float(i) for i in range(100_000)}, step=9)
run.finish()
"""
    )

    assert ended.journal.series("layer9999/weight") == ([0, 1, 2], [9999.0, 9999.1, 9999.2])
    assert ended.code == 0


def test_strange_names_are_kept(program: Program) -> None:
    ended = program(
        START
        + r"""
run.log({"ä/ö 中文 🦉": 1.0, "'; DROP TABLE runs; --": 2.0, "<script>alert(1)</script>": 3.0, "a\x00b": 4.0})
run.log({"\ud800": 5.0, "x" * 5000: 6.0})
run.finish()
"""
    )

    names = ended.journal.decoded.names
    assert {"ä/ö 中文 🦉", "'; DROP TABLE runs; --", "<script>alert(1)</script>", "a\x00b", "?"} <= set(names)
    assert "x" * 4096 in names


def test_a_logging_fork_gets_a_journal_of_its_own(program: Program) -> None:
    ended = program(
        START
        + """
import os
run.log({"parent": 1.0})
for n in range(4):
    if os.fork() == 0:
        for i in range(100): run.log({"child": float(i)})
        os._exit(0)
for n in range(4): os.wait()
run.log({"parent": 2.0})
run.finish()
"""
    )

    main = ended.journal
    children = [journal for journal in ended.journals if not journal.sidecar["main"]]
    assert main.series("parent")[1] == [1.0, 2.0]
    assert main.series("child") == ([], [])
    assert len(children) == 4
    for child in children:
        assert child.series("child")[1] == [float(i) for i in range(100)]
        assert child.sidecar["sibling_of"] == main.folder.name
        assert child.sidecar["run"] == main.sidecar["run"]


def test_data_loader_workers_do_not_slow_or_hang(program: Program) -> None:
    """Ten loaders of four forked workers; no worker has a thread of ours."""
    ended = program(
        START
        + """
import threading, torch
from torch.utils.data import DataLoader, Dataset
class Numbers(Dataset):
    def __len__(self): return 64
    def __getitem__(self, i): return i, sum("farwatch" in repr(t).lower() for t in threading.enumerate())
for epoch in range(10):
    loader = DataLoader(Numbers(), batch_size=8, num_workers=4, multiprocessing_context="fork")
    for step, (batch, threads) in enumerate(loader):
        run.log({"sum": batch.sum()})
        assert int(threads.max()) == 0, threads
run.finish()
"""
    )

    assert (ended.code, ended.err.count("Traceback")) == (0, 0)
    assert sum(ended.journal.series("sum")[1]) == 10 * sum(range(64))


def test_a_program_without_room_says_so_and_goes_on(program: Program, tmp_path) -> None:
    ended = program(
        START + "print('done')\nfor i in range(1000): run.log({'a': 1.0})\n", FARWATCH_DIR="/proc/nowhere"
    )

    assert ended.code == 0
    assert ended.out == "done\n"


def test_the_meter_counts_what_logging_cost(program: Program) -> None:
    ended = program(START + "for i in range(1600): run.log({'a': 1.0})\nrun.finish()\n")

    meter = ended.journal.goodbye["meter"]

    assert 1500 <= meter["calls"] <= 1700
    assert 0 < meter["total_ns"] < meter["wall_ns"]
    assert meter["worst_ns"] > 0
    assert meter["dropped"] == 0


def test_a_program_that_prints_with_every_call_is_metered_as_well(program: Program) -> None:
    ended = program(
        "import farwatch\nrun = farwatch.init('p')\n"
        "for i in range(400):\n    run.log({'a': 1.0})\n    print(i)\nrun.finish()\n"
    )

    assert 300 <= ended.journal.goodbye["meter"]["calls"] <= 500


def test_each_segment_can_be_read_by_itself(program: Program) -> None:
    """The columns of a call stand in the segment that has its rows, also where the row is what began it."""
    ended = program(
        """
        import farwatch
        run = farwatch.init("p", mode="offline", console=False, system=False)
        for step in range(20_000):
            run.log({"loss": 1.0, "acc": 0.5})
            if step % 3 == 0:
                run.log({"lr": step})
        """
    )
    paths = segment.list_segments(ended.journal.folder)
    starts = {segment.SegmentHeader.decode(path.read_bytes()).first_record for path in paths}

    known: set[int] = set()
    missing = []
    for record in ended.journal.records:
        if record.number in starts:
            known = set()
        if record.kind == Kind.SCHEMA:
            known.add(record.body()["id"])
        elif record.kind == Kind.STEP and int.from_bytes(record.payload[4:8], "little") not in known:
            missing.append(record.number)

    assert len(paths) > 3
    assert missing == []
