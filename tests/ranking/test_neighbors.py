"""Distances to nearest neighbours, exact and approximate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mincurate.ranking import neighbors

RNG = np.random.default_rng(0)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(hnp.arrays(np.float32, (12, 3), elements=st.floats(-5, 5, width=16)))
@settings(max_examples=30)
def test_neighbour_distance_is_the_mean_of_the_five_nearest_others(vectors):
    full = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(full, np.inf)
    expected = np.sort(full, axis=1)[:, :5].mean(1)
    np.testing.assert_allclose(neighbors.neighbor_distance(vectors), expected, atol=2e-3)


def test_neighbours_sought_in_cells_are_nearly_all_of_the_nearest(monkeypatch):
    vectors = unit(RNG.normal(size=(600, 8)))
    vectors[:100] = vectors[0]  # fills several cells at once
    vectors[100] = -vectors[0]
    exact, _ = neighbors.neighbors(vectors)
    monkeypatch.setattr(neighbors, "EXACT_NEIGHBORS_LIMIT", 100)
    monkeypatch.setattr(neighbors, "OF_A_CELL", 10)
    distances, rows = neighbors.neighbors(vectors)
    assert (abs(distances - exact) > 2e-3).mean() < 0.03
    assert (rows >= 0).all() and (rows != np.arange(600)[:, None]).all()
    between = np.linalg.norm(vectors[rows] - vectors[:, None], axis=2)
    np.testing.assert_allclose(between, distances, atol=2e-3)


@pytest.mark.parametrize(("n", "finite"), [(1, False), (2, True), (4, True)])
def test_few_images_have_few_neighbours(n, finite):
    distances = neighbors.neighbor_distance(unit(RNG.normal(size=(n, 4))))
    assert np.isfinite(distances).all() == finite and len(distances) == n
