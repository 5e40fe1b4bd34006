"""Charts and exact points."""

from collections.abc import Callable

from starlette.responses import Response

from farwatch.errors import BusyError, LimitError
from farwatch.server.answers import answer, json_bytes
from farwatch.server.route import Ask, Endpoint
from farwatch.server.shapes.charts import Chart, ChartRequest, SeriesPoints, SeriesRequest
from farwatch.service.charts import Wanted
from farwatch.service.packed import Table
from farwatch.wire.columns import CONTENT_TYPE

CHARTS_AT_ONCE = 64  # asked, being made or being sent; more are told to come again
CELLS_AT_ONCE = 1_000_000  # lines x buckets of these; 100 MB or so while they are made
SERIES_CELLS = CELLS_AT_ONCE // 4  # exact points are not known before they are read: four answers at once


async def charts(ask: Ask) -> Response:
    body = await ask.object()
    wanted = Wanted.parse(body)
    cells = len(wanted.lines) * wanted.buckets
    if cells > CELLS_AT_ONCE:
        raise LimitError(f"{cells} buckets in one chart", hint=f"lines times buckets may be {CELLS_AT_ONCE}")
    return await _columns(ask, lambda: ask.services.charts.chart(body), cells)


async def series(ask: Ask) -> Response:
    body = await ask.object()
    return await _columns(ask, lambda: ask.services.charts.series(body), SERIES_CELLS)


async def _columns(ask: Ask, make: Callable[[], Table], cells: int) -> Response:
    """Make an answer in a thread. What it takes counts until it is sent, because a slow reader holds it that long."""
    services = ask.services
    if services.charts_open >= CHARTS_AT_ONCE or services.cells_open + cells > CELLS_AT_ONCE:
        raise BusyError("too many charts at once", retry_after_s=1)
    services.charts_open += 1
    services.cells_open += cells

    def release() -> None:
        services.charts_open -= 1
        services.cells_open -= cells

    ask.after.append(release)
    accept = ask.headers.get("accept", "")
    as_json = "application/json" in accept and CONTENT_TYPE not in accept
    encoding = ask.headers.get("accept-encoding", "")

    def build() -> Response:
        if as_json:
            return answer(json_bytes(make().plain()), "application/json", encoding)
        return answer(make().encode(), CONTENT_TYPE, encoding)

    response: Response = await ask.run(build)
    return response


ENDPOINTS = (
    Endpoint(
        "POST",
        "/charts",
        "read",
        charts,
        "Lines to draw, in buckets that lose no spike.",
        media_type=CONTENT_TYPE,
        body=ChartRequest,
        answer=Chart,
    ),
    Endpoint(
        "POST",
        "/series",
        "read",
        series,
        "Every point, exact.",
        media_type=CONTENT_TYPE,
        body=SeriesRequest,
        answer=SeriesPoints,
    ),
)
