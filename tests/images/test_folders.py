"""Which folders are classes: layouts as people and programs make them."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincurate.images.folders import from_folders


def labels(paths: list[str], wanted: bool | None = None) -> list[str | None]:
    found = from_folders(paths, wanted)
    return [found.of(path) for path in paths]


def spread(*folders: str, each: int = 3) -> list[str]:
    return [f"{folder}/{i}.png".removeprefix("./") for folder in folders for i in range(each)]


SPLITS = ["train", "training", "val", "valid", "validation", "dev", "test", "testing"]


LAYOUTS = [
    *("{split}/{name}", "{name}/{split}", "{split}/images/{name}", "images/{split}/{name}"),
    *("{split}/{name}/images", "{name}/{split}/images", "set/{split}/{name}"),
    *("a/b/{name}/{split}", "{split}/{split}/{name}"),
]


@pytest.mark.parametrize(
    "split",
    [
        *SPLITS,
        "Train",
        "train2017",
        "test1",
        "val_set",
        "seg_train",
        "trainval",
        "img_val",
        "fold3",
    ],
)
def test_splits_and_images_are_no_level_of_classes(split):
    other = "test" if split.casefold().startswith("train") else "train"
    pairs = [(s, n) for s in (split, other) for n in ("cat", "dog")]
    for layout, wanted in itertools.product(LAYOUTS, (None, True)):
        paths = spread(*(layout.format(split=s, name=n) for s, n in pairs))
        assert labels(paths, wanted) == [name for _, name in pairs for _ in range(3)], layout


@pytest.mark.parametrize(
    "folders",
    [
        ["train2017", "val2017"],
        ["train2014", "val2014", "test2015"],
        ["images/train2017", "images/val2017"],
        ["train", "test"],
        ["Training", "Validation"],
        ["trainA", "trainB", "testA", "testB"],
        ["fold1", "fold2", "fold3"],
        ["JPEGImages", "SegmentationClass"],
        ["VOC2012/JPEGImages", "VOC2012/SegmentationClass", "VOC2012/SegmentationObject"],
        ["VOC2007/JPEGImages", "VOC2012/JPEGImages"],
        ["image", "mask"],
        ["images", "masks"],
        ["imgs", "annotations"],
        ["images/train", "images/val", "labels/train"],
        ["train/images", "train/masks", "test/images"],
        ["leftImg/images", "thumbnails"],
        ["2024-01-05", "2024-01-06"],
        ["20240105", "20240106"],
        ["batch_001", "batch_002"],
        ["64x64", "128x128"],
        ["images_001", "images_002"],
        ["cat"],
        ["dogs/small", "cats"],
        ["."],
    ],
)
def test_folders_that_are_no_classes_give_no_labels_and_the_reason(folders):
    paths = spread(*folders)
    assert set(labels(paths)) == {None}
    words = from_folders(paths, None).words
    assert words.startswith("none, because ")
    assert ("--labels" in words) == (folders != ["."])


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["train", "car", "bus"], ["train", "car", "bus"]),  # a vehicle
        (["valid", "invalid"], ["valid", "invalid"]),
        (["mask", "no_mask"], ["mask", "no_mask"]),
        (["with_mask", "without_mask"], ["with_mask", "without_mask"]),
        (["0", "1", "2"], ["0", "1", "2"]),
        (["00000", "00001"], ["00000", "00001"]),
        (["train/car", "train/train", "test/car"], ["car", "train", "car"]),
        (["cat", "dog", "2024"], ["cat", "dog", "2024"]),
        (["train/cat", "train/dog", "test"], ["cat", "dog", None]),  # a test set without labels
        (["cat", "dog", "unlabelled"], ["cat", "dog", None]),
        (["cat ", "cat", "dog"], ["cat", "cat", "dog"]),
        (["caf\u00e9", "cafe\u0301", "bar"], ["caf\u00e9", "caf\u00e9", "bar"]),
        (["1", "1.0", "2"], ["1", "1", "2"]),
        (["nan", "cat", "dog"], [None, "cat", "dog"]),
        (["NA", "ZA", "null"], ["NA", "ZA", "null"]),  # Namibia
    ],
)  # fmt: skip
def test_folders_that_are_classes_give_their_names(folders, expected):
    assert labels(spread(*folders)) == [name for name in expected for _ in range(3)]


@pytest.mark.parametrize("stray", ["plot.png", "dog/more/x.png", "else/where/x.png", "a/b/c.png"])
def test_a_stray_file_drops_no_labels(stray):
    paths = [*spread("cat", "dog", each=5), stray]
    assert labels(paths)[:-1] == ["cat"] * 5 + ["dog"] * 5
    assert labels(paths)[-1] == ("dog" if stray.startswith("dog") else None)
    if not stray.startswith("dog"):
        assert "1 of 11 images have none" in from_folders(paths, None).words


def test_with_many_strays_the_folders_are_no_classes():
    paths = [*spread("cat", "dog"), *spread(".", each=5)]
    assert set(labels(paths)) == {None}
    assert "5 of 11 images lie outside" in from_folders(paths, None).words


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["2024/1.png", "cat/small/2.png"], ["2024", "small"]),
        (["cat/train/1.png", "dog/test/2.png"], ["cat", "dog"]),
        (["train2017/1.png", "val2017/2.png"], ["train2017", "val2017"]),  # all there is
        (["cat/1.png", "2.png"], ["cat", None]),
    ],
)
def test_labels_on_demand_are_the_nearest_folders_that_are_no_splits(paths, expected):
    assert labels(paths, True) == expected


def test_the_words_name_the_labels_where_they_come_from_and_what_has_none():
    words = from_folders([*spread("Cat", "cat", "dog"), "x.png"], None).words
    assert words == (
        "3 (Cat, cat, dog) from the names of the folders; 1 of 10 images have none; "
        "'Cat' and 'cat' differ only in case"
    )
    assert from_folders(["a/x.png"], False).words == "none (--no-labels)"


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8).filter(
    lambda name: name == unicodedata.normalize("NFC", name)
)


@given(st.lists(NAMES.map(lambda name: f"class {name}"), min_size=2, max_size=5, unique=True))
def test_any_names_are_labels_inside_and_outside_of_splits(names):
    plain = spread(*names)
    assert labels(plain) == [name for name in names for _ in range(3)]
    for layout in ("train/{}", "{}/val", "wrapped/test/{}"):
        paths = spread(*map(layout.format, names))
        assert labels(paths) == labels(plain)
