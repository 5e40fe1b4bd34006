"""The OpenAPI document says what the server says: no field more, none less; and the dashboard is built with the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator
from serving import running
from speaking import Heard, Speaker, ask_everything

from farwatch.errors import UsageError
from farwatch.server.app import ENDPOINTS
from farwatch.server.route import Endpoint
from farwatch.server.routes.system import PROBES
from farwatch.server.schema import Named, Raw, open_ended, schema
from farwatch.testing import surface, typescript
from farwatch.wire.batch import Batch

ROOT = Path(__file__).parents[2]
JSON = "application/json"
SPOKEN = [one for one in (*ENDPOINTS, *PROBES) if one.answer is not None and not isinstance(one.answer, Raw)]


def path_of(endpoint: Endpoint) -> str:
    return endpoint.path.replace(":path}", "}")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    with running(tmp_path_factory.mktemp("spoken") / "state") as server:
        speaker = Speaker(server)
        ask_everything(speaker)
        yield speaker


def closed(value: Any) -> Any:
    """A schema in which objects hold nothing but what is declared, unless they say that they may."""
    if isinstance(value, list):
        return [closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: closed(one) for key, one in value.items()}
    if made.get("type") == "object" and isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def mistakes(document: dict[str, Any], declared: dict[str, Any], value: Any) -> list[str]:
    """Where a value differs from what the document declares."""
    whole = closed({**declared, "components": document["components"]})
    Draft202012Validator.check_schema(whole)
    found = Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def operation(document: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    told: dict[str, Any] = document["paths"][path_of(endpoint)][endpoint.method.lower()]
    return told


def heard(spoken: Speaker, endpoint: Endpoint) -> list[Heard]:
    found = spoken.heard.get((endpoint.method, path_of(endpoint)), [])
    assert found, "asked by no test: add it to `ask_everything`"
    return found


def document(spoken: Speaker) -> dict[str, Any]:
    told: dict[str, Any] = spoken.heard["GET", "/openapi.json"][0].reply.json
    return told


@pytest.mark.parametrize("endpoint", SPOKEN, ids=lambda one: f"{one.method} {path_of(one)}")
def test_answers_are_what_the_document_declares(spoken: Speaker, endpoint: Endpoint) -> None:
    told = document(spoken)
    responses = operation(told, endpoint)["responses"]

    found = [
        mistake
        for one in heard(spoken, endpoint)
        for mistake in mistakes(told, responses[str(one.reply.status)]["content"][JSON]["schema"], one.reply.json)
    ]

    assert found == []


TAKEN = [one for one in ENDPOINTS if one.body is not None and not isinstance(one.body, Raw)]


@pytest.mark.parametrize("endpoint", TAKEN, ids=lambda one: f"{one.method} {path_of(one)}")
def test_requests_that_are_taken_are_what_the_document_declares(spoken: Speaker, endpoint: Endpoint) -> None:
    told = document(spoken)
    declared = operation(told, endpoint)["requestBody"]["content"][JSON]["schema"]

    found = [mistake for one in heard(spoken, endpoint) for mistake in mistakes(told, declared, one.body)]

    assert found == []


@pytest.mark.parametrize("path", ["/runs/none", "/columns", "/nothing"])
def test_refusals_are_what_the_document_declares(spoken: Speaker, path: str) -> None:
    told = document(spoken)
    declared = told["components"]["responses"]["Problem"]["content"][JSON]["schema"]

    reply = spoken.server.api("GET", path)

    assert reply.status >= 400
    assert mistakes(told, declared, reply.json) == []


def test_a_refused_batch_is_what_the_document_declares(spoken: Speaker) -> None:
    told = document(spoken)
    declared = told["components"]["responses"]["Problem"]["content"][JSON]["schema"]
    writer = spoken.heard["POST", "/writers"][0].body["writer"]
    late = Batch(writer, 9, 1, 1, 2, b"").encode()
    reply = spoken.server.api("POST", f"/writers/{writer}/batches", raw=late)

    assert (reply.status, reply.code) == (409, "gap")
    assert mistakes(told, declared, reply.json) == []


def test_runs_of_the_check_have_something_in_every_field(spoken: Speaker) -> None:
    """A list that is always empty would prove nothing of what it holds."""
    details = [one.reply.json for one in spoken.heard["GET", "/runs/{ref}"]]
    media = spoken.heard["GET", "/runs/{ref}/media"][0].reply.json["items"]
    live = spoken.heard["POST", "/live"][-1].reply.json

    filled = ("attempts", "ranks", "definitions", "gaps", "config", "capture", "summary", "progress", "traceback")
    assert [name for name in filled if not any(detail[name] for detail in details)] == []
    assert {item["type"] for item in media} >= {"image", "histogram", "table", "audio", "video", "html", "text", "integer"}
    assert [name for name in ("runs", "points", "console", "new_metrics", "media") if not live[name]] == []


def test_a_field_that_is_not_declared_and_one_that_is_missing_are_noticed(spoken: Speaker) -> None:
    told = document(spoken)
    row = spoken.heard["GET", "/projects"][0].reply.json["projects"][0]
    declared = {"$ref": "#/components/schemas/ProjectRow"}

    more = mistakes(told, declared, {**row, "colour": "red"})
    less = mistakes(told, declared, {key: value for key, value in row.items() if key != "runs"})

    assert mistakes(told, declared, row) == []
    assert len(more) == 1 and "'colour' was unexpected" in more[0]
    assert len(less) == 1 and "'runs' is a required property" in less[0]


def test_every_endpoint_says_what_it_takes_and_gives() -> None:
    silent = [path_of(one) for one in (*ENDPOINTS, *PROBES) if one.answer is None]
    bodies = {"PUT", "PATCH"}

    assert silent == []
    assert [path_of(one) for one in ENDPOINTS if one.method in bodies and one.body is None] == []


def test_the_dashboard_is_built_with_what_the_server_says_today() -> None:
    """After a change that is meant: `make docs`. What it breaks, `npm run check` in web/ names."""
    made = (ROOT / "web" / "src" / "api" / "types.ts").read_text(encoding="utf-8")

    assert made == typescript.types(surface.openapi())


class Leaf(TypedDict):
    """A leaf."""

    n: Annotated[int, "How many."]
    word: NotRequired[str | None]


@open_ended
class Twig(TypedDict):
    """A twig."""

    leaves: list[Leaf]
    kind: Literal["long", "short"]
    by_name: dict[str, Annotated[float | Literal["NaN"], Named("Size", "A size.")]]


def test_shapes_become_schemas_with_named_parts() -> None:
    components: dict[str, Any] = {}

    told = schema(Twig, components)

    for component in components.values():
        del component["x-from"]
    assert told == {"$ref": "#/components/schemas/Twig"}
    assert components == {
        "Leaf": {
            "type": "object",
            "description": "A leaf.",
            "properties": {
                "n": {"type": "integer", "description": "How many."},
                "word": {"type": ["string", "null"]},
            },
            "required": ["n"],
        },
        "Size": {
            "anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN"]}],
            "description": "A size.",
        },
        "Twig": {
            "type": "object",
            "description": "A twig.",
            "properties": {
                "leaves": {"type": "array", "items": {"$ref": "#/components/schemas/Leaf"}},
                "kind": {"type": "string", "enum": ["long", "short"]},
                "by_name": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Size"}},
            },
            "required": ["leaves", "kind", "by_name"],
            "additionalProperties": True,
        },
    }


def test_what_is_no_shape_is_refused_when_the_document_is_made() -> None:
    other = TypedDict("Leaf", {"x": int})  # noqa: UP013
    other.__module__ = "elsewhere"
    components: dict[str, Any] = {}
    schema(Leaf, components)

    with pytest.raises(UsageError, match="no shape of JSON"):
        schema(bytes, {})
    with pytest.raises(UsageError, match="two shapes of one name: `Leaf`"):
        schema(other, components)
    with pytest.raises(UsageError, match="no TypeScript for the schema"):
        typescript.types({"components": {"schemas": {"X": {"type": "file"}}}, "paths": {}})
