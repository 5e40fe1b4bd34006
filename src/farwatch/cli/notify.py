"""`farwatch notify`: a message to the chats that are connected, from a shell."""

import base64
import mimetypes
import sys
from pathlib import Path
from typing import Any

import click

from farwatch.api import Api
from farwatch.api.contact import Contact
from farwatch.cli.output import clean, emit, emit_json, say, server_options, size
from farwatch.errors import LimitError, UsageError

FORMATS = ("text", "markdown", "html", "mono")
WAIT_S = 25.0
INLINE_MAX_BYTES = 256 << 10  # larger files go by themselves, as they are
FILE_MAX_BYTES = 64 << 20  # the server's limit
STDIN_MAX = 100_000  # characters of a message

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("text", nargs=-1)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the text from standard input; if that is empty, send nothing.")
@click.option("--format", "style", type=click.Choice(FORMATS), default="text", show_default=True, help="How the text is meant.")
@click.option("--image", type=_FILE, metavar="FILE", help="A picture: PNG, JPEG, WebP or GIF.")
@click.option("--file", "files", type=_FILE, metavar="FILE", multiple=True, help="A file; may be given several times.")
@click.option("--caption", metavar="TEXT", help="Words under the picture, else under the first file.")
@click.option("--silent", is_flag=True, help="Without a sound.")
@click.option("--preview", is_flag=True, help="Let the service unfold links.")
@click.option(
    "--to", metavar="CHANNEL|CHAT", multiple=True, help="Only there: a channel, or a chat by its number. May be given several times."
)
@click.option("--delete", "deletes", metavar="ID", multiple=True, help="Take a message back, by an ID that sending it has printed.")
@server_options
def notify(
    text: tuple[str, ...], from_stdin: bool, style: str, image: Path | None, files: tuple[Path, ...], caption: str | None, silent: bool,
    preview: bool, to: tuple[str, ...], deletes: tuple[str, ...], as_json: bool, server: str | None,
) -> None:  # fmt: skip
    """Send TEXT to everybody who is connected, and print an ID for each chat that has it.

    Exits with 1 if it has arrived nowhere, and says why.
    """
    if deletes:
        _delete([*deletes, *text], server, as_json)  # so that the IDs of one message may follow one `--delete`
        return
    if from_stdin and text:
        raise UsageError("a text is given, and to be read as well", hint="leave one of them out")
    said = _read() if from_stdin else " ".join(text)
    if not said.strip() and image is None and not files:
        if from_stdin:
            if as_json:
                emit_json({"messages": []})
            return
        raise UsageError("there is nothing to say", hint="give a text, --stdin, --image or --file")
    if caption is not None and image is None and not files:
        raise UsageError("a caption stands under a picture or a file", hint="give --image or --file")
    with Api(server) as api:
        body: dict[str, Any] = {"text": said, "format": style, "silent": silent, "preview": preview, "wait_s": WAIT_S}
        captions = iter([caption or ""])
        if image is not None:
            body["picture"] = _attachment(api._contact, image, next(captions, ""))
        if files:
            body["files"] = [_attachment(api._contact, path, next(captions, "")) for path in files]
        if to:
            body["to"] = [int(one) if one.isascii() and one.isdigit() else one for one in to]
        messages = api._contact.send("POST", "/notify", body)["messages"]
    if as_json:
        emit_json({"messages": messages})
    _tell(messages, as_json)


def _read() -> str:
    """The text on standard input, without the line end that every program writes."""
    if sys.stdin is None:
        return ""
    found = sys.stdin.buffer.read(4 * STDIN_MAX + 1).decode("utf-8", "replace").rstrip("\r\n")
    if len(found) > STDIN_MAX:
        raise LimitError(f"a message has at most {STDIN_MAX} characters", hint="send it as a file: --file NAME")
    return found


def _attachment(contact: Contact, path: Path, caption: str) -> dict[str, Any]:
    count = path.stat().st_size
    if count == 0:
        raise UsageError(f"`{path.name}` is empty")
    if count > FILE_MAX_BYTES:
        raise LimitError(f"`{path.name}` has {size(count)}; {size(FILE_MAX_BYTES)} is the most that can be sent")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    told = {"name": path.name, "media_type": kind, "caption": caption}
    content = path.read_bytes()
    if count <= INLINE_MAX_BYTES:
        return {**told, "base64": base64.b64encode(content).decode()}
    return {**told, "upload": contact.upload("/notify/uploads", content, name=path.name, media_type=kind)["upload"]}


def _tell(messages: list[dict[str, Any]], as_json: bool) -> None:
    arrived = [one for one in messages if one["outcome"] in ("sent", "unchanged")]
    for one in messages:
        if one in arrived:
            if one["ids"] and not as_json:
                emit(f"{one['chat']}:{','.join(one['ids'])}")
        else:
            reason = f": {clean(one['reason'])}" if one["reason"] else ""
            say(f"{one['channel']}, chat {one['chat']}: {clean(one['outcome'])}{reason}")
    if not messages:
        say("nobody is connected; see: farwatch connect, farwatch pair")
    if not arrived:
        raise click.exceptions.Exit(1)


def _delete(ids: list[str], server: str | None, as_json: bool) -> None:
    """Take messages back. A service that refuses, such as Telegram after two days, is no failure of the caller's script."""
    asked = []
    for word in " ".join(ids).split():  # what was printed for several chats may come as one word
        chat, colon, rest = word.partition(":")
        if not (colon and chat.isascii() and chat.isdigit() and rest):
            raise UsageError(f"no ID of a message: `{clean(word[:60])}`", hint="it is what `farwatch notify` has printed, such as 3:1042")
        asked.append({"chat": int(chat), "ids": rest.split(",")})
    with Api(server) as api:
        messages = api._contact.send("POST", "/notify/delete", {"messages": asked})["messages"]
    for one in messages:
        if one["outcome"] not in ("sent", "unchanged", "gone"):
            say(f"warning: the message in chat {one['chat']} stays ({clean(one['outcome'])}: {clean(one['reason'])})")
    if as_json:
        emit_json({"messages": messages})
