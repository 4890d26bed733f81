"""Ranks of objects in FiftyOne: on every detection, on patches, and gone without a trace."""

import json
from pathlib import Path

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mincurate
from mincurate.dataset import boxes, ownership
from mincurate.errors import UserError
from mincurate.pipelines import panel as look
from mincurate.pipelines import runs

pytestmark = pytest.mark.usefixtures("database")
SCENES = 12


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Twelve images of four squares each, red but for one blue one, with a COCO file."""
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(SCENES):
        pixels = rng.integers(90, 110, (96, 96, 3), dtype=np.uint8)
        for cell in range(4):
            x, y = 48 * (cell % 2) + 8, 48 * (cell // 2) + 8
            blue = number == 7 and cell == 2
            color = (20, 30, 230) if blue else (220, 40, 30)
            pixels[y : y + 32, x : x + 32] = color + rng.integers(0, 20, (32, 32, 3))
            key = len(annotations) + 1
            entry = {"id": key, "image_id": number, "category_id": 1 + blue}
            annotations.append(entry | {"bbox": [x, y, 32, 32]})
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        images.append({"id": number, "file_name": f"{number:02d}.png", "width": 96, "height": 96})
    names = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    content = {"images": images, "annotations": annotations, "categories": names}
    (folder / "coco.json").write_text(json.dumps(content))
    return folder


def detections(dataset, field):
    return [item for value in dataset.values(field) for item in value.detections]


def labelled(scenes: Path, name: str, field: str):
    """A dataset of the user's, with detections that have an attribute and a tag."""
    import fiftyone as fo

    content = json.loads((scenes / "coco.json").read_text())
    dataset = fo.Dataset(name, persistent=True)
    for image in content["images"]:
        boxes = [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]]
        items = [
            fo.Detection(label="square", bounding_box=[n / 96 for n in box], colour=3)
            for box in boxes
        ]
        sample = fo.Sample(filepath=str(scenes / image["file_name"]))
        sample[field] = fo.Detections(detections=items)
        dataset.add_sample(sample)
    dataset.save_view("mine", dataset.limit(3))
    return dataset


def check_panel(dataset, result, blue: str) -> None:
    """What a click in the panel asks of the run: patches of the right objects, and tags on them."""
    tail = look.shown(dataset)
    assert tail.noun == "objects" and len(look.ranked(dataset)) == 4 * SCENES
    assert look.ranked(dataset).first().id == blue
    last = look.of_classes(dataset, 9, 9)
    assert set(last.values("boxes.rarity_class")) == {9} and blue in last.values("id")
    assert look.of_label(dataset, tail, "square").count() == 4 * SCENES
    rows = tail.images.iloc[[3, 0]]
    assert look.of_rows(dataset, rows).values("id") == rows["object_id"].tolist()
    place, row = look.object_place(dataset, tail, blue)
    assert row["rel_path"] == "07.png#3" and place.box == pytest.approx(
        (4.8 / 96, 52.8 / 96, 38.4 / 96, 38.4 / 96), abs=1e-6
    )
    assert look.progress(dataset, tail).seen == 0
    look.mark_seen(dataset, blue)
    assert look.set_verdict(dataset, [blue], "rare-keep") == "1 object tagged rare-keep"
    assert look.progress(dataset, tail).seen == 1
    assert look.tagged(dataset, "rare-keep").values("id") == [blue]
    assert blue not in look.not_seen(dataset, tail).values("id")
    with pytest.raises(UserError, match="Select objects"):
        look.set_verdict(dataset, [dataset.first().id], "rare-keep")
    look.set_verdict(dataset, [blue], "")
    with pytest.raises(UserError, match="ranks objects"):
        mincurate.rebalance(result.run, dry_run=True, progress=False)
    with pytest.raises(UserError, match="ranks objects"):
        mincurate.score_new(result.run, progress=False)


def document(dataset) -> str:
    """Everything the database holds of a dataset's samples, but for when they were changed."""
    documents = dataset._sample_collection.find({}, {"last_modified_at": 0}).sort("_id")
    return repr(list(documents))


