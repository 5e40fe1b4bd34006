"""Which run somebody means: the one they name, the one they answer, or the only one that it can be."""

from farwatch.bridges.language.asked import Asked
from farwatch.bridges.language.words import Verb
from farwatch.service.alerts import Register
from farwatch.service.runs import RunRow, Runs

KNOWN_MAX = 200  # the newest runs that have ended, which a name without more can mean
LISTED_MAX = 9
LISTENER = "listener"  # the job type of a program that waits to be started


class Selection:
    """Finds runs. *Threads*: any; reads memory, and the database for an answered message."""

    def __init__(self, runs: Runs, alerts: Register) -> None:
        self._runs = runs
        self._alerts = alerts

    def known(self) -> list[RunRow]:
        """All runs that go on and the newest that have ended, oldest first; none that are deleted."""
        there = self._there()
        lately = {run.no for run in [run for run in there if run.final][-KNOWN_MAX:]}
        return [run for run in there if not run.final or run.no in lately]

    def _there(self) -> list[RunRow]:
        return [run for run in self._runs.meta.runs_of(None) if not run.purged and run.deleted_ms is None]

    def active(self) -> list[RunRow]:
        """Runs that go on; programs that wait to be started only if there is nothing else."""
        going = [run for run in self.known() if not run.final]
        return [run for run in going if run.job_type != LISTENER] or going

    def listeners(self) -> list[RunRow]:
        """Programs that wait to be started."""
        return [run for run in self.known() if not run.final and run.job_type == LISTENER]

    def listed(self) -> list[RunRow]:
        """Active runs, then those that have ended, the newest first."""
        known = self.known()
        going = [run for run in known if not run.final]
        return going + [run for run in reversed(known) if run.final][: max(0, LISTED_MAX - len(going))]

    def answered(self, chat_no: int, message_id: str) -> RunRow | None:
        """The run that one of our messages in a chat is about; None for one that is about none."""
        with self._runs.meta.read() as reads:
            post = reads.people.post_of_message(chat_no, message_id)
        if post is None:
            return None
        kind, _, rest = post.about.partition("/")
        number = rest.partition(".")[0]
        if not number.isdigit():
            return None
        if kind in ("run", "progress"):
            return self._runs.meta.run(int(number))
        if kind == "alert":
            run_no = self._alerts.get(int(number)).run_no
            return None if run_no is None else self._runs.meta.run(run_no)
        return None

    def find(self, ref: str) -> list[RunRow]:
        """Runs that a word names: an id or its beginning, `#12`, `digits#12`, a name; those that go on before others."""
        known = self.known()
        word = ref.lower().lstrip("#")
        found = [run for run in self._there() if ref in (run.id, f"{run.project}#{run.number}") or run.short == word]
        if not found and ref.startswith("#") and word.isdigit():
            found = [run for run in known if run.number == int(word)]
        found = found or [run for run in known if run.name.lower() == word]
        found = found or [run for run in known if len(word) >= 4 and run.id.startswith(word)]
        return [run for run in found if not run.final] or found[-1:]

    def candidates(self, asked: Asked, *, looks: bool) -> list[RunRow]:
        """Runs that can be meant where none is named. `looks`: nothing is changed, so that the last one that has ended will do."""
        found = self.active()
        part = "commands" if asked.verb is Verb.CALL else "knobs" if asked.verb in (Verb.SET, Verb.SCALE) else None
        if part is not None:
            going = [run for run in self.known() if not run.final]
            able = [run for run in going if asked.name in (self._runs.meta.detail(run.no).steer.get(part) or {})]
            found = [run for run in able if run.job_type != LISTENER] or able or found
        return found or (self.known()[-1:] if looks else [])
