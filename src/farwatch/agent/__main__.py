"""`python -P -m farwatch.agent --state DIR`: run this machine's agent, or leave at once if there is one."""

import sys

from farwatch.agent.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
