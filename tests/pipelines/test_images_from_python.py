"""`mincurate.score` takes what people have in Python, and later calls find it again."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import draw_shapes

import mincurate
from mincurate.errors import UserError
from mincurate.pipelines import new_files, open_images
from mincurate.pipelines.score_settings import ScoreSettings
from mincurate.runs import command, store, verify

QUICK = {"train_steps": 3, "n_draws": 2, "num_classes": 4, "umap": False, "fiftyone": False}


@pytest.fixture
def here(pictures, monkeypatch):
    """The folder of the pictures, as the current one."""
    monkeypatch.chdir(pictures.parent)
    return pictures


def frame_of(folder: Path) -> pd.DataFrame:
    """A table with relative paths, a label of three kinds, and columns that nobody reads."""
    paths = sorted(folder.rglob("*.png"))
    return pd.DataFrame(
        {
            "Image Path": [os.path.relpath(path) for path in paths],
            "species": [None, 1, *(path.parent.name for path in paths[2:])],
            "vector": [np.zeros(2)] * len(paths),
        }
    )


def test_whatever_holds_paths_is_the_same_place(here, monkeypatch):
    paths = [os.path.relpath(path) for path in sorted(here.rglob("*.png"))]
    place = open_images.place_of(paths)
    assert place == [os.path.abspath(path) for path in paths]
    for form in (map(Path, paths), pd.Series(paths), np.array(paths), tuple(paths)):
        assert open_images.place_of(form) == place
    table = open_images.place_of(frame_of(here))
    assert open_images.place_of(frame_of(here).set_index("Image Path")) == table
    assert open_images.place_of(frame_of(here).assign(species="x")) != table
    monkeypatch.chdir("/")
    images = open_images.open_images(table)
    assert [source.path for source, _ in images.files] == place
    assert images.labels == ["1", "cross", "disc"] and images.files[0][0].label is None


def test_a_killed_run_of_a_data_frame_goes_on_and_is_found_again(here, tiny, monkeypatch):
    from mincurate.ranking import table

    def killed(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(table, "assemble", killed)
        with pytest.raises(KeyboardInterrupt):
            mincurate.score(frame_of(here), **QUICK)
    run = store.find()
    monkeypatch.chdir("/")
    assert not run.finished and mincurate.score(run).run == run and run.finished
    assert new_files.find_new(run) == [] and verify.verify(run) == []
    monkeypatch.chdir(here.parent)
    again = mincurate.score(frame_of(here), rank_by="minority", **QUICK)
    assert again.run == run and run.record["rank_by"] == "minority"
    assert ScoreSettings.again(run).rank_by == "minority"
    assert str(open_images.place_of(again)) in command.command(run)
    assert len(again.frame) == 20 and again.frame["status"].eq("ok").all()
    draw_shapes(here, discs=17, crosses=5)
    joined = mincurate.score_new(run, frame_of(here), fiftyone=False).frame
    assert sorted(joined["label"]) == ["cross", "disc"] and len(run.frame()) == 22
    assert new_files.find_new(run, images=open_images.place_of(frame_of(here))) == []
    run.update(source={"kind": "folder", "value": str(here)})
    with pytest.raises(UserError, match="finds new images in"):
        new_files.find_new(run, images=str(here))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 8, 8, 3)), "not ndarray of ndarray"),
        ({"path": ["a.png"]}, "not dict"),
        ([b"x"], "not list of bytes"),
        (3, "not int"),
        ([], "list of paths is empty"),
        (pd.DataFrame({"a": [1]}), "data frame has no column of image paths (its columns: a)"),
        (pd.DataFrame({"image": [np.zeros(3)]}), "'image' of the data frame holds ndarray"),
        (pd.DataFrame({"path": ["gone.png"]}), "is a readable image: file not found"),
    ],
)
def test_what_holds_no_images_is_refused_in_one_sentence(images, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        mincurate.score(images, **QUICK)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 500 and "\n" not in str(refusal.value)


def test_images_that_a_data_frame_holds_itself_are_read(here):
    cells = [{"bytes": p.read_bytes(), "path": p.name} for p in sorted(here.rglob("*.png"))]
    frame = pd.DataFrame({"image": [*cells[:3], None], "label": [0, 0, 1, 1]})
    images = open_images.open_images(open_images.place_of(frame))
    assert len(images.unique) == 3 and images.labels == ["0", "1"]
