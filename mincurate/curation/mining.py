"""Which images of a pool are most like some examples, without near copies.

The score follows two kinds of evidence on vectors: a logistic regression of the examples against
other images, which learns what sets the examples apart, and the nearness to the nearest examples,
which holds where the examples are of several kinds (`benchmarks/mining.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking import neighbors

Vectors = NDArray[np.float32]
NEAREST = 3
"""Examples whose nearness counts; a mean over more of them misses small kinds."""
NEAR_COPIES = (0.9, 0.98)
"""Lowest and highest cosine similarity from which two images may be called near copies."""
RATE = 0.01
"""Share of the images of a run that may have such a neighbour."""
OTHERS = 2000
"""Images of the pool, and of the run, that stand for what is not looked for, at most each."""
CHUNK = 4096
"""Vectors compared at once."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """How much a vector is like some examples; made by `fit`.

    Attributes:
        center: ``(d,)``, mean of the other images.
        spread: ``(d,)``, examples whose directions from the center are compared.
        weights: ``(d,)`` of the logistic regression on directions from the center.
        scale: of the two kinds of evidence among the other images: mean and standard deviation of
            each.
    """

    center: Vectors
    examples: Vectors
    weights: Vectors
    scale: tuple[tuple[float, float], tuple[float, float]]

    def score(self, vectors: Vectors) -> NDArray[np.float64]:
        """Likeness of ``(M, d)`` vectors of length 1, ``(M,)``: standard deviations above others.

        The mean of both kinds of evidence; higher is more like the examples.
        """
        evidence = _evidence(vectors, self.center, self.examples, self.weights)
        parts = [(e - m) / s for e, (m, s) in zip(evidence, self.scale, strict=True)]
        return np.mean(parts, axis=0)


def fit(examples: Vectors, others: Vectors) -> Likeness:
    """Learn what sets examples apart.

    Args:
        examples: ``(E, d)`` of length 1, at least one.
        others: ``(M, d)`` of length 1, images that mostly are not like the examples.
    """
    from sklearn.linear_model import LogisticRegression

    center = others.mean(0)
    both = directions(np.concatenate([examples, others]), center)
    is_example = np.arange(len(both)) < len(examples)
    model = LogisticRegression(class_weight="balanced", max_iter=200).fit(both, is_example)
    near, weights = both[: len(examples)], model.coef_[0].astype(np.float32)
    evidence = _evidence(others, center, near, weights)
    scale = [(float(e.mean()), float(e.std()) or 1.0) for e in evidence]
    return Likeness(center, near, weights, (scale[0], scale[1]))


def directions(vectors: Vectors, center: Vectors) -> Vectors:
    """Directions from ``center``, ``(M, d)`` of length 1: what vectors have in common is gone."""
    away = vectors - center
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)


def _evidence(
    vectors: Vectors, center: Vectors, examples: Vectors, weights: Vectors
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every vector: the regression's margin, and the nearness to the nearest examples."""
    k = min(NEAREST, len(examples))
    margin, nearness = np.empty((2, len(vectors)))
    for start in range(0, len(vectors), CHUNK):
        part = slice(start, start + CHUNK)
        away = directions(vectors[part], center)
        margin[part] = away @ weights
        nearness[part] = np.partition(away @ examples.T, -k, axis=1)[:, -k:].mean(1)
    return margin, nearness


def sample(rows: NDArray[Any]) -> NDArray[Any]:
    """A random sample of rows, `OTHERS` at most, the same every time; in their order."""
    if len(rows) <= OTHERS:
        return rows
    return rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:OTHERS])]


def nearest_example(
    vectors: Vectors, examples: Vectors
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosine similarity to the nearest example, -1 to 1, and its row; ``(M,)`` each."""
    cosine = vectors @ examples.T
    return cosine.max(1), cosine.argmax(1)


def similarity_among(examples: Vectors) -> float:
    """Mean cosine similarity of an example to the nearest other one; NaN for a single one."""
    if len(examples) < 2:
        return float("nan")
    distance = neighbors.neighbor_distance(examples, 1)
    return float(1 - (distance**2).mean() / 2)


def near_copy_similarity(vectors: Vectors) -> float:
    """Cosine similarity from which two images are near copies of each other.

    The one that few (`RATE`) images of a run exceed, within `NEAR_COPIES`: some networks give
    different images similar vectors, and some runs hold many near copies.

    Args:
        vectors: ``(N, d)`` of length 1, of the run.
    """
    some = sample(vectors)
    if len(some) < 2:
        return NEAR_COPIES[1]
    cosine = 1 - neighbors.neighbor_distance(some, 1) ** 2 / 2
    return float(np.clip(np.quantile(cosine, 1 - RATE), *NEAR_COPIES))


def distinct(vectors: Vectors, present: Vectors, most: int, near_copy: float) -> NDArray[np.int64]:
    """Rows that are near copies neither of what is present nor of an earlier row, in order.

    Args:
        vectors: ``(M, d)`` of length 1, the best first.
        present: ``(N, d)`` of length 1.
        most: rows to return, at most.
        near_copy: cosine similarity from which two images are near copies.
    """
    nearest = np.full(len(vectors), -1.0)
    for start in range(0, len(present), CHUNK):
        cosine = vectors @ present[start : start + CHUNK].T
        nearest = np.maximum(nearest, cosine.max(1))
    rows: list[int] = []
    for i in np.flatnonzero(nearest < near_copy):
        if len(rows) >= most:
            break
        if not rows or (vectors[rows] @ vectors[i]).max() < near_copy:
            rows.append(int(i))
    return np.array(rows, np.int64)


def best(
    scores: NDArray[np.float64],
    read: Callable[[NDArray[np.int64]], Vectors],
    present: Vectors,
    most: int,
    near_copy: float,
) -> NDArray[np.int64]:
    """The ``most`` images with the highest scores that are no near copies, highest first.

    Args:
        scores: ``(M,)``, of the whole pool; NaN leaves an image out.
        read: vectors ``(m, d)`` of some rows of the pool: only candidates are held in memory.
        present: ``(N, d)``, what they must not be copies of.
        most: how many.
        near_copy: cosine similarity from which two images are near copies.
    """
    chosen = np.array([], np.int64)
    for rows in _blocks(scores, 2 * most):
        vectors = read(rows)
        new = rows[distinct(vectors, present, most - len(chosen), near_copy)]
        chosen = np.concatenate([chosen, new])
        if len(chosen) >= most:
            break
        present = np.concatenate([present, vectors[np.isin(rows, new)]])
    return chosen


def _blocks(scores: NDArray[np.float64], size: int) -> Iterator[NDArray[np.int64]]:
    """Rows by falling score, ``size`` at a time."""
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isnan(scores[order])]
    for start in range(0, len(order), size):
        yield order[start : start + size]