def test_ranks_stand_on_each_detection_and_deleting_the_run_leaves_no_trace(
    scenes, network, tmp_path
):
    dataset = labelled(scenes, "user-objects", "boxes")
    before, schema = document(dataset), set(dataset.get_field_schema(flat=True))
    result = mincurate.score(
        "fiftyone:user-objects",
        objects="boxes",
        context=0.1,
        quick=True,
        embedding=network,
        output=tmp_path / "run",
    )
    dataset.reload()
    frame = result.frame.set_index("object_id")
    items = detections(dataset, "boxes")
    assert len(items) == len(frame) == 4 * SCENES
    for item in items:
        row = frame.loc[item.id]
        assert item["rarity"] == pytest.approx(row["rarity"]) and item["colour"] == 3
        assert item["rarity_class"] == row["rarity_class"]
        assert item["minority_run"] == result.run.key
    blue = dataset.limit(8).values("boxes.detections.id")[7][2]
    assert result.rarest(1)["object_id"].item() == blue
    assert dataset.values("rarest_object")[7] == 1 == max(dataset.values("rarest_object"))
    view = dataset.load_saved_view("rarest-objects")
    assert len(view) == 4 * SCENES and view.first().boxes.id == blue
    assert "rarity" not in dataset.get_field_schema()
    assert dataset.load_brain_results("minority_umap").config.patches_field == "boxes"
    check_panel(dataset, result, blue)
    runs.delete(result.run, progress=False)
    dataset.reload()
    assert set(dataset.get_field_schema(flat=True)) == schema
    assert dataset.list_saved_views() == ["mine"] and ownership.KEY not in dataset.info
    assert dataset.list_runs() == dataset.list_brain_runs() == dataset.list_workspaces() == []
    assert document(dataset) == before


def test_a_folder_becomes_a_dataset_of_detections_that_is_exported_with_its_ranks(
    scenes, network, tmp_path
):
    import fiftyone as fo

    place = {"objects": "auto", "embedding": network, "dataset": "folder-objects", "umap": False}
    result = mincurate.score(scenes, quick=True, output=tmp_path / "run", **place)
    assert "Rarest objects" in result.report.read_text()
    assert "Rarest images" not in result.report.read_text()
    table = pd.read_csv(tmp_path / "run" / "images.csv")
    assert len(table) == SCENES and table["path"][0].endswith("07.png")
    assert table["rarest_object"].is_monotonic_decreasing and table["object"][0] == "07.png#31"
    dataset = fo.load_dataset("folder-objects")
    items = detections(dataset, "objects")
    assert len(dataset) == SCENES and len(items) == 4 * SCENES
    assert sum(item.label == "blue" for item in items) == 1
    [blue] = [item for item in items if item.label == "blue"]
    assert blue["rarity"] == 1 and dataset.load_saved_view("rarest-objects").first().id == blue.id
    again = mincurate.score(scenes, quick=True, output=tmp_path / "run", **place)
    assert again.run.key == result.run.key
    dataset.reload()
    assert [item.id for item in detections(dataset, "objects")] == [item.id for item in items]

    # The user corrects a label and drops an object: exports follow.
    look.set_verdict(dataset, [items[0].id], "outlier-drop")
    sample = dataset.first()
    sample.objects.detections[1].label = "green"
    sample.save()
    mincurate.export(result.run, tmp_path / "coco", format="coco", progress=False)
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    names = {c["id"]: c["name"] for c in coco["categories"]}
    assert sorted(names.values()) == ["blue", "green", "red"]
    assert len(coco["annotations"]) == 4 * SCENES - 1
    [rare] = [a for a in coco["annotations"] if names[a["category_id"]] == "blue"]
    assert rare["rarity"] == 1 and rare["bbox"] == pytest.approx([8, 56, 32, 32])
    mincurate.export(result.run, tmp_path / "yolo", format="yolo", by="class", progress=False)
    assert "9" in (tmp_path / "yolo" / "data.yaml").read_text()
    objects = pd.read_csv(tmp_path / "yolo" / "objects.csv")
    assert objects.loc[objects["label"] == "blue", "rarity_class"].item() == 9
    with pytest.raises(UserError, match="--format coco"):
        mincurate.export(result.run, tmp_path / "folders", progress=False)

    # What the user changed is not deleted; what nobody touched is.
    runs.delete(result.run, progress=False)
    dataset.reload()
    kept = detections(dataset, "objects")
    assert len(kept) == 4 * SCENES and kept[1].label == "green"
    assert not any(name.endswith("rarity") for name in dataset.get_field_schema(flat=True))
    dataset.delete()
    result = mincurate.score(scenes, quick=True, output=tmp_path / "second", **place)
    runs.delete(result.run, progress=False)
    assert not fo.dataset_exists("folder-objects")


