import numpy as np
from sklearn.metrics import roc_auc_score

from mincurate.ranking import object_sizes, outliers


def test_small_objects_among_many_of_one_size_are_rare_though_they_look_alike():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 32)).astype(np.float32)
    small = np.arange(300) < 15
    widths = np.where(small, 12, 30) * rng.uniform(0.9, 1.1, 300)
    rows = np.arange(300)
    with_sizes = object_sizes.beside(vectors, widths, widths)
    assert abs(roc_auc_score(small, outliers.rarity(vectors, rows)) - 0.5) < 0.2
    assert roc_auc_score(small, outliers.rarity(with_sizes, rows)) > 0.9


def test_one_object_of_another_size_is_no_farther_than_the_vectors_are_wide():
    vectors = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    sides = np.where(np.arange(100) == 0, 10_000.0, 30.0)
    sizes = object_sizes.beside(vectors, sides, sides)[:, -1]
    assert (sizes[1:] == 0).all() and 0 < sizes[0] < 5 * np.linalg.norm(vectors.std(0))
