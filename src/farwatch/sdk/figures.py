"""Figures of plotting libraries and other foreign pictures, taken as they are.

Recognised by the module of their class, never by an import, and rendered without touching the library's
state: no `pyplot`, no current figure, no window. Interactive ones keep their data as JSON (the dashboard
draws them, nothing is loaded from other hosts) or are written as self-contained HTML.
"""

import io
import json
from typing import Any

from farwatch.sdk.media import Html, Image, Rendered
from farwatch.sdk.plain import finite, plain
from farwatch.sdk.png import picture_size

DPI_MAX = 200


class Figure:
    """A figure of a known library, rendered when it is logged. `kind`: `matplotlib`, `plotly`, `altair`,
    `bokeh`."""

    def __init__(self, figure: Any, kind: str, caption: str | None = None) -> None:
        self.figure = figure
        self.kind = kind
        self.caption = caption

    def render(self) -> Rendered:
        rendered = _RENDERERS[self.kind](self.figure)
        return (
            rendered
            if self.caption is None
            else Rendered({**rendered.body, "caption": self.caption}, *_rest(rendered))
        )


def as_media(value: Any) -> Any:
    """The value as something with `render`, if it is a figure or picture that we know; else None. Imports
    nothing."""
    for base in type(value).__mro__:
        library = (base.__module__ or "").partition(".")[0]
        found = _known(value, library, base.__module__ or "", base.__name__)
        if found is not None:
            return found
    return None


def _known(value: Any, library: str, module: str, name: str) -> Any:
    if library == "PIL" and name == "Image":
        return Image(value)
    if library == "matplotlib":
        if name == "FigureBase" or (name == "Figure" and module == "matplotlib.figure"):
            return Figure(value.figure, "matplotlib")
        if (
            module.startswith(("matplotlib.axes", "matplotlib.artist"))
            and getattr(value, "figure", None) is not None
        ):
            return Figure(value.figure, "matplotlib")  # `ax`, or what `ax.plot` returned
        if name == "Animation":
            return Html(value.to_jshtml())
    if library == "seaborn" and hasattr(value, "figure"):
        return Figure(value.figure, "matplotlib")
    if library == "plotly" and name == "BaseFigure":
        return Figure(value, "plotly")
    if library == "altair" and name == "TopLevelMixin":
        return Figure(value, "altair")
    if library == "bokeh" and name in ("LayoutDOM", "Document"):
        return Figure(value, "bokeh")
    if library == "sklearn" and name.endswith("Display") and hasattr(value, "figure_"):
        return Figure(value.figure_, "matplotlib")  # ConfusionMatrixDisplay and its kin
    return None


def _rest(rendered: Rendered) -> tuple[Any, Any, str]:
    return rendered.content, rendered.media_type, rendered.suffix


def _render_matplotlib(figure: Any) -> Rendered:
    """A PNG by the figure's own canvas; a figure without one, or with a window's, is drawn by Agg all the
    same."""
    figure = getattr(figure, "figure", figure)
    while getattr(figure, "figure", figure) is not figure:  # a figure inside a figure
        figure = figure.figure
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=min(DPI_MAX, figure.dpi), bbox_inches="tight")
    return _png(out.getvalue())


def _png(content: bytes) -> Rendered:
    width, height = picture_size(content) or (None, None)
    return Rendered({"type": "figure", "width": width, "height": height}, content, "image/png", ".png")


def _render_plotly(figure: Any) -> Rendered:
    """HTML with the library inside (some 4.5 MB): keeps hover and zoom, and loads nothing."""
    content = figure.to_html(
        include_plotlyjs=True, include_mathjax=False, full_html=True, validate=False
    ).encode()
    return Rendered({"type": "figure"}, content, "text/html", ".html")


def _render_altair(chart: Any) -> Rendered:
    """HTML with the library inside where `vl-convert-python` is installed; else the Vega-Lite document
    itself."""
    try:
        return Rendered({"type": "figure"}, chart.to_html(inline=True).encode(), "text/html", ".html")
    except (ImportError, ValueError):
        content = json.dumps(finite(plain(chart.to_dict())), separators=(",", ":"), allow_nan=False).encode()
        note = "install vl-convert-python beside altair to see this chart on the page"
        return Rendered(
            {"type": "figure", "note": note}, content, "application/vnd.vegalite+json", ".vl.json"
        )


def _render_bokeh(model: Any) -> Rendered:
    from bokeh.embed import file_html  # the value is of bokeh, so the program has it
    from bokeh.resources import INLINE

    content = file_html(model, INLINE).encode()
    return Rendered({"type": "figure"}, content, "text/html", ".html")


_RENDERERS = {
    "matplotlib": _render_matplotlib,
    "plotly": _render_plotly,
    "altair": _render_altair,
    "bokeh": _render_bokeh,
}
