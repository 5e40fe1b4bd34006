"""Which services there are: ours, and those that other packages offer by an entry point of the group `farwatch.bridges`."""

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from farwatch.bridges.base import Kind
from farwatch.errors import BridgeError, NotFoundError

GROUP = "farwatch.bridges"
OURS = {  # name -> module; each has a `KIND`
    "telegram": "farwatch.bridges.services.telegram",
    "wecom": "farwatch.bridges.services.wecom",
    "wecom-webhook": "farwatch.bridges.services.wecom_webhook",
    "wechat": "farwatch.bridges.services.ilink",
    "slack": "farwatch.bridges.services.slack",
    "discord": "farwatch.bridges.services.discord",
    "ntfy": "farwatch.bridges.services.ntfy",
    "mail": "farwatch.bridges.services.mail",
    "webhook": "farwatch.bridges.services.webhook",
    "apprise": "farwatch.bridges.services.apprise",
}


def kinds() -> list[str]:
    """Names of all services, ours first."""
    return [*OURS, *sorted(_others().keys() - OURS.keys())]


def kind(name: str) -> Kind:
    """A service by its name. Raises `NotFoundError`, and `BridgeError` for another package's that cannot be loaded."""
    if name in OURS:
        found: Kind = importlib.import_module(OURS[name]).KIND
        return found
    if name not in _others():
        raise NotFoundError(f"no service of this name: `{name[:60]}`", hint=f"there are: {', '.join(kinds())}")
    try:
        loaded = _others()[name].load()
    except Exception as error:  # another package's import
        raise BridgeError(f"the bridge `{name}` cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, Kind):
        raise BridgeError(f"the bridge `{name}` is no `farwatch.bridges.base.Kind`")
    return loaded


@cache
def _others() -> Mapping[str, EntryPoint]:
    return {one.name: one for one in entry_points(group=GROUP)}
