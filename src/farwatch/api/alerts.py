"""Alerts, read and answered from anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farwatch.api.contact import Contact, number


@dataclass(frozen=True, slots=True)
class Alert:
    """One occurrence of what a rule watches for, as it was when it was asked for.

    `state`: `pending`, `firing`, `silenced` or `resolved`. `level`: `ring` or `hint`. `row`: everything that the server says.
    """

    id: int
    run: str | None
    rule: str
    title: str
    text: str
    level: str
    state: str
    step: float | None
    value: float | None
    recovered: bool
    row: Mapping[str, Any]
    _contact: Contact

    @classmethod
    def of(cls, contact: Contact, row: Mapping[str, Any]) -> "Alert":
        """Read a row of the server."""
        return cls(
            row["id"], row["run"], row["rule"], row["title"], row["text"], row["level"], row["state"], number(row["step"]),
            number(row["value"]), row["recovered"], row, contact,
        )  # fmt: skip

    def acknowledge(self) -> "Alert":
        """Say that somebody looks after it; returns it as it is then."""
        return self._answer({"acknowledge": True})

    def snooze(self, seconds: float) -> "Alert":
        """Silence it for so long; 0 wakes it. Returns it as it is then."""
        return self._answer({"snooze_s": seconds})

    def resolve(self) -> "Alert":
        """Say that it is over; returns it as it is then."""
        return self._answer({"resolve": True})

    def refresh(self) -> "Alert":
        """The same alert, as it is now."""
        return Alert.of(self._contact, self._contact.get(f"/alerts/{self.id}"))

    def _answer(self, asked: Mapping[str, Any]) -> "Alert":
        return Alert.of(self._contact, self._contact.send("POST", f"/alerts/{self.id}", asked))

    def __repr__(self) -> str:
        return f"<farwatch alert {self.id} {self.state}: {self.title}>"


def ask_alerts(contact: Contact, path: str, state: str | None, **query: Any) -> list[Alert]:
    """Alerts, newest first."""
    return [Alert.of(contact, row) for row in contact.get(path, state=state, limit=1_000, **query)["alerts"]]
