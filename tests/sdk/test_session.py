"""`init`, the ends of a program, and what a trainer must not find in its process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from farwatch.wire.records import Kind
from tests.sdk.conftest import SOURCE, Program

START = "import farwatch\nrun = farwatch.init('p', console=False)\n"


@pytest.mark.parametrize(
    ("ending", "code", "state", "reason"),
    [
        ("run.finish()", 0, "finished", ""),
        ("pass", 0, "finished", ""),
        ("import sys; sys.exit(0)", 0, "finished", ""),
        ("import sys; sys.exit(3)", 3, "failed", "exit code 3"),
        ("import sys; sys.exit('no data')", 1, "failed", "exit code 1"),
        ("raise ValueError('bad batch')", 1, "failed", "ValueError: bad batch"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "stopped", "interrupted"),
        ("run.finish('stopped', 'enough')", 0, "stopped", "enough"),
    ],
)
def test_every_ending_is_told_apart(
    program: Program, ending: str, code: int, state: str, reason: str
) -> None:
    ended = program(START + "run.log({'a': 1.0})\n" + ending + "\n")

    assert ended.code in (code, 128 + signal.SIGINT if code < 0 else code)
    assert (ended.journal.goodbye["state"], ended.journal.goodbye["reason"]) == (state, reason)
    assert ended.journal.series("a")[1] == [1.0]


def test_an_exception_leaves_its_traceback_or_not(program: Program) -> None:
    kept = program(START + "def train(): raise ValueError('bad')\ntrain()\n")
    assert "in train" in kept.journal.goodbye["traceback"]
    assert "ValueError: bad" in kept.err


def test_the_traceback_can_be_left_out(program: Program) -> None:
    ended = program("import farwatch\nfarwatch.init('p', traceback=False)\nraise ValueError('secret data')\n")

    assert "traceback" not in ended.journal.goodbye
    assert "secret" not in str(ended.journal.goodbye)


def test_a_with_block_ends_its_run(program: Program) -> None:
    ended = program(
        """
import farwatch
try:
    with farwatch.init('p', console=False) as run:
        run.log({'a': 1.0})
        raise RuntimeError('inside')
except RuntimeError:
    pass
class TrialPruned(Exception): pass
try:
    with farwatch.init('p', console=False) as run:
        raise TrialPruned
except TrialPruned:
    pass
"""
    )

    ends = [(journal.goodbye["state"], journal.goodbye["reason"]) for journal in ended.journals]
    assert sorted(ends) == [("failed", "RuntimeError: inside"), ("stopped", "pruned")]


def test_a_second_init_finishes_the_first_and_says_so(program: Program) -> None:
    ended = program(
        """
import farwatch, threading
first = farwatch.init('p', name='one', console=False)
second = farwatch.init('p', name='two', console=False)
print(first.state, second.state, farwatch.run.name)
same = farwatch.init('p', reinit='return_previous')
print(same is second)
other = []
t = threading.Thread(target=lambda: other.append(farwatch.init('p', name='three', console=False)))
t.start(); t.join()
print(second.state, other[0].state)
with farwatch.init('p', name='four', console=False, reinit='create_new') as four:
    five = farwatch.init('p', name='five', console=False, reinit='create_new')
    print(four.state, five.state)
"""
    )

    assert ended.out.splitlines() == ["finished running two", "True", "running running", "running running"]
    assert "one is finished" in ended.err


def test_nothing_of_ours_lives_in_the_trainer(program: Program) -> None:
    """B3: threads and sockets are what they were; so are children."""
    ended = program(
        """
import os, threading
def sockets():
    found = []
    for fd in os.listdir('/proc/self/fd'):
        try: found += [fd] if os.readlink(f'/proc/self/fd/{fd}').startswith('socket') else []
        except OSError: pass
    return found
def children():
    return open(f'/proc/self/task/{os.getpid()}/children').read()
