"""The sets of images that an evaluation compares, by every metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.evaluation import metric_table, metrics
from mincurate.evaluation.feature_spaces import Judge
from mincurate.evaluation.metric_table import Features
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import classes, outliers, vector_rarity
from mincurate.ranking.reference import Base

LEAST = 6
"""Images that a set needs to be judged: one more than `metrics.COVERAGE_K`."""
EQUAL = "ddpm-as-accepted"
"""The plain images, cut to the number of accepted ones: for metrics that depend on it."""
READINGS = {
    "minority_score": "higher is rarer",
    "rarity_percentile": "higher is rarer; real images have 0.5",
    "in_rarest_tenth": "higher is rarer; real images have 0.1",
}
"""Metrics from the run's own scores, beside those of `metric_table.READINGS`."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images: their table, as `joining.join` gives it, and their features."""

    frame: pd.DataFrame
    features: Features


@dataclass(frozen=True, eq=False)
class Tail:
    """The rarest tenth of the real images.

    Attributes:
        rows: of the run's images.
        ranked_by: the ranking that they are the rarest of.
    """

    rows: NDArray[np.int64]
    ranked_by: str


def find_tail(base: Base, real: Features, judge: Judge, *, by_minority_score: bool = False) -> Tail:
    """The rarest tenth in the features of the judge; in the run's ranking where these guided.

    Args:
        by_minority_score: take the highest minority scores instead, as the paper does.
    """
    if by_minority_score:
        rows = classes.tail_rows(base.frame["minority_score"])
        return Tail(rows, f"minority score, {_distance(base)}")
    if judge.circular:
        return Tail(classes.tail_rows(base.frame[base.column]), _ranking(base))
    vectors = metrics.as_vectors(real.vectors, "real")
    rows = outliers.reference(base.frame["content_hash"])
    rarity = vector_rarity.measure(vectors, rows).rarity
    return Tail(classes.tail_rows(rarity), f"rarity in {judge.space.name}")


def judge_all(
    base: Base,
    real: Features,
    sets: Mapping[str, ImageSet],
    judge: Judge,
    tail: Tail,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """The table of an evaluation: `metric_table.judge` and `READINGS` of every set.

    Where some of the set ``guided`` were rejected, ``accepted`` and `EQUAL` are judged apart, at
    the number of accepted ones.
    """
    enough = len(tail.rows) >= LEAST
    if not enough:
        reporter.warn(
            f"The rarest tenth of run {base.run.key} has {len(tail.rows)} images, too few to judge "
            "by."
        )
    seed = int(base.run.record["settings"]["seed"])

    def compare(features: dict[str, Features]) -> pd.DataFrame:
        return metric_table.judge(
            real,
            features,
            space=judge.space,
            tail=tail.rows if enough else None,
            seed=seed,
            advance=advance,
        )

    fit = _accepted(sets)
    rounds = [{name: images.features for name, images in sets.items()}]
    if fit is not None and LEAST <= len(fit) < len(sets["guided"].frame):
        accepted = sets["guided"].features.take(fit)
        rounds.append({"accepted": accepted, EQUAL: sets["ddpm"].features})
    count = (1 + enough) * sum(1 + len(features) for features in rounds)
    with reporter.task("Judging", count, "sets") as advance:
        first, *second = [compare(features) for features in rounds]
    parts = [first, *(table[table["set"] != "real"] for table in second)]
    frames = {"real": base.frame, **{name: images.frame for name, images in sets.items()}}
    if fit is not None and len(fit):
        frames["accepted"] = sets["guided"].frame.iloc[fit]
        if len(fit) == len(sets["guided"].frame):
            parts.append(first[first["set"] == "guided"].assign(set="accepted"))
    parts.append(_ranks(base, frames, seed))
    return pd.concat(parts, ignore_index=True)


def _accepted(sets: Mapping[str, ImageSet]) -> NDArray[np.int64] | None:
    """Rows of the guided images that the gate accepted; None where nothing was guided."""
    if "guided" not in sets:
        return None
    return np.flatnonzero(sets["guided"].frame["accepted"].to_numpy(bool))


def _ranking(base: Base) -> str:
    """The run's ranking in words."""
    record = base.run.record
    return f"ranking by {record['rank_by']}, {record['embedding']} at {base.size} px"


def _distance(base: Base) -> str:
    """The distance of the minority score in words."""
    record = base.run.record
    perceptual = record.get("perceptual") or record["settings"]["perceptual"]
    return f"{perceptual} at {base.size} px"


def _ranks(base: Base, frames: dict[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """`READINGS` of every set."""
    spaces = dict.fromkeys(READINGS, _ranking(base))
    spaces["minority_score"] = _distance(base)
    rows: list[dict[str, Any]] = []
    for name, frame in frames.items():
        rarity = frame["rarity"].to_numpy(np.float64)
        values = {
            "minority_score": frame["minority_score"].to_numpy(np.float64),
            "rarity_percentile": rarity,
            "in_rarest_tenth": np.where(np.isnan(rarity), np.nan, classes.in_tail(rarity)),
        }
        for metric, per_image in values.items():
            value, low, high = metrics.interval(per_image, seed=seed)
            rows.append(
                {
                    "reference": "all",
                    "set": name,
                    "metric": metric,
                    "value": value,
                    "low": low,
                    "high": high,
                    "reading": READINGS[metric],
                    "n_real": len(base.frame),
                    "n": len(frame),
                    "feature_space": spaces[metric],
                }
            )
    return pd.DataFrame(rows)
