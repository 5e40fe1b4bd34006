"""What the Bot API takes: methods, their parameters and types, keyboards, pictures; and how it says no."""

import json
import re
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from farwatch.testing.chat.web import Request, form_parts

File = tuple[str | None, str | None, bytes]  # name, media type, content

_WHERE = "chat_id:chat! message_thread_id:int disable_notification:bool reply_parameters:object reply_markup:object"
_CAPTION = "caption parse_mode caption_entities:list"
_PLACE = "chat_id:chat! message_id:int!"
METHODS = {  # name -> parameters; `!`: must be given
    "getMe": "",
    "getUpdates": "offset:int limit:int timeout:int allowed_updates:list",
    "getWebhookInfo": "",
    "setWebhook": "url!",
    "deleteWebhook": "drop_pending_updates:bool",
    "setMyCommands": "commands:list! scope:object language_code",
    "getMyCommands": "scope:object language_code",
    "deleteMyCommands": "scope:object language_code",
    "getChat": "chat_id:chat!",
    "sendChatAction": "chat_id:chat! message_thread_id:int action!",
    "sendMessage": f"{_WHERE} text! parse_mode entities:list link_preview_options:object",
    "sendPhoto": f"{_WHERE} {_CAPTION} photo:file!",
    "sendAnimation": f"{_WHERE} {_CAPTION} animation:file!",
    "sendAudio": f"{_WHERE} {_CAPTION} audio:file!",
    "sendVideo": f"{_WHERE} {_CAPTION} video:file!",
    "sendDocument": f"{_WHERE} {_CAPTION} document:file!",
    "editMessageText": f"{_PLACE} text! parse_mode entities:list link_preview_options:object reply_markup:object",
    "editMessageCaption": f"{_PLACE} {_CAPTION} reply_markup:object",
    "editMessageMedia": f"{_PLACE} media:object! reply_markup:object",
    "editMessageReplyMarkup": f"{_PLACE} reply_markup:object",
    "deleteMessage": _PLACE,
    "pinChatMessage": f"{_PLACE} disable_notification:bool",
    "unpinChatMessage": "chat_id:chat! message_id:int",
    "answerCallbackQuery": "callback_query_id! text show_alert:bool",
}
TEXT_MAX, CAPTION_MAX, ANSWER_MAX = 4096, 1024, 200
PHOTO_MAX_BYTES, FILE_MAX_BYTES = 10 << 20, 50 << 20
_COMMAND = re.compile(r"[a-z0-9_]{1,32}")


@dataclass
class Refusal(Exception):
    """An answer that is no. `parameters`: `retry_after`, `migrate_to_chat_id`."""

    status: int
    description: str
    parameters: dict[str, Any] | None = None


def bad(description: str) -> Refusal:
    """A request that is wrong."""
    return Refusal(400, f"Bad Request: {description}")


def parameters(request: Request) -> tuple[dict[str, Any], dict[str, File]]:
    """What a request gives, as JSON, a form, or in the address. Raises `Refusal`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    fields: dict[str, Any] = dict(request.query)
    files: dict[str, File] = {}
    try:
        if kind == "application/json":
            value = json.loads(request.body.decode("utf-8") or "{}")
            if not isinstance(value, dict):
                raise bad("object expected")
            fields |= value
        elif kind == "application/x-www-form-urlencoded":
            fields |= dict(parse_qsl(request.body.decode("utf-8"), keep_blank_values=True))
        elif kind == "multipart/form-data":
            for name, (file, media_type, content) in form_parts(request).items():
                if file is None:
                    fields[name] = content.decode("utf-8")
                else:
                    files[name] = (file, media_type, content)
    except ValueError:
        raise bad("can't parse the request") from None
    return fields, files


def checked(method: str, given: dict[str, Any], files: dict[str, File]) -> dict[str, Any]:
    """The parameters of a method in their types; what it does not know is passed over, as Telegram does. Raises `Refusal`."""
    found: dict[str, Any] = {}
    for word in METHODS[method].split():
        name, _, kind = word.rstrip("!").partition(":")
        value = given.get(name)
        if kind == "file":
            if name not in files:
                raise bad(f"there is no {name} in the request")
            if not files[name][2]:
                raise bad("file must be non-empty")
            continue
        if value is None or value == "":
            if word.endswith("!"):
                raise bad({"chat_id": "chat_id is empty", "text": "message text is empty"}.get(name, f"{name} is not specified"))
            continue
        found[name] = _typed(name, kind, value)
    return found


def _typed(name: str, kind: str, value: Any) -> Any:
    if kind in ("object", "list"):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise bad(f"can't parse {name} JSON object") from None
        if not isinstance(value, dict if kind == "object" else list):
            raise bad(f"can't parse {name}: {'Object' if kind == 'object' else 'Array'} expected")
        return value
    if isinstance(value, dict | list):
        raise bad(f"{name} must be a text")
    if kind == "int":
        if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,18}", str(value)):
            raise bad(f"{name} must be an integer")
        return int(value)
    if kind == "bool":
        return str(value).lower() in ("true", "yes", "t", "y", "1")
    if kind == "chat":
        return str(value)
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise bad("strings must be encoded in UTF-8") from None
    return text


def keyboard(markup: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """(label, data) of an inline keyboard, row by row. Raises `Refusal`."""
    rows = markup.get("inline_keyboard", [])
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad("can't parse inline keyboard: Array expected")
    found = []
    for row in rows:
        for one in row:
            if not isinstance(one, dict) or not isinstance(one.get("text"), str):
                raise bad("can't parse inline keyboard button: Field \"text\" must be of type String")
            if not one["text"].strip():
                raise bad("inline keyboard button text must be non-empty")
            data = one.get("callback_data")
            if data is None and "url" not in one:
                raise bad("text buttons are unallowed in the inline keyboard")
            if data is not None and not 1 <= len(str(data).encode()) <= 64:
                raise bad("BUTTON_DATA_INVALID")
        found.append([(one["text"], str(one.get("callback_data", ""))) for one in row])
    return found


def commands(given: list[Any]) -> None:
    """Whether a menu can be had. Raises `Refusal`."""
    if len(given) > 100:
        raise bad("BOT_COMMANDS_TOO_MUCH")
    for one in given:
        if not isinstance(one, dict) or not _COMMAND.fullmatch(str(one.get("command", "")).lstrip("/")):
            raise bad("BOT_COMMAND_INVALID")
        if not 1 <= len(str(one.get("description", ""))) <= 256:
            raise bad("BOT_COMMAND_DESCRIPTION_INVALID")


def picture(content: bytes) -> tuple[int, int]:
    """Width and height of a photo that Telegram takes; for formats other than PNG unknown, and then 1 × 1. Raises `Refusal`."""
    if len(content) > PHOTO_MAX_BYTES:
        raise bad("too big for a photo")
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        if width + height > 10_000 or max(width, height) > 20 * max(1, min(width, height)):
            raise bad("PHOTO_INVALID_DIMENSIONS")
        return width, height
    if content[:3] == b"\xff\xd8\xff" or content[:4] == b"GIF8" or (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        return 1, 1
    raise bad("IMAGE_PROCESS_FAILED")
