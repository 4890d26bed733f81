"""Which images of the tail are rare, odd or broken."""

import numpy as np
import pandas as pd
import pytest
from conftest import SQUEEZENET
from PIL import Image, ImageDraw, ImageFilter

import mincurate
from mincurate.ranking import neighbors, rarity_kind


@pytest.fixture
def planted():
    """Table and vectors of 300 images: 12 of a kind, 8 strangers, and the rest alike."""
    rng = np.random.default_rng(0)
    centre, kind = rng.normal(size=(2, 64))
    vectors = centre + 0.3 * rng.normal(size=(300, 64))
    vectors[:12] = kind + 0.3 * rng.normal(size=(12, 64))
    vectors[12:20] = rng.normal(size=(8, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = pd.DataFrame({"rarity": np.linspace(1, 0, 300), "broken": None})
    return frame, vectors.astype(np.float32)


def near(vectors):
    return neighbors.neighbors(vectors, rarity_kind.NEAREST)[1]


def test_a_kind_is_rare_strangers_are_odd_and_what_is_broken_is_so_wherever_it_ranks(planted):
    frame, vectors = planted
    frame.loc[[0, 200], "broken"] = ["blurred", "copy"]
    kinds = rarity_kind.rarity_kinds(frame, frame, near(vectors))
    assert kinds[[0, 200]].tolist() == ["broken", "broken"]
    assert (kinds[1:12] == "rare").all() and (kinds[12:20] == "odd").sum() >= 7
    assert kinds[30:].drop(200).isna().all()
    # Images that join are like the nearest one of the tail, and like none if they are common.
    rarity = np.array([0.99, 0.99, 0.5])
    counts = frame.assign(rarity_kind=kinds)
    joined = rarity_kind.nearest_of_tail(counts, vectors, rarity, vectors[[3, 14, 100]])
    assert joined.tolist() == [3, 14, -1]


def test_mutual_neighbors_are_counted_as_by_hand_also_among_copies(planted):
    _, vectors = planted
    vectors[20:40] = vectors[20]
    far = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(far, np.inf)
    nearest = far.argsort(axis=1, kind="stable")[:, : rarity_kind.NEAREST]
    counts = [sum(i in nearest[j] for j in nearest[i]) for i in range(20)]
    assert rarity_kind.mutual_neighbors(near(vectors), np.arange(20)).tolist() == counts
    assert (
        rarity_kind.mutual_neighbors(near(vectors), np.arange(20, 40)) <= rarity_kind.NEAREST
    ).all()


def test_a_tail_that_is_too_small_has_no_kinds_but_broken_ones(planted):
    frame, vectors = planted
    few = frame.head(40).copy()
    few.loc[7, "broken"] = "blank"
    kinds = rarity_kind.rarity_kinds(few, few, near(vectors[:40]))
    assert kinds[7] == "broken" and kinds.drop(7).isna().all()


def test_the_summary_counts_every_kind():
    frame = pd.DataFrame({"rarity_kind": ["rare", "odd", "broken", None], "broken": None})
    frame.loc[2, "broken"] = "copy"
    words = rarity_kind.summary(frame)
    assert "1 are of a kind, 1 are odd" in words and "1 copy" in words
    assert rarity_kind.summary(frame[["broken"]]) == ""


def picture(rng, draw):
    """A picture of 32 x 32 px: a soft ground with a little grain, and what ``draw`` puts on it."""
    image = Image.new("RGB", (32, 32), tuple(rng.integers(90, 130, 3).tolist()))
    draw(ImageDraw.Draw(image))
    grain = np.asarray(image, float) + rng.normal(0, 5, (32, 32, 3))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


def disc(rng):
    x, y, r = rng.uniform(13, 19), rng.uniform(13, 19), rng.uniform(7, 10)
    color = tuple(rng.integers(150, 220, 3).tolist())
    return picture(rng, lambda d: d.ellipse((x - r, y - r, x + r, y + r), fill=color))


def cross(rng):
    x, y = rng.uniform(12, 20, 2)
    color = tuple(rng.integers(0, 60, 3).tolist())

    def draw(d):
        d.line((x - 11, y - 11, x + 11, y + 11), fill=color, width=4)
        d.line((x - 11, y + 11, x + 11, y - 11), fill=color, width=4)

    return picture(rng, draw)


def strangers(rng):
    """Pictures that resemble neither those nor one another."""
    y, x = np.mgrid[:32, :32]
    color = np.array([255, 255, 255])
    stripes = np.where((x // 2 % 2 == 0)[..., None], color, [0, 0, 160])
    boards = np.where(((x // 4 + y // 4) % 2 == 0)[..., None], [250, 220, 0], [200, 0, 0])
    noise = rng.integers(0, 256, (32, 32, 3))
    rainbow = np.stack([8 * x, 8 * y, 255 - 8 * x], axis=-1)
    rings = np.where(((np.hypot(x - 16, y - 16) // 3) % 2 == 0)[..., None], [0, 130, 0], color)
    return [Image.fromarray(p.astype(np.uint8)) for p in (stripes, boards, noise, rainbow, rings)]


@pytest.mark.slow
@pytest.mark.skipif(not SQUEEZENET.is_file(), reason="needs a pretrained network")
def test_a_scored_folder_tells_rare_odd_and_broken_files_apart(tmp_path):
    """Planted in a folder of discs: crosses, single pictures of anything, and what is unfit."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(240):
        disc(rng).save(folder / f"common{i:03d}.png")
    for i in range(14):
        cross(rng).save(folder / f"rare{i}.png")
    for i, image in enumerate(strangers(rng)):
        image.save(folder / f"odd{i}.png")
    disc(rng).filter(ImageFilter.GaussianBlur(2)).save(folder / "blurred.png")
    Image.new("RGB", (32, 32), (120, 90, 40)).save(folder / "blank.png")
    (folder / "copy.png").write_bytes((folder / "common000.png").read_bytes())
    whole = (folder / "common001.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not an image")
    network = f"torchvision:squeezenet1_0@{SQUEEZENET}"
    frame = mincurate.score(
        folder,
        perceptual=network,
        embedding=network,
        train_steps=6,
        n_draws=2,
        fiftyone=False,
        umap=False,
        output=tmp_path / "run",
    ).frame.set_index("rel_path")

    def of(prefix, column="rarity_kind"):
        return frame.loc[frame.index.str.startswith(prefix), column].fillna("").tolist()

    assert of("rare").count("rare") >= 12
    assert of("odd").count("odd") >= 4
    groups = set(of("rare", "rare_group")) - {""}
    assert groups and of("rare", "rare_group").count("") <= 4, "crosses resemble one another"
    assert not groups & {*of("odd", "rare_group"), *of("bl", "rare_group")}
    broken = {"blurred": "blurred", "blank": "blank", "copy": "copy"}
    broken |= {"truncated": "unreadable", "text": "unreadable"}
    for name, how in broken.items():
        assert of(name) == ["broken"] and of(name, "broken") == [how]
    assert set(of("common")) <= {"", "rare", "odd"} and of("common").count("") > 220
