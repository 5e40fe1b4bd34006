"""Figures of real plotting libraries are taken as they are, and showing them loads nothing from other hosts."""

import io
import re
import subprocess
import sys
import textwrap
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest

from farwatch.sdk.figures import as_media
from farwatch.sdk.media import Image, Rendered


def rendered(value: Any) -> Rendered:
    found = as_media(value)
    assert found is not None
    result = found.render()
    assert isinstance(result, Rendered)
    return result


def loads_from_elsewhere(html: str) -> list[str]:
    """Addresses that a browser would fetch while it reads the document."""
    tags = re.findall(
        r"<(?:script|link|img|iframe|source)\b[^>]*>",
        re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", html, flags=re.S),
    )
    return [tag for tag in tags if re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", tag)]


def test_matplotlib_figure_becomes_a_png_and_stays_open() -> None:
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot([1, 2])
    numbers = plt.get_fignums()

    found = rendered(figure)

    assert (
        found.media_type == "image/png"
        and isinstance(found.content, bytes)
        and found.body["type"] == "figure"
    )
    with PIL.Image.open(io.BytesIO(found.content)) as image:
        assert image.size == (found.body["width"], found.body["height"])
    assert plt.get_fignums() == numbers and plt.gcf() is figure
    assert rendered(axes).media_type == "image/png"
    plt.close(figure)


def test_figure_without_pyplot_is_drawn() -> None:
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2])

    assert rendered(figure).media_type == "image/png"
    assert rendered(figure.subfigures(1, 2)[0]).media_type == "image/png"


def test_seaborn_grid_and_sklearn_display_are_drawn() -> None:
    import pandas
    import seaborn
    from sklearn.metrics import ConfusionMatrixDisplay

    grid = seaborn.FacetGrid(pandas.DataFrame({"a": [1, 2]}))
    display = ConfusionMatrixDisplay(np.eye(2)).plot()

    assert rendered(grid).media_type == "image/png"
    assert rendered(display).media_type == "image/png"
    plt.close("all")


def test_plotly_is_one_document_with_its_data() -> None:
    import plotly.graph_objects

    found = rendered(
        plotly.graph_objects.Figure(plotly.graph_objects.Scatter(x=[1, 2], y=[3, 4], name="canary"))
    )

    assert found.media_type == "text/html" and isinstance(found.content, bytes)
    html = found.content.decode()
    assert "canary" in html and "Plotly.newPlot" in html and loads_from_elsewhere(html) == []


def test_bokeh_is_one_document_with_its_data() -> None:
    from bokeh.plotting import figure

    plot = figure(title="canary")
    plot.line([1, 2], [3, 4])

    found = rendered(plot)

    assert isinstance(found.content, bytes)
    html = found.content.decode()
    assert "canary" in html and "Bokeh" in html and loads_from_elsewhere(html) == []


def test_altair_is_a_document_or_its_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    import altair
    import pandas

    chart = (
        altair.Chart(pandas.DataFrame({"a": [1, 2], "b": [3, 4]}), title="canary")
        .mark_line()
        .encode(x="a", y="b")
    )
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    found = rendered(chart)

    assert isinstance(found.content, bytes) and b"canary" in found.content
    assert found.media_type == "application/vnd.vegalite+json" and "vl-convert" in found.body["note"]


def test_pillow_picture_is_a_picture() -> None:
    found = as_media(PIL.Image.new("RGB", (2, 2)))

    assert isinstance(found, Image) and found.render().body["type"] == "image"


@pytest.mark.parametrize(
    "value", [1.5, "text", None, [1], {"a": 1}, np.zeros(3), object(), int, plt], ids=range(9)
)
def test_what_is_no_figure_is_left_to_others(value: Any) -> None:
    assert as_media(value) is None


def test_recognising_imports_nothing() -> None:
    script = """
        import sys
        from farwatch.sdk.figures import as_media
        assert as_media(3.5) is None and as_media(object()) is None
        print([name for name in ("numpy", "matplotlib", "PIL", "plotly", "bokeh") if name in sys.modules])
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd="src", capture_output=True, text=True
    )

    assert done.stdout.strip() == "[]"
