"""What a bridge remembers, in these tests: an object that stays when the bridge is made anew."""

import json
from collections.abc import Mapping
from typing import Any


class KeptMemory:
    """JSON and nothing else, as in a file."""

    def __init__(self) -> None:
        self.text = "{}"

    def load(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.text)
        return value

    def save(self, value: Mapping[str, Any]) -> None:
        self.text = json.dumps(value)
