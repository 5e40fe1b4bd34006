"""Pictures arrive as they were, and none replaces another."""

import base64
import sysconfig

from e2e_server import Server
from playwright.sync_api import Page, expect

PICTURES = """
import sys
import numpy as np
import PIL.Image
import farwatch

with farwatch.init(project=sys.argv[1], system=False) as run:
    red = np.zeros((8, 8, 3)); red[..., 0] = 1.0
    run.log({"unit": farwatch.Image(red, caption="floats from 0 to 1")}, step=0)
    green = np.zeros((8, 8, 3)); green[..., 1] = 255.0
    run.log({"bytes": farwatch.Image(green)}, step=0)
    run.log({"pil": farwatch.Image(PIL.Image.new("RGB", (8, 8), (10, 20, 250)))}, step=0)
    for step in range(5):
        grey = np.full((8, 8), 50 * step, dtype=np.uint8)
        run.log({"series": farwatch.Image(grey, caption=f"number {step}")}, step=step * 10)
    run.log({"text": "Once upon a time", "weights": farwatch.Histogram(np.arange(100.0))}, step=3)
"""

COLOUR = """image => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
}"""


def test_images_have_their_colours_and_a_series_is_browsed_by_step(
    server: Server, page: Page, project: str
) -> None:
    # the server's environment is bare; Pillow is that of the tests
    server.train(PICTURES, project, environment={"PYTHONPATH": sysconfig.get_path("purelib")})
    with server.api() as api:
        run = server.ended(api, project)[0]
        assert sorted({item["name"] for item in run.media()}) == [
            "bytes",
            "pil",
            "series",
            "text",
            "unit",
            "weights",
        ]
        assert [item["caption"] for item in run.media("series")] == [f"number {n}" for n in range(5)]

    page.goto(f"{server.address}/r/{run.id[:7]}/samples")

    unit = page.get_by_role("img", name="floats from 0 to 1")
    expect(unit).to_be_visible()
    assert unit.evaluate(COLOUR) == [255, 0, 0, 255]
    plain = page.get_by_role("img", name="bytes")
    expect(plain).to_be_visible()
    assert plain.evaluate(COLOUR) == [0, 255, 0, 255]
    pil = page.get_by_role("img", name="pil", exact=True)
    expect(pil).to_be_visible()
    assert pil.evaluate(COLOUR) == [10, 20, 250, 255]
    expect(page.get_by_text("Once upon a time")).to_be_visible()
    slider = page.get_by_role("slider", name="series")
    for place in range(5):
        slider.fill(str(place))
        shown = page.get_by_role("img", name=f"number {place}")  # the words are those of the picture that stands there
        expect(shown).to_be_visible()
        assert shown.evaluate(COLOUR) == [50 * place, 50 * place, 50 * place, 255]


def test_image_of_every_kind_of_source_is_the_same_picture(server: Server, project: str) -> None:
    """Array, bytes and path: pixel for pixel what was given."""
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # one red pixel
    script = f"""
import base64, pathlib, sys, farwatch
data = base64.b64decode({png!r})
pathlib.Path("one.png").write_bytes(data)
with farwatch.init(project=sys.argv[1], system=False) as run:
    run.log({{"bytes": farwatch.Image(data), "path": farwatch.Image("one.png")}}, step=0)
"""
    server.train(script, project)

    with server.api() as api:
        run = server.ended(api, project)[0]
        urls = {item["name"]: item["url"] for item in run.media()}
        found = {name: run._contact.bytes_of(f"/{url}", 0, 1 << 20)[0] for name, url in urls.items()}
    assert found == dict.fromkeys(("bytes", "path"), base64.b64decode(png))
