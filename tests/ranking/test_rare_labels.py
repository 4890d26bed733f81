"""Labels, where there are any, tell which kind of rare is meant."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_small_kinds import wardrobe

from mincurate.ranking import evidence, rare_labels, vector_rarity
from mincurate.ranking.neighbors import neighbors


@pytest.fixture(scope="module")
def rankings():
    """Of the wardrobe, whose vectors alone ask for small kinds."""
    vectors, _ = wardrobe()
    measured = vector_rarity.measure(vectors, np.arange(len(vectors)))
    assert measured.pattern.column == "small_kind"
    return pd.DataFrame({"outlying": measured.outlying, "small_kind": measured.small_kind})


def labels_of(rare):
    """Two common labels, and rare ones of up to 20 images each in a part of the wardrobe."""
    labels = np.full(1000, "shirt", dtype=object)
    labels[300:600] = "dress"
    labels[rare] = [f"hat {i // 20}" for i in range(len(labels[rare]))]
    return pd.Series(labels)


@pytest.mark.parametrize(
    ("rare", "column"),
    [
        (slice(600, 960), "outlying"),  # six kinds that are far from the others
        (slice(960, 1000), "small_kind"),
        (slice(600, 610), None),  # too few to tell
        (slice(0, 0), None),
    ],
)
def test_that_ranking_is_chosen_by_which_rare_labels_rank_higher(rankings, rare, column):
    assert rare_labels.choose(labels_of(rare), rankings) == column
    assert rare_labels.choose(pd.Series([None] * 1000), rankings) is None


def test_labels_decide_over_the_vectors_and_it_is_said():
    vectors, _ = wardrobe()
    frame = pd.DataFrame({"content_hash": [f"{i * 7919 % 10007:05d}" for i in range(1000)]})
    distances, _ = neighbors(vectors)
    found = evidence.of_vectors(frame, vectors, distances, labels_of(slice(600, 960)))
    assert (found["rare_are"], found["rare_are_by"]) == ("outlying", "labels")
    pd.testing.assert_series_equal(frame["embedding_rarity"], frame["outlying"], check_names=False)
    words = rare_labels.which_ranks({"settings": {"rank_by": "embedding"}, **found})
    assert words.startswith("Ranked by outlying: rare labels rank higher")
    within = {"settings": {"rank_by": "embedding", "within_label": True}}
    assert rare_labels.which_ranks(within | found) == ""


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.integers(20, 120), st.floats(0, 2))
def test_labels_decide_only_where_the_rankings_clearly_differ(seed, rare, shift):
    rng = np.random.default_rng(seed)
    labels = pd.Series(["rare"] * rare + ["common"] * 500)
    one = np.r_[rng.normal(shift, 1, rare), rng.normal(0, 1, 500)]
    same = pd.DataFrame({"a": one, "b": 2 * one + 1})
    assert rare_labels.choose(labels, same) is None
    opposite = pd.DataFrame({"a": one, "b": -one})
    chosen = rare_labels.choose(labels, opposite)
    assert chosen == rare_labels.choose(labels[::-1], opposite[::-1])
    if shift > 1:
        assert chosen == "a"
