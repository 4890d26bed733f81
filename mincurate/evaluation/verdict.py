"""What an evaluation means, in plain words: are the images rarer, as real, and new?"""

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from mincurate.evaluation.metrics import Interval

RARER_BY = {"minority_score": "minority score", "avg_knn": "AvgkNN", "lof": "LOF"}
"""The metrics that tell whether images are rarer; all have to say so."""
PRECISION_KEPT = 0.9
"""Share of the plain samples' precision that has to be left."""
Tone = Literal["good", "fair", "poor"]


@dataclass(frozen=True)
class Verdict:
    """The outcome in words.

    Attributes:
        headline: one sentence.
        tone: of the headline.
        points: a tone and a sentence for rarity, precision, copies and the gate.
        rarer: metric of `RARER_BY` to ``more``, ``less`` or ``unclear``: whether the guided images'
            interval lies above, below or across that of the plain ones.
        precision_ratio: precision of the guided images, divided by the plain ones'; NaN if that
            is 0.
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
    """The verdict on a table of `evaluation.sets`.

    Args:
        accepted: guided images that the gate let pass.
        total: guided images.
        cause: what the guided images have that the plain ones have not.
    """
    rarer = {metric: _compare(table, metric) for metric in RARER_BY}
    kept, precision = _precision(table)
    copies, copying = _copies(table)
    gate: Tone = "good" if accepted >= 0.8 * total else "fair" if accepted >= total / 2 else "poor"
    points = (
        _rarity(table, rarer),
        precision,
        copying,
        (gate, f"{accepted:,} of {total:,} guided images pass the gate."),
    )
    said = set(rarer.values())
    headline: str
    tone: Tone
    if said == {"more"}:
        headline, tone = f"{cause} made the images rarer", "good"
    elif "more" in said and "less" not in said:
        headline, tone = f"{cause} made the images rarer by some measures only", "fair"
    elif "more" in said:
        headline = f"The measures disagree on whether {cause.lower()} made the images rarer"
        tone = "fair"
    elif said == {"unclear"}:
        headline, tone = f"{cause} made no difference that these images could show", "poor"
    else:
        headline, tone = f"{cause} made the images less rare", "poor"
    faults = []
    if not kept >= PRECISION_KEPT:
        known = not math.isnan(kept)
        faults.append("they are less real" if known else "plain samples are not real either")
    if copies:
        faults.append("some copy the training images")
    if faults:
        joint = "and" if tone == "poor" else "but"
        headline = f"{headline}, {joint} {' and '.join(faults)}."
        return Verdict(headline, "poor", points, rarer, kept, copies)
    end = ", and they are as real as plain samples." if tone != "poor" else "."
    return Verdict(headline + end, tone, points, rarer, kept, copies)


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
    said = set(rarer.values())
    tone: Tone = "good" if said == {"more"} else "fair" if "more" in said else "poor"
    return tone, f"Rarity, guided against plain: {'; '.join(parts)}."


def _precision(table: pd.DataFrame) -> tuple[float, tuple[Tone, str]]:
    (guided, _, high), (plain, low, _) = (
        look_up(table, name, "precision") for name in ("guided", "ddpm")
    )
    if not plain > 0:
        return math.nan, (
            "poor",
            "Precision cannot be compared: no plain sample lies on the real manifold either; train "
            "the model longer.",
        )
    ratio = float(guided / plain)
    kept = ratio >= PRECISION_KEPT
    doubt = "" if kept or high < low else "; the intervals overlap, more images would tell"
    return ratio, (
        "good" if kept else "poor",
        f"Precision {'stayed' if kept else 'fell'}: {guided:.2f} against {plain:.2f} of plain "
        f"samples, a ratio of {ratio:.2f} (at least {PRECISION_KEPT} is asked for){doubt}.",
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
