"""Pictures keep their pixels, histograms their counts, and files their bytes."""

import io
import itertools
import json
import math
import struct
import subprocess
import sys
import textwrap
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

from farwatch.errors import UsageError
from farwatch.sdk.media import Audio, Histogram, Html, Image, Rendered, Table, Video
from farwatch.sdk.png import picture_size, picture_type


def pixels(rendered: Rendered) -> np.ndarray:
    """The picture as an independent decoder sees it."""
    assert isinstance(rendered.content, bytes) and rendered.media_type == "image/png"
    with PIL.Image.open(io.BytesIO(rendered.content)) as image:
        assert image.size == (rendered.body["width"], rendered.body["height"])
        return np.asarray(image)


COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [128, 64, 32]], [[0, 0, 0], [255, 255, 255]], [[1, 2, 3], [4, 5, 6]],
     [[7, 8, 9], [250, 251, 252]]], np.uint8,
)  # fmt: skip


# --- pictures


@pytest.mark.parametrize(
    "data",
    [
        COLOURS,
        COLOURS.astype(np.int64),
        COLOURS.astype(np.float64),
        COLOURS / 255.0,
        (COLOURS / 255.0).astype(np.float32),
        torch.tensor(COLOURS),
        torch.tensor(COLOURS / 255.0).permute(2, 0, 1),
        torch.tensor(COLOURS / 255.0, requires_grad=True),
        COLOURS.transpose(2, 0, 1),
        np.asfortranarray(COLOURS),
        COLOURS[::-1][::-1],
        PIL.Image.fromarray(COLOURS),
        COLOURS.tolist(),
    ],
    ids=range(13),
)
def test_colours_are_right_whatever_they_come_in(data: Any) -> None:
    assert np.array_equal(pixels(Image(data).render()), COLOURS)


def test_bfloat16_tensor_is_drawn() -> None:
    found = pixels(Image(torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16)).render())

    assert found.tolist() == [[0, 255]]


def test_grey_alpha_and_masks() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)

    assert np.array_equal(pixels(Image(grey).render()), grey)
    assert np.array_equal(pixels(Image(grey[None]).render()), grey)
    assert np.array_equal(pixels(Image(grey[..., None]).render()), grey)
    assert pixels(Image(grey > 50).render()).tolist() == [[0, 255], [255, 255]]
    assert pixels(Image(np.array([[0, 1]])).render()).tolist() == [[0, 255]]
    assert pixels(Image(np.full((2, 3, 4), 7, np.uint8)).render()).shape == (2, 3, 4)
    assert pixels(Image(np.full((2, 3, 2), 7, np.uint8)).render()).shape == (2, 3, 2)
    assert pixels(Image(np.array([[0, 65_535]], np.uint16)).render()).tolist() == [[0, 255]]


def test_odd_numbers_are_clipped_and_non_finite_ones_black() -> None:
    found = pixels(Image(np.array([[-1.0, 0.5, 1.2, math.nan, math.inf]])).render())

    assert found.tolist() == [[0, 128, 255, 0, 0]]


def test_ambiguous_shape_goes_by_the_library() -> None:
    shape = (3, 4, 3)

    assert Image(np.zeros(shape, np.uint8)).render().body["height"] == 3
    assert Image(torch.zeros(shape, dtype=torch.uint8)).render().body["height"] == 4


def test_batch_becomes_a_grid() -> None:
    batch = torch.ones(5, 3, 4, 6)

    found = pixels(Image(batch).render())

    assert found.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    assert found[0, 0].tolist() == [255] * 3 and found[4, 0].tolist() == [0] * 3
    assert Image(np.zeros((5, 8, 9))).render().body["width"] == 3 * 9 + 2 * 2


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(3),
        np.zeros((0, 3)),
        np.zeros((4, 5, 6, 7)),
        np.array([["a"]]),
        [[1], [1, 2]],
        object(),
        b"text",
        "no.png",
    ],
    ids=range(8),
)
def test_something_that_is_no_picture_is_a_usage_error(wrong: Any) -> None:
    with pytest.raises(UsageError):
        Image(wrong).render()


