"""Rare kinds in the middle of the crowd, and how a set tells that it is these that are rare."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mincurate.ranking import outliers, small_kinds, vector_rarity


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def wardrobe():
    """16 large kinds, of which six are far from the others and wide, and 40 images amid them."""
    rng = np.random.default_rng(0)
    size, width = np.r_[np.full(10, 1.0), np.full(6, 2.5)], np.r_[np.full(10, 0.1), np.full(6, 0.2)]
    middles = size[:, None] * np.linalg.qr(rng.normal(size=(64, 64)))[0][:16]
    kinds = np.repeat(np.arange(16), 60)
    large = middles[kinds] + width[kinds][:, None] * rng.normal(size=(960, 64))
    small = middles.mean(0) + 0.05 * rng.normal(size=(40, 64))
    return unit(np.concatenate([large, small]) + 3 * np.ones(64) / 8), np.arange(1000) >= 960


def planted():
    """One wide kind, and 30 images of another, far from it."""
    vectors = np.random.default_rng(0).normal(size=(600, 64))
    vectors[570:] += 2
    return vectors.astype(np.float32), np.arange(600) >= 570


def farther():
    """15 large kinds, of which five are far from the others, and 40 images still farther."""
    rng = np.random.default_rng(0)
    middles = (
        np.r_[np.full(10, 1.0), np.full(5, 2.0), 3.0][:, None]
        * np.linalg.qr(rng.normal(size=(64, 64)))[0][:16]
    )
    kinds = np.repeat(np.arange(16), [60] * 15 + [40])
    return (middles[kinds] + 0.1 * rng.normal(size=(940, 64))).astype(np.float32), kinds == 15


@pytest.mark.parametrize(
    ("images", "column"),
    [(wardrobe, "small_kind"), (planted, "outlying"), (farther, "outlying")],
    ids=["many", "one", "many, and one farther than all"],
)
def test_a_set_is_ranked_by_the_evidence_that_finds_its_rare_images(images, column):
    vectors, rare = images()
    measured = vector_rarity.measure(vectors, np.arange(len(vectors)))
    auroc = {
        name: roc_auc_score(rare, getattr(measured, name)) for name in ("outlying", "small_kind")
    }
    assert max(auroc, key=auroc.__getitem__) == column == measured.pattern.column, auroc
    assert roc_auc_score(rare, measured.rarity) > 0.9


def test_large_kinds_far_away_do_not_hide_one_that_is_farther_still():
    pattern = vector_rarity.measure(farther()[0], np.arange(940)).pattern
    assert pattern.large_kinds > small_kinds.LIMIT
    assert pattern.column == "outlying"


def test_in_a_set_of_several_kinds_those_rank_first_that_are_far_for_their_own_kind():
    """Kinds of different width, and images that stand out from a narrow one."""
    rng = np.random.default_rng(0)
    width = np.repeat([0.1, 0.2, 0.4, 0.8], 150)
    middles = np.repeat(3 * np.eye(4, 64), 150, axis=0)
    width[:8] = 0.25
    vectors = (middles + width[:, None] * rng.normal(size=(600, 64))).astype(np.float32)
    rows, rare = np.arange(600), np.arange(600) < 8
    measured = vector_rarity.measure(vectors, rows)
    assert measured.pattern.weights == outliers.OF_SEVERAL
    usual = outliers.rarity(vectors, rows)
    assert roc_auc_score(rare, measured.outlying) > roc_auc_score(rare, usual) + 0.04
    one = vector_rarity.measure(planted()[0], np.arange(600))
    assert one.pattern.weights == outliers.WEIGHTS


def test_neither_ranks_nor_the_choice_depend_on_the_order_of_the_images():
    vectors, _ = wardrobe()
    order = np.random.default_rng(1).permutation(len(vectors))
    hashes = np.array([f"{i * 7919 % 10007:05d}" for i in range(len(vectors))])
    one = vector_rarity.measure(vectors, outliers.reference(hashes))
    other = vector_rarity.measure(vectors[order], outliers.reference(hashes[order]))
    assert other.pattern.large_kinds == pytest.approx(one.pattern.large_kinds, rel=1e-3)
    np.testing.assert_allclose(other.small_kind, one.small_kind[order], atol=1e-3)


def test_an_image_joins_a_set_at_the_rank_that_it_has_as_one_of_it():
    vectors, _ = wardrobe()
    ranks = small_kinds.rarity(vectors, np.arange(len(vectors)))
    others = np.arange(len(vectors)) % 50 != 7
    placed = small_kinds.rarity_among(vectors[others], vectors[~others])
    assert np.corrcoef(placed, ranks[~others])[0, 1] > 0.97
    assert np.abs(placed - ranks[~others]).mean() < 0.06


@pytest.mark.parametrize("n", [1, 2, 3, 99])
def test_of_few_images_the_outlying_ones_rank(n):
    vectors = planted()[0][-n:]
    measured = vector_rarity.measure(vectors, np.arange(n))
    assert measured.pattern.column == "outlying"
    for ranks in (measured.outlying, measured.small_kind):
        assert (ranks > 0).all() and (ranks <= 1).all()
