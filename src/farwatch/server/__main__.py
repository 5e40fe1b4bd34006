"""`python -m farwatch.server`: a server without the command line around it, for tests and service managers."""

import argparse
import logging
import sys
from typing import Any

from farwatch.errors import FarwatchError, UsageError
from farwatch.server.serve import announce, serve
from farwatch.settings import BY_NAME, load


def main() -> int:
    """Run a server until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m farwatch.server", description="Run a Farwatch server.")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0: any")
    parser.add_argument("--data", help="data folder")
    parser.add_argument("--dir", help="state folder")
    parser.add_argument("--url", help="public address, for links")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    parser.add_argument("--json", action="store_true", help="say where it listens as one line of JSON")
    parser.add_argument(
        "--log", default="WARNING", help="level of the log on stderr; INFO shows every request"
    )
    given = parser.parse_args()
    logging.basicConfig(
        level=given.log.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        settings = load().replace(**_named(given.set))
        settings = settings.replace(
            host=given.host, port=given.port, data=given.data, dir=given.dir, url=given.url
        )
        serve(settings, ready=lambda started: announce(started, as_json=given.json))
    except FarwatchError as error:
        print(f"farwatch: {error}", file=sys.stderr)
        return 2
    return 0


def _named(pairs: list[str]) -> dict[str, Any]:
    """Values of settings given as `NAME=VALUE`. Raises `UsageError` for a name that is none and a value that does not parse."""
    environ: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in BY_NAME:
            raise UsageError(
                f"`--set` takes NAME=VALUE with the name of a setting, not: `{pair[:100]}`",
                hint="docs/reference/settings.md lists them",
            )
        environ[BY_NAME[name].env] = value
    parsed = load(environ)
    return {name: parsed.values[name] for name, source in parsed.sources.items() if source == "environment"}


if __name__ == "__main__":
    sys.exit(main())
