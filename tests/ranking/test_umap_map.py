"""The two-dimensional map, and images that join it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mincurate.ranking import umap_map

RNG = np.random.default_rng(0)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("n", "method"), [(2, "none"), (3, "pca"), (29, "pca"), (60, "umap")])
def test_a_map_is_made_by_umap_where_there_are_images_enough(n, method):
    vectors = unit(RNG.normal(size=(n, 8)))
    points, made_by = umap_map.fit_map(vectors, seed=0)
    assert points.shape == (n, 2) and made_by == method
    assert np.isfinite(points).all() == (method != "none")
    again, _ = umap_map.fit_map(vectors, seed=0)
    np.testing.assert_array_equal(points, again)


@pytest.mark.slow
def test_more_images_than_landmarks_are_mapped_in_chunks_among_their_own_kind(monkeypatch):
    monkeypatch.setattr(umap_map, "MAP_LANDMARKS", 200)
    monkeypatch.setattr(umap_map, "MAP_CHUNK", 90)
    kind = np.arange(600) % 3
    vectors = unit(RNG.normal(size=(600, 64)) * 0.05 + np.eye(64)[kind])
    points, method = umap_map.fit_map(vectors, seed=0)
    assert method == "umap" and np.isfinite(points).all()
    centres = np.stack([points[kind == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, kind)
    again, _ = umap_map.fit_map(vectors, seed=0)
    np.testing.assert_array_equal(points, again)


def test_a_new_image_joins_the_map_among_its_neighbours():
    left, right = RNG.normal(size=(2, 50, 6)) * 0.05 + np.array([[[0.0]], [[1.0]]])
    vectors = np.concatenate([left, right]).astype(np.float32)
    points = np.concatenate([np.zeros((50, 2)), np.ones((50, 2))]).astype(np.float32)
    joined = umap_map.join_map(vectors[[0, 99]] + 0.001, vectors, points)
    np.testing.assert_allclose(joined, [[0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_array_equal(umap_map.join_map(vectors[[3]], vectors, points), points[[3]])


def test_what_is_compiled_for_the_map_is_kept_on_disk():
    from umap import umap_

    umap_map.fit_map(unit(RNG.normal(size=(60, 8))), seed=0)
    assert umap_.smooth_knn_dist.stats.cache_path
    assert umap_.smooth_knn_dist.stats.cache_hits or umap_.smooth_knn_dist.stats.cache_misses


MAPPED = """
import numpy as np
import torch
from mincurate.ranking import umap_map
torch.set_num_threads(1)
torch.rand(64, 64) @ torch.rand(64, 64)
umap_map.fit_map(np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32), 0)
print(torch.get_num_threads())
"""


@pytest.mark.slow
def test_a_map_leaves_the_threads_of_torch_alone():
    """In a process of its own: Numba sets them when it first works in parallel."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["NUMBA_NUM_THREADS"] = "2"
    printed = subprocess.check_output([sys.executable, "-c", MAPPED], env=environment)
    assert printed.split()[-1] == b"1"
