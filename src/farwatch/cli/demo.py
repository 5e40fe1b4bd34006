"""`farwatch demo`: a server of its own, and three runs of a real model on real data."""

import contextlib
import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import click

from farwatch.api import Api
from farwatch.cli.output import emit, emit_json, json_option, say
from farwatch.clock import Clock, SystemClock
from farwatch.errors import ContactError, FarwatchError, UsageError
from farwatch.servers import local_server
from farwatch.settings import Settings, environment, load, state_dir
from farwatch.wire.states import FINAL

START_S = 60.0
STOP_TRIES = 15
# Too careful, right, and far too bold: the last one diverges to NaN after a few epochs.
RUNS = (("careful", "0.02"), ("steady", "0.2"), ("too-bold", "80"))


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything it makes; default: `demo` in the state folder.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of its server.")
@click.option("--epochs", type=click.IntRange(1), default=120, show_default=True, help="Epochs of each run.")
@click.option(
    "--epoch-s",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Shortest time of an epoch, so that there is something to watch.",
)
@click.option(
    "--leave", is_flag=True, help="End when the training has ended, instead of keeping the page open."
)
@json_option
def demo(
    data: Path | None, port: int | None, epochs: int, epoch_s: float, leave: bool, as_json: bool
) -> None:
    """Show a real model training on real data: three runs on scikit-learn's digits, one of which diverges.

    It has a folder and a server of its own and touches neither your runs nor the network.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(
            "the demo trains with scikit-learn, which is not installed", hint="pip install 'farwatch[demo]'"
        )
    settings = load()
    folder = (data or state_dir(settings) / "demo").absolute()
    show = Show(folder, SystemClock(), port)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        show.start_server()
        link = show.link()
        if as_json:
            emit_json({"address": show.address, "link": link, "folder": str(folder), "runs": len(RUNS)})
        else:
            emit(f"{link}")
            say(f"three runs are training; everything is in {folder}")
        show.train(epochs, epoch_s)
        show.settle()
        say("the training has ended" + ("" if leave else "; the page stays until you press Ctrl-C"))
        if not leave:
            show.wait_for_server()
    except KeyboardInterrupt:
        say("stopping")
    finally:
        show.stop()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class Show:
    """The processes of the demo."""

    def __init__(self, folder: Path, clock: Clock, port: int | None) -> None:
        self.folder = folder
        self._clock = clock
        self._port = port
        self._server: subprocess.Popen[bytes] | None = None
        self._trainers: list[subprocess.Popen[bytes]] = []
        self._settings = _settings_of(folder)

    @property
    def address(self) -> str:
        found = local_server(self.folder)
        if found is None:
            raise ContactError("the demo's server has gone")
        return found[0]

    def start_server(self) -> None:
        """Start the server, or find the one of a demo that runs already. Raises `FarwatchError` if it does not come up."""
        if local_server(self.folder) is not None:
            say("this demo's server runs already: using it")
            return
        port = [] if self._port is None else ["--port", str(self._port)]
        with open(self._made("server.log"), "wb") as log:
            command = [sys.executable, "-m", "farwatch.cli", "serve", "--no-open", *port]
            self._server = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = self._clock.mono_us() + int(START_S * 1e6)
        while True:
            if local_server(self.folder) is not None:
                try:
                    with self._api() as api:
                        api.info()
                    return
                except ContactError:
                    pass  # its file is there a moment before it answers
            if self._server.poll() is not None or self._clock.mono_us() > deadline:
                tail = (self.folder / "server.log").read_text(errors="replace").strip()[-2000:]
                raise FarwatchError(f"the demo's server did not start:\n{tail}")
            self._clock.sleep(0.1)

    def link(self) -> str:
        """The address with a code that opens the page once in a browser."""
        with self._api() as api:
            return str(api._contact.send("POST", "/once", {})["url"])

    def train(self, epochs: int, epoch_s: float) -> None:
        """Run the trainers to their end. Raises `FarwatchError` with their words if one fails."""
        with _trainer() as script:
            for name, rate in RUNS:
                arguments = [
                    str(script),
                    "--name",
                    name,
                    "--lr",
                    rate,
                    "--epochs",
                    str(epochs),
                    "--epoch-s",
                    str(epoch_s),
                ]
                with open(self._made(f"{name}.log"), "wb") as log:
                    process = subprocess.Popen(
                        [sys.executable, *arguments], env=self._environment(), cwd=self.folder,
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    )  # fmt: skip
                self._trainers.append(process)
            for process in self._trainers:
                process.wait()
        for (name, _), process in zip(RUNS, self._trainers, strict=True):
            if process.returncode:
                tail = (self.folder / f"{name}.log").read_text(errors="replace").strip()[-2000:]
                raise FarwatchError(f"the run `{name}` failed:\n{tail}")

    def settle(self) -> None:
        """Wait until everything that was logged is on the server; not longer than it may reasonably take."""
        deadline = self._clock.mono_us() + int(START_S * 1e6)
        with self._api() as api:
            while self._clock.mono_us() < deadline:
                runs = api.runs("digits")
                if len(runs) >= len(RUNS) and all(run.state in FINAL for run in runs):
                    return
                self._clock.sleep(0.2)
        say("not everything has arrived yet; it is kept, see: farwatch status")

    def wait_for_server(self) -> None:
        """Keep the page alive until the server ends or a person interrupts."""
        while local_server(self.folder) is not None:
            self._clock.sleep(0.5)

    def stop(self) -> None:
        """End what this demo started, trainers first."""
        _end(self._trainers, signal.SIGINT)
        if self._server is not None:
            _end([self._server], signal.SIGTERM)

    def _api(self) -> Api:
        return Api(settings=self._settings)

    def _made(self, name: str) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.folder / name

    def _environment(self) -> dict[str, str]:
        """This process's environment without settings of the person's own runs."""
        own = {name: value for name, value in environment().items() if not name.startswith("FARWATCH_")}
        # One thread each: three small models that fight for every core are slower than three that do not.
        return {**own, "FARWATCH_DIR": str(self.folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _settings_of(folder: Path) -> Settings:
    return load({"FARWATCH_DIR": str(folder)})


def _end(processes: Sequence[subprocess.Popen[bytes]], by: signal.Signals) -> None:
    """Ask processes to end, again every second: scikit-learn swallows an interrupt that meets it at work."""
    left = list(processes)
    for _ in range(STOP_TRIES):
        left = [process for process in left if process.poll() is None]
        if not left:
            return
        for process in left:
            process.send_signal(by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            left[0].wait(1)
    for process in left:
        process.kill()
        process.wait()


@contextmanager
def _trainer() -> Iterator[Path]:
    """The training script: `examples/digits.py`, which the wheel carries beside this module."""
    packaged = files("farwatch.cli").joinpath("digits.py")
    if packaged.is_file():
        with as_file(packaged) as path:
            yield path
    else:
        yield Path(__file__).parents[3] / "examples" / "digits.py"
