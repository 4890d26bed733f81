from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import SQUEEZENET
from PIL import Image, ImageDraw, ImageFilter
from test_tail import write

import mincurate
from mincurate.errors import UserError
from mincurate.ranking import tail as tails
from mincurate.ranking import tail_groups

GROUPS = (12, 8)
"""Two groups in a tail of 30; ten images of it are alone."""


@pytest.fixture
def tail(tmp_path):
    """300 images: the rarest 30 lie in two tight groups or anywhere; one common image is near
    each of the groups."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 64))
    score = np.linspace(3, 1, 300)
    labels = np.full(300, "common", object)
    start = 0
    for number, size in enumerate(GROUPS):
        centre = rng.normal(size=64)
        vectors[start : start + size] = centre + 0.1 * rng.normal(size=(size, 64))
        vectors[250 + number] = centre + 0.3 * rng.normal(size=64)
        labels[start : start + size] = f"label {number}"
        start += size
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    complexity = np.linspace(1, 2, 300)
    complexity[: GROUPS[0]] = 9
    run = write(tmp_path, score, list(labels), complexity=complexity)
    order = rng.permutation(300)  # vectors are found by hash, not by place
    np.save(tmp_path / "embeddings.npy", vectors[order].astype(np.float32))
    hashes = pd.DataFrame({"content_hash": [f"{i:04d}" for i in order]})
    hashes.to_parquet(tmp_path / "embeddings.parquet")
    return tails.look(run)


def test_groups_of_the_tail_are_found_and_the_rest_is_alone(tail):
    found = tail_groups.kinds(tail)
    assert [len(kind.members) for kind in found] == [*GROUPS, 10]
    assert [kind.alone for kind in found] == [False, False, True]
    assert set(found[0].members) == set(range(12))
    assert set(found[1].members) == set(range(12, 20))
    assert found[2].members.tolist() == list(range(20, 30)), "the rarest first"


def test_each_kind_has_the_common_image_that_is_nearest(tail):
    found = tail_groups.kinds(tail)
    assert [kind.common for kind in found] == [250, 251, None]


def test_what_sets_a_kind_apart_is_said(tail):
    first, second, alone = tail_groups.kinds(tail)
    assert first.traits == (
        "100% are label 0 (4% of all)",
        "nearest to common",
        "busier than 98% of all images",
    )
    assert second.traits[0] == "100% are label 1 (3% of all)"
    assert not any("label" in said for said in alone.traits)
    assert first.name == "Kind 1 (label 0, near common, busier)"
    assert second.name.startswith("Kind 2 (label 1") and alone.name == ""


def test_the_table_names_the_group_of_an_image_and_is_where_groups_are_read_again(tail):
    images = tail.images
    vectors, place = tail_groups._vectors(tail)
    frame = images.sample(frac=1, random_state=0)
    groups = tail_groups.rare_groups(frame, frame.sort_index(), vectors, place)
    first, second, _ = tail_groups.kinds(tail)
    assert groups[groups == first.name].index.sort_values().tolist() == list(range(12))
    assert groups[groups == second.name].index.sort_values().tolist() == list(range(12, 20))
    assert groups.notna().sum() == sum(GROUPS)
    # Should the groups be others by now, those of the table are shown.
    kept = replace(tail, images=images.assign(rare_group=groups.where(groups != second.name)))
    again = tail_groups.kinds(kept)
    assert [kind.name for kind in again] == [first.name, ""] and len(again[1].members) == 18
    assert again[0].members.tolist() == first.members.tolist()


def test_kinds_do_not_depend_on_the_run_being_looked_at_again(tail):
    first = [kind.members.tolist() for kind in tail_groups.kinds(tail)]
    tail_groups.kinds.cache_clear()
    assert [kind.members.tolist() for kind in tail_groups.kinds(tail)] == first


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_points_are_all_alone(n):
    points = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    assert tail_groups.cluster(points).tolist() == [-1] * n


def test_equal_points_are_one_kind_or_none_but_no_error():
    found = tail_groups.cluster(np.ones((20, 8), np.float32))
    assert len(found) == 20


def test_vectors_that_are_gone_are_told_in_a_sentence(tmp_path):
    tail = tails.look(write(tmp_path, np.linspace(1, 2, 100), [None] * 100))
    with pytest.raises(UserError, match="embeddings of run mincurate_1"):
        tail_groups.kinds(tail)


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


def test_a_kind_is_rare_strangers_are_odd_and_what_is_broken_is_so_wherever_it_ranks(planted):
    frame, vectors = planted
    frame.loc[[0, 200], "broken"] = ["blurred", "copy"]
    found = tail_groups.rarity_kinds(frame, frame, vectors)
    assert found[[0, 200]].tolist() == ["broken", "broken"]
    assert (found[1:12] == "rare").all() and (found[12:20] == "odd").sum() >= 7
    assert found[30:].drop(200).isna().all()
    # Images that join are like the nearest one of the tail, and like none if they are common.
    rarity = np.array([0.99, 0.99, 0.5])
    known = frame.assign(rarity_kind=found)
    joined = tail_groups.nearest_of_tail(known, vectors, rarity, vectors[[3, 14, 100]])
    assert joined.tolist() == [3, 14, -1]


def test_acquaintances_are_counted_as_by_hand_also_among_copies(planted):
    _, vectors = planted
    vectors[20:40] = vectors[20]
    far = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(far, np.inf)
    nearest = far.argsort(axis=1, kind="stable")[:, : tail_groups.NEAREST]
    known = [sum(i in nearest[j] for j in nearest[i]) for i in range(20)]
    assert tail_groups.acquaintances(vectors, np.arange(20)).tolist() == known
    assert (tail_groups.acquaintances(vectors, np.arange(20, 40)) <= tail_groups.NEAREST).all()


def test_a_tail_that_is_too_small_for_groups_has_no_kinds_but_broken_ones(tail):
    few = tail.images.head(40).assign(broken=None)
    few.loc[7, "broken"] = "blank"
    found = tail_groups.rarity_kinds(few, few, np.eye(40, dtype=np.float32))
    assert found[7] == "broken" and found.drop(7).isna().all()


def test_the_looks_that_set_a_kind_apart_are_said_and_what_is_broken(tail):
    members = np.arange(5)
    images = tail.images.assign(sharpness=1.0, brightness=0.5, contrast=0.2, colorfulness=0.3)
    images.loc[members, ["sharpness", "brightness"]] = [0.1, 0.9]
    images = images.assign(broken=None)
    images.loc[:3, "broken"] = "blurred"
    said = [trait.words for trait in tail_groups.traits(images, members, near=250)]
    assert said[0] == "80% are blurred" and "nearest to common" in said
    assert any(trait.startswith("blurrier than") for trait in said)
    assert any(trait.startswith("brighter than") for trait in said)


def test_the_hue_that_a_kind_leans_to_is_said_and_greys_count(tail):
    hue = np.where(np.arange(300) % 10 < 2, 120.0, 230.0)
    hue[:5], hue[5:8] = np.nan, 120
    images = tail.images.assign(hue=hue)
    [trait] = (t for t in tail_groups.traits(images, np.arange(8)) if "grey" in t.words)
    assert trait == ("grey", "62% are grey (2% of all)")
    assert not any("blue" in t.words for t in tail_groups.traits(images, np.arange(100, 200)))


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
