import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincurate.ranking.classes import (
    class_edges,
    classes_within,
    ordinal_classes,
    percentile,
    percentile_within,
    ranking_column,
)

distinct = st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=200, unique=True)
tied = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan")]), min_size=1, max_size=200)
num_classes = st.integers(1, 20)


@given(distinct, num_classes)
def test_sizes_differ_by_at_most_one_when_scores_are_distinct(scores, n):
    sizes = np.bincount(ordinal_classes(scores, n), minlength=n)
    assert sizes.max() - sizes.min() <= 1


@given(tied, num_classes)
def test_equal_scores_share_a_class_and_nan_gets_none(scores, n):
    classes = ordinal_classes(scores, n)
    for score in {s for s in scores if s == s}:
        assert len({int(c) for c, s in zip(classes, scores, strict=True) if s == score}) == 1
    assert all((c == -1) == (s != s) for c, s in zip(classes, scores, strict=True))


@given(tied, num_classes)
def test_a_higher_score_never_has_a_lower_class(scores, n):
    scored = [(s, c) for s, c in zip(scores, ordinal_classes(scores, n), strict=True) if s == s]
    assert all(a[1] <= b[1] for a, b in zip(sorted(scored), sorted(scored)[1:], strict=False))


@given(distinct, num_classes, st.randoms())
def test_order_does_not_matter(scores, n, random):
    shuffled = random.sample(range(len(scores)), len(scores))
    again = ordinal_classes([scores[i] for i in shuffled], n)
    assert again.tolist() == ordinal_classes(scores, n)[shuffled].tolist()


@given(distinct, num_classes)
def test_only_the_order_of_scores_matters(scores, n):
    ranks = np.argsort(np.argsort(scores)).astype(float)
    assert ordinal_classes(scores, n).tolist() == ordinal_classes(np.exp(ranks / 50), n).tolist()


def test_a_tie_leaves_no_class_that_has_members_of_its_own_empty():
    # Half of the scores tie at the bottom; the rest still spread over the upper classes.
    classes = ordinal_classes([0.0] * 50 + list(range(1, 51)), 10)
    assert set(range(5, 10)) <= set(classes.tolist())
    assert np.bincount(classes)[5:].tolist() == [10] * 5


@given(distinct, st.integers(2, 12))
def test_edges_give_back_the_classes(scores, n):
    scores = sorted({round(s, 3) for s in scores})
    if len(scores) < n:
        return
    classes = ordinal_classes(scores, n)
    edges = class_edges(scores, classes, n)
    assert edges == sorted(edges) and len(edges) == n - 1
    assert np.searchsorted(edges, scores, side="left").tolist() == classes.tolist()


def test_classes_within_labels_are_quantiles_of_each_label():
    scores = [1, 2, 3, 4, 10, 20, 30, 40, 5.0]
    labels = ["a"] * 4 + ["b"] * 4 + [None]
    assert classes_within(scores, labels, 2).tolist() == [0, 0, 1, 1, 0, 0, 1, 1, -1]


@given(tied, st.data())
def test_ranks_within_labels_are_the_ranks_of_each_label_alone(scores, data):
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=len(scores), max_size=len(scores)))
    rarity, classes = percentile_within(scores, labels), classes_within(scores, labels, 3)
    for name in "ab":
        members = [i for i, label in enumerate(labels) if label == name]
        alone = [scores[i] for i in members]
        np.testing.assert_array_equal(rarity[members], percentile(alone))
        assert classes[members].tolist() == ordinal_classes(alone, 3).tolist()


def test_the_column_that_ranks_is_the_one_within_labels_where_there_is_one():
    within = "embedding_rarity_within_label"

    def column(rank_by, within_label, columns):
        return ranking_column(
            {"rank_by": rank_by, "settings": {"within_label": within_label}}, columns
        )

    assert column("embedding", True, [within]) == within
    assert column("embedding", True, []) == "embedding_rarity"
    assert column("embedding", False, [within]) == "embedding_rarity"
    assert column("neighbors", True, [within]) == "neighbor_distance"


def test_a_rank_within_labels_takes_a_label():
    assert np.isnan(percentile_within([1.0, 2.0], [None, float("nan")])).all()


@given(distinct)
def test_percentiles_run_from_0_to_1(scores):
    classes_ = percentile(scores)
    if len(scores) > 1:
        assert classes_.min() == 0 and classes_.max() == 1
    assert np.argsort(classes_).tolist() == np.argsort(scores).tolist()


def test_percentile_of_what_was_not_scored_is_nan():
    classes_ = percentile([3.0, np.nan, 1.0])
    assert classes_[[0, 2]].tolist() == [1, 0] and np.isnan(classes_[1])


def test_no_scores_and_no_classes():
    assert ordinal_classes([], 10).tolist() == []
    assert ordinal_classes([float("nan")], 3).tolist() == [-1]
    with pytest.raises(ValueError, match="num_classes"):
        ordinal_classes([1.0], 0)
