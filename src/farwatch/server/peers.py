"""Whose process is at the other end of a loopback connection, as the kernel says it.

Only an established socket with an inode counts: sockets that were closed by their owner (FIN_WAIT, TIME_WAIT) are listed with uid 0,
so a stranger who sends and closes at once would otherwise pass for root.
"""

import ipaddress
import os
import socket
import struct
import sys
from pathlib import Path

_ESTABLISHED = "01"
_LISTEN = "0A"
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def is_loopback(address: str) -> bool:
    """Whether an IP address, v4-mapped ones included, never leaves this machine."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _kernel_form(address: str, port: int) -> tuple[str, ...]:
    """How `/proc/net/tcp` and `/proc/net/tcp6` write an address: 32-bit words in the machine's byte order."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    tail = f":{port:04X}"
    if parsed.version == 4:
        word = f"{struct.unpack('=I', parsed.packed)[0]:08X}"
        mapped = f"{struct.unpack('=I', socket.inet_aton('0.0.255.255'))[0]:08X}"
        return word + tail, "0" * 16 + mapped + word + tail
    words = struct.unpack("=4I", parsed.packed)
    return ("".join(f"{word:08X}" for word in words) + tail,)


def peer_uid(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The uid that owns the client's end of an established connection; None where the system does not say.

    *Cost*: one or two reads of a kernel table, about 50 µs plus 1 µs per socket on this machine.
    """
    local, remote = _kernel_form(*client), _kernel_form(*server)
    for table in TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 10)
            if len(fields) < 10 or fields[1] not in local or fields[2] not in remote:
                continue
            return int(fields[7]) if fields[3] == _ESTABLISHED and fields[9] != "0" else None
    return None


def own_uid() -> int | None:
    """This server's uid, or None where a uid proves nothing: other systems, and the uid that stands for unmapped ones."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        overflow = 65534
    uid = os.geteuid()
    return None if uid == overflow else uid


def listener(port: int) -> str | None:
    """Who listens on a port of this machine, in words: `pid 4711 (python3), user ann`; None if nobody is seen."""
    for table in TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 10)
            if len(fields) >= 10 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                return _describe(int(fields[7]), fields[9])
    return None


def _describe(uid: int, inode: str) -> str:
    user = user_name(uid)
    target = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(handle) == target for handle in (process / "fd").iterdir()):
                return f"pid {process.name} ({(process / 'comm').read_text().strip()}), user {user}"
        except OSError:
            continue  # ended meanwhile, or another person's
    return f"a process of user {user}"


def user_name(uid: int) -> str:
    """The name of an account, or its number."""
    try:
        import pwd  # not on every system

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)
