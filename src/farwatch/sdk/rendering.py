"""What is no number, as the bodies of records: text, pictures and other media, with what is kept beside the journal."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

TEXT_MAX = 1 << 20  # characters; a longer text is kept as a file
EXCERPT = 1_000  # characters of it that stand in the record

Store = Callable[[dict[str, Any], bytes | Path, str, str], dict[str, Any]]
"""Keeps content beside the journal: body, content, media type, suffix -> the body that names it."""


def bodies_of(value: Any, store: Store) -> list[dict[str, Any]]:
    """Bodies of the POINT records of one value: several for a list of pictures."""
    if isinstance(value, bool | int):
        return [{"type": "integer", "text": str(value)}]
    if isinstance(value, date):
        return [{"type": "datetime" if isinstance(value, datetime) else "date", "text": value.isoformat()}]
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode()
        if len(text) <= TEXT_MAX:
            return [{"type": "text", "text": text}]
        return [store({"type": "text", "text": text[:EXCERPT]}, text.encode(), "text/plain", ".txt")]
    listed = value if isinstance(value, list | tuple) else [value]
    bodies = []
    for index, item in enumerate(listed):
        rendered = item.render()
        body = dict(rendered.body)
        if len(listed) > 1:
            body["index"] = index
        if rendered.content is not None:
            body = store(body, rendered.content, rendered.media_type, rendered.suffix)
        bodies.append(body)
    return bodies


def media_of(value: Any) -> Any:
    """A figure, or a list of media, as something that `bodies_of` takes; None for what is neither."""
    if isinstance(value, list | tuple) and value and all(hasattr(item, "render") for item in value):
        return list(value)
    from farwatch.sdk import figures  # a third of the import, for programs that draw

    return figures.as_media(value)


def picture_of(value: Any) -> Any:
    """A picture or figure as something with `render`."""
    found = value if hasattr(value, "render") else media_of(value)
    if found is not None:
        return found
    from farwatch.sdk.media import Image  # a third of the import, for programs that show pictures

    return Image(value)
