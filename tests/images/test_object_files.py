"""Annotations of strangers become objects, or a reason that is counted; never a traceback."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mincurate.errors import UserError
from mincurate.images import objects
from mincurate.images.objects import read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of 40 x 20 px, one in a folder of its own, and one that is broken."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    (tmp_path / "images" / "train").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "images" / "one.png")
    Image.fromarray(pixels[::-1]).save(tmp_path / "images" / "train" / "two.jpg")
    (tmp_path / "images" / "broken.png").write_text("broken")
    return tmp_path


def boxes(listing):
    return {s.rel_path: (s.label, tuple(round(v, 6) for v in s.box)) for s in listing.sources}


def coco(folder: Path, annotations: list, **more: object) -> Path:
    images = [
        {"id": 7, "file_name": "one.png", "width": 40, "height": 20},
        {"id": 8, "file_name": "C:\\data\\train\\two.jpg"},  # whose size is in the file alone
        {"id": 9, "file_name": "../../etc/passwd", "width": 40, "height": 20},
        {"id": 10, "file_name": "broken.png"},
    ]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    file = folder / "boxes.json"
    file.write_text(json.dumps(content | more))
    return file


def of_coco(key: int, image: object, box: object, category: object = 1, **more: object) -> dict:
    return {"id": key, "image_id": image, "bbox": box, "category_id": category} | more


def test_coco(folder: Path) -> None:
    coco(folder, [of_coco(1, 7, [10, 5, 20, 10]), of_coco(5, 8, [0, 0, 20, 20], 2)])
    listing = read(str(folder), "auto", context=0.5)
    assert boxes(listing) == {
        "images/one.png#1": ("cat", (0.25, 0.25, 0.5, 0.5)),
        "images/train/two.jpg#5": ("dog", (0, 0, 0.5, 1)),
    }
    [first, second] = listing.sources
    assert (first.object_id, first.context, second.object_id) == ("1", 0.5, "5")
    assert first.place.box == (0, 0, 1, 1), "with its context, cut at the edges"
    assert listing.lines == [
        "Labels: 2 (cat, dog) from boxes.json (COCO).",
        "1 of 3 images have no object.",
    ]


def test_odd_objects_are_counted_and_the_others_are_read(folder: Path) -> None:
    annotations = [
        of_coco(1, 7, [10, 5, 20, 10]),
        of_coco(1, 7, [30, 10, 20, 20], 99),  # the same id, beyond the edge, of no category
        of_coco(2, 7, [0, 0, 0, 5]),
        of_coco(3, 7, [50, 0, 5, 5]),
        of_coco(4, 7, [float("nan"), 0, 5, 5]),
        of_coco(5, 7, "a box"),
        of_coco(6, 7, [0, 0, 5, 5], iscrowd=1),
        of_coco(7, 9, [0, 0, 5, 5]),
        of_coco(8, 10, [0, 0, 5, 5]),
        of_coco(9, 404, [0, 0, 5, 5]),
        "no annotation",
    ]
    listing = read(str(folder), str(coco(folder, annotations)))
    assert boxes(listing) == {
        "images/one.png#1": ("cat", (0.25, 0.25, 0.5, 0.5)),
        "images/one.png#1-2": (None, (0.75, 0.5, 0.25, 0.5)),
    }
    [labels, passed_over, cut, without] = listing.lines
    assert labels == "Labels: 1 (cat) from boxes.json (COCO); 1 of 2 objects have none."
    for reason in (
        *("2 without a box", "1 of zero size", "1 outside of its image", "1 a crowd"),
        *("1 in an image that is not there", "1 in an image that cannot be read"),
        *("1 of an image that the file does not list", "1 not an annotation"),
    ):
        assert reason in passed_over
    assert passed_over.startswith("9 objects are passed over")
    assert cut.startswith("1 boxes reach beyond") and without.startswith("2 of 3 images")


def test_coco_objects_without_a_box_have_that_around_their_polygons_or_mask(folder: Path) -> None:
    masks = [
        [[4, 5, 12, 5, 12, 10], [8, 2, 9, 2, 9, 3]],
        {"size": [20, 40], "counts": [20 * 3 + 4, 2, 18, 3, 20 * 40 - 87]},
        {"size": [20, 40], "counts": "P22b01ge0"},  # the same, as pycocotools writes it
        {"size": [20, 40], "counts": [1, 2]},
        {"size": [20, 40], "counts": "\u20ac"},
        [[1, 2, float("nan"), 3]],
        [],
        "a mask",
    ]
    annotations = [
        {"id": n, "image_id": 7, "category_id": 1, "segmentation": mask}
        for n, mask in enumerate(masks)
    ]
    listing = read(str(folder), str(coco(folder, annotations)))
    of_mask = ("cat", (3 / 40, 4 / 20, 2 / 40, 3 / 20))
    assert boxes(listing) == {
        "images/one.png#0": ("cat", (0.1, 0.1, 0.2, 0.4)),
        "images/one.png#1": of_mask,
        "images/one.png#2": of_mask,
    }
    assert "5 objects are passed over: 5 without a box." in listing.lines


def test_yolo_boxes_polygons_and_classes(folder: Path) -> None:
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    (folder / "data.yaml").write_text("names: {0: cat, 2: dog}\n")
    (folder / "labels" / "one.txt").write_text("0 0.5 0.5 0.5 0.5\n\n2 0.1 0.2 0.4 0.2 0.4 0.8\n")
    (labels / "two.txt").write_text("9 .5 .5 1 1 0.87\n1 0.5 0.5 1\nx y\n-1 .5 .5 1 1\n")
    listing = read(str(folder), "auto")
    assert boxes(listing) == {
        "images/one.png#1": ("cat", (0.25, 0.25, 0.5, 0.5)),
        "images/one.png#2": ("dog", (0.1, 0.2, 0.3, 0.6)),
        "images/train/two.jpg#1": ("class 9", (0, 0, 1, 1)),
    }
    assert "3 objects are passed over: 3 without a box." in listing.lines
    assert boxes(read(str(folder), "labels")) == boxes(listing)


def test_images_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    for split in ("val", "train"):
        (folder / "images" / split).mkdir(exist_ok=True)
        (folder / "labels" / split).mkdir(parents=True)
        Image.new("RGB", (40, 20)).save(folder / "images" / split / "same.png")
        (folder / "labels" / split / "same.txt").write_text(f"{len(split)} .5 .5 1 1")
    (folder / "labels" / "same.txt").write_text("0 .5 .5 1 1")
    listing = read(str(folder), "auto")
    assert [(s.rel_path, s.label) for s in listing.sources] == [
        ("images/train/same.png#1", "class 5"),
        ("images/val/same.png#1", "class 3"),
    ]
    assert "1 objects are passed over: 1 in one of several images of that name." in listing.lines


VOC = """<annotation><filename>one.png</filename>
<size><width>40</width><height>20</height></size>
<object><name>cat</name><bndbox><xmin>10</xmin><ymin>5</ymin><xmax>30</xmax><ymax>15</ymax></bndbox>
</object><object><name>dog</name></object></annotation>"""
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


def test_voc_and_xml_that_would_grow_or_read_files(folder: Path) -> None:
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "one.xml").write_text(VOC)
    (folder / "Annotations" / "bomb.xml").write_text(BOMB)
    (folder / "Annotations" / "other.xml").write_text("<html></html>")
    listing = read(str(folder), "auto")
    assert boxes(listing) == {"images/one.png#1": ("cat", (0.25, 0.25, 0.5, 0.5))}
    [_, passed_over, _] = listing.lines
    assert "bomb.xml: not XML that is read (it has a DOCTYPE)" in passed_over
    assert "other.xml: not a VOC file" in passed_over and "1 without a box" in passed_over


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"images": 1, "annotations": []}', "no lists of images and annotations"),
        (
            '{"images": [], "annotations": [{"caption": "a"}]}',
            "a COCO file without boxes and masks",
        ),
        ("[]", "not a COCO file"),
    ],
)
def test_a_file_that_is_no_coco_file_is_one_sentence(
    folder: Path, content: str, reason: str
) -> None:
    (folder / "boxes.json").write_text(content)
    with pytest.raises(UserError, match=reason):
        read(str(folder), "boxes.json")


def test_annotations_that_cannot_be_meant_are_one_sentence(folder: Path) -> None:
    for where, words in (("auto", "No annotations"), ("none.json", "does not exist")):
        with pytest.raises(UserError, match=words):
            read(str(folder), where)
    with pytest.raises(UserError, match="no COCO file, and no YOLO or VOC"):
        read(str(folder), "images")
    coco(folder, [of_coco(1, 404, [0, 0, 5, 5])])
    with pytest.raises(UserError, match=r"There are no objects in boxes\.json"):
        read(str(folder), "auto")
    coco(folder, [of_coco(1, 7, [0, 0, 5, 5])])
    (folder / "one.txt").write_text("0 .5 .5 1 1")
    with pytest.raises(UserError, match=r"both hold objects of images/one\.png: name one"):
        read(str(folder), "auto")
    with pytest.raises(UserError, match=r"and .*one\.png is neither"):
        read(str(folder / "images" / "one.png"), "auto")


def test_a_sample_takes_images_with_all_of_their_objects(folder: Path) -> None:
    annotations = [of_coco(n, 7 + n % 2, [n, 0, 5, 5]) for n in range(10)]
    listing = read(str(folder), str(coco(folder, annotations)), max_images=1, seed=3)
    assert len({s.path for s in listing.sources}) <= 1 and len(listing.sources) in (0, 5)
    assert not any("of 3 images" in line for line in listing.lines), "of the sample alone"


def test_a_box_is_cut_at_the_edge_of_its_image() -> None:
    assert objects.clipped((-5, 0, 10, 10), 10, 10) == ((0, 0, 0.5, 1), objects.CUT)
    assert objects.clipped((-0.5, 0, 10, 10), 10, 10)[1] == "", "a rounded pixel"
    assert objects.clipped((10, 0, 5, 5), 10, 10) == (None, objects.OUTSIDE)
