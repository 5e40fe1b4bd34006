"""The command line: `farwatch COMMAND`.

Every command has `--json`, works without a terminal, writes data to stdout and everything else to stderr, and ends with
a code other than 0 when it failed: 1 for a trouble, 2 for a wrong call, 130 for Ctrl-C.
"""

import sys


def main(arguments: list[str] | None = None) -> None:
    """The entry point of the program `farwatch`."""
    from farwatch.cli.group import run  # click costs 30 ms; whoever imports this package may not need it

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
