"""Photographs of several common labels: on which mixtures is the default as good as a bar asks?

    python benchmarks/mixtures.py                # every rare label among four common ones
    python benchmarks/mixtures.py --like-design  # mixtures that have the figures of a former study

A study of before gave means over mixtures that it does not name: for the ranking of then, for the
mean distance to 50 neighbours and for AvgkNN. The second way measures all mixtures of four of the
six largest labels with one rare one (1,400 photographs, 2 and 5 %, 2 seeds), draws four of them
many times, and keeps the draws whose means are those of the study. What the default has on these is
what it would most probably have on that study's.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from planted import Pool, pool
from sklearn.metrics import average_precision_score, roc_auc_score
from study import PHOTOGRAPHS

COMMON = ("T-Shirt", "Longsleeve", "Pants", "Shirt")
LARGEST = ("T-Shirt", "Longsleeve", "Pants", "Shoes", "Shirt", "Dress")
STUDY = {"weights 2, 2, 1": (0.873, 0.398), "50": (0.855, 0.365), "5": (0.8175, 0.1925)}
"""Mean AUROC and average precision in the former study, by ranking."""
NEAR = (0.01, 0.025)
"""How far a mean may be from the study's."""
MIXTURES, DRAWS, CHUNK = 4, 40_000_000, 500_000
DEFAULT = "default"


def drawn(images: Pool, common, rare: str, share: float, seed: int, size: int):
    """Rows of a mixture, and which of them are rare; ``None`` where the label is too small."""
    rng = np.random.default_rng([seed, len(common)])

    def of(label: str, count: int):
        return rng.permutation(np.flatnonzero(images.labels == label))[:count]

    rows = np.concatenate([of(label, size // len(common)) for label in common])
    hidden = of(rare, round(share * len(rows)))
    if len(hidden) < 0.9 * share * len(rows):
        return None
    return np.concatenate([rows, hidden]), np.arange(len(rows) + len(hidden)) >= len(rows)


def found(vectors, rare) -> dict[str, tuple[float, float]]:
    """AUROC and average precision by every ranking."""
    from mincurate.ranking import classes, neighbors, outliers, vector_rarity

    rows = np.arange(len(vectors))
    measured = vector_rarity.measure(vectors, rows)
    scores = {
        DEFAULT: measured.rarity,
        "weights 2, 2, 1": classes.mean_rank(*measured.evidence, weights=outliers.WEIGHTS),
        "50": neighbors.neighbor_distance(vectors, 50),
        "5": neighbors.neighbor_distance(vectors, 5),
    }
    return {
        n: (roc_auc_score(rare, s), average_precision_score(rare, s)) for n, s in scores.items()
    }


def mean_over(job) -> np.ndarray | None:
    """Means over shares and seeds of a mixture, ``(rankings, 2)``."""
    images, common, rare, size = job
    results = []
    for share in (0.02, 0.05):
        for seed in (0, 1):
            if case := drawn(images, common, rare, share, seed, size):
                results.append(list(found(images.vectors[case[0]], case[1]).values()))
    return np.mean(results, axis=0) if len(results) == 4 else None


def like_design(means: np.ndarray) -> np.ndarray:
    """Means of the draws of `MIXTURES` that have the study's figures, ``(draws, rankings, 2)``."""
    rng, kept = np.random.default_rng(0), []
    for _ in range(DRAWS // CHUNK):
        rows = rng.integers(len(means), size=(CHUNK, MIXTURES))
        near = np.ones(CHUNK, bool)
        for i, wanted in enumerate(STUDY.values(), start=1):
            off = np.abs(means[rows, i].mean(1) - wanted) / NEAR
            near &= off.max(1) < 1
        kept.append(means[rows[near]].mean(1))
    return np.concatenate(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--photographs", type=Path, default=PHOTOGRAPHS, help="class folders")
    parser.add_argument("--like-design", action="store_true")
    parser.add_argument("--cache", type=Path, help="keep the vectors of the images in this file")
    options = parser.parse_args()
    images = pool(options.photographs, "efficientnet-lite0", 2000, options.cache, side=224)
    mixtures = list(combinations(LARGEST, 4)) if options.like_design else [COMMON]
    size = 1400 if options.like_design else 1000
    labels = [str(label) for label in np.unique(images.labels) if "/" not in label]
    jobs = [(images, c, label, size) for c in mixtures for label in labels if label not in c]
    kept = [(job, m) for job in jobs if (m := mean_over(job)) is not None]
    means = np.array([m for _, m in kept])
    if options.like_design:
        draws = like_design(means)
        print(f"{len(draws)} of {DRAWS:,} draws of {MIXTURES} of {len(means)} mixtures")
        for name, value in zip((DEFAULT, *STUDY), draws.mean(0), strict=True):
            print(f"{name}: {value[0]:.3f}, {value[1]:.3f}")
        both = (draws[:, 0] >= (0.87, 0.39)).all(1)
        print(f"of these, the default has at least 0.87 and 0.39 in {both.mean():.0%}")
        return
    for (_, _, label, _), value in sorted(kept, key=lambda k: -k[1][0][0]):
        print(f"{label}: {value[0][0]:.3f}, {value[0][1]:.3f}")
    print("mean: {:.3f}, {:.3f}".format(*means[:, 0].mean(0)))


if __name__ == "__main__":
    main()