before = threading.enumerate(), sockets(), children()
import farwatch
run = farwatch.init('p', config={'lr': 1})
for i in range(2000): run.log({'a': 1.0})
run.log({'image': farwatch.Image(b'\\x89PNG')})
assert (threading.enumerate(), sockets(), children()) == before
run.finish()
""",
        FARWATCH_AGENT="1",
        FARWATCH_IDLE_EXIT_S="1",
    )

    assert (ended.code, ended.err.count("Traceback")) == (0, 0), ended.err


def test_disabled_leaves_no_file_and_every_call_returns(program: Program, tmp_path) -> None:
    ended = program(
        """
import farwatch
with farwatch.init('p', config={'lr': 1}, tags=['x']) as run:
    run.log({'a': 1.0}); run.log({'t': 'x', 'h': farwatch.Html('<b>x</b>')}); run.extend('e', [1, 2])
    run.config.update({'b': 2}); run.summary['s'] = 1; run.tags.add('y'); run.name = 'n'; run.notes = 'z'
    run.define_metric('a', summary='max'); run.save('*.py'); run.wait(0); print(run.summary['a'], run.url, run.number)
""",
        FARWATCH_MODE="disabled",
    )

    assert (ended.code, ended.out, ended.err) == (0, "1.0 None None\n", "")
    assert not (tmp_path / "state").exists()


def test_the_start_prints_one_line(program: Program) -> None:
    ended = program("import farwatch\nrun = farwatch.init('digits')\nprint(run.id[:7])\n")

    (line,) = ended.err.splitlines()
    assert line.startswith("farwatch: ")
    assert line.endswith("kept here; see it with: farwatch serve")
    assert ended.out.strip() in line


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("farwatch.init(mode='fast')", "mode must be online, offline or disabled, not: `fast`"),
        ("farwatch.init(id='a b')", "not a run id: `a b`"),
        ("farwatch.init(resume='must')", 'resume="must" needs the id'),
        ("farwatch.init(ranks=(3, 2))", "rank 3 of 2 ranks cannot be"),
        ("farwatch.init(config=5)", "config"),
        ("farwatch.init('p').define_metric('a', summary='median')", "summary must be last, min, max or mean"),
        ("farwatch.log({'a': 1})", "no run is open in this process"),
    ],
)
def test_wrong_arguments_raise_and_say_what_is_right(program: Program, call: str, message: str) -> None:
    ended = program(
        f"import farwatch\ntry:\n    {call}\nexcept farwatch.FarwatchError as error:\n    print(error)\n"
    )

    assert message in ended.out


def test_environment_names_run_project_and_labels(program: Program) -> None:
    ended = program(
        "import farwatch\nfarwatch.init(console=False)\nfarwatch.init(console=False)\n",
        FARWATCH_PROJECT="from-env",
        FARWATCH_RUN_ID="my-run",
        FARWATCH_NAME="called",
        FARWATCH_GROUP="sweep",
        FARWATCH_TAGS="a, b",
    )

    first, second = sorted(
        (journal.sidecar for journal in ended.journals), key=lambda sidecar: sidecar["nth"]
    )
    assert (first["project"], first["run"], first["name"], first["group"], first["tags"]) == (
        "from-env", "my-run", "called", "sweep", ["a", "b"],
    )  # fmt: skip
    assert (second["run"] != "my-run", second["parent"]) == (True, "my-run")


def test_secrets_never_reach_the_journal(program: Program) -> None:
    ended = program(
        "import farwatch\nrun = farwatch.init('p', config={'api_key': 'canary1', 'opt': {'hub_token': 'canary2'}, 'lr': 1})\n"
        "run.config.update({'password': 'canary3'})\nprint(run.config['api_key'])\n",
        "--hub_token",
        "canary4",
        "--url=https://u:canary5@host/x",
        FARWATCH_TOKEN="canary6",
    )

    everything = b"".join(
        path.read_bytes()
        for journal in ended.journals
        for path in journal.folder.rglob("*")
        if path.is_file()
    )
    assert ended.out == "canary1\n"
    for number in range(2, 7):
        assert b"canary%d" % number not in everything, number
    assert "•••" in str(ended.journal.bodies(Kind.PATCH))


def test_the_console_is_captured_in_order(program: Program) -> None:
    ended = program(
        """
