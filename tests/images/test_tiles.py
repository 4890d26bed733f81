"""Tiles of large images: a grid that leaves nothing out, and rows that are cut from the files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mincurate.errors import UserError
from mincurate.images import decode, regions
from mincurate.images.tiles import Tiling
from mincurate.pipelines.open_images import open_images


@given(st.integers(8, 60), st.data(), st.integers(1, 200), st.integers(1, 200))
def test_tiles_have_their_size_and_cover_every_pixel(size, data, width, height):
    tiling = Tiling(size, data.draw(st.integers(1, size)))
    covered = np.zeros((height, width), bool)
    for name, box in tiling.boxes(width, height).items():
        left, top, right, bottom = regions.pixels(box, width, height)
        assert name == f"{left},{top}"
        assert (right - left, bottom - top) == (min(size, width), min(size, height))
        covered[top:bottom, left:right] = True
    assert covered.all()


@pytest.mark.parametrize(("text", "tiling"), [("64", (64, 64)), (" 64 / 32 ", (64, 32))])
def test_a_grid_is_a_size_and_a_stride(text, tiling):
    assert Tiling.parse(text) == Tiling(*tiling)


@pytest.mark.parametrize("text", ["", "0", "4", "64/0", "64/65", "64x64", "-8", "64/32/16"])
def test_what_is_no_grid_is_one_sentence(text):
    with pytest.raises(UserError, match="SIZE or SIZE/STRIDE"):
        Tiling.parse(text)


def test_the_rows_are_the_tiles_of_every_image_that_can_be_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    images = open_images(tmp_path, tiles="32/16")
    assert images.noun == "tiles" and images.source["tiles"] == "32/16"
    [broken] = [i for source, i in images.files if source.rel_path == "broken.png"]
    assert broken.reason
    tiles = {s.rel_path: s for s, identity in images.files if identity.content_hash}
    assert sorted(tiles) == sorted(f"scan.png#{x},{y}" for x in (0, 16, 24) for y in (0, 8))
    tile = decode.decode(tiles["scan.png#16,8"].place, size=32)
    np.testing.assert_array_equal(tile, pixels[8:40, 16:48].transpose(2, 0, 1))