def test_what_the_user_has_is_not_overwritten(scenes, network, tmp_path):
    dataset = labelled(scenes, "user-rarity", "boxes")
    items = dataset.first().boxes.detections
    items[0]["rarity"] = "mine"
    dataset.set_values("boxes.detections", {dataset.first().id: items}, key_field="id")
    arguments = {"quick": True, "embedding": network, "output": tmp_path / "run", "umap": False}
    with pytest.raises(UserError, match=r"boxes\.detections\.rarity"):
        mincurate.score("fiftyone:user-rarity", objects="boxes", **arguments)
    with pytest.raises(UserError, match="fields of detections or polylines: boxes"):
        mincurate.score("fiftyone:user-rarity", objects="ground_truth", **arguments)


def test_parts_of_files_that_browsers_do_not_show_have_a_picture_in_the_app(network, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 900, (3, 32, 64), dtype=np.uint16)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"{number}.tif")
    how = {"tiles": "32", "quick": True, "embedding": network, "umap": False}
    result = mincurate.score(tmp_path, dataset="deep-tiles", output=tmp_path / "run", **how)
    dataset = fo.load_dataset("deep-tiles")
    pictures = [Image.open(path) for path in dataset.values("image_preview")]
    assert [(one.size, one.format) for one in pictures] == [((64, 32), "JPEG")] * 3
    patches = dataset.load_saved_view("rarest-objects")
    assert len(patches) == 6 and set(patches.values("image_preview")) == set(
        dataset.values("image_preview")
    )
    mincurate.delete(result.run)
    assert not fo.dataset_exists("deep-tiles")


def test_tiles_have_ranks_and_each_image_a_map_of_them(scenes, network, tmp_path, monkeypatch):
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "home"))
    dataset = fo.Dataset.from_images([str(path) for path in sorted(scenes.glob("*.png"))])
    dataset.persistent = True
    how = {"tiles": "48", "quick": True, "embedding": network, "umap": False}
    result = mincurate.score(dataset, **how)
    assert (result.run.noun, len(result.frame)) == ("tiles", 4 * SCENES)
    dataset.reload()
    assert dataset.app_config.active_fields.paths == ["rarest_object", "rarity_map"]
    rarest = dataset.sort_by("rarest_object", reverse=True).first()
    assert rarest.filepath.endswith("07.png")
    np.testing.assert_array_equal(
        np.unravel_index(rarest.rarity_map.map.argmax(), rarest.rarity_map.map.shape), (1, 0)
    )
    assert rarest.rarity_map.map.shape == (2, 2)
    patches = dataset.load_saved_view("rarest-objects")
    assert len(patches) == 4 * SCENES and patches.first().filepath == rarest.filepath
    table = pd.read_csv(result.run.path / "images.csv")
    assert table["path"][0] == rarest.filepath and table["objects"].eq(4).all()
    assert table["mean_rarity"].between(0, 1).all()
    mincurate.delete(result.run)
    dataset.reload()
    assert set(dataset.get_field_schema()) == set(fo.Dataset().get_field_schema())


