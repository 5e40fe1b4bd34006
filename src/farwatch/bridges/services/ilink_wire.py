"""Requests to WeChat's iLink bot service: its headers, where a token may be sent, and what an answer is.

The service is Tencent's own (for the ClawBot plug-in), but young and hardly documented; its limits may change. The token goes only to the
address that was configured and to hosts below `weixin.qq.com`, wherever the service says to go on.
"""

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from farwatch.bridges.base import Outcome, Receipt
from farwatch.bridges.outward import ANSWER_S, Answer, Outward, Unreached, by_status, is_private
from farwatch.version import VERSION

BASE = "https://ilinkai.weixin.qq.com"
CDN = "https://novac2c.cdn.weixin.qq.com/c2c"
PROTOCOL = (2, 4, 9)  # of Tencent's own client, whose protocol this is
EXPIRED = -14
ASLEEP = -2
_WHO = {"iLink-App-Id": "bot", "iLink-App-ClientVersion": str(PROTOCOL[0] << 16 | PROTOCOL[1] << 8 | PROTOCOL[2])}
_BASE_INFO = {"channel_version": ".".join(map(str, PROTOCOL)), "bot_agent": f"Farwatch/{VERSION}"[:256]}


class Wire:
    """One HTTP client. *Threads*: one event loop. `base`: as configured."""

    def __init__(self, base: str = BASE, cdn: str = CDN) -> None:
        self.base = base.rstrip("/")
        self.cdn = cdn.rstrip("/")
        self._outward = Outward(self.base)

    def hide(self, *tokens: str) -> None:
        """Texts that must stand in no reason."""
        self._outward.hide(*tokens)

    async def close(self) -> None:
        """Close all connections; may be called twice."""
        await self._outward.close()

    def trusted(self, address: str) -> str | None:
        """An address of the service's own choosing, if a token may go there."""
        here = urlsplit(self.base)
        parts = urlsplit(address if "://" in address else f"{here.scheme}://{address}")
        host = parts.hostname or ""
        if parts.username or not host:
            return None
        if is_private(here.hostname or ""):
            good = is_private(host)
        else:
            good = parts.scheme == "https" and (host == here.hostname or host.endswith(".weixin.qq.com"))
        return parts.geturl() if good else None

    async def post(
        self, path: str, body: Mapping[str, Any], *, token: str = "", base: str = "", answer_s: float = ANSWER_S
    ) -> dict[str, Any]:
        """Send a request with the usual fields. Raises `Unreached`, also for a status that is no success and for what is no answer."""
        number = secrets.randbits(32)
        headers = {
            **_WHO, "AuthorizationType": "ilink_bot_token",
            "X-WECHAT-UIN": base64.b64encode(str(number).encode("ascii")).decode("ascii"),
        }  # fmt: skip
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = await self._outward.ask(
            "POST", f"{base or self.base}/ilink/bot/{path}", json={**body, "base_info": _BASE_INFO}, headers=headers, answer_s=answer_s,
        )  # fmt: skip
        return self._object(answer)

    async def get(self, path: str, params: Mapping[str, str], *, base: str = "", answer_s: float = ANSWER_S) -> dict[str, Any]:
        """Ask without a body or a token. Raises as `post`."""
        url = f"{base or self.base}/ilink/bot/{path}"
        return self._object(await self._outward.ask("GET", url, params=dict(params), headers=dict(_WHO), answer_s=answer_s))

    async def upload(self, url: str, content: bytes, *, answer_s: float, params: Mapping[str, str] | None = None) -> Answer:
        """Send bytes to the picture store. Raises `Unreached`."""
        headers = {"Content-Type": "application/octet-stream"}
        more: dict[str, Any] = {"params": dict(params)} if params else {}
        return await self._outward.ask("POST", url, content=content, headers=headers, answer_s=answer_s, **more)

    def words(self, answer: Mapping[str, Any]) -> str:
        """The service's own words for a refusal, which are few."""
        code = refusal(answer)
        return self._outward.clean(f"{answer.get('errmsg') or 'no reason given'} ({code})")

    def _object(self, answer: Answer) -> dict[str, Any]:
        if answer.status != 200:
            raise Unreached(by_status(answer, f"WeChat answered with status {answer.status}"))
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unreached(Receipt(Outcome.UNSURE, reason="the answer is none of WeChat's"))
        return found


def refusal(answer: Mapping[str, Any]) -> int:
    """The code of a refusal; 0 for success, which may be left out of an answer. An expired session is told in either field."""
    codes = [answer.get("errcode"), answer.get("ret")]
    if EXPIRED in codes:
        return EXPIRED
    return next((code for code in reversed(codes) if isinstance(code, int) and code), 0)
