"""Reading and steering runs from anywhere: `farwatch.Api`.

Needs NumPy. Everything else of a server (its store, its rules) stays behind HTTP: this package imports the words of
`farwatch.wire`, the one connection of `farwatch.agent.transport`, and nothing above.
"""

from farwatch.api.client import Api
from farwatch.api.launch import Profile
from farwatch.api.run import ConsoleLine, FileEntry, Metric, Run
from farwatch.api.runs import Runs
from farwatch.api.series import Chart, Line, Series, SeriesTable
from farwatch.api.steering import Command, KnobState

__all__ = [
    "Api",
    "Chart",
    "Command",
    "ConsoleLine",
    "FileEntry",
    "KnobState",
    "Line",
    "Metric",
    "Profile",
    "Run",
    "Runs",
    "Series",
    "SeriesTable",
]
