"""A drop-in for tqdm that also tells the current run: `from farwatch.tqdm import tqdm, trange`.

Every argument, every method and every letter on the terminal is tqdm's (`tqdm.std`, `tqdm.asyncio`, in a notebook
`tqdm.notebook`); whatever else the tqdm package offers can be imported from here as well. The run's page shows what the bars
show; the end of each iteration is a full safe point, and a loop ends early where somebody has stopped the run. `mute=True`
or `FARWATCH_MUTE=1` shows nothing here and tells the run all the same. A program that calls no `init` gets a run of its own,
without a word on the terminal, once a bar has been shown for two seconds, or when it ends; `FARWATCH_MODE=disabled` leaves it
at tqdm.
"""

from typing import Any

from farwatch.sdk.bars import tqdm_class

try:
    tqdm = tqdm_class()
except ImportError as error:
    raise ImportError(
        "tqdm is needed for farwatch.tqdm; install it with: pip install 'farwatch[tqdm]'"
    ) from error

__all__ = ["tqdm", "trange"]


def trange(*args: Any, **kwargs: Any) -> Any:
    """A bar over a range: `tqdm(range(*args), **kwargs)`."""
    return tqdm(range(*args), **kwargs)


def __getattr__(name: str) -> Any:
    import tqdm as package  # the one that is installed

    try:
        return getattr(package, name)
    except AttributeError:
        raise AttributeError(f"neither farwatch.tqdm nor tqdm has an attribute `{name}`") from None
