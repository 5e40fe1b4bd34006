"""The OpenAPI document, made from the declared endpoints and their shapes."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from starlette.responses import Response

from farwatch.server.route import Ask, Endpoint
from farwatch.server.schema import Raw, Schema, schema
from farwatch.server.shapes.system import Problem
from farwatch.server.shapes.values import Tree
from farwatch.service.access import PUBLIC

JSON = "application/json"
BINARY = {"type": "string", "format": "binary"}
_PLACEHOLDER = re.compile(r"\{(\w+)(?::path)?\}")


def document(endpoints: Sequence[Endpoint], version: str, *, probes: Sequence[Endpoint] = ()) -> Schema:
    """What this server answers, as OpenAPI 3.1. `probes`: endpoints outside the API's prefix."""
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, Schema] = {}
    for endpoint in (*endpoints, *probes):
        path = _PLACEHOLDER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, components)
    for probe in probes:
        paths[probe.path][probe.method.lower()]["servers"] = [{"url": "../.."}]
    problem = {"description": "A problem.", "content": {JSON: {"schema": schema(Problem, components)}}}
    for component in components.values():
        del component["x-from"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Farwatch",
            "version": version,
            "description": "Runs, series, files and live changes of one server.",
        },
        "servers": [{"url": "."}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": {"Problem": problem},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "header", "name": "X-Farwatch-Key"},
            },
        },
    }


def _operation(endpoint: Endpoint, components: dict[str, Schema]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACEHOLDER.findall(endpoint.path)
    ]
    for name, shape in endpoint.query.items():
        told = schema(shape, components)
        text = told.pop("description", "")
        parameters.append(
            {"name": name, "in": "query", "required": False, "description": text, "schema": told}
        )
    made: dict[str, Any] = {
        "operationId": endpoint.handler.__module__.rpartition(".")[2] + "_" + endpoint.handler.__name__,
        "summary": endpoint.text,
        "x-scope": endpoint.scope,
        "security": [] if endpoint.scope == PUBLIC else [{"bearer": []}, {"session": []}],
        "responses": {
            str(endpoint.status): _answer(endpoint, components),
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if parameters:
        made["parameters"] = parameters
    if isinstance(endpoint.body, Raw):
        content: dict[str, Any] = {"application/octet-stream": {"schema": BINARY}}
        made["requestBody"] = {"description": endpoint.body.text, "required": True, "content": content}
    elif endpoint.body is not None:
        made["requestBody"] = {"content": {JSON: {"schema": schema(endpoint.body, components)}}}
    return made


def _answer(endpoint: Endpoint, components: dict[str, Schema]) -> dict[str, Any]:
    if isinstance(endpoint.answer, Raw):
        return {"description": endpoint.answer.text, "content": {endpoint.media_type: {"schema": BINARY}}}
    if endpoint.answer is None:
        return {"description": "As said above.", "content": {endpoint.media_type: {}}}
    content = {JSON: {"schema": schema(endpoint.answer, components)}}
    if endpoint.media_type != JSON:
        content[endpoint.media_type] = {"schema": BINARY}
    return {"description": "It is done.", "content": content}


def endpoint(endpoints: Sequence[Endpoint], probes: Sequence[Endpoint] = ()) -> Endpoint:
    """The endpoint that answers with the document of the others, and of itself."""

    async def openapi(ask: Ask) -> Response:
        return ask.reply(document([*endpoints, own], ask.services.version, probes=probes))

    own = Endpoint(
        "GET",
        "/openapi.json",
        "read",
        openapi,
        "This document.",
        answer=Annotated[Tree, "OpenAPI 3.1."],
    )
    return own
