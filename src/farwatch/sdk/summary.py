"""What a program may read and change of its run by name: summary and tags."""

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from farwatch.sdk import values
from farwatch.sdk.config import json_safe

if TYPE_CHECKING:
    from farwatch.sdk.run import Run


class Summary(MutableMapping[str, Any]):
    """One value per metric: what the program has set, else the last value that it logged."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._set: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._set:
            return self._set[name]
        return self._logged()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._set[name] = value
        try:
            value = values.number(value)
        except values.NotANumber:
            pass
        self._run._patch({"summary": {values.metric_name(name): json_safe(value, typed=True)}})

    def __delitem__(self, name: str) -> None:
        del self._set[name]
        self._run._patch({"summary": {values.metric_name(name): None}})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several values at once."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter({**self._logged(), **self._set})

    def __len__(self) -> int:
        return len({**self._logged(), **self._set})

    def __repr__(self) -> str:
        return repr({**self._logged(), **self._set})

    def _logged(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for schema in list(self._run._known.values()):
            found.update(zip(schema.keys, schema.last, strict=False))
        return found


class Tags:
    """The short labels of a run."""

    def __init__(self, run: "Run", tags: list[str]) -> None:
        self._run = run
        self._tags = dict.fromkeys(tags)

    def add(self, *tags: str) -> None:
        """Put labels on the run; those that it has are left alone."""
        fresh = [str(tag) for tag in tags if str(tag) not in self._tags]
        self._tags.update(dict.fromkeys(fresh))
        if fresh:
            self._run._patch({"tags": {"add": fresh}})

    def remove(self, *tags: str) -> None:
        """Take labels off the run; those that it has not are ignored."""
        gone = [str(tag) for tag in tags if str(tag) in self._tags]
        for tag in gone:
            del self._tags[tag]
        if gone:
            self._run._patch({"tags": {"remove": gone}})

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __contains__(self, tag: object) -> bool:
        return tag in self._tags

    def __len__(self) -> int:
        return len(self._tags)

    def __repr__(self) -> str:
        return repr(list(self._tags))

