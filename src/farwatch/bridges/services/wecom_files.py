"""Which attachments WeCom takes, for both of its bots."""

from farwatch.bridges.base import Attachment, Message

LEAST_BYTES = 6  # anything shorter is refused as empty


def is_picture(one: Attachment) -> bool:
    """Whether it is shown as a picture; other kinds of pictures go as files."""
    return one.media_type in ("image/png", "image/jpeg")


def file_name(one: Attachment) -> str:
    """Its name without a folder."""
    return one.name.replace("\\", "/").rsplit("/", 1)[-1] or "file"


def sendable(message: Message, picture_max_bytes: int, file_max_bytes: int) -> tuple[list[Attachment], list[str]]:
    """What can be sent, and for what cannot, why not, in words."""
    found: list[Attachment] = []
    words: list[str] = []
    for one in ([message.picture] if message.picture is not None else []) + list(message.files):
        limit = picture_max_bytes if is_picture(one) else file_max_bytes
        try:
            size = one.size()
        except OSError:
            words.append(f"{one.name} is gone")
            continue
        if size > limit:
            words.append(f"{one.name} is too large for WeCom: {size / (1 << 20):.1f} of {limit >> 20} MiB")
        elif size < LEAST_BYTES:
            words.append(f"{one.name} is empty")
        else:
            found.append(one)
    return found, words