import farwatch, logging, sys
run = farwatch.init('p')
print('one'); print('two', file=sys.stderr); logging.warning('three'); print('four', end='')
run.finish()
"""
    )

    lines = [
        (body["s"], line)
        for body in ended.journal.bodies(Kind.CONSOLE)
        for line in body["lines"]
        if not line.startswith("farwatch:")
    ]
    assert [line for _, line in lines] == ["one", "two", "WARNING:root:three", "four"]
    assert ended.out == "one\nfour"


def test_files_are_kept_as_they_were(program: Program) -> None:
    ended = program(
        """
import farwatch, os
run = farwatch.init('p', console=False)
os.makedirs('out/deep'); open('out/a.yaml', 'w').write('1'); open('out/deep/b.yaml', 'w').write('22'); open('out/c.txt', 'w')
print(run.save('out/**/*.yaml'))
open('out/a.yaml', 'w').write('changed')
print(run.save('nothing/*'))
run.finish()
"""
    )

    bodies = ended.journal.bodies(Kind.FILE)
    assert [(body["path"], body["size"]) for body in bodies] == [("out/a.yaml", 1), ("out/deep/b.yaml", 2)]
    assert [(ended.journal.folder / "spool" / body["spool"]).read_text() for body in bodies] == ["1", "22"]
    assert "matches no file" in ended.err


def test_a_killed_trainer_leaves_every_returned_point(program: Program) -> None:
    ended = program(
        START + "import os\nfor i in range(777): run.log({'a': float(i)})\nos.kill(os.getpid(), 9)\n"
    )

    assert ended.code == -9
    assert ended.journal.series("a")[1] == [float(i) for i in range(777)]


def test_import_is_light() -> None:
    """Standard library only, and nothing that talks to a network."""
    script = "import sys, farwatch; print('\\n'.join(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {script}"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    foreign = (
        {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - {"farwatch", "__main__"}
    )
    assert foreign == set()
    assert {"ssl", "socket", "http", "asyncio", "subprocess", "sqlite3", "numpy"}.isdisjoint(found)


def test_the_agent_is_no_child_and_inherits_nothing(program: Program, tmp_path) -> None:
    """A program that waits for all its children must not wait for the agent, nor reap it."""
    begin = time.monotonic()
    ended = program(
        START
        + """
import os
try:
    while True: os.wait()
except ChildProcessError:
    print('none')
""",
        FARWATCH_AGENT="1",
        FARWATCH_IDLE_EXIT_S="1",
        RANK="",
    )

    assert ended.out == "none\n"
    assert time.monotonic() - begin < 20
    assert os.path.isdir(tmp_path / "state")


def test_a_run_that_a_fork_begins_ends_nothing_of_its_parent(program: Program) -> None:
    ended = program(
        """
        import os
        import farwatch
        run = farwatch.init("p", mode="offline", name="parent's")
        run.log({"a": 1.0})
        if os.fork() == 0:
            own = farwatch.init("p", mode="offline", name="child's")
            own.log({"b": 1.0})
            own.finish()
            os._exit(0)
        os.wait()
        run.log({"a": 2.0})
        """
    )

    assert "is finished" not in ended.err
    told = {journal.sidecar["name"]: journal.goodbye["state"] for journal in ended.journals}
    assert told == {"parent's": "finished", "child's": "finished"}
    (parents,) = [journal for journal in ended.journals if journal.sidecar["name"] == "parent's"]
    assert parents.series("a")[1] == [1.0, 2.0]
