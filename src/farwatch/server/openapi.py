"""The OpenAPI document, made from the declared endpoints."""

import re
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from farwatch.server.route import Ask, Endpoint
from farwatch.service.access import PUBLIC

_PLACEHOLDER = re.compile(r"\{(\w+)(?::path)?\}")

PROBLEM = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": ["string", "null"]},
                "id": {"type": "string"},
            },
            "required": ["code", "message", "id"],
        }
    },
    "required": ["error"],
}


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """What this server answers, as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PLACEHOLDER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
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
            "schemas": {"Problem": PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "header", "name": "X-Farwatch-Key"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACEHOLDER.findall(endpoint.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in endpoint.query.items()
    ]
    made: dict[str, Any] = {
        "operationId": endpoint.handler.__module__.rpartition(".")[2] + "_" + endpoint.handler.__name__,
        "summary": endpoint.text,
        "x-scope": endpoint.scope,
        "security": [] if endpoint.scope == PUBLIC else [{"bearer": []}, {"session": []}],
        "responses": {
            "200": {"description": endpoint.answer or "As said above.", "content": {endpoint.media_type: {}}},
            "default": {
                "description": "A problem.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if parameters:
        made["parameters"] = parameters
    if endpoint.body:
        made["requestBody"] = {"description": endpoint.body, "content": {"application/json": {}}}
    return made


def endpoint(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that answers with the document of the others."""

    async def openapi(ask: Ask) -> Response:
        return ask.reply(document(endpoints, ask.services.version))

    return Endpoint("GET", "/openapi.json", "read", openapi, "This document.")
