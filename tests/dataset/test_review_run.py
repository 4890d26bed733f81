"""A review in FiftyOne teaches the command and the panel what to show next."""

from pathlib import Path

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
import user_work

from mincurate.pipelines import panel

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def run(tmp_path, home):
    """A run of sixty pictures whose vectors are of two kinds."""
    files = user_work.pictures(tmp_path / "images" / "a", 60)
    (tmp_path / "images" / "b").mkdir()
    for file in map(Path, files[45:]):
        file.rename(tmp_path / "images" / "b" / file.name)
    run = user_work.score_folder("mincurate_1", tmp_path / "images", into="review-test")
    frame = run.frame()
    vectors = np.random.default_rng(0).normal(size=(len(frame), 16))
    vectors[:, 0] += np.where(frame["label"] == "b", 4, 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(run.path / "embeddings.npy", vectors.astype(np.float16))
    frame[["content_hash"]].to_parquet(run.path / "embeddings.parquet")
    yield run
    fo.load_dataset("review-test").delete()


def test_the_tags_of_a_review_decide_what_comes_next(run, say):
    code, printed = say("review")
    assert code == 0 and "0 kept and 0 dropped: the first page shows" in printed
    dataset = fo.load_dataset("review-test")
    scored = dataset.exists("rarity")
    for label, tag in (("b", "zebra"), ("a", "other")):
        view = scored.match(fo.ViewField("ground_truth.label") == label).limit(4)
        view.tag_samples(tag)
    code, printed = say("review", "1", "--keep", "zebra", "--drop", "other")
    assert code == 0 and "4 kept and 4 dropped. About" in printed
    frame = pd.read_csv(run.path / "review.csv")
    assert frame["verdict"].tolist()[-8:].count("keep") == 4
    assert (frame["label"].head(5) == "b").all()
    assert frame["probability"].head(20).is_monotonic_decreasing

    shown = panel.shown(dataset)
    page = panel.review_page(dataset, shown)
    assert len(page) == 40
    first, second = panel.ids_of(dataset, page["path"].iloc[:2])
    panel.set_verdict(dataset, [first], "rare-keep")
    panel.set_verdict(dataset, [second], "outlier-drop")
    state = panel.review_of(dataset, shown)
    assert state.left is not None and (state.kept, state.dropped) == (1, 1)
    before = panel.review_page(dataset, shown)
    panel.mark_page(dataset, before)
    again = panel.review_page(dataset, shown)
    assert not set(again["path"]) & set(before["path"])
    assert say("review", "--keep", "x", "--drop", "x")[0] == 1
