"""CPU, memory, disk and network of the machine: from `/proc`, elsewhere from psutil."""

import contextlib
import os
import sys
from types import ModuleType

try:
    import psutil as _psutil
except ImportError:
    _psutil = None  # type: ignore[assignment]

PSUTIL: ModuleType | None = _psutil
LINUX = sys.platform == "linux"
SECTOR_BYTES = 512  # the unit of /proc/diskstats, whatever the disk says
_PARTS = ("loop", "ram", "zram", "dm-", "md", "sr", "fd")  # counted again below, or no disks


class MachineProbe:
    """The whole machine: `cpu` in percent of all cores, `memory_bytes` in use, and rates of disk and network.

    `folder`: where free disk is measured.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._before: dict[str, float] = {}
        self._at_us = 0
        self._cpu = (0.0, 0.0)

    def sample(self, mono_us: int) -> dict[str, float]:
        values: dict[str, float] = {}
        busy, total = _cpu_times()
        if self._cpu[1] and total > self._cpu[1]:
            values["cpu"] = 100 * (busy - self._cpu[0]) / (total - self._cpu[1])
        self._cpu = (busy, total)
        values |= _memory()
        with contextlib.suppress(OSError, AttributeError):
            disk = os.statvfs(self._folder)
            values["disk/free_bytes"] = float(disk.f_bavail * disk.f_frsize)
        counters = _disk_counters() | _network_counters()
        elapsed_s = (mono_us - self._at_us) / 1e6
        for name, value in counters.items():
            before = self._before.get(name)
            if before is not None and elapsed_s > 0 and value >= before:  # a counter may start anew
                values[f"{name}_bytes_per_s"] = (value - before) / elapsed_s
        self._before, self._at_us = counters, mono_us
        return values

    def close(self) -> None:
        return None


def _cpu_times() -> tuple[float, float]:
    """Busy and total CPU time since boot, in whatever unit."""
    if LINUX:
        with contextlib.suppress(OSError, ValueError), open("/proc/stat", "rb") as file:
            times = [int(part) for part in file.readline().split()[1:9]]
            return float(sum(times) - times[3] - times[4]), float(sum(times))
    elif PSUTIL is not None:
        with contextlib.suppress(OSError):
            found = PSUTIL.cpu_times()
            return float(sum(found) - found.idle), float(sum(found))
    return 0.0, 0.0


def _memory() -> dict[str, float]:
    if LINUX:
        with contextlib.suppress(OSError, ValueError, KeyError), open("/proc/meminfo", "rb") as file:
            found = {line.split(b":")[0]: float(line.split()[1]) * 1024 for line in file if b":" in line}
            used = found[b"MemTotal"] - found[b"MemAvailable"]
            return {"memory_bytes": used, "memory_percent": 100 * used / found[b"MemTotal"]}
    elif PSUTIL is not None:
        with contextlib.suppress(OSError):
            told = PSUTIL.virtual_memory()
            return {"memory_bytes": float(told.total - told.available), "memory_percent": float(told.percent)}
    return {}


def _disk_counters() -> dict[str, float]:
    if LINUX:
        read = written = 0.0
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            open("/proc/diskstats", encoding="ascii") as file,
        ):
            whole = set(os.listdir("/sys/block"))
            for line in file:
                parts = line.split()
                if parts[2] in whole and not parts[2].startswith(_PARTS):
                    read += float(parts[5]) * SECTOR_BYTES
                    written += float(parts[9]) * SECTOR_BYTES
            return {"disk/read": read, "disk/written": written}
    elif PSUTIL is not None:
        with contextlib.suppress(OSError, RuntimeError):
            told = PSUTIL.disk_io_counters()
            if told is not None:
                return {"disk/read": float(told.read_bytes), "disk/written": float(told.write_bytes)}
    return {}


def _network_counters() -> dict[str, float]:
    if LINUX:
        received = sent = 0.0
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            open("/proc/net/dev", encoding="ascii") as file,
        ):
            for line in file.readlines()[2:]:
                name, _, numbers = line.partition(":")
                if name.strip() != "lo":
                    parts = numbers.split()
                    received += float(parts[0])
                    sent += float(parts[8])
            return {"network/received": received, "network/sent": sent}
    elif PSUTIL is not None:
        with contextlib.suppress(OSError):
            told = PSUTIL.net_io_counters()
            if told is not None:
                return {"network/received": float(told.bytes_recv), "network/sent": float(told.bytes_sent)}
    return {}