def test_a_field_of_one_object_per_sample_has_ranks_and_a_view_of_its_samples(
    scenes, network, tmp_path
):
    dataset = fo.Dataset("one-each", persistent=True)
    for number in range(SCENES):
        box = [8 / 96, (56 if number == 7 else 8) / 96, 32 / 96, 32 / 96]  # the blue one in 7
        sample = fo.Sample(filepath=str(scenes / f"{number:02d}.png"))
        if number != 3:
            label = ("square", "box")[number % 2]
            sample["one"] = fo.Detection(label=label, bounding_box=box)
        dataset.add_sample(sample)
    before = document(dataset)
    how = {"objects": "one", "quick": True, "embedding": network, "output": tmp_path / "run"}
    result = mincurate.score(dataset, **how)
    dataset.reload()
    samples = dataset.exists("one")
    assert len(result.frame) == len(samples) == SCENES - 1
    items = dict(zip(samples.values("one.id"), samples.values("one.rarity"), strict=True))
    assert items == pytest.approx(dict(result.frame[["object_id", "rarity"]].to_numpy()))
    near = dict(zip(samples.values("one.id"), samples.values("one.label_mismatch"), strict=True))
    assert near == pytest.approx(dict(result.frame[["object_id", "label_mismatch"]].to_numpy()))
    assert all(0 < value < 1 for value in near.values())
    blue = dataset.skip(7).first()
    assert blue.one["rarity"] == 1 == blue.rarest_object
    assert dataset.load_saved_view("rarest-objects").first().id == blue.id
    assert len(dataset.load_brain_results("minority_umap").points) == SCENES - 1
    tail = look.shown(dataset)
    rows = tail.images.iloc[[3, 0]]
    assert look.of_rows(dataset, rows).values("one.id") == rows["object_id"].tolist()
    assert look.object_place(dataset, tail, blue.id)[1]["object_id"] == blue.one.id
    assert look.set_verdict(dataset, [blue.id], "outlier-drop") == "1 object tagged outlier-drop"
    mincurate.export(result.run, tmp_path / "coco", format="coco", progress=False)
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert len(coco["annotations"]) == SCENES - 2 and "rarity" in coco["annotations"][0]
    look.set_verdict(dataset, [blue.id], "")
    mincurate.delete(result.run)
    dataset.reload()
    assert document(dataset) == before
    assert "rarest_object" not in dataset.get_field_schema()


def test_masks_and_polygons_count_as_the_box_around_them_and_segmentations_are_refused(scenes):
    dataset = fo.Dataset("places", persistent=True)
    sample = fo.Sample(filepath=str(scenes / "00.png"))
    mask = np.ones((4, 4), bool)
    sample["masks"] = fo.Detections(
        detections=[fo.Detection(label="a", bounding_box=[0, 0, 0.5, 0.5], mask=mask)]
    )
    sample["shapes"] = fo.Polylines(
        polylines=[fo.Polyline(points=[[(0.1, 0.2), (0.4, 0.2)], [(0.2, 0.6)]])]
    )
    sample["line"] = fo.Polyline(points=[[(0.5, 0.2), (0.6, 0.4)]])
    sample["empty"] = fo.Polyline(points=[])
    sample["pixels"] = fo.Segmentation(mask=mask.astype(np.uint8))
    sample["dots"] = fo.Keypoints(keypoints=[fo.Keypoint(points=[(0.1, 0.2)])])
    dataset.add_sample(sample)
    for name, box in (
        ("masks", (0, 0, 0.5, 0.5)),
        ("shapes", (0.1, 0.2, 0.3, 0.4)),
        ("line", (0.5, 0.2, 0.1, 0.2)),
    ):
        [[item], _] = boxes.read(dataset, boxes.choose(dataset, name))
        assert item.box == pytest.approx(box)
    assert boxes.read(dataset, boxes.choose(dataset, "empty"))[1] == {"without a box": 1}
    for name, words in (("pixels", "segmentations_to_detections"), ("dots", "around the points")):
        with pytest.raises(UserError, match=words):
            boxes.choose(dataset, name)
