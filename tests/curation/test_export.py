import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mincurate.curation import export as exports
from mincurate.curation.export import export, select
from mincurate.curation.file_names import file_names
from mincurate.errors import UserError


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(path)
    return str(path)


@pytest.fixture
def frame(tmp_path):
    """Three real images, two of them of one name, and three synthetic ones."""
    a = picture(tmp_path / "in/one/0001.png", 10)
    b = picture(tmp_path / "in/two/0001.png", 20)
    c = picture(tmp_path / "in/two/0002.png", 30)
    made = [picture(tmp_path / f"made/{i}.png", 100 + i) for i in range(3)]
    return pd.DataFrame(
        {
            "path": [a, b, c, *made],
            "source": ["real"] * 3 + ["synthetic"] * 3,
            "label": ["cat", "cat", "dog", "cat", "dog", "dog"],
            "rarity_class": pd.array([0, 1, 9, 9, 9, 9], dtype="Int64"),
            "run": [None] * 3 + ["mincurate_2"] * 3,
            "seed": pd.array([None, None, None, 7, 8, 9], dtype="Int64"),
            "nearest_real": [None, None, None, a, [b, c], c],
            "accepted": [None, None, None, True, True, False],
            "reason": [None] * 5 + ["near-copy"],
        }
    )


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_class_folders_hold_real_and_accepted_images_under_names_of_their_own(frame, tmp_path):
    out = tmp_path / "out"
    done = export(frame, out)
    assert (done.real, done.synthetic, done.excluded) == (3, 2, {"not accepted: near-copy": 1})
    names = files(out)
    assert len([n for n in names if n.startswith("cat/0001-")]) == 2
    assert {"cat/0.png", "dog/0002.png", "dog/1.png", "provenance.csv"} <= set(names)
    table = pd.read_csv(out / "provenance.csv")
    assert table.columns.tolist() == list(exports.COLUMNS)
    for row in table.itertuples():
        assert (out / row.file).read_bytes() == Path(row.original).read_bytes()
    assert table["provenance"].tolist() == ["real"] * 3 + ["synthetic"] * 2
    assert table["seed"].tolist()[3:] == [7, 8]
    assert json.loads(table["nearest_real"][4]) == frame["nearest_real"][4]


def test_files_are_linked_or_copied(frame, tmp_path):
    export(frame, tmp_path / "linked")
    export(frame, tmp_path / "copied", files="copy")
    original = os.stat(frame["path"][2]).st_ino
    assert os.stat(tmp_path / "linked/dog/0002.png").st_ino == original
    assert os.stat(tmp_path / "copied/dog/0002.png").st_ino != original


def test_where_links_are_impossible_files_are_copied(frame, tmp_path, monkeypatch):
    def across(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    assert export(frame, tmp_path / "out").real == 3
    assert (tmp_path / "out/dog/0002.png").read_bytes() == Path(frame["path"][2]).read_bytes()


def test_a_link_to_a_file_is_exported_as_the_file(frame, tmp_path):
    (tmp_path / "link.png").symlink_to(frame["path"][2])
    frame.loc[2, "path"] = str(tmp_path / "link.png")
    export(frame, tmp_path / "out")
    assert not (tmp_path / "out/dog/link.png").is_symlink()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_table_says_where_each_image_comes_from(frame, tmp_path, format):
    export(frame, tmp_path / "out", format=format)
    read = pd.read_csv if format == "csv" else pd.read_parquet
    table = read(tmp_path / f"out/dataset.{format}")
    assert len(table) == 5 and table["file"].is_unique
    assert all((tmp_path / "out" / file).is_file() for file in table["file"])
    assert table["run"].dropna().tolist() == ["mincurate_2"] * 2


def test_coco_has_a_category_and_a_whole_image_box_for_every_image(frame, tmp_path):
    export(frame, tmp_path / "out", format="coco")
    coco = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["cat", "dog"]
    by_id = {image["id"]: image for image in coco["images"]}
    assert len(by_id) == 5 == len(coco["annotations"])
    for note in coco["annotations"]:
        image = by_id[note["image_id"]]
        assert note["bbox"] == [0, 0, 6, 4] and note["area"] == 24
        assert coco["categories"][note["category_id"] - 1]["name"] == image["label"]
        assert (tmp_path / "out" / image["file_name"]).is_file()
    assert by_id[4]["provenance"] == "synthetic" and by_id[4]["seed"] == 7


@pytest.fixture
def boxed(frame):
    """Of the real images, the first has two boxes and the second none; the third is unknown."""
    cells = [[("cat", (0.1, 0.25, 0.5, 0.5)), ("dog", (0.5, 0.5, 0.5, 0.25))], [], *[None] * 4]
    return frame.assign(boxes=pd.Series(cells, dtype=object))


def test_coco_has_the_boxes_of_images_that_have_some(boxed, tmp_path):
    done = export(boxed, tmp_path / "out", format="coco")
    coco = json.loads((tmp_path / "out/annotations.json").read_text())
    names = {c["id"]: c["name"] for c in coco["categories"]}
    boxes = [(n["image_id"], names[n["category_id"]], n["bbox"]) for n in coco["annotations"]]
    assert boxes == [
        (1, "cat", pytest.approx([0.6, 1, 3, 2])),
        (1, "dog", pytest.approx([3, 2, 3, 1])),
        (3, "dog", [0, 0, 6, 4]),
    ]
    assert done.excluded["synthetic, without boxes"] == 2 and done.real == 3
    assert "1 images have no boxes" in done.notes[0]


def test_yolo_has_a_label_file_beside_every_image_and_names_the_splits(boxed, tmp_path):
    out = tmp_path / "out"
    boxed["split"] = ["train", "val", "train", None, None, None]
    assert not export(boxed, out, format="yolo").notes[1:]
    texts = [p.read_text() for p in sorted((out / "labels").rglob("*.txt"))]
    assert texts == [
        "0 0.350000 0.500000 0.500000 0.500000\n1 0.750000 0.625000 0.500000 0.250000\n",
        "1 0.500000 0.500000 1.000000 1.000000\n",
        "",
    ]
    stems = [{str(p.relative_to(out / kind).with_suffix("")) for p in (out / kind).rglob("*.*")}
             for kind in ("images", "labels")]  # fmt: skip
    assert stems[0] == stems[1] and {s.split("/")[0] for s in stems[0]} == {"train", "val"}
    assert yaml.safe_load((out / "data.yaml").read_text()) == {
        "train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"},
    }  # fmt: skip


