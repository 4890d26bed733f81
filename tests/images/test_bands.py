"""Files of more bands than a picture has: every layout, by the set's own range of each band."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from mincurate.errors import UserError
from mincurate.images import bands, collection, decode_pool
from mincurate.images.bit_depth import Rendering
from mincurate.images.decode import decode, identify
from mincurate.images.sources import Source

SIDE = 32
COUNT = 5
Numbers = NDArray[Any]


def stack(count: int = COUNT) -> Numbers:
    """Bands ``(n, SIDE, SIDE)``: ramps of other directions and ranges."""
    y, x = np.mgrid[:SIDE, :SIDE]
    ramps = [np.broadcast_to(x if i % 2 else y, (SIDE, SIDE)) for i in range(count)]
    return np.stack([100 * (i + 1) + (20 + i) * ramp for i, ramp in enumerate(ramps)])


def shown(count: int = COUNT) -> Numbers:
    """The same as levels: every band from black to white."""
    y, x = np.mgrid[:SIDE, :SIDE]
    ramps = [(x if i % 2 else y) * 255 / (SIDE - 1) for i in range(count)]
    return np.stack(ramps).round()


def interleaved(path: Path, values: Numbers) -> None:
    tifffile.imwrite(
        path, values.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig"
    )


def planar(path: Path, values: Numbers) -> None:
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate", tile=(16, 16))


def pages_with_axes(path: Path, values: Numbers) -> None:
    tifffile.imwrite(path, values, metadata={"axes": "CYX"}, compression="zlib")


def imagej(path: Path, values: Numbers) -> None:
    other = np.stack([values, values[:, ::-1]])
    tifffile.imwrite(path, other, imagej=True, metadata={"axes": "ZCYX"})


def ome(path: Path, values: Numbers) -> None:
    tifffile.imwrite(path, np.stack([values, values + 1]), ome=True, metadata={"axes": "TCYX"})


def rgb_and_more(path: Path, values: Numbers) -> None:
    unsaid = [0] * (len(values) - 3)
    pixels = values.transpose(1, 2, 0)
    tifffile.imwrite(path, pixels, photometric="rgb", planarconfig="contig", extrasamples=unsaid)


LAYOUTS = [
    *((interleaved, "int16"), (planar, "float32"), (pages_with_axes, "uint16")),
    *((imagej, "float32"), (ome, "int16"), (rgb_and_more, "uint16")),
]


@pytest.mark.parametrize(("layout", "dtype"), LAYOUTS)
def test_bands_without_colours_are_all_read_each_by_its_range(
    tmp_path: Path, layout: Callable[..., None], dtype: str
) -> None:
    layout(tmp_path / "x.tif", stack().astype(dtype))
    images = collection.open_collection(tmp_path)
    assert (images.rendering.bands, images.rendering.of) == ((1, 2, 3, 4, 5), COUNT)
    pixels = decode(str(tmp_path / "x.tif"), size=SIDE, rendering=images.rendering)
    assert np.abs(pixels - shown()).max() <= 1
    record = images.rendering.record()
    assert Rendering.of_record(record) == images.rendering
    assert record["band_ranges"][f"{dtype} bands"][1] == (200.0, 200.0 + 31 * 21)


def test_a_set_has_one_range_for_each_band_and_another_number_of_bands_a_reason(
    tmp_path: Path,
) -> None:
    values = stack().astype(np.uint16)
    interleaved(tmp_path / "dark.tif", values // 2)
    planar(tmp_path / "light.tif", values)
    interleaved(tmp_path / "four.tif", values[:4])
    images = collection.open_collection(tmp_path)
    reasons = {source.rel_path: known.reason for source, known in images.files}
    assert reasons.pop("four.tif") == "4 bands, and most images of the set have 5"
    assert set(reasons.values()) == {None}
    dark, light = (
        decode(str(tmp_path / f"{name}.tif"), size=SIDE, rendering=images.rendering)
        for name in ("dark", "light")
    )
    assert light.max() == 255 and dark.min() == 0 and 100 < dark.max() < 160


def test_chosen_bands_come_in_their_order(tmp_path: Path) -> None:
    tif, png = tmp_path / "of-bands" / "x.tif", tmp_path / "of-colours" / "x.png"
    for path in (tif, png):
        path.parent.mkdir()
    interleaved(tif, (stack() / 8).astype(np.uint8))
    Image.fromarray(shown(3).astype(np.uint8).transpose(1, 2, 0)).save(png)
    for path, asked in ((tif, (3, 2, 1)), (tif, (4,)), (png, (2, 1, 3))):
        images = collection.open_collection(path.parent, bands=asked)
        pixels = decode(str(path), size=SIDE, rendering=images.rendering)
        expected = shown()[[(asked * 3)[i] - 1 for i in range(3)]]
        assert np.abs(pixels - expected).max() <= 4  # an eighth of the numbers, in whole ones
    with pytest.raises(UserError, match="no band 6: most of the images have 5"):
        collection.open_collection(tif.parent, bands=(6,))


def test_pages_of_which_nothing_is_said_are_bands_where_bands_are_asked_for(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", stack().astype(np.uint16), photometric="minisblack")
    images = collection.open_collection(tmp_path)
    assert images.rendering.bands is None
    assert images.files[0][1].warning == "the first of 5 pages"
    assert collection.open_collection(tmp_path, bands=()).rendering.bands == (1, 2, 3, 4, 5)


@pytest.mark.parametrize("text", ["", "0", "1,", "red", "1-3"])
def test_what_names_no_bands_is_a_mistake_of_the_user(text: str) -> None:
    with pytest.raises(UserError, match="--bands is all, or numbers"):
        bands.parse(text)


@pytest.mark.parametrize("kind", ["two channels", "five bands", "16 bits", "jpeg 2000"])
def test_a_preview_is_what_browsers_show_of_a_file_that_they_do_not(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / ("x.jp2" if kind == "jpeg 2000" else "x.tif")
    levels = shown(3)
    if kind == "two channels":
        imagej(path, stack(2).astype(np.uint16))
        levels = shown(2)[[0, 1, 0]]  # magenta and green
    elif kind == "five bands":
        interleaved(path, stack().astype(np.float32))
    elif kind == "16 bits":
        values = (shown(3) * 16).astype(np.uint16)
        tifffile.imwrite(path, values.transpose(1, 2, 0), photometric="rgb")
    else:
        Image.fromarray(shown(3).astype(np.uint8).transpose(1, 2, 0)).save(path)
    images = collection.open_collection(tmp_path)
    assert not images.files[0][1].in_browsers
    [jpeg] = decode_pool.preview_many([str(path)], side=99, rendering=images.rendering, workers=1)
    assert isinstance(jpeg, bytes)
    seen = np.asarray(Image.open(io.BytesIO(jpeg), formats=["JPEG"])).transpose(2, 0, 1)
    assert seen.shape == (3, SIDE, SIDE) and np.abs(seen - levels).mean() < 6


def test_a_stack_of_imagej_with_one_directory_says_what_is_left_out(tmp_path):
    slices = np.random.default_rng(0).integers(0, 4096, (5, 16, 16), np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", slices, imagej=True, truncate=True)
    with tifffile.TiffFile(tmp_path / "stack.tif") as file:
        assert len(file.pages) == 1
    source = Source(str(tmp_path / "stack.tif"), "stack.tif")
    assert identify(source, size=None).warning == "the first of 5 pages"
