"""Settings as data: one table, from which come the objects, the environment names, the flags and the reference page.

The environment is read here and nowhere else. Everything else receives a `Settings` object as an argument.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farwatch.errors import UsageError

PORT = 3279  # F-A-R-W on a telephone


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table: `name` carries its unit, `scope` says who reads it (`client`, `agent` or `server`)."""

    name: str
    kind: type
    default: Any
    text: str
    scope: str
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return "FARWATCH_" + self.name.upper()


MIB = 1 << 20

SETTINGS: tuple[Setting, ...] = (
    Setting("server", str, "", "address of the server; empty: what `farwatch login` stored, else this user's own server", "client"),
    Setting("token", str, "", "token for that server", "client", secret=True),
    Setting("dir", str, "", "state folder, node-local; empty: the platform's state folder", "client"),
    Setting("mode", str, "online", "`online`, `offline` (opens no connection) or `disabled` (does nothing)", "client"),
    Setting("project", str, "", "project of a run; empty: the git root's name, else the script's folder", "client"),
    Setting("run_id", str, "", "id of the run to make or continue", "client"),
    Setting("name", str, "", "name of the run; empty: two words made from its id", "client"),
    Setting("group", str, "", "group of the run", "client"),
    Setting("tags", str, "", "tags of the run, separated by commas", "client"),
    Setting("agent", bool, True, "start this machine's agent by itself", "client"),
    Setting("mute", bool, False, "no progress bars of `farwatch.tqdm` and `run.progress` on the terminal; the run is told", "client"),
    Setting("strict", bool, False, "raise where `log` would warn; for tests of one's own training code", "client"),
    Setting("journal_max_bytes", int, 8 << 30, "disk that one run's journal may take before it stops growing, with one warning", "client"),
    Setting("resume_wait_s", float, 5.0, "how long `init(resume=\"must\" or \"never\")` may ask the server, seconds", "client"),
    Setting("finish_timeout_s", float, 30.0, "longest wait of `finish` where the agent dies with the process, seconds", "client"),
    Setting("pause_max_s", float, 7_200.0, "longest pause that a person may ask for; then the training goes on, seconds", "client"),
    Setting("ranks_wait_s", float, 5.0, "longest wait for another rank; then the run is steered no more, seconds", "client"),
    Setting("poll_s", float, 0.05, "how often the agent looks at busy journals, seconds", "agent"),
    Setting("idle_exit_s", float, 60.0, "the agent leaves after so long without a live journal, seconds", "agent"),
    Setting("sample_s", float, 5.0, "time between samples of the machine's metrics, seconds", "agent"),
    Setting("keep_acknowledged_s", float, 86_400.0, "how long acknowledged journals stay, for a restored server, seconds", "agent"),
    Setting("keep_acknowledged_bytes", int, 4 << 30, "disk that acknowledged journals may take", "agent"),
    Setting("remote", str, "start", "what may be asked of this machine from afar: `off`, `steer` (no starts) or `start`", "agent"),
    Setting("kill_grace_s", float, 5.0, "time between SIGTERM and SIGKILL when a run is killed, seconds", "agent"),
    Setting("host", str, "127.0.0.1", "address to listen on; off loopback an administrator must exist", "server"),
    Setting("port", int, PORT, "port to listen on; the next free one if taken", "server"),
    Setting("data", str, "", "data folder; empty: `server` in the state folder", "server"),
    Setting("url", str, "", "public address of this server, for links", "server"),
    Setting("durability", str, "disk", "`disk`: acknowledged means fsynced; `os`: survives the process, not a power cut", "server"),
    Setting("memtable_points", int, 1 << 20, "points kept in memory before they are written as chunks", "server"),
    Setting("flush_s", float, 30.0, "longest time that points stay in memory only and in the log, seconds", "server"),
    Setting("batch_max_bytes", int, 16 * MIB, "largest packed batch", "server"),
    Setting("batch_unpacked_max_bytes", int, 64 * MIB, "largest batch after unpacking, counted while unpacking", "server"),
    Setting("json_max_bytes", int, 8 * MIB, "largest JSON request body", "server"),
    Setting("json_depth_max", int, 64, "deepest nesting of a JSON request", "server"),
    Setting("config_max_bytes", int, 16 * MIB, "largest config of a run; a larger one is kept as a file", "server"),
    Setting("text_max_bytes", int, MIB, "longest text point, note or console line", "server"),
    Setting("names_per_run", int, 1_000_000, "metric names of one run", "server"),
    Setting("names_per_minute", int, 100_000, "new metric names of one run per minute; then its journal waits", "server"),
    Setting("tags_max", int, 100, "tags of one run", "server"),
    Setting("blob_max_bytes", int, 64 << 30, "largest file", "server"),
    Setting("project_max_bytes", int, 0, "disk that one project may take; 0: no limit", "server"),
    Setting("disk_warn_percent", float, 10.0, "free disk under which the page warns", "server"),
    Setting("disk_files_percent", float, 5.0, "free disk under which files are refused", "server"),
    Setting("disk_stop_percent", float, 2.0, "free disk under which batches are refused with 507 and journals wait", "server"),
    Setting("query_rows_max", int, 100_000, "rows that one query may return", "server"),
    Setting("query_s", float, 5.0, "time that one query may take, seconds", "server"),
    Setting("regex_s", float, 0.1, "time that one regular expression may take, seconds", "server"),
    Setting("streams_max", int, 512, "open live streams", "server"),
    Setting("streams_per_actor", int, 16, "open live streams of one person", "server"),
    Setting("head_s", float, 10.0, "time that a request head may take, seconds", "server"),
    Setting("body_idle_s", float, 30.0, "time that a request body may pause, seconds", "server"),
    Setting("starts_per_hour", int, 5, "programs that one person may start from afar in an hour", "server"),
    Setting("lost_s", float, 45.0, "silence of an agent after which its runs are lost, seconds", "server"),
    Setting("stalled_min_s", float, 600.0, "shortest silence of a living process that is called stalled, seconds", "server"),
    Setting("delete_keep_s", float, 30 * 86_400.0, "how long a deleted run can be brought back, seconds", "server"),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of all settings, with where each came from: `default`, `environment` or `argument`."""

    values: Mapping[str, Any]
    sources: Mapping[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def replace(self, **values: Any) -> "Settings":
        """The same settings with some values given by argument; None leaves a value as it is."""
        given = {name: value for name, value in values.items() if value is not None}
        for name in given:
            if name not in BY_NAME:
                raise UsageError(f"no setting of this name: `{name}`")
        return Settings({**self.values, **given}, {**self.sources, **dict.fromkeys(given, "argument")})


def _parse(setting: Setting, text: str) -> Any:
    try:
        if setting.kind is bool:
            return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}[
                text.strip().lower()
            ]
        return setting.kind(text)
    except (KeyError, ValueError):
        raise UsageError(
            f"`{setting.env}` must be {setting.kind.__name__}, not: `{'•••' if setting.secret else text[:100]}`",
            hint=setting.text,
        ) from None


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment once. Raises `UsageError` naming the variable that does not parse."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        text = environ.get(setting.env)
        if text is None or text == "":
            values[setting.name], sources[setting.name] = setting.default, "default"
        else:
            values[setting.name], sources[setting.name] = _parse(setting, text), "environment"
    return Settings(values, sources)


def read(name: str, environ: Mapping[str, str] | None = None) -> Any:
    """One setting, for those who need it often. Raises `UsageError` if the variable does not parse."""
    setting = BY_NAME[name]
    text = (os.environ if environ is None else environ).get(setting.env)
    return _parse(setting, text) if text else setting.default


def state_dir(settings: Settings) -> Path:
    """The state folder: journals, credentials, the local server's address. Not created here.

    `FARWATCH_DIR`, else `XDG_STATE_HOME/farwatch`, else the platform's custom.
    """
    if settings.dir:
        return Path(settings.dir).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        return Path(environment().get("LOCALAPPDATA", home / "AppData" / "Local")) / "farwatch"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "farwatch"
    return Path(environment().get("XDG_STATE_HOME") or home / ".local" / "state") / "farwatch"


def replace_environment(environ: Mapping[str, str]) -> None:
    """Make this the process environment; for the supervisor of a program that gets another one than its starter's."""
    os.environ.clear()
    os.environ.update(environ)


def environment() -> Mapping[str, str]:
    """The process environment, for the few who look for launchers, notebooks and schedulers."""
    return os.environ