def test_files_of_one_stem_have_label_files_of_their_own(frame, tmp_path):
    frame["path"] = [picture(tmp_path / f"in/a.{kind}") for kind in ("png", "bmp", "gif")] + list(
        frame["path"][3:]
    )
    frame["nearest_real"] = None
    done = export(frame, tmp_path / "out", format="yolo")
    assert len(list((tmp_path / "out/labels").rglob("*.txt"))) == done.real + done.synthetic == 5
    assert "data.yaml has no val" in done.notes[0]


def test_all_labels_of_an_image_are_in_every_format_and_said_where_one_folder_holds_it(
    frame, tmp_path
):
    frame["labels"] = pd.Series([["cat", "dog"], *[None] * 5], dtype=object)
    done = {f: export(frame, tmp_path / f, format=f) for f in exports.FORMATS}
    assert "1 images have several labels" in done["folder"].notes[0]
    for file in ("folder/provenance.csv", "csv/dataset.csv", "yolo/provenance.csv"):
        assert json.loads(pd.read_csv(tmp_path / file)["labels"][0]) == ["cat", "dog"]
    coco = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [n["category_id"] for n in coco["annotations"] if n["image_id"] == 1] == [1, 2]
    lines = (tmp_path / "yolo/labels/train").glob("0001-*.txt")
    assert sorted(len(p.read_text().splitlines()) for p in lines) == [1, 2]


@pytest.mark.parametrize(
    ("format", "file"),
    [("folder", "provenance.csv"), ("csv", "dataset.csv"), ("parquet", "dataset.parquet")],
)
def test_boxes_are_in_the_table_of_every_format(boxed, tmp_path, format, file):
    done = export(boxed, tmp_path / "out", format=format)
    assert done.synthetic == 2
    assert ("only the formats coco and yolo hold" in str(done.notes)) == (format == "folder")
    read = pd.read_parquet if format == "parquet" else pd.read_csv
    table = read(tmp_path / "out" / file)
    assert json.loads(table["boxes"][0])[1] == ["dog", [0.5, 0.5, 0.5, 0.25]]


def test_classes_may_be_the_ordinal_ones(frame, tmp_path):
    frame.loc[0, "rarity_class"] = 10
    frame.loc[1, "rarity_class"] = None
    export(frame, tmp_path / "out", classes="rarity_class")
    folders = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert folders == {"09", "10", "unlabelled"}
    export(frame, tmp_path / "coco", format="coco", classes="rarity_class")
    coco = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["9", "10"]
    assert (len(coco["images"]), len(coco["annotations"])) == (5, 4)


# Splits


