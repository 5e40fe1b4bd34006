"""A drop-in for `tqdm.contrib.slack`: `from farwatch.tqdm.slack import tqdm, trange`.

```python
for item in tqdm(items, token="xoxb-…", channel="C0123456789"):
    ...
```

One message per run that changes as the bar does, as fast as the service takes it and always up to the last state; with `leave=False` it is
taken away at the end. The training opens no connection and no thread: this user's server on the same machine sends it (`farwatch serve`).
`mute=True` shows nothing on the terminal and all of it in the chat.
"""

from typing import Any

from farwatch.sdk.chat_bars import chat_class

tqdm_slack = chat_class("slack")
tqdm = tqdm_slack

__all__ = ["tqdm", "tqdm_slack", "trange", "tsrange"]


def tsrange(*args: Any, **kwargs: Any) -> Any:
    """A bar over a range: `tqdm(range(*args), **kwargs)`."""
    return tqdm_slack(range(*args), **kwargs)


trange = tsrange
