"""Rarity from vectors: who is far from the crowd, and who is unusual."""

import numpy as np

from mincurate import crowd, embedding, ordinal


def crowds():
    """Vectors of length 1: 300 about one direction, and 6 alike about another."""
    rng = np.random.default_rng(0)
    middles = np.eye(8)[[0] * 300 + [1] * 6]
    spread = np.r_[np.full(300, 0.1), np.full(6, 0.01)][:, None]
    vectors = middles + rng.normal(size=middles.shape) * spread
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_alike_rare_images_are_far_from_the_crowd_though_near_each_other():
    vectors = crowds()
    hashes = [f"{i:03d}" for i in range(len(vectors))]
    rows = crowd.reference(hashes)
    far = crowd.crowd_distance(vectors, vectors[rows], rows)
    assert set(np.argsort(far)[-6:]) == set(range(300, 306))
    assert embedding.neighbor_distance(vectors)[300:].max() < far[:300].min()


def test_the_distance_to_the_crowd_is_a_mean_over_the_nearest_twentieth_of_the_others():
    vectors = crowds()
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    k = round(0.05 * (len(vectors) - 1))
    expected = np.sort(apart, axis=1)[:, :k].mean(1)
    rows = np.random.default_rng(1).permutation(len(vectors))
    np.testing.assert_allclose(
        crowd.crowd_distance(vectors, vectors[rows], rows), expected, atol=2e-3
    )


def test_the_images_that_are_compared_with_do_not_depend_on_the_order(monkeypatch):
    monkeypatch.setattr(crowd, "REFERENCE", 100)
    vectors, order = crowds(), np.random.default_rng(2).permutation(306)
    hashes = np.array([f"{i * 7919 % 1000:03d}" for i in range(306)])
    rows, other = crowd.reference(hashes), crowd.reference(hashes[order])
    assert len(rows) == 100
    far = crowd.crowd_distance(vectors, vectors[rows], rows)
    again = crowd.crowd_distance(vectors[order], vectors[order][other], other)
    np.testing.assert_allclose(again, far[order], atol=1e-5)


def test_one_image_has_no_crowd():
    one = crowds()[:1]
    assert np.isnan(crowd.crowd_distance(one, one, np.array([0]))).all()


def test_deviation_counts_standard_deviations():
    vectors = np.array([[0, 0], [2, 0], [0, 4], [2, 4]], np.float32)
    np.testing.assert_allclose(crowd.deviation(vectors, vectors), 1, rtol=1e-5)
    far = np.array([[1, 2], [1, 10]], np.float32)
    np.testing.assert_allclose(crowd.deviation(far, vectors), [0, 2], rtol=1e-5)


def test_wide_common_images_do_not_hide_a_tight_rare_group():
    rng = np.random.default_rng(0)
    common = rng.normal(size=(400, 64))
    rare = 1.2 + 0.3 * rng.normal(size=(40, 64))
    vectors = np.concatenate([common, rare]).astype(np.float32)
    rows = crowd.reference([f"{i:03d}" for i in range(440)])
    far = crowd.crowd_distance(vectors, vectors[rows], rows)
    unusual = crowd.deviation(vectors, vectors[rows])
    assert np.median(far[400:]) < np.median(far[:400])
    assert np.median(unusual[400:]) > np.quantile(unusual[:400], 0.9)


def test_rarity_is_the_mean_rank_and_reproduced_for_images_that_join():
    rng = np.random.default_rng(0)
    evidence = [rng.normal(size=50), rng.normal(size=50)]
    rarity = ordinal.mean_rank(*evidence)
    assert rarity.min() > 0 and rarity.max() <= 1
    best = int(np.argmax(rarity))
    assert all((e <= e[best]).mean() > 0.5 for e in evidence)
    np.testing.assert_allclose(ordinal.mean_rank_among(evidence, evidence), rarity, atol=1e-9)
