"""The agent's loop: find journals, see processes live and die, put each on its lane, and know when to leave."""

import logging
import os
import platform
import queue
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from farwatch import settings as settings_module
from farwatch.agent.folder import JournalFolder, find_journals
from farwatch.agent.killing import kill
from farwatch.agent.lane import Lane
from farwatch.agent.launcher import Launcher
from farwatch.agent.messages import Messages
from farwatch.agent.place import Alive, Lock
from farwatch.agent.retention import trim
from farwatch.agent.sampler import Sampler
from farwatch.agent.shipper import Connect
from farwatch.agent.tracking import Tracked
from farwatch.agent.transport import HttpTransport, Transport
from farwatch.clock import Clock, SystemClock
from farwatch.errors import DataError
from farwatch.machine import AGENTS, agent_id, agent_key
from farwatch.servers import credential_for, default_server, find_server
from farwatch.settings import Settings
from farwatch.version import VERSION
from farwatch.wire.commands import Op

LOG = logging.getLogger("farwatch.agent")
LOOK_S = 0.25
TRIM_US = 60_000_000
STAMP_US = 1_000_000
UNSENT_STAY_US = 24 * 3_600_000_000  # for a server that was named, or has answered before
NO_SERVER_STAY = 10  # times `idle_exit_s`, where no server has ever been seen
OTHER_AGENT_S = 15.0
PROFILES_US = 2_000_000  # how often the agent looks whether there is something that could be started
CAPTURE_S = 30.0
CAPTURES = 2  # processes that look at code and packages at a time; each takes a second of a core
FRESH_US = 60_000_000  # so young, the files of a program that has ended are still those that it ran with


