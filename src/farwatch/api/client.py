"""`farwatch.Api`: the door to a server for programs and notebooks."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from farwatch.api.alerts import Alert, ask_alerts
from farwatch.api.contact import connect, quoted
from farwatch.api.launch import Profile, ask_start, list_profiles
from farwatch.api.run import Run
from farwatch.api.runs import Runs, ask_runs
from farwatch.api.series import SeriesTable
from farwatch.api.steering import Command
from farwatch.settings import Settings


class Api:
    """Reads runs of a server, and changes their names, tags and notes.

    `server`: its address; None: `FARWATCH_SERVER`, else what `farwatch login` stored, else this user's own server on this
    machine. `token`: None: what is stored for that server. A token without the scope for a change gets `ForbiddenError`.

    *Threads*: any. *Cost*: nothing is asked before the first question; a million points take about 0.1 CPU s.
    """

    def __init__(
        self, server: str | None = None, token: str | None = None, *, settings: Settings | None = None
    ) -> None:
        self._contact = connect(server, token, settings)

    @property
    def server(self) -> str:
        """The address of the server."""
        return self._contact.address

    def info(self) -> dict[str, Any]:
        """What the server says of itself: version, server_id, epoch, url, disk, now_ms."""
        return self._contact.get("/info")

    def projects(self) -> list[dict[str, Any]]:
        """All projects with their counts of runs, points and bytes."""
        return list(self._contact.get("/projects")["projects"])

    def runs(
        self,
        project: str | None = None,
        *,
        where: str | None = None,
        search: str | None = None,
        sort: str | None = None,
        columns: Sequence[str] = (),
        limit: int | None = None,
        archived: bool = False,
    ) -> Runs:
        """The runs that match, newest first unless `sort` says otherwise.

        `where`: an expression such as `summary["val/acc"].max >= 0.9 and config["opt/lr"] < 1e-3 and "baseline" in tags`;
        it is parsed, never evaluated. `search`: text in names, tags and notes. `sort`: names with commas, `-` before one turns its order.
        `columns`: names such as `config.lr` or `summary.loss.min` to bring along. Raises `QueryError` with the position.
        """
        query = {
            "project": project,
            "where": where,
            "q": search,
            "sort": sort,
            "columns": list(columns),
            "archived": archived,
        }
        return ask_runs(self._contact, query, limit)

    def run(self, ref: str) -> Run:
        """One run by its id, the first 7 letters of it, or `project#number`. Raises `NotFoundError`."""
        row = self._contact.get(f"/runs/{quoted(ref)}")
        return Run(self._contact, row["id"], row, complete=True)

    def series(
        self,
        project: str,
        name: str,
        *,
        where: str | None = None,
        step_min: float | None = None,
        step_max: float | None = None,
    ) -> SeriesTable:
        """Every point of one metric of many runs, exact, in one call."""
        body = {"project": project, "name": name, "where": where, "lo": step_min, "hi": step_max}
        meta, arrays = self._contact.columns(
            "/series", {key: value for key, value in body.items() if value is not None}
        )
        return SeriesTable(meta["lines"], arrays)

    def alerts(self, project: str | None = None, *, state: str | None = None) -> list[Alert]:
        """Alerts of a project's runs, or of all, newest first; `state`: only `pending`, `firing`, `silenced` or `resolved` ones."""
        return ask_alerts(self._contact, "/alerts", state, project=project)

    def rules(self, project: str | None = None) -> dict[str, dict[str, Any]]:
        """The alert rules in force for the server or a project, by name."""
        path = "/rules" if project is None else f"/projects/{quoted(project)}/rules"
        return {rule["name"]: rule for rule in self._contact.get(path)["rules"]}

    def set_rules(self, rules: Mapping[str, Any], project: str | None = None) -> None:
        """Change rules of the server or a project: `{"plateau": {"after_s": 600}, "nan": {"on": False}, "spike": None}`."""
        path = "/rules" if project is None else f"/projects/{quoted(project)}/rules"
        self._contact.send("PUT", path, {"rules": dict(rules)})

    def profiles(self) -> list[Profile]:
        """What can be started, on which machine, with which parameters."""
        return list_profiles(self._contact)

    def start(self, profile: str, /, machine: str | None = None, **parameters: Any) -> Command:
        """Start a profile of a machine (its name, `user@name`, or None: the only one that offers it); `result["run"]` is the run.

        Raises `NotFoundError` for an unknown one, `CommandError` for a parameter that it does not take, `EndedError` for a machine
        that is away, `ForbiddenError`, `BusyError`.
        """
        return ask_start(self._contact, profile, machine, parameters, channel="api")

    def close(self) -> None:
        """Close the connections; may be called twice. A later question opens new ones."""
        self._contact.close()

    def __enter__(self) -> "Api":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<farwatch.Api of {self.server}>"
