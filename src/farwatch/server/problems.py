"""Errors as answers: one function, one JSON shape."""

import logging
import math
from http import HTTPStatus

from starlette.responses import Response

from farwatch.errors import FarwatchError
from farwatch.server.answers import json_bytes

log = logging.getLogger("farwatch.server")

TOP_LEVEL = ("expected", "crc", "epoch")  # what an agent needs to go on from a refused batch
RESERVED = frozenset({"code", "message", "hint", "id", "retry_after_s", "status", *TOP_LEVEL})


def problem(error: BaseException, request_id: str, **top: object) -> Response:
    """The answer for an error: `{"error": {"code", "message", "hint", "id"}}`, with what the error says beside it.

    Any error that is not ours becomes a generic one; what it was stands in the log under `id`.
    """
    if not isinstance(error, FarwatchError):
        log.error("request %s failed", request_id, exc_info=error)
        error = FarwatchError(
            "something went wrong on the server", hint=f"its log says more under {request_id}"
        )
    elif error.http_status >= 500 and not error.retryable:
        log.error("request %s: %s", request_id, error, exc_info=error)
    said: dict[str, object] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "id": request_id,
    }
    said.update({key: value for key, value in error.details.items() if key not in RESERVED})
    body: dict[str, object] = {"error": said, **top}
    body.update({key: error.details[key] for key in TOP_LEVEL if key in error.details})
    headers = {}
    if error.retryable:
        wait_s = error.details.get("retry_after_s", 30 if error.http_status == 507 else 1)
        headers["Retry-After"] = str(math.ceil(wait_s)) if isinstance(wait_s, (int, float)) else "1"
    given = error.details.get(
        "status", error.http_status
    )  # one class, several answers: 405 and 415 are bad requests too
    status = given if isinstance(given, int) else error.http_status
    return Response(json_bytes(body), HTTPStatus(status), headers, "application/json")
