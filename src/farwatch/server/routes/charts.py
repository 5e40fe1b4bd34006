"""Charts and exact points."""

from starlette.responses import Response

from farwatch.errors import BusyError
from farwatch.server.answers import answer, json_bytes
from farwatch.server.route import Ask, Endpoint
from farwatch.service.charts import Table
from farwatch.wire.columns import CONTENT_TYPE

CHARTS_AT_ONCE = 64  # asked or being made; more are told to come again


async def charts(ask: Ask) -> Response:
    body = await ask.object()
    return await _columns(ask, lambda: ask.services.charts.chart(body))


async def series(ask: Ask) -> Response:
    body = await ask.object()
    return await _columns(ask, lambda: ask.services.charts.series(body))


async def _columns(ask: Ask, make: "object") -> Response:
    services = ask.services
    if services.charts_open >= CHARTS_AT_ONCE:
        raise BusyError("too many charts at once", retry_after_s=1)
    accept = ask.headers.get("accept", "")
    as_json = "application/json" in accept and CONTENT_TYPE not in accept
    encoding = ask.headers.get("accept-encoding", "")

    def build() -> Response:
        table: Table = make()  # type: ignore[operator]
        if as_json:
            return answer(json_bytes(table.plain()), "application/json", encoding)
        return answer(table.encode(), CONTENT_TYPE, encoding)

    services.charts_open += 1
    try:
        response: Response = await ask.run(build)
        return response
    finally:
        services.charts_open -= 1


ENDPOINTS = (
    Endpoint(
        "POST",
        "/charts",
        "read",
        charts,
        "Lines to draw, in buckets that lose no spike.",
        media_type=CONTENT_TYPE,
        body='{"lines": [{"run", "name", "rank", "attempt"}], "x", "lo", "hi", "buckets", "ranks"}',
        answer="columns px, pv, x, min, max, mean, count, nonfinite; JSON with `Accept: application/json`",
    ),
    Endpoint(
        "POST",
        "/series",
        "read",
        series,
        "Every point, exact.",
        media_type=CONTENT_TYPE,
        body='{"lines": […], "lo", "hi"}, or {"project", "name", "where"}',
        answer="columns steps, times (µs), values",
    ),
)
