"""Rarity from vectors: who is far from the crowd, and who is unusual."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from mincurate.ranking import classes, neighbors, outliers


def crowds():
    """Vectors of length 1: 300 about one direction, and 6 alike about another."""
    rng = np.random.default_rng(0)
    middles = np.eye(8)[[0] * 300 + [1] * 6]
    std = np.r_[np.full(300, 0.1), np.full(6, 0.01)][:, None]
    vectors = middles + rng.normal(size=middles.shape) * std
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_alike_rare_images_are_far_from_the_crowd_though_near_each_other():
    vectors = crowds()
    hashes = [f"{i:03d}" for i in range(len(vectors))]
    rows = outliers.reference(hashes)
    far, _ = outliers.neighborhood(vectors, vectors[rows], rows)
    assert set(np.argsort(far)[-6:]) == set(range(300, 306))
    assert neighbors.neighbor_distance(vectors)[300:].max() < far[:300].min()


def test_the_distance_to_the_crowd_is_a_mean_over_the_nearest_tenth_of_the_others():
    vectors = crowds()
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    k = round(0.1 * (len(vectors) - 1))
    expected = np.sort(distances, axis=1)[:, :k].mean(1)
    rows = np.random.default_rng(1).permutation(len(vectors))
    far, _ = outliers.neighborhood(vectors, vectors[rows], rows)
    np.testing.assert_allclose(far, expected, atol=2e-3)


def test_the_factor_is_the_local_outlier_factor_of_scikit_learn():
    vectors = np.random.default_rng(0).normal(size=(250, 8)).astype(np.float32)
    among, others = vectors[:200], vectors[200:]
    rows = np.arange(200)
    _, inside = outliers.neighborhood(among, among, rows)
    expected = LocalOutlierFactor(n_neighbors=round(0.1 * 199)).fit(among)
    np.testing.assert_allclose(inside, -expected.negative_outlier_factor_, rtol=1e-4)
    _, outside = outliers.neighborhood(others, among)
    expected = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(among)
    np.testing.assert_allclose(outside, -expected.score_samples(others), rtol=1e-4)


@pytest.mark.parametrize("chunk", [7, 100])
def test_the_size_of_the_chunks_changes_nothing(monkeypatch, chunk):
    vectors = crowds()
    rows = np.random.default_rng(3).permutation(len(vectors))[:200]
    whole = outliers.evidence(vectors, vectors[rows], rows)
    monkeypatch.setattr(outliers, "CHUNK", chunk)
    np.testing.assert_allclose(outliers.evidence(vectors, vectors[rows], rows), whole, rtol=1e-3)


def test_neither_values_nor_ranks_of_many_vectors_depend_on_the_size_of_the_chunks(monkeypatch):
    vectors = np.random.default_rng(4).normal(size=(1500, 40)).astype(np.float32)
    rows = np.random.default_rng(5).permutation(1500)[:700]
    results = []
    for chunk in (256, 1024):
        monkeypatch.setattr(outliers, "CHUNK", chunk)
        results.append(outliers.evidence(vectors, vectors[rows], rows))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
        assert (np.argsort(one) == np.argsort(other)).all()


def test_memory_of_the_comparison_is_that_of_a_chunk():
    """Beside what is given and found: the nearest tenth of every reference image."""
    vectors = np.random.default_rng(6).normal(size=(6000, 32)).astype(np.float32)
    rows = np.arange(outliers.REFERENCE)
    among = vectors[rows]
    outliers.evidence(vectors, among, rows)
    tracemalloc.start()
    outliers.evidence(vectors, among, rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    nearest = outliers.REFERENCE * outliers.CROWD * outliers.REFERENCE * 8
    assert peak < 5 * nearest + 4 * outliers.CHUNK * outliers.REFERENCE * 8


def test_the_images_that_are_compared_with_do_not_depend_on_the_order(monkeypatch):
    monkeypatch.setattr(outliers, "REFERENCE", 100)
    vectors, order = crowds(), np.random.default_rng(2).permutation(306)
    hashes = np.array([f"{i * 7919 % 1000:03d}" for i in range(306)])
    rows, other = outliers.reference(hashes), outliers.reference(hashes[order])
    assert len(rows) == 100
    results = outliers.evidence(vectors, vectors[rows], rows)
    again = outliers.evidence(vectors[order], vectors[order][other], other)
    for one, other_one in zip(results, again, strict=True):
        np.testing.assert_allclose(other_one, one[order], rtol=1e-4)


def test_one_image_has_no_crowd():
    one = crowds()[:1]
    far, factor = outliers.neighborhood(one, one, np.array([0]))
    assert np.isnan(far).all() and np.isnan(factor).all()
    assert outliers.rarity(one, np.array([0])) == [1]


def test_deviation_counts_standard_deviations():
    vectors = np.array([[0, 0], [2, 0], [0, 4], [2, 4]], np.float32)
    np.testing.assert_allclose(outliers.deviation(vectors, vectors), 1, rtol=1e-5)
    far = np.array([[1, 2], [1, 10]], np.float32)
    np.testing.assert_allclose(outliers.deviation(far, vectors), [0, 2], rtol=1e-5)


def test_wide_common_images_do_not_hide_a_tight_rare_group():
    rng = np.random.default_rng(0)
    common = rng.normal(size=(400, 64))
    rare = 1.2 + 0.3 * rng.normal(size=(40, 64))
    vectors = np.concatenate([common, rare]).astype(np.float32)
    rows = outliers.reference([f"{i:03d}" for i in range(440)])
    far, _ = outliers.neighborhood(vectors, vectors[rows], rows)
    unusual = outliers.deviation(vectors, vectors[rows])
    assert np.median(far[400:]) < np.median(far[:400])
    assert np.median(unusual[400:]) > np.quantile(unusual[:400], 0.9)


@pytest.mark.parametrize("size", [5, 10, 20, 40])
def test_a_group_is_rare_up_to_a_twelfth_of_the_set(size):
    vectors = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    vectors[:size] += 2
    rarity = outliers.rarity(vectors, np.arange(500))
    assert roc_auc_score(np.arange(500) < size, rarity) > 0.99


def test_images_of_a_sparse_place_are_told_from_as_distant_ones_of_a_dense_one():
    rng = np.random.default_rng(0)
    dense, sparse = rng.normal(size=(300, 4)), 30 + 8 * rng.normal(size=(300, 4))
    beside = np.array([[9.0, 0, 0, 0]])
    vectors = np.concatenate([dense, sparse, beside]).astype(np.float32)
    rows = np.arange(len(vectors))
    far, factor = outliers.neighborhood(vectors, vectors, rows)
    assert far[-1] < np.median(far[300:600])
    assert factor.argmax() == 600


def test_a_kind_of_evidence_counts_by_its_weight_and_an_unknown_one_not_at_all():
    a, b, nothing = np.arange(4.0), np.array([3.0, 1, 2, 0]), np.full(4, np.nan)
    expected = (3 * (a + 1) + np.array([4, 2, 3, 1])) / 4 / 4
    np.testing.assert_allclose(classes.mean_rank(a, b, nothing, weights=(3, 1, 5)), expected)
    joined = classes.mean_rank_among((a, b), (a, b), (3, 1))
    np.testing.assert_allclose(joined, expected)


def test_rarity_is_the_mean_rank_and_reproduced_for_images_that_join():
    rng = np.random.default_rng(0)
    evidence = [rng.normal(size=50), rng.normal(size=50)]
    rarity = classes.mean_rank(*evidence)
    assert rarity.min() > 0 and rarity.max() <= 1
    best = int(np.argmax(rarity))
    assert all((e <= e[best]).mean() > 0.5 for e in evidence)
    np.testing.assert_allclose(classes.mean_rank_among(evidence, evidence), rarity, atol=1e-9)
