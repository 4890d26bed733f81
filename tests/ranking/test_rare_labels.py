"""Labels, where there are any, tell which kind of rare is meant."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_small_kinds import wardrobe

from mincurate.ranking import evidence, rare_labels
from mincurate.ranking.neighbors import neighbors


def ranked(labels):
    """The wardrobe, whose vectors alone ask for small kinds, under labels of 1,000 images."""
    vectors, _ = wardrobe()
    frame = pd.DataFrame({"content_hash": [f"{i * 7919 % 10007:05d}" for i in range(1000)]})
    found = evidence.of_vectors(frame, vectors, neighbors(vectors)[0], pd.Series(labels))
    return frame, found


@pytest.mark.parametrize(
    ("rare", "column", "by"),
    [
        (slice(600, 960), "outlying", "labels"),  # six kinds that are far from the others
        (slice(960, 1000), "small_kind", "labels"),
        (slice(600, 610), "small_kind", "vectors"),  # too few to tell
        (slice(0, 0), "small_kind", "vectors"),
    ],
)
def test_the_evidence_ranks_by_which_rare_labels_do(rare, column, by):
    labels = np.full(1000, "shirt", dtype=object)
    labels[300:600] = "dress"
    labels[rare] = [f"hat {i // 20}" for i in range(len(labels[rare]))]
    frame, found = ranked(labels)
    assert (found["rare_are"], found["rare_are_by"]) == (column, by)
    words = rare_labels.which_ranks({"settings": {"rank_by": "embedding"}, **found})
    assert words.startswith(f"Ranked by {column.replace('_kind', ' kinds')}:")
    assert ("rare labels" in words) == (by == "labels")
    pd.testing.assert_series_equal(frame["embedding_rarity"], frame[column], check_names=False)


def test_without_labels_the_vectors_decide():
    _, found = ranked([None] * 1000)
    assert (found["rare_are"], found["rare_are_by"]) == ("small_kind", "vectors")
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