class Agent:
    """One life of the agent, from its lock to its leaving.

    *Threads*: `run` is one; lanes and the sampler have their own. *Errors*: one journal's troubles are logged once and
    touch no other.
    """

    def __init__(
        self,
        state: Path,
        settings: Settings,
        *,
        lock: Lock,
        alive: Alive,
        stop: threading.Event,
        clock: Clock | None = None,
    ) -> None:
        self._state = state
        self._journals = state / "journals"
        self._settings = settings
        self._lock = lock
        self._alive = alive
        self._stop = stop
        self._clock = clock or SystemClock()
        self._tracked: dict[str, Tracked] = {}
        self._launcher = Launcher(state, allowed=settings.remote == "start")
        self._profiles_us = -PROFILES_US
        self._waits = False
        self._told: dict[str, Any] = {}
        self._passed_over: set[str] = set()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._sampler = Sampler(self._journals, self._clock, sample_s=settings.sample_s)
        self._sampling = threading.Thread(target=self._sample, name="probes", daemon=True)
        self._to_capture: queue.SimpleQueue[Tracked] = queue.SimpleQueue()
        self._capturing: list[threading.Thread] = []
        self._busy_us = self._clock.mono_us()
        self._stamped_us = self._trimmed_us = 0
        self._closing = threading.Event()
        self._messages = Messages(state, self._clock, lambda server: connector(settings, server, server), self._closing)
        self._tells = False  # whether a message waits to be sent

    def run(self) -> None:
        """Work until there is nothing to do, or `stop` is set."""
        LOG.info("agent %s of farwatch %s, process %d", agent_id(self._state), VERSION, os.getpid())
        self._sampling.start()
        while not self._stop.is_set():
            try:
                if self.turn():
                    return
            except Exception:  # the agent's loop: one defect must not end the watch over every run
                LOG.exception("the agent's loop")
            self._stop.wait(LOOK_S)

    def turn(self) -> bool:
        """One round. Returns whether it is time to leave."""
        now_us = self._clock.mono_us()
        if now_us - self._stamped_us >= STAMP_US:
            self._stamped_us = now_us
            if not self._lock.holds():
                LOG.info("the state folder is gone: leaving")
                return True
            self._alive.stamp()
        self._scan()
        self._tells = self._messages.look()
        self._await_starts(now_us)
        self._look(now_us)
        if now_us - self._trimmed_us >= TRIM_US:
            self._trimmed_us = now_us
            self._trim()
        return self._idle(now_us)

    def anything_new(self) -> bool:
        """Whether there is a journal, or a message, that this life has not seen."""
        return bool(self._new()) or not self._messages.seen.issuperset(self._messages.waiting())

    def close(self) -> None:
        """End all threads; may be called twice."""
        self._closing.set()
        self._messages.close()
        if self._sampling.is_alive():
            self._sampling.join(5)
        for lane in self._lanes.values():
            lane.close()
        for tracked in self._tracked.values():
            tracked.close()

    # --- finding

    def _new(self) -> list[Path]:
        return [
            path
            for path in find_journals(self._journals)
            if path.name not in self._tracked
            and path.name not in self._passed_over
            and (path / "writer.json").exists()
        ]

    def _scan(self) -> None:
        for path in self._new():
            try:
                folder = JournalFolder(path)
            except FileNotFoundError:
                continue  # being deleted
            except (DataError, OSError) as error:
                LOG.warning("journal %s is left alone: %s", path.name, error)
                self._passed_over.add(path.name)
                continue
            if self._has_other_agent(folder):
                folder.close()
                continue
            self._take(folder)

    def _has_other_agent(self, folder: JournalFolder) -> bool:
        """Whether an agent of another namespace, which knows its processes, looks after this journal."""
        told = folder.sidecar
        key = f"{told.get('boot_id') or told.get('host')}-{told.get('pid_ns') or 0}-{told.get('uid') or 0}-{told.get('wire')}"
        if key == agent_key() or "/" in key:
            return False
        try:
            beat = os.stat(self._state / AGENTS / f"{key}.beat").st_mtime
        except OSError:
            return False
        return self._clock.wall_us() / 1e6 - beat < OTHER_AGENT_S

    def _take(self, folder: JournalFolder) -> None:
        tracked = Tracked.of(folder)
        self._tracked[folder.writer_id] = tracked
        self._busy_us = self._clock.mono_us()
        LOG.info("journal %s: run %s, %s", folder.writer_id, folder.sidecar["run"], folder.role)
        if tracked.shipment is not None:
            lane = self._lane_of(folder)
            lane.shipper.add(tracked.shipment)
            lane.hurry()
        if folder.role == "trainer" and (tracked.watched.alive or self._just_ended(tracked)):
            self._capture(tracked)

    def _just_ended(self, tracked: Tracked) -> bool:
        """Whether its process came and went before anybody looked: a short program is captured as well."""
        started_ms = tracked.folder.sidecar.get("started_ms")
        if tracked.watched.alive is not False or not isinstance(started_ms, int):
            return False
        return 0 <= self._clock.wall_us() - started_ms * 1000 < FRESH_US

    def _lane_of(self, folder: JournalFolder) -> Lane:
        told = folder.sidecar
        return self._lane(str(told.get("server") or ""), str(told.get("credential") or ""))

    def _lane(self, server: str, credential: str) -> Lane:
        key = (server, credential)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(
                key[0] or "local",
                connector(self._settings, *key),
                self._clock,
                poll_s=self._settings.poll_s,
                agent_id=agent_id(self._state),
                host=socket.gethostname(),
                version=VERSION,
                obey=lambda order: self._obey(order, server),
                profiles=self._launcher.profiles,
            )
            lane.start()
        return lane

    def _obey(self, order: dict[str, Any], server: str) -> dict[str, Any] | None:
        """Do what the agent itself is asked for. In a lane's thread."""
        if self._settings.remote == "off":
            return {"state": "refused", "reason": "this machine takes no commands from afar (FARWATCH_REMOTE)"}
        if order.get("op") == Op.START:
            return self._launcher.start(order, server=server)
        mine = [tracked for tracked in list(self._tracked.values()) if tracked.is_of(str(order.get("run")))]
        return kill(mine, str(order.get("actor") or "somebody"), grace_s=self._settings.kill_grace_s)

    def _await_starts(self, now_us: int) -> None:
        """Where something can be started, have a way to the server that may ask for it, and stay."""
        if now_us - self._profiles_us < PROFILES_US:
            return
        self._profiles_us = now_us
        self._waits = self._launcher.waits
        if self._waits:
            self._lane(default_server(self._state) or "", "")
        told = self._launcher.profiles()
        if told != self._told:
            self._told = told
            for lane in self._lanes.values():
                lane.tell()

    # --- watching

    def _look(self, now_us: int) -> None:
        while self._sampler.ended:
            own = self._tracked.get(self._sampler.ended.popleft())
            if own is not None and own.shipment is not None:
                own.shipment.ended = True
        died = False
        for tracked in self._tracked.values():
            if tracked.look(now_us):
                died = True
                LOG.info(
                    "journal %s: its process has ended: %s", tracked.folder.writer_id, tracked.watched.cause
                )
        if died:
            for lane in self._lanes.values():
                lane.hurry()
        want = {
            writer_id: tracked.folder
            for writer_id, tracked in self._tracked.items()
            if tracked.watched.alive
            and tracked.folder.has_process
            and tracked.folder.sidecar.get("system")
            and not (tracked.shipment is not None and tracked.shipment.reader.goodbye)
        }
        # A program that calls `init` is measured for itself, so its parent, whose tree it is in, need not be.
        inside = {folder.sidecar.get("runner") for folder in want.values()}
        self._sampler.want = {writer: folder.sidecar for writer, folder in want.items() if writer not in inside}

    def _sample(self) -> None:
        while not self._closing.wait(LOOK_S):
            try:
                self._sampler.turn()
            except Exception:  # the agent's loop: a broken driver must not end the watch over every run
                LOG.exception("system metrics")
        self._sampler.close()

    def _capture(self, tracked: Tracked) -> None:
        """Look at code and packages of a new run, once, in a process of its own that may hang or fail."""
        told = tracked.folder.sidecar
        new = told.get("main") and told.get("rank") == 0 and told.get("sibling_of") is None
        if not new or (tracked.folder.path / "captured").exists():
            return
        self._to_capture.put(tracked)
        if len(self._capturing) < CAPTURES:
            worker = threading.Thread(target=self._capture_each, name="capture", daemon=True)
            self._capturing.append(worker)
            worker.start()

    def _capture_each(self) -> None:
        """Capture one run after the other: a sweep may start hundreds at once."""
        while True:
            tracked = self._to_capture.get()
            try:
                _run_capture(tracked)
            except Exception:  # the agent's loop: one odd run must not end the capture of all others
                LOG.exception("capture of %s", tracked.folder.writer_id)

    # --- leaving

    def _trim(self) -> None:
        gone = trim(
            list(self._tracked.values()),
            now_ms=self._clock.wall_us() // 1000,
            keep_s=self._settings.keep_acknowledged_s,
            keep_bytes=self._settings.keep_acknowledged_bytes,
        )
        for tracked in gone:
            LOG.info("journal %s: acknowledged long ago, deleted", tracked.folder.writer_id)
            for lane in self._lanes.values():
                if tracked.shipment is not None:
                    lane.shipper.remove(tracked.shipment)
            self._tracked.pop(tracked.folder.writer_id, None)
            tracked.close()

    def _idle(self, now_us: int) -> bool:
        if self._waits or any(t.watched.alive and t.folder.has_process for t in self._tracked.values()):
            self._busy_us = now_us
        for lane in self._lanes.values():
            self._busy_us = max(self._busy_us, lane.sent_us)
        stay_us = int(self._settings.idle_exit_s * 1e6)
        for key, lane in self._lanes.items():
            if any(not s.dormant and s.refused is None for s in lane.shipper.shipments):
                known = bool(key[0]) or lane.shipper.reached
                stay_us = max(stay_us, UNSENT_STAY_US if known else NO_SERVER_STAY * stay_us)
        if self._tells:
            stay_us = max(stay_us, UNSENT_STAY_US if self._messages.lasting else NO_SERVER_STAY * stay_us)
        return now_us - self._busy_us >= stay_us


