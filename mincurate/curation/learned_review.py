"""A review that learns: what is like the images that were kept, and how many are left of them.

A logistic regression on principal components tells kept images from dropped ones and, as weak
evidence, from a sample of those not reviewed, most of which are not of the kind. A second one, on
its score alone, says how probable an image of that score is to be kept. Its two coefficients have a
prior from sets in which all is known (`benchmarks/review.py`), so that ten verdicts are enough.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
AXES = 32
"""Principal components."""
SAMPLE = 1000
"""Images without a verdict that count as not of the kind, at most; together as much as drops."""
FOLDS = 5
FITTED = 20_000
"""Images on which the principal components are fitted, at most."""
COEFFICIENTS = (-5.0, 1.4)
"""Prior means: of the logit of an image of average score, and per standard deviation of it."""
SPREADS = (1.5, 0.5)
"""Their standard deviations."""
GRID = 41
"""Values of each coefficient, over four standard deviations to both sides."""
DRAWS = 4000
LEVEL = 0.9
"""Of the intervals."""


@dataclass(frozen=True)
class Left:
    """How many images are left that would be kept, of those without a verdict.

    Attributes:
        about: the median.
        low, high: ends of the interval, which holds nine times of ten.
    """

    about: int
    low: int
    high: int

    @property
    def words(self) -> str:
        """As a sentence."""
        return (
            f"About {self.about:,} of this kind are left, between {self.low:,} and {self.high:,}."
        )


@dataclass(frozen=True, eq=False)
class Learned:
    """What a review has taught so far.

    Attributes:
        probability: ``(N,)`` that an image would be kept.
        low, high: ends of its interval, ``(N,)`` each.
        left: how many are left.
    """

    probability: Floats
    low: Floats
    high: Floats
    left: Left

    def order(self, unseen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of the images of ``unseen``, ``(N,)``, the most probable first."""
        rows = np.flatnonzero(unseen)
        return rows[np.argsort(-self.probability[rows], kind="stable")]


def learn(vectors: Vectors, keep: NDArray[np.bool_], drop: NDArray[np.bool_]) -> Learned:
    """Learn from a review.

    Args:
        vectors: ``(N, d)``, of all images.
        keep: ``(N,)``, those that were kept, at least one.
        drop: ``(N,)``, those that were dropped, at least one.
    """
    scores, judged = _scores(_places(vectors), keep, drop)
    reviewed = keep | drop
    weights, values = _posterior(judged, keep[reviewed])
    probability, low, high = _probabilities(scores, weights, values)
    return Learned(probability, low, high, _left(scores[~reviewed], weights, values))


def _places(vectors: Vectors) -> Vectors:
    """Place of each vector on the principal axes, in units of the spread along the first."""
    from sklearn.decomposition import PCA

    rows = np.random.default_rng(0).permutation(len(vectors))[:FITTED]
    fitted = PCA(min(AXES, len(rows), vectors.shape[1]), random_state=0).fit(vectors[rows])
    places = fitted.transform(vectors)
    return places / max(float(places[:, 0].std()), 1e-12)


def _scores(
    places: Vectors, keep: NDArray[np.bool_], drop: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """The score of every image, ``(N,)``, and those of the reviewed ones by models without them.

    Both in standard deviations above the mean of the images without a verdict.
    """
    rng = np.random.default_rng(0)
    kept, dropped = np.flatnonzero(keep), np.flatnonzero(drop)
    others = rng.permutation(np.flatnonzero(~(keep | drop)))[:SAMPLE]
    scores = _fit(places, kept, dropped, others).decision_function(places)
    judged = scores.copy()
    folds = min(FOLDS, len(kept), len(dropped))
    parts = [np.array_split(rng.permutation(rows), folds) for rows in (kept, dropped)]
    for out_kept, out_dropped in zip(*parts, strict=True) if folds > 1 else ():
        model = _fit(
            places, np.setdiff1d(kept, out_kept), np.setdiff1d(dropped, out_dropped), others
        )
        out = np.concatenate([out_kept, out_dropped])
        judged[out] = model.decision_function(places[out])
    mean, spread = scores[others].mean(), scores[others].std() or 1.0
    return (scores - mean) / spread, (judged[keep | drop] - mean) / spread


def _fit(
    places: Vectors,
    kept: NDArray[np.int64],
    dropped: NDArray[np.int64],
    others: NDArray[np.int64],
) -> Any:
    """Kept images against dropped and other ones, each of these two with half of their weight."""
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([kept, dropped, others])
    each = [1.0, 0.5 * len(kept) / len(dropped), 0.5 * len(kept) / max(1, len(others))]
    weights = np.repeat(each, [len(kept), len(dropped), len(others)])
    is_kept = np.arange(len(rows)) < len(kept)
    return LogisticRegression(max_iter=500).fit(places[rows], is_kept, weights)


def _posterior(scores: Floats, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Weights ``(G,)`` of a grid of coefficients ``(G, 2)``, given verdicts on some scores."""
    steps = np.linspace(-4, 4, GRID)
    values = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    logs = -(values**2).sum(1) / 2
    values = np.array(COEFFICIENTS) + values * np.array(SPREADS)
    logits = values[:, :1] + values[:, 1:] * scores
    logs -= np.logaddexp(0, np.where(kept, -logits, logits)).sum(1)
    weights = np.exp(logs - logs.max())
    return weights / weights.sum(), values


def _probabilities(
    scores: Floats, weights: Floats, values: Floats
) -> tuple[Floats, Floats, Floats]:
    """Mean probability of each score, and the ends of its interval, ``(N,)`` each."""
    drawn = _draw(weights, values, 400)
    ends = (1 - LEVEL) / 2
    mean, low, high = np.empty((3, len(scores)))
    for start in range(0, len(scores), 4096):
        part = slice(start, start + 4096)
        each = _sigmoid(drawn[:, :1] + drawn[:, 1:] * scores[part])
        mean[part] = each.mean(0)
        low[part], high[part] = np.quantile(each, [ends, 1 - ends], axis=0)
    return mean, low, high


def _left(scores: Floats, weights: Floats, values: Floats) -> Left:
    """How many of the images of these scores would be kept."""
    rng = np.random.default_rng(0)
    drawn = _draw(weights, values, DRAWS)
    edges = np.linspace(scores.min(), scores.max() + 1e-9, 401) if len(scores) else np.zeros(2)
    counts, _ = np.histogram(scores, edges)
    each = _sigmoid(drawn[:, :1] + drawn[:, 1:] * (edges[1:] + edges[:-1]) / 2)
    mean, variance = each @ counts, (each * (1 - each)) @ counts
    totals = np.clip(rng.normal(mean, np.sqrt(variance)), 0, len(scores))
    ends = (1 - LEVEL) / 2
    low, about, high = np.quantile(totals, [ends, 0.5, 1 - ends])
    return Left(round(about), int(np.floor(low)), int(np.ceil(high)))


def _draw(weights: Floats, values: Floats, count: int) -> Floats:
    """Coefficients drawn from the posterior, ``(count, 2)``."""
    rng = np.random.default_rng(1)
    step = 8 * np.array(SPREADS) / (GRID - 1)
    rows = rng.choice(len(weights), count, p=weights)
    return values[rows] + rng.uniform(-0.5, 0.5, (count, 2)) * step


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
