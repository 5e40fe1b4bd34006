"""Starting what a machine offers, from anywhere."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farwatch.api.contact import Contact, quoted
from farwatch.api.steering import Command


@dataclass(frozen=True, slots=True)
class Profile:
    """Something that can be started on a machine, as its owner has written it down.

    `parameters`: name -> type, min, max, choices, default. `environment`: names only. `present`: whether the machine has been heard of
    lately.
    """

    name: str
    title: str
    description: str
    host: str
    user: str
    agent: str
    present: bool
    folder: str
    command: list[str]
    environment: list[str]
    parameters: dict[str, dict[str, Any]]
    at_once: int


def list_profiles(contact: Contact) -> list[Profile]:
    """All profiles of all machines."""
    found = []
    for machine in contact.get("/launch/profiles")["machines"]:
        place = {key: machine[key] for key in ("host", "user", "agent", "present")}
        found += [Profile(**place, **profile) for profile in machine["profiles"]]
    return found


def ask_start(
    contact: Contact, profile: str, machine: str | None, parameters: Mapping[str, Any], *, channel: str, confirm: bool = True
) -> Command:
    """Ask for a start. Raises `ConfirmError` without `confirm`."""
    body = {"id": secrets.token_hex(12), "parameters": dict(parameters), "confirm": confirm, "channel": channel}
    return Command(contact, contact.again(f"/launch/{quoted(machine or '-')}/{quoted(profile)}", body))