def connector(settings: Settings, server: str, key: str) -> Connect:
    """How a journal's server is reached: looked up anew each time, since a local server may come back elsewhere.

    `server`: the address that its sidecar names, empty for this user's own. `key`: of the credential.
    """
    state = settings_module.state_dir(settings)
    home = settings_module.state_dir(settings.replace(dir=""))

    def connect() -> Transport | None:
        for folder in dict.fromkeys((state, home)):
            if server:
                credential = credential_for(folder, server, key=key or None)
                if credential is not None:
                    return HttpTransport(server, credential)
                continue
            found = find_server(settings.replace(dir=str(folder), server="", token=""))
            if found is not None:
                return HttpTransport(*found)
        return HttpTransport(server) if server else None

    return connect


def _run_capture(tracked: Tracked) -> None:
    command = [
        _executable_of(tracked.folder.sidecar),
        "-P",
        "-m",
        "farwatch.agent.capture",
        str(tracked.folder.path),
    ]
    environment = {**settings_module.environment(), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CAPTURE_S,
            check=False,
        )
        if done.returncode:
            LOG.info(
                "capture of %s failed: %s",
                tracked.folder.writer_id,
                done.stderr[-500:].decode(errors="replace"),
            )
        with open(tracked.folder.path / "captured", "wb"):
            return
    except (OSError, subprocess.TimeoutExpired) as error:
        LOG.info("capture of %s failed: %s", tracked.folder.writer_id, error)


def _executable_of(sidecar: dict[str, Any]) -> str:
    """The trainer's Python, if the living process really runs it: a journal's word alone starts no program."""
    named, pid = sidecar.get("executable"), sidecar.get("pid")
    if (
        isinstance(named, str)
        and os.path.isabs(named)
        and isinstance(pid, int)
        and platform.system() == "Linux"
    ):
        try:
            if os.path.realpath(named) == os.path.realpath(f"/proc/{pid}/exe"):
                return named
        except OSError:
            return sys.executable
    return sys.executable
