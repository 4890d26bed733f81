"""What is most like some examples is found, whatever kinds these are of, and nothing twice."""

import numpy as np
import pytest

from mincurate.curation import mining


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def kinds():
    """Twelve kinds of forty images, whose vectors have most in common; and their numbers."""
    rng = np.random.default_rng(0)
    centers = 3 + rng.normal(size=(12, 64))
    vectors = centers.repeat(40, 0) + rng.normal(size=(480, 64)) * 0.7
    return unit(vectors), np.arange(12).repeat(40)


@pytest.mark.parametrize("looked_for", [[3], [3, 7, 9]])
def test_images_of_every_kind_of_the_examples_come_first(kinds, looked_for):
    vectors, numbers = kinds
    of_kind = np.isin(numbers, looked_for)
    examples = of_kind & (np.arange(480) % 40 < 6)
    pool = np.flatnonzero(~examples)
    scores = mining.fit(vectors[examples], vectors[pool]).score(vectors[pool])
    first = pool[np.argsort(-scores)[: 20 * len(looked_for)]]
    assert of_kind[first].mean() >= 0.95
    assert set(numbers[first[of_kind[first]]]) == set(looked_for)


def test_near_copies_of_what_is_there_and_of_each_other_are_left_out_and_others_take_their_place():
    rng = np.random.default_rng(1)
    different = unit(rng.normal(size=(30, 64)))
    near = unit(different + rng.normal(size=(30, 64)) * 0.005)
    pool = np.concatenate([different, near])
    scores = np.tile(np.linspace(1, 0, 30), 2)  # every image beside its near copy
    scores[4] = np.nan
    rows = mining.best(scores, lambda rows: pool[rows], different[:3], 10, 0.9)
    assert rows.tolist() == [3, 34, *range(5, 13)]
