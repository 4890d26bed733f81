"""A part of an image is the crop of the whole image, whatever reads it."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mincurate.images import decode as decoding
from mincurate.images import decode_pool, regions
from mincurate.images.bit_depth import DEFAULT
from mincurate.images.decode import decode, fit_image, identify
from mincurate.images.regions import Region
from mincurate.images.sources import Source


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A JPEG that lies on its side and is large enough to be reduced, and a small PNG."""
    folder = tmp_path_factory.mktemp("photographs")
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    img = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6
    img.save(folder / "large.jpg", quality=95, exif=exif)
    Image.fromarray(noise).save(folder / "small.png")
    return {"large": folder / "large.jpg", "small": folder / "small.png"}


def upright(path: Path) -> Image.Image:
    return decoding._load(str(path), decoding.MAX_PIXELS, DEFAULT)[1].images[0]


shares = st.floats(0, 1, allow_nan=False)


@given(name=st.sampled_from(["large", "small"]), edges=st.tuples(shares, shares, shares, shares))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_region_is_the_crop_of_the_decoded_image(
    photographs: dict[str, Path], name: str, edges: tuple[float, float, float, float]
) -> None:
    (left, right), (top, bottom) = sorted(edges[:2]), sorted(edges[2:])
    region = Region(str(photographs[name]), (left, top, right - left, bottom - top))
    whole = upright(photographs[name])
    x0, y0, x1, y1 = regions.pixels(region.box, *whole.size)
    assert 0 <= x0 < x1 <= whole.width
    assert 0 <= y0 < y1 <= whole.height
    expected = fit_image(whole.crop((x0, y0, x1, y1)), 16, "stretch")
    assert np.array_equal(
        decode(region, size=16, fit="stretch"), np.asarray(expected).transpose(2, 0, 1)
    )
    identity = identify(Source(region.path, "a#1", box=region.box), size=None)
    assert (identity.width, identity.height) == (x1 - x0, y1 - y0)


def test_a_small_object_of_a_large_photograph_is_cut_from_all_its_pixels(
    photographs: dict[str, Path],
) -> None:
    box = (0.5, 0.25, 0.05, 0.05)
    decoded = decode(Region(str(photographs["large"]), box), size=60, fit="stretch")
    whole = upright(photographs["large"])
    assert whole.size == (1200, 1600)  # upright, not reduced
    original = np.asarray(regions.crop(whole, box).resize((60, 60), Image.Resampling.LANCZOS))
    assert np.abs(decoded.transpose(1, 2, 0).astype(int) - original).mean() < 1


def test_parts_of_one_file_are_cut_from_one_decoding(
    photographs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    load = decoding._load
    monkeypatch.setattr(decoding, "_load", lambda *call: opened.append(call[0]) or load(*call))
    large, small = (str(photographs[name]) for name in ("large", "small"))
    places = [Region(path, (i / 12, 0, 1 / 12, 1)) for path in (large, small) for i in range(12)]
    jobs = [(place, 8, "crop", DEFAULT, "lanczos") for place in places]
    [chunk] = decode_pool._chunks(jobs[:12])
    assert [len(c) for c in decode_pool._chunks(jobs)] == [12, 12]
    inbox, outbox = io.BytesIO(), io.BytesIO()
    import pickle

    pickle.dump(("decode", chunk), inbox)
    inbox.seek(0)
    monkeypatch.setattr(decode_pool.signal, "setitimer", lambda *_: None)
    decode_pool.serve(inbox, outbox)
    answers = pickle.loads(outbox.getvalue())
    assert opened == [large]
    assert all(np.array_equal(a, decode(p, size=8)) for a, p in zip(answers, places, strict=False))


def test_processes_answer_for_parts_as_this_one_does_also_of_files_that_are_broken(
    photographs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = [str(photographs["small"]), str(tmp_path / "broken.png"), str(tmp_path / "none.png")]
    sources = [
        Source(path, f"{number}", box=(0.5 * number, 0, 0.5, 1), context=0.1)
        for path in paths
        for number in range(2)
    ]
    identities = list(decode_pool.identify_many(sources, size=None, workers=2))
    assert identities == [identify(source, size=None) for source in sources]
    assert [i.reason for i in identities[2:]] == [*["truncated or damaged PNG file"] * 2] + [
        "file not found"
    ] * 2
    first, second = (identity.content_hash for identity in identities[:2])
    assert first != second


def test_context_widens_a_box_up_to_the_edges() -> None:
    assert regions.widened((0.4, 0.4, 0.2, 0.1), 0.5) == pytest.approx((0.3, 0.35, 0.4, 0.2))
    assert regions.widened((0.0, 0.9, 0.2, 0.1), 0.5) == pytest.approx((0.0, 0.85, 0.3, 0.15))


def test_rows_of_a_table_name_their_regions() -> None:
    frame = pd.DataFrame({"path": ["/a.jpg", "/b.jpg"]})
    assert regions.places(frame) == ["/a.jpg", "/b.jpg"]
    boxes = pd.DataFrame([(0.0, 0.5, 0.5, 0.5), (np.nan,) * 4], columns=list(regions.COLUMNS))
    assert regions.places(frame.join(boxes).assign(context=0.0)) == [
        Region("/a.jpg", (0.0, 0.5, 0.5, 0.5)),
        "/b.jpg",
    ]