def test_pillow_modes_are_converted() -> None:
    for mode in ("1", "L", "P", "CMYK", "RGBA", "LA", "I", "F", "YCbCr"):
        rendered = Image(PIL.Image.new(mode, (3, 2))).render()
        assert pixels(rendered).shape[:2] == (2, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_files_and_their_bytes_are_kept_unchanged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    PIL.Image.new("RGB", (5, 7)).save(path, kind)
    data = path.read_bytes()

    by_bytes, by_path = Image(data, caption="c").render(), Image(str(path)).render()

    assert by_bytes.content == data and by_path.content == path
    assert by_bytes.media_type == by_path.media_type == f"image/{kind.lower()}"
    assert (by_path.body["width"], by_path.body["height"]) == (5, 7)
    assert by_bytes.body["caption"] == "c" and "caption" not in by_path.body


def test_lossless_and_extended_webp_and_progressive_jpeg_have_a_size() -> None:
    for options in ({"lossless": True}, {"exif": b"Exif\0\0"}):
        out = io.BytesIO()
        PIL.Image.new("RGBA", (5, 7)).save(out, "WEBP", **options)
        assert picture_size(out.getvalue()) == (5, 7)
    out = io.BytesIO()
    PIL.Image.new("RGB", (9, 4)).save(out, "JPEG", progressive=True, exif=b"Exif\0\0" + b"x" * 2000)
    assert picture_size(out.getvalue()) == (9, 4)


def test_cut_off_headers_are_no_trouble() -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        out = io.BytesIO()
        PIL.Image.new("RGB", (5, 7)).save(out, kind)
        for length in range(0, 60):
            picture_size(out.getvalue()[:length])
    assert picture_type(b"") is None
    assert picture_type(b'<svg xmlns="http://www.w3.org/2000/svg"/>') == "image/svg+xml"


def test_bitmap_is_converted_where_pillow_is_loaded(tmp_path: Path) -> None:
    PIL.Image.fromarray(COLOURS).save(tmp_path / "x.bmp")

    assert np.array_equal(pixels(Image(tmp_path / "x.bmp").render()), COLOURS)


def test_pictures_and_histograms_work_without_numpy(tmp_path: Path) -> None:
    script = """
        import sys
        sys.modules["numpy"] = None
        from farwatch.sdk.media import Audio, Histogram, Image, Table
        rows = eval(sys.argv[2])
        sys.modules.pop("numpy")
        open(sys.argv[1], "wb").write(Image(rows).render().content)
        assert Image([[0.0, 0.5, float("nan")]]).render().body["width"] == 3
        assert Image([[[1, 0]], [[0, 1]], [[1, 1]]]).render().body["height"] == 1
        body = Histogram([1, 2, 2.5, float("nan")], bins=2).render().body
        assert body["counts"] == [1, 2] and body["nonfinite"] == 1, body
        assert len(Audio([0.0, 1.0, -1.0], rate=8000).render().content) == 50
        assert Table([[1, 2]]).render().body["rows"] == [[1, 2]]
        assert "numpy" not in sys.modules
    """
    path = tmp_path / "x.png"

    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path), repr(COLOURS.tolist())],
        check=True,
        cwd="src",
    )

    assert np.array_equal(np.asarray(PIL.Image.open(path)), COLOURS)


# --- histograms


def test_histogram_counts_every_value_once() -> None:
    values = np.random.default_rng(7).normal(size=(100, 30))
    counts, edges = np.histogram(values, 64)

    body = Histogram(values).render().body

    assert body["counts"] == counts.tolist() and np.allclose(body["edges"], edges)
    assert body["nonfinite"] == 0 and len(body["edges"]) == 65
    json.dumps(body, allow_nan=False)


@pytest.mark.parametrize(
    ("values", "counts", "nonfinite"),
    [
        ([], [0], 0),
        ([math.nan, math.inf], [0], 2),
        ([5.0], [0, 1], 0),
        ([-1e308, 1e308], [1, 1], 0),
        ([True, False, True], [1, 2], 0),
        ([2**60, 0], [1, 1], 0),
    ],
)
def test_degenerate_histograms(values: list[Any], counts: list[int], nonfinite: int) -> None:
    for data in (
        values,
        np.array(values),
        torch.tensor([float(value) for value in values], dtype=torch.float64),
    ):
        body = Histogram(data, bins=2).render().body
        assert (body["counts"], body["nonfinite"]) == (counts, nonfinite)
        assert len(body["edges"]) == len(counts) + 1 and all(
            a < b for a, b in itertools.pairwise(body["edges"])
        )
        json.dumps(body, allow_nan=False)


def test_given_counts_and_edges_are_kept() -> None:
    assert Histogram(counts=[1, 2.0, 2.5], edges=[0, 1, 2, 3]).render().body == {
        "type": "histogram", "counts": [1, 2, 2.5], "edges": [0.0, 1.0, 2.0, 3.0], "nonfinite": 0,
    }  # fmt: skip
    assert Histogram([0.5, 1.5, 9], bins=[0, 1, 2]).render().body["counts"] == [1, 1]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"counts": [1]}, {"counts": [1], "edges": [0]}, {"values": [1], "counts": [1], "edges": [0, 1]},
     {"values": [1], "bins": 0}, {"values": [1], "bins": 10**9}],
)  # fmt: skip
def test_contradicting_arguments_of_a_histogram_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Histogram(**arguments)


# --- tables


