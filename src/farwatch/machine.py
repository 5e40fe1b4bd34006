"""Which machine, which boot, which process: facts that trainer, agent and server must read in the same way.

A process is (pid, start), for numbers are used again; a pid means something only in its PID namespace; and one agent
serves one (boot, PID namespace, user, wire major). [H 6]
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

WIRE_MAJOR = 1  # of journals and batches; another major has an agent of its own
AGENTS = "agents"  # folder of the agents' files in the state folder: `<key>.lock`, `<key>.beat`, `<key>.log`


def stat_fields(pid: int) -> list[bytes] | None:
    """The fields of `/proc/PID/stat` from the third on, its state; None if the process is gone or the system has none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    return text.rpartition(b")")[2].split()  # the name, in parentheses, may itself hold spaces and parentheses


def process_start(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it has ended (a zombie has) or cannot be known."""
    fields = stat_fields(pid)
    if fields is None or len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


def parent_of(pid: int) -> int | None:
    """The parent of a process; None if it cannot be known, 0 if it is outside of this PID namespace."""
    fields = stat_fields(pid)
    return int(fields[1]) if fields else None


def boot_id() -> str | None:
    """What names this boot of this machine; None where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def pid_namespace() -> int | None:
    """The inode of this process's PID namespace; None where there are none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def host_name(environ: Mapping[str, str] | None = None) -> str:
    """The name of this machine."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    return (environ or {}).get("COMPUTERNAME", "unknown")


def agent_key() -> str:
    """What names an agent's files in a state folder: the same in trainer and agent, without asking anybody."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    return f"{boot_id() or host_name()}-{pid_namespace() or 0}-{user}-{WIRE_MAJOR}"


def agent_id(state_dir: Path) -> str:
    """What an agent is called by a server: each state folder has an agent of its own, and they must not take each other's commands."""
    folder = os.path.realpath(state_dir).encode("utf-8", "surrogateescape")
    return f"{agent_key()}-{zlib.crc32(folder):08x}"


def agent_path(state_dir: Path, suffix: str) -> Path:
    """One of the agent's files: `lock`, `beat` (touched each second while it lives), `log`."""
    return state_dir / AGENTS / f"{agent_key()}.{suffix}"
