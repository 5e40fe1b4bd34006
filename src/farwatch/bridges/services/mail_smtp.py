"""One delivery to a mail server: connected at a checked address, encrypted unless told otherwise, and its replies as receipts.

Everything here waits, and is called in a thread of its own.
"""

import base64
import smtplib
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import urlsplit

from farwatch.bridges.base import Outcome, Receipt
from farwatch.bridges.outward import masked
from farwatch.errors import BridgeError

STEP_S = 15.0  # each reply; a delivery has about eight
BUSY_S, GREY_S = 60.0, 120.0  # servers seldom say how long; greylists wait for minutes
SUBMISSION, IMPLICIT = 587, 465
EXAMPLE = "smtps://smtp.example.org:465, or smtp://smtp.example.org:587"


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in. `implicit`: encrypted from the first byte. `plain`: never encrypted, as the person wished."""

    host: str
    port: int
    implicit: bool
    plain: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, address: str, user: str, password: str, tls: str) -> "Server":
        """Read `smtp(s)://host:port`. Raises `BridgeError`."""
        try:
            parts = urlsplit(address if "://" in address else f"smtp://{address}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in ("smtp", "smtps") or not host or parts.path.strip("/") or parts.username is not None:
            raise BridgeError("this is no address of a mail server", hint=f"it looks like {EXAMPLE}; user and password are fields")
        if tls not in ("auto", "none"):
            raise BridgeError("`tls` is `auto` or `none`", hint="auto encrypts wherever the server can, and must on port 587")
        if bool(user) != bool(password):
            raise BridgeError("a mail server needs both `user` and `password`, or neither")
        implicit = parts.scheme == "smtps"
        return cls(host, port or (IMPLICIT if implicit else SUBMISSION), implicit, tls == "none" and not implicit, user, password)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password, also as it crosses the wire."""
        if not self.password:
            return ()
        forms = (self.password, f"\0{self.user}\0{self.password}")
        return (self.password, *(base64.b64encode(one.encode()).decode("ascii") for one in forms))


class _Client(smtplib.SMTP):
    """Connects to an address that was checked, under the server's name."""

    def __init__(self, server: Server, pinned: str) -> None:
        self._pinned = pinned
        self._context = ssl.create_default_context()
        self._implicit = server.implicit
        super().__init__(server.host, server.port, local_hostname="[127.0.0.1]", timeout=STEP_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # type: ignore[override]
        plain = socket.create_connection((self._pinned, port), timeout)
        return self._context.wrap_socket(plain, server_hostname=host) if self._implicit else plain

    def secure(self) -> None:
        """Encrypt from here on."""
        self.starttls(context=self._context)


class _Told(Exception):
    """Raised for a reply that ends a delivery."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.reason)
        self.receipt = receipt


def deliver(server: Server, pinned: str, message: EmailMessage | None, sender: str, to: str) -> Receipt:
    """Hand in one message, or without one only see whether the server would take it. Raises nothing of the network's."""
    handed = False
    try:
        with _Client(server, pinned) as client:
            _enter(client, server)
            if message is None:
                return Receipt(Outcome.SENT)
            _expect(client.mail(sender), server.secrets, Outcome.REFUSED)
            _expect(client.rcpt(to), server.secrets, Outcome.GONE)
            handed = True
            _expect(client.data(message.as_bytes()), server.secrets, Outcome.REFUSED)
            # It is taken: whatever happens to the farewell changes nothing.
            return Receipt(Outcome.SENT, (str(message["Message-ID"]),))
    except _Told as told:
        return told.receipt
    except smtplib.SMTPAuthenticationError as error:
        outcome = Outcome.FAILED if 400 <= error.smtp_code < 500 else Outcome.REVOKED
        return Receipt(outcome, reason=_words(error.smtp_code, error.smtp_error, server.secrets))
    except smtplib.SMTPDataError as error:  # refused before anything was handed in
        return _by_code(error.smtp_code, _words(error.smtp_code, error.smtp_error, server.secrets), Outcome.REFUSED)
    except smtplib.SMTPNotSupportedError as error:
        return Receipt(Outcome.REVOKED, reason=masked(str(error), server.secrets))
    except smtplib.SMTPResponseException as error:
        return Receipt(Outcome.FAILED, reason=_words(error.smtp_code, error.smtp_error, server.secrets))
    except ssl.SSLCertVerificationError as error:
        return Receipt(Outcome.FAILED, reason=masked(f"the certificate of {server.host} is not valid: {error.verify_message}", ()))
    except (smtplib.SMTPException, OSError) as error:
        reason = masked(f"no contact: {error or type(error).__name__}", server.secrets)
        return Receipt(Outcome.UNSURE if handed else Outcome.FAILED, reason=reason)


def _enter(client: _Client, server: Server) -> None:
    """Encrypt and log in. Raises `_Told` where that must not be left out."""
    client.ehlo_or_helo_if_needed()
    if not server.implicit and not server.plain:
        if client.has_extn("starttls"):
            client.secure()
            client.ehlo()
        elif server.port == SUBMISSION or server.user:
            raise _Told(Receipt(Outcome.REFUSED, reason=f"{server.host} offers no encryption on port {server.port}"))
    if server.user:
        client.login(server.user, server.password)


def _expect(reply: tuple[int, bytes], secrets: Iterable[str], refused: Outcome) -> None:
    code, said = reply
    if not 200 <= code < 300:
        raise _Told(_by_code(code, _words(code, said, secrets), refused))


def _by_code(code: int, reason: str, refused: Outcome) -> Receipt:
    """What a reply means. `refused`: what a lasting refusal means at this point."""
    if code == 421:  # the server is going down
        return Receipt(Outcome.FAILED, reason=reason)
    if 400 <= code < 500:
        return Receipt(Outcome.LATER, reason=reason, retry_after_s=GREY_S if code == 450 else BUSY_S)
    if code in (530, 534, 535, 538):
        return Receipt(Outcome.REVOKED, reason=reason)
    return Receipt(refused if code >= 500 else Outcome.UNSURE, reason=reason)


def _words(code: int, said: bytes | str, secrets: Iterable[str]) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return masked(f"{code} {text}", secrets)
