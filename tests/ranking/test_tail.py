import json

import numpy as np
import pandas as pd
import pytest

from mincurate.errors import UserError
from mincurate.ranking import classes
from mincurate.ranking import tail as tails
from mincurate.ranking.tail import NO_LABEL
from mincurate.runs.store import Run

CLASSES = 5


def write(folder, score, labels, within=False, **columns):
    """A finished run with these scores and labels."""
    n = len(score)
    named = np.array(["" if name is None else name for name in labels], object)
    groups = named if within else np.full(n, "", object)
    rarity = classes.percentile_within(score, groups)
    frame = pd.DataFrame(
        {
            "path": [f"/there/{i}.png" for i in range(n)],
            "rel_path": [f"{i:04d}.png" for i in range(n)],
            "content_hash": [f"{i:04d}" for i in range(n)],
            "label": labels,
            "duplicate_of": pd.Series([None] * n, dtype="string"),
            "status": "ok",
            "minority_score": score,
            "minority_score_se": score / 20,
            "rarity": rarity,
            "rarity_class": classes.classes_within(score, groups, CLASSES),
            "neighbor_distance": score,
            "minority_score_calibrated": score,
            "complexity": score,
            "map_x": score,
            "map_y": -score,
            "width": 32,
            "height": 32,
        }
        | columns
    )
    frame.to_parquet(folder / "scores.parquet")
    record = {"key": "mincurate_1", "num_classes": CLASSES, "settings": {"rank_by": "minority"}}
    record["class_edges_by_label"] = {"a": [1.0]} if within else {}
    (folder / "run.json").write_text(json.dumps(record))
    return Run(folder)


@pytest.fixture
def scores():
    return np.random.default_rng(0).gamma(2, 1, 200)


def test_the_tail_is_the_rarest_tenth_rounded_up(tmp_path, scores):
    tail = tails.look(write(tmp_path, scores[:195], [None] * 195))
    assert len(tail.tail) == 20
    assert tail.tail["minority_score"].tolist() == sorted(scores[:195])[::-1][:20]
    assert (tail.images["rarity"] >= tail.tail_rarity).sum() == 20


def test_copies_and_unscorable_files_are_no_images_of_the_tail(tmp_path, scores):
    copies = pd.Series([None] * 200, dtype="string")
    copies[0] = "0001.png"
    status = ["ok"] * 199 + ["unscorable"]
    run = write(tmp_path, scores, [None] * 200, duplicate_of=copies, status=status)
    assert len(tails.look(run).images) == 198


def test_every_image_is_in_one_bar_of_its_class(tmp_path, scores):
    histogram = tails.look(write(tmp_path, scores, [None] * 200)).histogram
    assert histogram.counts.sum(0).tolist() == [40] * CLASSES
    assert histogram.borders[0] == scores.min() and histogram.borders[-1] == scores.max()


def test_equal_scores_have_no_histogram(tmp_path):
    assert tails.look(write(tmp_path, np.ones(20), [None] * 20)).histogram is None


def test_the_label_that_leans_most_to_the_tail_comes_first(tmp_path, scores):
    order = np.argsort(-scores)
    labels = np.full(200, "usual", object)
    labels[order[:8]] = "rare"
    labels[order[8:12]] = None
    tail = tails.look(write(tmp_path, scores, list(labels)))
    assert list(tail.labels.index) == [NO_LABEL, "rare", "usual"]
    assert tail.labels.loc["rare"].tolist() == [0, 0, 0, 0, 8]
    assert tail.labels.to_numpy().sum() == 200
    assert len(tail.of_label(NO_LABEL)) == 4 and len(tail.of_label("usual")) == 188


def test_without_labels_there_is_no_table_of_them(tmp_path, scores):
    assert tails.look(write(tmp_path, scores, [None] * 200)).labels is None


def test_ranked_within_labels_the_table_has_the_classes_of_the_whole_set(tmp_path):
    scores = np.concatenate([np.linspace(0, 1, 100), np.linspace(2, 3, 100)])
    labels = ["low"] * 100 + ["high"] * 100
    tail = tails.look(write(tmp_path, scores, labels, within=True))
    assert list(tail.labels.index) == ["high", "low"]
    assert tail.labels.loc["low"].tolist() == [40, 40, 20, 0, 0]
    low, high = tail.scores_of(tail.classes_of_all == 4)
    assert low > 2.5 and high == 3


def test_a_large_map_keeps_the_whole_tail_and_thins_the_rest(tmp_path):
    scores = np.random.default_rng(1).random(20_000)
    tail = tails.look(write(tmp_path, scores, [None] * len(scores)))
    assert len(tail.dots) == tails.DOTS
    assert set(tail.tail.index) <= set(tail.dots.index)
    assert tail.dots.index.is_unique


def test_a_run_is_read_again_when_its_files_change(tmp_path, scores):
    run = write(tmp_path, scores, [None] * 200)
    assert tails.look(run) is tails.look(run)
    assert len(tails.look(write(tmp_path, scores[:50], [None] * 50)).images) == 50


def test_a_run_whose_files_are_gone_is_told_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="any more: score the dataset again"):
        tails.look(Run(tmp_path / "gone"))


def test_histogram_labels_and_tail_follow_the_ranking_in_force_not_the_minority_score(tmp_path):
    minority, rare = np.linspace(1, 2, 200), np.linspace(1, 0, 200)
    columns = {
        "embedding_rarity": rare,
        "rarity": classes.percentile(rare),
        "rarity_class": classes.ordinal_classes(rare, CLASSES),
        "minority_class": classes.ordinal_classes(minority, CLASSES),
    }
    run = write(tmp_path, minority, ["a"] * 20 + ["b"] * 180, **columns)
    run.update(rank_by="embedding")
    tail = tails.look(run)
    assert tail.tail["embedding_rarity"].tolist() == rare[:20].tolist()
    assert tail.histogram.borders[[0, -1]].tolist() == [0, 1]
    assert tail.histogram.counts[-1].tolist()[:-1] == [0] * (CLASSES - 1)
    assert tail.labels.index[0] == "a" and tail.labels.loc["a"].tolist() == [0, 0, 0, 0, 20]


def test_a_run_of_an_earlier_version_is_told_how_to_be_brought_up_to_date(tmp_path, scores):
    run = write(tmp_path, scores, [None] * 200)
    table = run.path / "scores.parquet"
    pd.read_parquet(table).drop(columns="rarity_class").to_parquet(table)
    with pytest.raises(UserError, match="mincurate sync mincurate_1"):
        tails.look(run)