@pytest.mark.parametrize(
    ("data", "columns", "names", "rows"),
    [
        ([[1, "a"], [2.5, None]], None, ["0", "1"], [[1, "a"], [2.5, None]]),
        ([[1, "a"]], ["n", "s"], ["n", "s"], [[1, "a"]]),
        ([{"a": 1}, {"b": math.nan}], None, ["a", "b"], [[1, None], [None, "NaN"]]),
        ({"a": [1, 2], "b": np.array([3, 4])}, None, ["a", "b"], [[1, 3], [2, 4]]),
        (np.array([[1, 2], [3, 4]]), ["x", "y"], ["x", "y"], [[1, 2], [3, 4]]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), None, ["a", "b"], [[1, "x"], [2, "y"]]),
        (pd.DataFrame({"a": [1]}, index=["k"]), None, ["index", "a"], [["k", 1]]),
        (pd.DataFrame({"a": [1], "b": [2]}), ["b"], ["b"], [[2]]),
        ([[1], [1, 2]], None, ["0", "1"], [[1, None], [1, 2]]),
        (None, ["a"], ["a"], []),
    ],
    ids=range(10),
)
def test_tables_of_every_kind(data: Any, columns: Any, names: list[str], rows: list[Any]) -> None:
    rendered = Table(data, columns).render()

    assert rendered == Rendered({"type": "table", "columns": names, "rows": rows, "count": len(rows)})


def test_large_table_is_a_file_with_a_preview() -> None:
    rendered = Table({"n": list(range(5000))}).render()

    assert rendered.body["count"] == 5000 and rendered.body["rows"] == [[n] for n in range(100)]
    assert isinstance(rendered.content, bytes) and rendered.media_type == "application/json"
    assert json.loads(rendered.content) == {"columns": ["n"], "rows": [[n] for n in range(5000)]}


def test_rows_are_added_and_wrong_tables_refused() -> None:
    table = Table(columns=["a", "b"])
    table.add_row(1, "x")

    assert table.render().body["rows"] == [[1, "x"]]
    for wrong in (Table([[1, 2]], ["only one"]), Table({"a": [1], "b": [1, 2]})):
        with pytest.raises(UsageError):
            wrong.render()


# --- sound and video


@pytest.mark.parametrize(
    ("data", "channels", "first"),
    [
        (np.array([0.0, 1.0, -1.0, math.nan]), 1, [0, 32767, -32767, 0]),
        (np.array([[0, 1, 2], [3, 4, 5]], np.int16), 2, [0, 3, 1, 4, 2, 5]),
        (torch.tensor([[0.0, 0.5, 1.0]]), 1, [0, 16384, 32767]),
        (np.zeros((10, 2)), 2, [0] * 20),
        (np.array([0, 128, 255], np.uint8), 1, [-32768, 0, 32512]),
        (np.array([1 << 30], np.int32), 1, [16384]),
    ],
)
def test_sound_becomes_a_wav_file(data: Any, channels: int, first: list[int]) -> None:
    rendered = Audio(data, rate=8000).render()

    assert isinstance(rendered.content, bytes) and rendered.media_type == "audio/wav"
    with wave.open(io.BytesIO(rendered.content)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (channels, 8000, 2)
        samples = file.readframes(file.getnframes())
    assert list(struct.unpack(f"<{len(samples) // 2}h", samples)) == first
    assert Audio(rendered.content).render().content == rendered.content


def test_sound_needs_a_rate_and_a_shape() -> None:
    for wrong in (Audio([0.0]), Audio(np.zeros((100, 100)), 8000), Audio(b"no sound at all")):
        with pytest.raises(UsageError):
            wrong.render()


def test_array_becomes_an_animated_png() -> None:
    frames = np.zeros((4, 6, 8, 3), np.uint8)
    for index in range(4):
        frames[index, :, :, index % 3] = 200

    for data in (frames, torch.tensor(frames).permute(0, 3, 1, 2), list(frames)):
        rendered = Video(data, fps=5).render()
        assert rendered.media_type == "image/apng" and isinstance(rendered.content, bytes)
        assert rendered.body == {"type": "video", "width": 8, "height": 6, "frames": 4, "fps": 5}
        with PIL.Image.open(io.BytesIO(rendered.content)) as image:
            assert image.n_frames == 4 and image.info["duration"] == 200
            for index in range(4):
                image.seek(index)
                assert np.array_equal(np.asarray(image.convert("RGB")), frames[index])


def test_files_of_video_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for head, media_type in (
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (b"GIF89a", "image/gif"),
    ):
        path.write_bytes(head + b"\0" * 100)
        rendered = Video(path).render()
        assert rendered.content == path and rendered.media_type == media_type
    for wrong in (
        Video(b"nothing"),
        Video(np.zeros((2, 3))),
        Video(np.zeros((2, 3, 3, 3)), fps=0),
        Video([]),
    ):
        with pytest.raises(UsageError):
            wrong.render()


def test_html_is_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("<p>")

    assert Html("<b>é</b>", "c").render() == Rendered(
        {"type": "html", "caption": "c"}, "<b>é</b>".encode(), "text/html", ".html"
    )
    assert Html(tmp_path / "x.html").render().content == tmp_path / "x.html"
    with pytest.raises(UsageError):
        Html(3).render()  # type: ignore[arg-type]
