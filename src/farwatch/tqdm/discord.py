"""A drop-in for `tqdm.contrib.discord`: `from farwatch.tqdm.discord import tqdm, trange`.

```python
for item in tqdm(items, token="…", channel_id="1234"):
    ...
for item in tqdm(items, webhook="https://discord.com/api/webhooks/…"):
    ...
```

One message per run that changes as the bar does, as fast as the service takes it and always up to the last state; with `leave=False` it is
taken away at the end. The training opens no connection and no thread: this user's server on the same machine sends it (`farwatch serve`).
`mute=True` shows nothing on the terminal and all of it in the chat.
"""

from typing import Any

from farwatch.sdk.chat_bars import chat_class

tqdm_discord = chat_class("discord")
tqdm = tqdm_discord

__all__ = ["tdrange", "tqdm", "tqdm_discord", "trange"]


def tdrange(*args: Any, **kwargs: Any) -> Any:
    """A bar over a range: `tqdm(range(*args), **kwargs)`."""
    return tqdm_discord(range(*args), **kwargs)


trange = tdrange
