"""Values that stand in many answers."""

from typing import Annotated, Any, Literal

from farwatch.server.schema import Named

NONFINITE = ("NaN", "Infinity", "-Infinity")

Num = Annotated[
    float | Literal["NaN", "Infinity", "-Infinity"],
    Named("Num", "A number. JSON has no word for those that are not finite, so they travel as text."),
]

_SELF = {"$ref": "#/components/schemas/Json"}

Json = Annotated[
    Any,
    Named(
        "Json",
        "Any value: what a program logged or configured is passed on as it came.",
        {
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": _SELF},
                {"type": "object", "additionalProperties": _SELF},
            ]
        },
    ),
]

Tree = Annotated[dict[str, Json], Named("Tree", "A nested mapping.")]

Goal = Literal["min", "max"]