def test_a_synthetic_image_next_to_a_test_image_stays_out_of_training(frame, tmp_path):
    frame["split"] = ["train", "test", "train", None, None, None]
    done = export(frame, tmp_path / "out")
    assert done.excluded["near an image of another split"] == 1
    assert (tmp_path / "out/train/cat/0.png").exists()
    assert not (tmp_path / "out/train/dog/1.png").exists()
    assert (tmp_path / "out/test/cat/0001.png").exists()


def test_a_synthetic_image_that_started_from_a_test_image_stays_out(frame):
    frame["split"] = ["train", "test", "train", None, None, None]
    frame["start"] = [None, None, None, frame["path"][1], None, None]
    kept, excluded = select(frame)
    assert excluded["near an image of another split"] == 2
    assert set(kept["source"]) == {"real"}


def test_a_test_image_counts_even_when_it_is_left_out_itself(frame):
    frame["split"] = ["test", "train", "train", None, None, None]
    frame["tags"] = [["outlier-drop"], None, None, None, None, None]
    kept, excluded = select(frame)
    assert excluded["tagged outlier-drop"] == 1
    assert frame["path"][3] not in set(kept["path"])


def test_where_the_nearest_image_is_not_known_nothing_is_risked(frame):
    frame["split"] = ["train"] * 3 + [None] * 3
    frame["nearest_real"] = [None, None, None, "elsewhere.png", None, None]
    _, excluded = select(frame)
    assert excluded["split of its nearest real image not known"] == 2


def test_splits_are_for_all_real_images_or_for_none(frame):
    frame["split"] = ["train", None, "test", None, None, None]
    with pytest.raises(UserError, match="1 real images have no split"):
        select(frame)


def test_a_copy_of_its_nearest_image_in_another_split_keeps_a_synthetic_image_out(frame):
    frame["split"] = ["train", "test", "train", None, None, None]
    frame["content_hash"] = ["one", "one", "three", *"xyz"]
    kept, excluded = select(frame)
    assert excluded["near an image of another split"] == 2
    assert set(kept["source"]) == {"real"}


@given(st.data())
@settings(max_examples=60)
def test_no_kept_synthetic_image_has_kin_or_a_copy_of_it_in_another_split(data):
    n = data.draw(st.integers(1, 6))
    real = [f"r{i}" for i in range(n)]
    splits = data.draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=n, max_size=n))
    contents = data.draw(st.lists(st.sampled_from("abcdef"), min_size=n, max_size=n))
    kin = data.draw(st.lists(st.lists(st.sampled_from(real), max_size=3), min_size=1, max_size=6))
    start = [data.draw(st.sampled_from([*real, None])) for _ in kin]
    frame = pd.DataFrame(
        {
            "path": real + [f"s{i}" for i in range(len(kin))],
            "content_hash": contents + [f"s{i}" for i in range(len(kin))],
            "source": ["real"] * n + ["synthetic"] * len(kin),
            "split": splits + [None] * len(kin),
            "nearest_real": [None] * n + kin,
            "start": [None] * n + start,
            "accepted": True,
        }
    )
    kept, excluded = select(frame)
    assert len(kept) + sum(excluded.values()) == len(frame)
    of = dict(zip(real, contents, strict=True))
    for row in kept[kept["source"] == "synthetic"].itertuples():
        near = [*row.nearest_real, *([row.start] if isinstance(row.start, str) else [])]
        seen = {of[path] for path in near}
        assert {s for c, s in zip(contents, splits, strict=True) if c in seen} == {"train"}


# What is left out


def test_rows_tagged_for_dropping_are_left_out(frame):
    frame["tags"] = [["outlier-drop", "x"], ["keep"], None, None, None, None]
    kept, excluded = select(frame)
    assert excluded == {"not accepted: near-copy": 1, "tagged outlier-drop": 1}
    assert len(kept) == 4


def test_rejected_images_come_along_when_asked_for(frame, tmp_path):
    assert export(frame, tmp_path / "out", include_rejected=True).synthetic == 3


def test_an_image_nobody_judged_is_not_accepted(frame):
    frame["accepted"] = None
    assert select(frame)[1] == {"not accepted": 2, "not accepted: near-copy": 1}


def test_a_file_that_is_gone_is_counted(frame, tmp_path):
    Path(frame["path"][0]).unlink()
    done = export(frame, tmp_path / "out")
    assert done.real == 2 and done.excluded["file is gone"] == 1


# Folders and interruptions


