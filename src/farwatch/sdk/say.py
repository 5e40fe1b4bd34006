"""Lines for the person at the terminal."""

import sys


def say(text: str) -> None:
    """Write one line to the error stream; nothing in the world makes it raise."""
    stream = sys.stderr if sys.stderr is not None else sys.__stderr__
    try:
        if stream is not None:
            stream.write(f"farwatch: {text}\n")
            stream.flush()
    except (OSError, ValueError, AttributeError):
        return  # a closed or replaced stream: there is nobody to tell
