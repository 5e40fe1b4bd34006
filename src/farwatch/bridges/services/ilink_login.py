"""Scanning a code with WeChat, step by step, for whoever shows it: a terminal or a page.

```python
login = Login(setup)
link = await login.begin()  # draw it as a code, after `WARNING`
while not (state := await login.poll()).done:
    ...  # draw `state.link` if there is one; ask for the number on `needs-digits`; wait a second
```
"""

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

from farwatch.bridges.base import Outcome, Setup
from farwatch.bridges.outward import Unreached
from farwatch.bridges.services.ilink_wire import BASE, CDN, Wire, refusal
from farwatch.errors import BridgeError

WARNING = (
    "A WeChat account holds one bot program at a time: scanning here takes it away from any other (OpenClaw, another Farwatch). "
    "WeChat may show a notice about risk; the program that asks is the one in front of you."
)
CODE_S = 5 * 60.0
WHOLE_S = 8 * 60.0
NEW_CODES_MAX = 3
HELD_S = 40.0  # the service holds a question for up to 35 s

Code = Literal["wait", "scanned", "needs-digits", "redirect", "expired", "blocked", "already-bound", "confirmed"]


@dataclass(frozen=True, slots=True)
class LoginState:
    """How far it is. `link`: a new code to draw instead of the last; `done`: nothing more will happen; `text`: for people."""

    code: Code
    text: str
    link: str = ""
    done: bool = False
    user: str = ""  # who has scanned, as the service calls them

    @property
    def good(self) -> bool:
        """Whether there is a session now."""
        return self.done and self.code in ("confirmed", "already-bound")


_STATES: dict[str, LoginState] = {
    "wait": LoginState("wait", "scan the code with WeChat"),
    "scaned": LoginState("scanned", "scanned; confirm on the phone"),
    "need_verifycode": LoginState("needs-digits", "type the number that the phone shows"),
    "verify_code_blocked": LoginState("blocked", "too many wrong numbers; begin again later", done=True),
}


class Login:
    """One log-in. *Threads*: one event loop. *Ownership*: writes the session into the channel's memory, replacing the one before."""

    warning = WARNING

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        stored = setup.memory.load()
        self._held = str(stored.get("token") or "")
        self._wire = Wire(setup.get("url", BASE), setup.get("cdn", CDN))
        self._wire.hide(self._held)
        self._base = ""
        self._code = ""
        self._digits = ""
        self._new_codes = 0
        self._began_s = self._code_s = 0.0

    async def begin(self) -> str:
        """Ask for a code; returns the link to draw. Show `WARNING` first. Raises `BridgeError`."""
        self._began_s = self._now_s()
        self._new_codes = 0
        return await self._fresh()

    async def poll(self) -> LoginState:
        """Ask how far it is; held by the service for up to 35 s. Ask again a second later. Raises `BridgeError` for a broken answer."""
        if not self._code:
            raise BridgeError("there is no code to ask about; begin first")
        if self._now_s() - self._began_s > WHOLE_S:
            return LoginState("expired", "nobody has scanned a code within 8 minutes; begin again", done=True)
        if self._now_s() - self._code_s > CODE_S:
            return await self._renewed()
        params = {"qrcode": self._code} | ({"verify_code": self._digits} if self._digits else {})
        try:
            found = await self._wire.get("get_qrcode_status", params, base=self._base, answer_s=HELD_S)
        except Unreached as error:
            if error.receipt.outcome in (Outcome.REFUSED, Outcome.GONE, Outcome.REVOKED):
                raise BridgeError(error.receipt.reason) from None
            return _STATES["wait"]  # a question that was held too long is one more to ask
        return await self._state(found)

    def give_digits(self, text: str) -> None:
        """The number that the phone shows, as it was typed. Raises `BridgeError` where there is none."""
        digits = "".join(letter for letter in unicodedata.normalize("NFKC", text) if letter in "0123456789")
        if not digits:
            raise BridgeError("that is no number", hint="type the digits that WeChat shows on the phone")
        self._digits = digits

    async def close(self) -> None:
        """Let go of the connection; may be called twice."""
        await self._wire.close()

    def _now_s(self) -> float:
        return self._setup.clock.mono_us() / 1e6

    async def _fresh(self) -> str:
        held = [self._held] if self._held else []
        try:
            found = await self._wire.post("get_bot_qrcode?bot_type=3", {"local_token_list": held})
        except Unreached as error:
            raise BridgeError(f"no code from WeChat: {error.receipt.reason}", hint="try again in a minute") from None
        link = found.get("qrcode_img_content")
        if refusal(found) or not found.get("qrcode") or not isinstance(link, str) or not link:
            raise BridgeError(f"no code from WeChat: {self._wire.words(found)}", hint="try again in a minute")
        self._code, self._digits, self._base, self._code_s = str(found["qrcode"]), "", "", self._now_s()
        return link

    async def _renewed(self) -> LoginState:
        if self._new_codes >= NEW_CODES_MAX:
            return LoginState("expired", "the code has expired; begin again", done=True)
        self._new_codes += 1
        return LoginState("expired", "the code has expired; scan the new one", link=await self._fresh())

    async def _state(self, found: dict[str, Any]) -> LoginState:
        status = found.get("status")
        if status == "expired":
            return await self._renewed()
        if status == "scaned_but_redirect":
            base = self._wire.trusted(str(found.get("redirect_host") or ""))
            if base is None:
                raise BridgeError("WeChat sends the log-in to a foreign host", hint="nothing was sent there; begin again")
            self._base = base.rstrip("/")
            return LoginState("redirect", "scanned; going on at another of WeChat's hosts")
        if status == "binded_redirect":
            if self._held:
                self._keep({name: value for name, value in self._setup.memory.load().items() if name != "quiet_until_ms"})
                return LoginState("already-bound", "this account is connected already; its session is kept", done=True)
            raise BridgeError(
                "WeChat says that this account is connected already, but no session of it is kept here",
                hint="in WeChat, remove the bot from its plug-in's page, then scan again",
            )
        if status == "confirmed":
            return self._confirmed(found)
        state = _STATES.get(str(status), _STATES["wait"])  # one that we do not know is one to wait through
        if state.code == "needs-digits" and self._digits:
            self._digits = ""
            return LoginState("needs-digits", "that was not the number; type what the phone shows")
        return state

    def _confirmed(self, found: dict[str, Any]) -> LoginState:
        token, user = found.get("bot_token"), found.get("ilink_user_id")
        base = self._wire.trusted(str(found.get("baseurl") or self._base or self._wire.base))
        if not isinstance(token, str) or not token or not isinstance(user, str) or not user:
            raise BridgeError("WeChat confirmed, but gave no session", hint="begin again")
        if base is None:
            raise BridgeError("WeChat names a foreign host for the session", hint="nothing was sent there; begin again")
        self._keep({"token": token, "base": base.rstrip("/"), "bot": str(found.get("ilink_bot_id") or ""), "user": user})
        return LoginState("confirmed", "connected; write the bot any message, so that it may answer", done=True, user=user)

    def _keep(self, session: dict[str, Any]) -> None:
        """Store a session; its time tells a bridge that listens already to take it over."""
        self._setup.memory.save({**session, "made_ms": self._setup.clock.wall_us() // 1000})
