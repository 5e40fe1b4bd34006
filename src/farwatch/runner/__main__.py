"""`python -P -m farwatch.runner RECORD`: the supervisor of a program that the agent starts."""

import sys
from pathlib import Path

from farwatch.runner.launched import run_launched

if __name__ == "__main__":
    sys.exit(run_launched(Path(sys.argv[1])))
