"""Pictures for WeChat: encrypted here, put into Tencent's store, and named in a message by what the store answers."""

import base64
import hashlib
import importlib.util
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from farwatch.bridges.base import Outcome, Receipt
from farwatch.bridges.outward import Unreached
from farwatch.bridges.services.ilink_wire import Wire, refusal

BLOCK = 16
TRIES = 3
STORE_S = 8.0
MISSING = "pictures for WeChat need cryptography: pip install 'farwatch[wechat]'"


def available() -> bool:
    """Whether the library for the cipher is installed."""
    return importlib.util.find_spec("cryptography") is not None


def cipher_size(size: int) -> int:
    """Bytes after encryption: a padding of 1 to 16 bytes, up to whole blocks."""
    return (size // BLOCK + 1) * BLOCK


def encrypted(content: bytes, key: bytes) -> bytes:
    """AES-128-ECB with PKCS#7, which is what the service reads; each picture has a key of its own."""
    # The library is an extra, hence inside.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    pad = cipher_size(len(content)) - len(content)
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(content + bytes([pad]) * pad) + encryptor.finalize()


async def put(wire: Wire, ask: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]], user: str, content: bytes) -> dict[str, Any]:
    """Put a picture into the store; returns what a message says of it. Raises `Unreached`. At most three tries of 8 s.

    `ask`: sends a request with this session's token.
    """
    key, filekey = secrets.token_bytes(16), secrets.token_hex(16)
    wanted = {
        "filekey": filekey, "media_type": 1, "to_user_id": user, "rawsize": len(content),
        "rawfilemd5": hashlib.md5(content, usedforsecurity=False).hexdigest(), "filesize": cipher_size(len(content)),
        "no_need_thumb": True, "aeskey": key.hex(),
    }  # fmt: skip
    place = await ask("getuploadurl", wanted)
    if refusal(place):
        raise Unreached(Receipt(Outcome.FAILED, reason=wire.words(place)))
    url, params = f"{wire.cdn}/upload", {"encrypted_query_param": str(place.get("upload_param") or ""), "filekey": filekey}
    if place.get("upload_full_url"):
        url, params = wire.trusted(str(place["upload_full_url"])) or "", {}
        if not url:
            host = urlsplit(str(place["upload_full_url"])).hostname
            raise Unreached(Receipt(Outcome.REFUSED, reason=f"pictures are not put to a foreign host: {host}"))
    cipher = encrypted(content, key)
    for left in reversed(range(TRIES)):
        answer = await wire.upload(url, cipher, answer_s=STORE_S, params=params)
        name = answer.headers.get("x-encrypted-param")
        if answer.status == 200 and name:
            media = {"encrypt_query_param": name, "aes_key": base64.b64encode(key.hex().encode("ascii")).decode("ascii"), "encrypt_type": 1}
            return {"media": media, "mid_size": len(cipher)}
        if answer.status < 500 or not left:
            break
    raise Unreached(Receipt(Outcome.FAILED, reason=f"the picture store answered with status {answer.status}"))
