"""A drop-in for `tqdm.contrib.telegram`: `from farwatch.tqdm.telegram import tqdm, trange`.

```python
for item in tqdm(items, token="110201543:AAH…", chat_id="7001"):
    ...
```

One message per run that changes as the bar does, as fast as the service takes it and always up to the last state; with `leave=False` it is
taken away at the end. The training opens no connection and no thread: this user's server on the same machine sends it (`farwatch serve`).
`mute=True` shows nothing on the terminal and all of it in the chat.
"""

from typing import Any

from farwatch.sdk.chat_bars import chat_class

tqdm_telegram = chat_class("telegram")
tqdm = tqdm_telegram

__all__ = ["tqdm", "tqdm_telegram", "trange", "ttgrange"]


def ttgrange(*args: Any, **kwargs: Any) -> Any:
    """A bar over a range: `tqdm(range(*args), **kwargs)`."""
    return tqdm_telegram(range(*args), **kwargs)


trange = ttgrange
