"""What a wait status means, with what else the parent knows."""

import signal

import pytest

from farwatch.runner.ends import end_of, not_started
from farwatch.service.launching import _profiles


@pytest.mark.parametrize(
    ("status", "asked", "oom", "killed_by", "told"),
    [
        (0, set(), False, None, ("finished", "", 0)),
        (3 << 8, set(), False, None, ("failed", "exit code 3", 3)),
        (9, set(), False, None, ("failed", "killed by SIGKILL", 137)),
        (9, set(), True, None, ("failed", "out of memory", 137)),
        (15, set(), True, None, ("failed", "killed by SIGTERM", 143)),
        (11 | 0x80, set(), False, None, ("failed", "killed by SIGSEGV, core dumped", 139)),
        (2, set(), False, None, ("stopped", "interrupted", 130)),
        (130 << 8, set(), False, None, ("failed", "exit code 130", 130)),
        (130 << 8, {signal.SIGINT}, False, None, ("stopped", "interrupted", 130)),
        (15, {signal.SIGTERM}, False, None, ("stopped", "ended by SIGTERM", 143)),
        (143 << 8, {signal.SIGTERM}, False, None, ("stopped", "ended by SIGTERM", 143)),
        (1, {signal.SIGHUP}, False, None, ("stopped", "its terminal was closed", 129)),
        (3 << 8, {signal.SIGTERM}, False, None, ("failed", "exit code 3", 3)),
        (0, {signal.SIGTERM}, False, None, ("finished", "", 0)),
        (9, set(), True, "ann", ("stopped", "killed by ann", 137)),
        (0, set(), False, "ann", ("stopped", "killed by ann", 0)),
    ],
)
def test_a_wait_status_is_named(
    status: int, asked: set[int], oom: bool, killed_by: str | None, told: tuple[str, str, int]
) -> None:
    end = end_of(status, asked=asked, oom=oom, killed_by=killed_by)

    assert (end.state, end.reason, end.exit_status) == told


def test_what_could_not_be_started_ends_as_in_a_shell() -> None:
    missing = not_started("nothing", FileNotFoundError(2, "No such file or directory"))
    forbidden = not_started("plain.txt", PermissionError(13, "Permission denied"))

    assert (missing.reason, missing.exit_status) == ("command not found: nothing", 127)
    assert (forbidden.reason, forbidden.exit_status) == ("plain.txt: permission denied", 126)


def test_what_an_agent_tells_of_profiles_is_cut_to_what_is_known() -> None:
    """Everything in it comes from outside: wrong shapes are left out, long texts cut, unknown fields dropped."""
    told = {
        "good": {"title": "x" * 900, "parameters": {"lr": {"type": "code", "min": "1", "evil": {}, "choices": [{}, 2]}}, "more": 1},
        "": {},
        "bad": 7,
    }

    found = _profiles(told)

    assert list(found) == ["good"]
    assert len(found["good"]["title"]) == 200
    assert found["good"]["parameters"] == {"lr": {"type": "str", "choices": [None, 2]}}
    assert _profiles(None) == _profiles([1]) == {}
