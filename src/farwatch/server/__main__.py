"""`python -m farwatch.server`: a server without the command line around it, for tests and service managers."""

import argparse
import logging
import sys

from farwatch.errors import FarwatchError
from farwatch.server.serve import announce, serve
from farwatch.settings import load


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
        environ = {
            "FARWATCH_" + name.upper(): value
            for name, _, value in (pair.partition("=") for pair in given.set)
        }
        settings = load()
        parsed = load(environ)
        extra = {
            name: parsed.values[name] for name, source in parsed.sources.items() if source == "environment"
        }
        settings = settings.replace(
            **extra, host=given.host, port=given.port, data=given.data, dir=given.dir, url=given.url
        )
        serve(settings, ready=lambda started: announce(started, as_json=given.json))
    except FarwatchError as error:
        print(f"farwatch: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