def test_a_stopped_export_goes_on_and_ends_as_if_it_had_not_been(frame, tmp_path, monkeypatch):
    placed = []
    place = exports._place

    def stop(source, target, **more):
        if len(placed) == 3:
            raise KeyboardInterrupt
        placed.append(target)
        place(source, target, **more)

    monkeypatch.setattr(exports, "_place", stop)
    with pytest.raises(KeyboardInterrupt):
        export(frame, tmp_path / "out", files="copy")
    monkeypatch.setattr(exports, "_place", place)
    kept = {p: p.stat().st_mtime_ns for p in placed}
    export(frame, tmp_path / "out", files="copy")
    assert kept == {p: p.stat().st_mtime_ns for p in placed}
    export(frame, tmp_path / "whole", files="copy")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    again = export(frame, tmp_path / "out", files="copy")
    assert again.real == 3


def test_a_file_cut_short_is_written_again(frame, tmp_path):
    export(frame, tmp_path / "out", files="copy")
    cut = tmp_path / "out/dog/0002.png"
    cut.write_bytes(b"")
    export(frame, tmp_path / "out", files="copy")
    assert cut.read_bytes() == Path(frame["path"][2]).read_bytes()


def test_a_full_disk_leaves_no_half_file(frame, tmp_path, monkeypatch):
    copy = shutil.copyfile

    def full(source, target):
        if "made" in str(source):
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UserError, match="disk is full") as error:
        export(frame, tmp_path / "out", files="copy")
    assert "\n" not in str(error.value)
    assert not [n for n in files(tmp_path / "out") if "partial" in n or n.startswith("dog/1")]
    monkeypatch.setattr(shutil, "copyfile", copy)
    assert export(frame, tmp_path / "out", files="copy").synthetic == 2


def test_an_export_killed_in_its_first_write_goes_on(frame, tmp_path):
    whole = tmp_path / "whole"
    export(frame, whole)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.export.json.4226.partial").write_text('{"finger')
    export(frame, tmp_path / "out")
    assert sorted(files(tmp_path / "out")) == sorted(files(whole))


@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_a_folder_that_is_not_ours_is_left_alone(frame, tmp_path, record):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    if record:
        (tmp_path / "out/export.json").write_text(record)
    before = files(tmp_path / "out")
    with pytest.raises(UserError, match="no export of mincurate"):
        export(frame, tmp_path / "out")
    with pytest.raises(UserError, match="no export of mincurate"):
        export(frame, tmp_path / "out/mine.txt")
    assert files(tmp_path / "out") == before


def test_another_export_is_not_mixed_in(frame, tmp_path):
    export(frame, tmp_path / "out")
    with pytest.raises(UserError, match="other images or settings"):
        export(frame.iloc[:2], tmp_path / "out")


# Names


@given(st.lists(st.text(max_size=12), min_size=1, max_size=8))
@settings(max_examples=60)
def test_no_label_leaves_the_folder_and_no_two_share_a_place(labels):
    rows = pd.DataFrame(
        {
            "path": [f"/a/{i}/0001.png" for i in range(len(labels))],
            "label": labels,
            "split": [None] * len(labels),
        }
    ).astype(object)
    places = file_names(rows, "folder", "label")
    assert len({p.casefold() for p in places}) == len(places)
    for place in places:
        folder, name = place.split("/")
        assert folder not in ("", ".", "..") and not folder.startswith(".")
        assert name.endswith(".png") and "\x00" not in place
    by_folder = {}
    for label, place in zip(labels, places, strict=True):
        assert by_folder.setdefault(place.split("/")[0].casefold(), label) == label


def test_a_strange_label_and_a_strange_name_can_be_written(frame, tmp_path):
    strange = os.fsdecode(os.fsencode(str(tmp_path / "in")) + b"/caf\xe9.png")
    shutil.copy(frame["path"][0], strange)
    frame = frame.astype(object)
    frame.loc[0, ["path", "label"]] = [strange, "../../etc/" + "x" * 300]
    for format in exports.FORMATS:
        assert export(frame, tmp_path / format, format=format).real == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "coco", "csv", "folder", "in", "made", "parquet", "yolo",
    ]  # fmt: skip


# Mistakes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="path"), "column path"),
        (lambda f: f.assign(source="fake"), "real or synthetic"),
        (lambda f: f.drop(columns="accepted"), "quality gate"),
        (lambda f: pd.concat([f, f]), "more than once"),
        (lambda f: f.iloc[:0], "No image is left"),
    ],
)
def test_a_table_that_is_not_as_described_is_one_sentence(frame, tmp_path, change, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        export(change(frame), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_format_that_is_none_is_one_sentence(frame, tmp_path):
    with pytest.raises(UserError, match="folder, csv, parquet, coco"):
        export(frame, tmp_path / "out", format="zip")
