"""The reference page of the HTTP API: every endpoint, and every shape that goes in or out, from the OpenAPI document."""

import re
from typing import Any

from farwatch.testing import surface

REF = "#/components/schemas/"
_PLACEHOLDER = re.compile(r"\{(\w+):path\}")


def http_page() -> str:
    """Every endpoint with its scope, query, body and answer; then every shape with its fields."""
    told = surface.openapi()
    parts = [
        "# HTTP\n",
        "All paths are below `/api/v1`. A running server describes itself at `/api/v1/openapi.json`. Numbers that are not finite are",
        'the texts `"NaN"`, `"Infinity"` and `"-Infinity"`. Send a token as `Authorization: Bearer …`, never in an address.',
        "New versions may add fields: pass over those that you do not know.",
    ]
    for endpoint in sorted(surface.endpoints(), key=lambda e: (e.path, e.method)):
        operation = told["paths"][_PLACEHOLDER.sub(r"{\1}", endpoint.path)][endpoint.method.lower()]
        parts += ["", f"## {endpoint.method} {endpoint.path}", ""]
        parts += [f"{_sentence(endpoint.text)} Scope: `{endpoint.scope}`.", *_operation(operation)]
    parts += ["", "# Shapes"]
    for name, shape in told["components"]["schemas"].items():
        parts += ["", f"## {name}", "", _sentence(shape["description"]), *_fields(shape)]
    return "\n".join(parts) + "\n"


def _operation(operation: dict[str, Any]) -> list[str]:
    asked = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    lines = ["", *(f"- `{p['name']}` ({_type(p['schema'])}): {p['description']}" for p in asked)] if asked else []
    body = operation.get("requestBody")
    if body is not None:
        lines += ["", f"Body: {_content(body)}."]
    ((status, answer),) = [(key, one) for key, one in operation["responses"].items() if key != "default"]
    return [*lines, "", f"Answer{'' if status == '200' else f', status {status}'}: {_content(answer)}."]


def _content(told: dict[str, Any]) -> str:
    """What a body or an answer holds; bytes by the sentence that describes them."""
    shapes = {kind: one["schema"] for kind, one in told["content"].items()}
    json = shapes.pop("application/json", None)
    others = " or ".join(f"`{kind}`" for kind in shapes)
    if json is None:
        return told["description"] + (f", {others}" if others else "")
    return _type(json) + (f", as {others}, or as JSON if only that is accepted" if others else "")


def _fields(shape: dict[str, Any]) -> list[str]:
    if "properties" not in shape:
        return ["", f"{_type(shape)}."]
    required = shape["required"]
    rows = [
        f"| `{name}` | {_type(field)}{'' if name in required else ', may be missing'} | {field.get('description', '')} |"
        for name, field in shape["properties"].items()
    ]
    more = ["", "May hold more."] if shape.get("additionalProperties") is True else []
    return ["", "| field | type | |", "|---|---|---|", *rows, *more] if rows else []


def _type(shape: dict[str, Any]) -> str:
    if "$ref" in shape:
        name = shape["$ref"].removeprefix(REF)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in shape:
        return " or ".join(_type(one) for one in shape["anyOf"])
    if "enum" in shape:
        return ", ".join(f"`{one}`" for one in shape["enum"])
    kind = shape.get("type", "any")
    if kind == "array":
        return f"list of {_type(shape['items'])}"
    if kind == "object":
        inner = shape.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) else "object"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _sentence(text: str) -> str:
    text = text.replace("\n", " ")
    start = text if text.startswith("`") else text[:1].upper() + text[1:]
    return start if start.endswith(".") else start + "."
