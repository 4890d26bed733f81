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
COEFFICIENTS = (-6.8, 2.8)
"""Prior means: the logit of an image of average score, and its rise per standard deviation."""
SPREADS = (2.2, 1.0)
"""Their standard deviations."""
CORRELATION = -0.7
"""Of the two."""
EVIDENCE = 0.3
"""Weight of a verdict: similar images are no independent evidence, and the logit is no line."""
SELECTION = 1.5
"""Standard deviation of a shift of the logits of reviewed images: people choose what to tag."""
MISFIT = 0.3
"""Standard deviation of the logarithm of the number that is left, beyond all this."""
GRID = 29
"""Values of each coefficient, over 3.5 standard deviations to both sides."""
DRAWS = 2000
"""Coefficients drawn from the posterior."""
ENDS = (0.05, 0.95)
"""Quantiles between which the intervals lie."""


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
    coefficients = _posterior(judged, keep[reviewed])
    probability, low, high = _probabilities(scores, coefficients)
    return Learned(probability, low, high, _left(scores[~reviewed], coefficients))


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


def _posterior(scores: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Coefficients ``(DRAWS, 2)`` drawn from their posterior, given verdicts on some scores."""
    steps = np.linspace(-3.5, 3.5, GRID)
    units = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    lower = np.array([[1, 0], [CORRELATION, np.sqrt(1 - CORRELATION**2)]])
    values = np.array(COEFFICIENTS) + units @ lower.T * np.array(SPREADS)
    logits = values[:, :1] + values[:, 1:] * scores
    shifts, shares = np.polynomial.hermite_e.hermegauss(7)
    likelihood = [
        np.log(share) - EVIDENCE * np.logaddexp(0, np.where(kept, -1, 1) * (logits + shift)).sum(1)
        for shift, share in zip(shifts * SELECTION, shares, strict=True)
    ]
    logs = np.logaddexp.reduce(likelihood, axis=0) - (units**2).sum(1) / 2
    weights = np.exp(logs - logs.max())
    rng = np.random.default_rng(1)
    return values[rng.choice(len(values), DRAWS, p=weights / weights.sum())]


def _probabilities(scores: Floats, coefficients: Floats) -> tuple[Floats, Floats, Floats]:
    """Median probability of each score, and the ends of its interval, ``(N,)`` each."""
    few = coefficients[: DRAWS // 5]
    median, low, high = np.empty((3, len(scores)))
    for start in range(0, len(scores), 4096):
        part = slice(start, start + 4096)
        each = _sigmoid(few[:, :1] + few[:, 1:] * scores[part])
        low[part], median[part], high[part] = np.quantile(each, [ENDS[0], 0.5, ENDS[1]], axis=0)
    return median, low, high


def _left(scores: Floats, coefficients: Floats) -> Left:
    """How many of the images of these scores would be kept."""
    if not len(scores):
        return Left(0, 0, 0)
    rng = np.random.default_rng(0)
    counts, edges = np.histogram(scores, 400)
    each = _sigmoid(coefficients[:, :1] + coefficients[:, 1:] * (edges[1:] + edges[:-1]) / 2)
    mean, variance = each @ counts, (each * (1 - each)) @ counts
    totals = rng.normal(mean, np.sqrt(variance)) * np.exp(rng.normal(0, MISFIT, len(mean)))
    low, about, high = np.quantile(np.clip(totals, 0, len(scores)), [ENDS[0], 0.5, ENDS[1]])
    return Left(round(about), int(np.floor(low)), int(np.ceil(high)))


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
