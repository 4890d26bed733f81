"""How a table of scores is ranked: over the whole set, or within labels."""

import numpy as np
import pandas as pd
import pytest

from mincurate.ranking import classes as ordinal
from mincurate.ranking import evidence, ranks

CLASSES = 4


@pytest.fixture
def frame():
    """Two labels on scales of their own, images without a label, a copy and an unscorable file."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "label": ["a"] * 8 + ["b"] * 8 + [None] * 4,
            "minority_score": np.concatenate(
                [rng.uniform(0, 1, 8), rng.uniform(10, 11, 8), rng.uniform(4, 5, 4)]
            ),
            "minority_score_se": rng.uniform(0, 0.3, 20),
            "minority_score_draws": [np.zeros(6, np.float32)] * 20,
            "content_hash": [f"{i:02d}" for i in range(20)],
            "duplicate_of": None,
        }
    )
    copy = table.iloc[[3]].assign(label="b", duplicate_of="3")
    bad = table.iloc[[0]].assign(minority_score=np.nan, content_hash=None)
    return pd.concat([table, copy, bad], ignore_index=True)


def rank(frame, within_label):
    return ranks.rank(frame, "minority_score", CLASSES, within_label)


def test_rarity_and_class_follow_the_ranking_within_labels(frame):
    rank(frame, True)
    scored = frame.iloc[:20]
    for _, group in scored.groupby(scored["label"].fillna("")):
        ordered = group.sort_values("minority_score")
        np.testing.assert_allclose(ordered["rarity"], np.linspace(0, 1, len(group)))
        assert ordered["rarity_class"].tolist() == sorted([0, 1, 2, 3] * (len(group) // 4))


@pytest.mark.parametrize("within_label", [True, False])
def test_the_interval_of_a_rank_holds_it_and_grows_with_the_error(frame, within_label):
    rank(frame, within_label)
    if not within_label:
        by_score = frame["minority_percentile"]
        pd.testing.assert_series_equal(by_score, frame["rarity"], check_names=False)
    low, high = (frame[f"minority_percentile_{end}"][:20] for end in ("low", "high"))
    percentile = frame["minority_percentile"][:20]
    assert (low <= percentile).all() and (percentile <= high).all()
    frame["minority_score_se"] *= 2
    rank(frame, within_label)
    lower, higher = (frame[f"minority_percentile_{end}"][:20] for end in ("low", "high"))
    assert (lower <= low).all() and (high <= higher).all()
    assert (higher - lower).sum() > (high - low).sum()


@pytest.mark.parametrize("column", ["minority_score", "embedding_rarity", "neighbor_distance"])
@pytest.mark.parametrize("within_label", [True, False])
def test_the_minority_class_is_the_papers_whatever_ranks(frame, column, within_label):
    """The published labels: thresholds at the quantiles k / L of all scores."""
    for other in ("embedding_rarity", "neighbor_distance"):
        frame[other] = np.random.default_rng(2).permutation(len(frame))
    ranks.rank(frame, column, CLASSES, within_label)
    scored = frame[frame["minority_score"].notna() & frame["duplicate_of"].isna()]
    scores = scored["minority_score"].to_numpy()
    thresholds = np.quantile(scores, np.arange(1, CLASSES) / CLASSES)
    published = np.searchsorted(thresholds, scores, side="right")
    assert scored["minority_class"].tolist() == published.tolist()
    if column != "minority_score":
        assert scored["minority_class"].tolist() != scored["rarity_class"].tolist()


def test_the_interval_is_that_of_the_minority_score_whatever_ranks(frame):
    other = frame.assign(embedding_rarity=np.random.default_rng(1).permutation(len(frame)))
    rank(frame, False)
    ranks.rank(other, "embedding_rarity", CLASSES, False)
    assert not other["rarity"].equals(frame["rarity"])
    columns = list(evidence.PERCENTILES)
    pd.testing.assert_frame_equal(other[columns], frame[columns])


@pytest.mark.parametrize("draws", [2, 6, 20])
def test_the_interval_holds_the_rank_of_endless_draws_as_often_as_it_says(draws):
    """Scores known to the last digit, seen through Gaussian draws that are a fifth as wide."""
    rng = np.random.default_rng(draws)
    truth = rng.normal(size=4000)
    seen = truth[:, None] + 0.2 * rng.normal(size=(4000, draws))
    scored = pd.DataFrame(evidence.summary(seen.astype(np.float32)))
    _, low, high = evidence.minority_percentiles(scored["minority_score"].to_numpy(), scored).T
    rank = ordinal.percentile(truth)
    held = ((low <= rank) & (rank <= high)).mean()
    assert held == pytest.approx(evidence.COVERED, abs=0.015)


def test_within_labels_vectors_are_compared_with_those_of_the_same_label(frame):
    """An image of the kind of the other label, among as many of both, is usual but not there."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1], 40)
    vectors = rng.normal(size=(2, 16))[kind] + 0.2 * rng.normal(size=(80, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    labels = np.array(["a", "b"])[kind]
    labels[5] = "b"
    table = pd.DataFrame(
        {
            "label": labels,
            "content_hash": [f"{i:02d}" for i in range(80)],
            "duplicate_of": None,
            "status": "ok",
            **evidence.summary(rng.normal(size=(80, 2)).astype(np.float32)),
            "embedding_rarity": rng.permutation(80) / 80,
        }
    )
    copy = table.iloc[[5]].assign(label="a", duplicate_of="5")
    table = pd.concat([table, copy], ignore_index=True)
    order = rng.permutation(80)
    place = pd.Series(np.arange(80), index=[f"{i:02d}" for i in order])
    ranks.rank_vectors_within_labels(table, vectors[order], place)
    for whole in (True, False):
        ranks.rank(table, "embedding_rarity", CLASSES, not whole)
        assert table["rarity_class_within_label"].iloc[[5, 80]].tolist() == [3, 3]
        assert (table["rarity"].iloc[5] == 1) == (not whole)
    assert table["rarity"].iloc[80] == 1  # the copy ranks with its first file


def test_a_single_draw_has_a_rank_and_no_interval():
    scored = pd.DataFrame(evidence.summary(np.array([[1.0], [2.0], [3.0]], np.float32)))
    found = evidence.minority_percentiles(scored["minority_score"].to_numpy(), scored)
    assert found[:, 0].tolist() == [0, 0.5, 1] and np.isnan(found[:, 1:]).all()


def test_the_class_within_labels_is_the_same_however_the_set_is_ranked(frame):
    other = frame.copy()
    rank(frame, True)
    rank(other, False)
    within = "rarity_class_within_label"
    pd.testing.assert_series_equal(frame[within], other[within])
    labelled = frame["label"].notna()
    assert frame.loc[labelled, within].equals(frame.loc[labelled, "rarity_class"].rename(within))
    assert frame.loc[~labelled, within].isna().all()


def test_classes_within_labels_have_edges_for_each_label_only(frame):
    edges = rank(frame, True)
    assert edges["class_edges"] == []
    by_label = edges["class_edges_by_label"]
    assert set(by_label) == {"a", "b", ""}
    for name, values in by_label.items():
        group = frame[:20][frame[:20]["label"].fillna("") == name]
        classes = np.searchsorted(values, group["minority_score"])
        assert classes.tolist() == group["rarity_class"].tolist()


@pytest.mark.parametrize("labelled", [True, False])
def test_without_labels_or_the_wish_the_whole_set_is_ranked(frame, labelled):
    if not labelled:
        frame["label"] = None
    edges = rank(frame, not labelled)
    scored = frame.iloc[:20]
    assert len(edges["class_edges"]) == CLASSES - 1 and edges["class_edges_by_label"] == {}
    assert scored.sort_values("minority_score")["rarity_class"].is_monotonic_increasing
    assert scored["rarity"].nunique() == 20


@pytest.mark.parametrize("within_label", [True, False])
def test_a_copy_has_the_ranks_of_its_first_file_and_an_unscorable_one_none(frame, within_label):
    rank(frame, within_label)
    ranks = ("rarity", *evidence.PERCENTILES, "rarity_class", "rarity_class_within_label")
    for name in ranks:
        assert frame[name].iloc[20] == frame[name].iloc[3]
        assert pd.isna(frame[name].iloc[21])
