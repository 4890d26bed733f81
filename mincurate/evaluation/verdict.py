"""What an evaluation means: are the images rarer, as real, and new?"""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mincurate.evaluation.metrics import Interval

RARER_BY = {"minority_score": "minority score", "avg_knn": "AvgkNN", "lof": "LOF"}
"""The metrics of rarity; images are rarer when all of them say so."""
PRECISION_KEPT = 0.9
"""Smallest ratio of guided to plain precision that counts as unchanged."""
LEAST_REAL = 0.25
"""Plain samples with less than this share of the precision of real images are not real at all."""
Tone = Literal["good", "fair", "poor"]


@dataclass(frozen=True)
class Verdict:
    """The outcome in words.

    Attributes:
        headline: one sentence.
        tone: of the headline.
        points: a tone and a sentence for rarity, precision, copies and the gate.
        rarer: metric of `RARER_BY` to ``more``, ``less`` or ``unclear``: whether the interval of
            the guided images lies above, below or across that of the plain ones.
        precision_ratio: precision of the guided images, divided by the plain ones'; NaN if these
            are not real at all (`LEAST_REAL`).
        copies: whether guided images are near copies more often than real images of each other.
    """

    headline: str
    tone: Tone
    points: tuple[tuple[Tone, str], ...]
    rarer: dict[str, str]
    precision_ratio: float
    copies: bool


def look_up(table: pd.DataFrame, name: str, metric: str, reference: str = "all") -> Interval:
    """Value and interval of one metric of one set; NaN where it is not in the table."""
    fit = (table["set"] == name) & (table["metric"] == metric) & (table["reference"] == reference)
    rows = table.loc[fit, ["value", "low", "high"]].to_numpy(float)
    if not len(rows):
        return math.nan, math.nan, math.nan
    return float(rows[0, 0]), float(rows[0, 1]), float(rows[0, 2])


def conclude(table: pd.DataFrame, accepted: int, total: int, cause: str = "Guidance") -> Verdict:
    """The verdict on a table of `evaluation.image_sets`.

    Args:
        accepted: guided images that the gate accepted.
        total: guided images.
        cause: what sets the guided images apart from the plain ones.
    """
    rarer = {metric: _compare(table, metric) for metric in RARER_BY}
    ratio, precision = _precision(table)
    copies, copying = _copies(table)
    gate: Tone = "good" if accepted >= 0.8 * total else "fair" if accepted >= total / 2 else "poor"
    points = (
        _rarity(table, rarer),
        precision,
        copying,
        (gate, f"{accepted:,} of {total:,} guided images pass the gate."),
    )
    headline, tone = _headline(set(rarer.values()), cause)
    faults = []
    if math.isnan(ratio):
        faults.append("plain samples are not real either")
    elif ratio < PRECISION_KEPT:
        faults.append("they are less real")
    if copies:
        faults.append("some copy the training images")
    if faults:
        joint = "and" if tone == "poor" else "but"
        headline = f"{headline}, {joint} {' and '.join(faults)}."
        return Verdict(headline, "poor", points, rarer, ratio, copies)
    end = ", and they are as real as plain samples." if tone != "poor" else "."
    return Verdict(headline + end, tone, points, rarer, ratio, copies)


def _headline(outcomes: set[str], cause: str) -> tuple[str, Tone]:
    """Whether the images are rarer, from the values of `Verdict.rarer`."""
    if outcomes == {"more"}:
        return f"{cause} made the images rarer", "good"
    if "more" in outcomes and "less" not in outcomes:
        return f"{cause} made the images rarer by some measures only", "fair"
    if "more" in outcomes:
        return f"The measures disagree on whether {cause.lower()} made the images rarer", "fair"
    if outcomes == {"unclear"}:
        return f"{cause} made no difference that these images could show", "poor"
    return f"{cause} made the images less rare", "poor"


def _compare(table: pd.DataFrame, metric: str) -> str:
    _, low, high = look_up(table, "guided", metric)
    _, plain_low, plain_high = look_up(table, "ddpm", metric)
    return "more" if low > plain_high else "less" if high < plain_low else "unclear"


def _rarity(table: pd.DataFrame, rarer: dict[str, str]) -> tuple[Tone, str]:
    words = {
        "more": "higher, beyond the 95 % intervals",
        "less": "lower, beyond the 95 % intervals",
        "unclear": "within the 95 % intervals of each other",
    }
    parts = [
        f"{name} {look_up(table, 'guided', metric)[0]:.3g} against "
        f"{look_up(table, 'ddpm', metric)[0]:.3g} ({words[rarer[metric]]})"
        for metric, name in RARER_BY.items()
    ]
    outcomes = set(rarer.values())
    tone: Tone = "good" if outcomes == {"more"} else "fair" if "more" in outcomes else "poor"
    return tone, f"Rarity, guided against plain: {'; '.join(parts)}."


def _precision(table: pd.DataFrame) -> tuple[float, tuple[Tone, str]]:
    (guided, _, high), (plain, low, _) = (
        look_up(table, name, "precision") for name in ("guided", "ddpm")
    )
    real = look_up(table, "real", "precision")[0]
    if not plain > (0.0 if math.isnan(real) else LEAST_REAL * real):
        return math.nan, (
            "poor",
            f"Precision cannot be compared: {plain:.0%} of plain samples lie on the real manifold, "
            f"and {real:.0%} of real images; train the model longer.",
        )
    ratio = float(guided / plain)
    unchanged = ratio >= PRECISION_KEPT
    doubt = "" if unchanged or high < low else "; the intervals overlap: more images would tell"
    return ratio, (
        "good" if unchanged else "poor",
        f"Precision {'did not fall' if unchanged else 'fell'}: {guided:.2f} against {plain:.2f} of "
        f"plain samples, a ratio of {ratio:.2f} (at least {PRECISION_KEPT} is required){doubt}.",
    )


def _copies(table: pd.DataFrame) -> tuple[bool, tuple[Tone, str]]:
    share, low, _ = look_up(table, "guided", "near_copies")
    real, _, real_high = look_up(table, "real", "near_copies")
    plain = look_up(table, "ddpm", "near_copies")[0]
    copies = bool(low > real_high)
    how = "more often" if copies else "no more often"
    return copies, (
        "poor" if copies else "good",
        f"Near copies of training images: {share:.1%} of guided, {plain:.1%} of plain samples, "
        f"{real:.1%} of real images of each other, so {how} than real images.",
    )
