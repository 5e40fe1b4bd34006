"""Fixtures of the agent's tests: journals written byte by byte, and a strict small server."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
