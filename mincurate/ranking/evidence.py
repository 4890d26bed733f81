"""Evidence of rarity: what the draws of the minority score give, and what the vectors give."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.ranking import (
    classes,
    minority_score,
    neighbors,
    outliers,
    rare_labels,
    vector_rarity,
)

COVERED = 0.95
"""Share of the images whose true rank, that of endless draws, its interval holds."""
PERCENTILES = ("minority_percentile", "minority_percentile_low", "minority_percentile_high")
"""Columns of `minority_percentiles`."""


def summary(draws: NDArray[np.float32]) -> dict[str, Any]:
    """Columns of the minority score, of draws ``(N, K)``, NaN where they were spared."""
    return {
        "minority_score": np.nanmean(draws, axis=1, dtype=np.float64),
        "minority_score_se": minority_score.standard_error(draws),
        "minority_score_draws": [row[np.isfinite(row)] for row in draws],
    }


def minority_percentiles(ranked: NDArray[np.float64], scored: pd.DataFrame) -> NDArray[np.float64]:
    """Where images rank by the minority score, and at either end of its interval (`COVERED`).

    The error of a mean of few draws is itself a guess: Student's t allows for that.

    Args:
        ranked: ``(N,)`` scores of all ranked images; NaN left out.
        scored: ``(M,)`` rows with the columns of `summary`.

    Returns:
        ``(M, 3)`` on [0, 1]: rank, low, high; the latter two are NaN for a single draw.
    """
    from scipy.stats import t

    score, error = (
        scored[name].to_numpy(np.float64) for name in ("minority_score", "minority_score_se")
    )
    draws = [d.size if isinstance(d, np.ndarray) else 0 for d in scored["minority_score_draws"]]
    reach = t.ppf((1 + COVERED) / 2, np.array(draws) - 1) * error
    ends = (score, score - reach, score + reach)
    return np.stack([classes.percentile_among(ranked, end) for end in ends], axis=1)


def of_vectors(
    scored: pd.DataFrame,
    vectors: NDArray[np.float32],
    distances: NDArray[np.float64],
    labels: pd.Series,
) -> dict[str, Any]:
    """Add every kind of evidence that vectors give, and return what decided which of it ranks.

    Higher is rarer in all of them. Where labels tell by which evidence rare ones rank higher, they
    decide (`rare_labels.choose`); else the pattern of the vectors does.

    Args:
        vectors: ``(N, d)``, of the rows of ``scored``.
        distances: ``(N, k)``, to their `neighbors.neighbors`.
        labels: ``(N,)``, of the same rows, some or all missing.
    """
    scored["neighbor_distance"] = neighbors.mean_distance(distances)
    measured = vector_rarity.measure(vectors, outliers.reference(scored["content_hash"]))
    scored[list(outliers.NAMES)] = np.stack(measured.evidence, axis=1)
    scored["outlying"], scored["small_kind"] = measured.outlying, measured.small_kind
    pattern = measured.pattern
    by_labels = rare_labels.choose(labels, scored[["outlying", "small_kind"]])
    rare_are = by_labels or pattern.column
    scored["embedding_rarity"] = scored[rare_are]
    return {
        "rare_are": rare_are,
        "rare_are_by": "labels" if by_labels else "vectors",
        "outlying_weights": list(pattern.weights),
        "kind_stability": pattern.stability,
        "large_kinds": pattern.large_kinds,
        "reach": pattern.reach,
    }


def calibrate(scored: pd.DataFrame) -> None:
    """Add ``minority_score_calibrated``: mean rank, 0..1, of semantic surprise and neighbours."""
    if scored["minority_score"].isna().all():
        scored["minority_score_calibrated"] = np.nan
        return
    surprise = minority_score.semantic_surprise(_layers(scored))
    far = scored["neighbor_distance"].to_numpy(np.float64)
    scored["minority_score_calibrated"] = classes.mean_rank(surprise, far)


def calibrated_among(ranked: pd.DataFrame, joining: pd.DataFrame) -> NDArray[np.float64]:
    """``minority_score_calibrated`` of images that join those of ``ranked``.

    Both tables hold ``layer_distances`` and ``neighbor_distance``.
    """
    layers = _layers(ranked)
    return classes.mean_rank_among(
        [minority_score.semantic_surprise(layers), ranked["neighbor_distance"].to_numpy()],
        [
            minority_score.semantic_surprise(_layers(joining), layers),
            joining["neighbor_distance"].to_numpy(),
        ],
    )


def _layers(scored: pd.DataFrame) -> NDArray[np.float32]:
    return np.stack(scored["layer_distances"].tolist()).astype(np.float32)
