"""TypeScript for the OpenAPI document: a type for every shape, and for every method what can be asked and what comes back.

Not `openapi-typescript`: that one wants an older TypeScript than ours, brings some forty packages, and nests everything under
`components["schemas"]`. The document holds only what `farwatch.server.schema` makes, and this covers all of it; anything else is an
error, not `unknown`.
"""

import re
from typing import Any

from farwatch.errors import UsageError

HEAD = """\
/**
 * What the server speaks. Made from its OpenAPI document by `make docs`: change the shapes in src/farwatch/server/shapes, not this file.
 * Names that end in `_ms` are milliseconds, of a moment since 1970 in UTC.
 */
"""
JSON = "application/json"
REF = "#/components/schemas/"
METHODS = {"get": "Get", "post": "Post", "put": "Put", "patch": "Patch", "delete": "Delete"}
_WORD = re.compile(r"[A-Za-z_]\w*")
_PLAIN = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}


def types(document: dict[str, Any]) -> str:
    """The text of `types.ts`. Raises `UsageError` for a schema that it cannot say."""
    parts = [HEAD]
    for name, schema in document["components"]["schemas"].items():
        parts.append(_declaration(name, schema))
    for method, name in METHODS.items():
        routes = [
            _route(path, operations[method])
            for path, operations in document["paths"].items()
            if method in operations and "servers" not in operations[method]
        ]
        doc = f"/** {method.upper()}, by path below the API. `ask` stands in the path and behind its question mark. */"
        parts.append("\n".join([doc, f"export interface {name} {{", *routes, "}"]) + "\n")
    return "\n".join(parts)


def _declaration(name: str, schema: dict[str, Any]) -> str:
    doc = _comment(schema.get("description", ""))
    if schema.get("type") == "object" and "properties" in schema:
        if not schema["properties"]:
            return f"{doc}export type {name} = Record<string, never>;\n"
        return f"{doc}export interface {name} {{\n{_fields(schema, '  ')}}}\n"
    if "enum" in schema:
        listed = ", ".join(map(_text, schema["enum"]))
        many = f"{name.upper()}S"
        return f"export const {many} = [{listed}] as const;\n{doc}export type {name} = (typeof {many})[number];\n"
    return f"{doc}export type {name} = {_type(schema)};\n"


def _fields(schema: dict[str, Any], indent: str) -> str:
    lines = []
    for name, field in schema["properties"].items():
        mark = "" if name in schema["required"] else "?"
        lines += [f"{indent}{_comment(field.get('description', ''))}".rstrip("\n")] if "description" in field else []
        lines.append(f"{indent}{_key(name)}{mark}: {_type(field)};")
    return "".join(f"{line}\n" for line in lines)


def _route(path: str, operation: dict[str, Any]) -> str:
    asked = []
    for one in operation.get("parameters", ()):
        inside = one["in"] == "path"
        kind = _type(one["schema"])
        asked.append(f"{_key(one['name'])}{'' if inside else '?'}: {kind}{'' if inside else ' | null'}")
    parts = [f"ask: {{ {'; '.join(asked)} }}" if asked else "ask: Record<string, never>"]
    body = operation.get("requestBody")
    if body is not None:
        parts.append(f"body: {_content(body)}")
    answers = [_content(answer) for status, answer in operation["responses"].items() if status != "default"]
    parts.append(f"answer: {' | '.join(answers)}")
    return f"  {_text(path.removeprefix('/'))}: {{ {'; '.join(parts)} }};"


def _content(told: dict[str, Any]) -> str:
    """The JSON of a body or an answer; bytes where there is none."""
    json = told["content"].get(JSON)
    return "Blob" if json is None else _type(json["schema"])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REF)
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(_text, schema["enum"]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_PLAIN[one] for one in kind)
    if kind == "array":
        inner = _type(schema["items"])
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"{{ [key: string]: {_type(schema['additionalProperties'])} }}"
    if kind in _PLAIN:
        return _PLAIN[kind]
    raise UsageError(f"no TypeScript for the schema: `{schema}`")


def _comment(text: str) -> str:
    return f"/** {' '.join(text.split()).replace('*/', '* /')} */\n" if text else ""


def _key(name: str) -> str:
    return name if _WORD.fullmatch(name) else _text(name)


def _text(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
