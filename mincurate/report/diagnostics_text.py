"""The diagnostics and the training curve of a run, explained to readers of the report."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking.reliability import AGREEMENT, DISCS, STANDING_OUT


@dataclass(frozen=True)
class Meaning:
    """A diagnostic: its title, what it measures, and when a value is good."""

    title: str
    what: str
    good: str
    verdict: Callable[[float], str] = lambda value: ""
    spec: str = ".2f"


def _grade(value: float, good: float, fair: float) -> str:
    return "good" if value >= good else "fair" if value >= fair else "poor"


MEANINGS = {
    "spearman_complexity": Meaning(
        "Follows complexity",
        "Rank correlation between the minority score and how complex an image is (PNG bytes per "
        "pixel).",
        "Near 0 is best. Beyond ±0.5 the ranking mostly tells busy images from plain ones.",
        lambda v: _grade(-abs(v), -0.3, -0.5),
    ),
    "agreement_neighbors": Meaning(
        "Agrees with neighbours",
        "Rank correlation between the minority score and the distance to an image's nearest "
        "neighbours, a second, independent kind of evidence.",
        "Trust images most that both call rare. A low value means that the two measure different "
        "things: look at both.",
    ),
    "tail_agreement": Meaning(
        "Halves agree",
        "Share of the rarest tenth that two rankings by embedding have in common, each from half "
        "of the features.",
        "Above 57 % such rankings found the rare well in the study, below 47 % mostly not.",
        lambda v: _grade(v, AGREEMENT["strong"], AGREEMENT["fair"]),
        ".0%",
    ),
    "kind_stability": Meaning(
        "Kinds persist",
        "How far two halves of the images fall into the same kinds: 1 the same, 0 by chance.",
        "From 0.21 on an outlying kind need not be rare: the rarest must stand out, too.",
    ),
    "large_kinds": Meaning(
        "Outlying kinds",
        "That stability, times how far outlying images have outlying neighbours.",
        "Above 0.145 the outlying images are those of large kinds; small kinds rank instead, "
        "unless some images lie far farther than others or labels decide.",
        spec=".3f",
    ),
    "reach": Meaning(
        "Reach of the farthest",
        "How far the farthest images lie from the crowd: two standard deviations over one.",
        "2 is normal; from 1.7 on the farthest are few, and outlying images rank.",
    ),
    "standing_out": Meaning(
        "The rarest stand out",
        "How much thinner the rarest images lie than their neighbours: the outlier factor two "
        "standard deviations above the middle.",
        "In a set of several kinds, from 1.18 on the ranking found the rare well in the study; "
        "below 1.14 an outlying kind need not be rare.",
        lambda v: _grade(v, STANDING_OUT["strong"], STANDING_OUT["fair"]),
    ),
    "discs_found": Meaning(
        "Discs are found",
        "Share of the other tiles above which tiles with a disc drawn into them rank, on average.",
        "Above 90 % small objects are found, below 80 % mostly not.",
        lambda v: _grade(v, DISCS["strong"], DISCS["fair"]),
        ".0%",
    ),
    "rare_labels": Meaning(
        "Rare labels",
        "Labels with at most half as many images as the average label, and at least ten.",
        "Labels only choose which kind of rare ranks; here they check it.",
        spec=".0f",
    ),
    "rare_labels_found": Meaning(
        "Rare labels are found",
        "Share of the other images above which images of rare labels rank, on average.",
        "From 80 % on, with none missed, the trust is at least fair.",
        spec=".0%",
    ),
    "missed_labels": Meaning(
        "Rare labels that are missed",
        "Rare labels whose images rank below the middle, on average.",
        "With any, the trust is not strong. Rank within labels (--within-label).",
        lambda v: _grade(-v, 0, 0),
        ".0f",
    ),
    "rank_stability": Meaning(
        "Repeatable",
        "Expected rank correlation with a second run on fresh noise.",
        "Above 0.9 the order hardly depends on chance. More draws raise it (--n-draws).",
        lambda v: _grade(v, 0.9, 0.8),
    ),
    "mean_relative_se": Meaning(
        "Noise in a score",
        "Standard error of a score, as a share of the score, averaged over the images.",
        "Below 10 % is good. More draws lower it.",
        lambda v: _grade(-v, -0.1, -0.2),
        ".1%",
    ),
    "draws_per_image": Meaning(
        "Draws per image",
        "Noise draws per image, on average.",
        "Fewer than --n-draws where --adaptive skipped draws that would not have changed the "
        "rarest class.",
        spec=".1f",
    ),
    "denoising_error": Meaning(
        "Reconstruction error",
        "Mean squared error of the reconstructions, pixels in [-1, 1].",
        "The next line puts it in proportion.",
        spec=".2g",
    ),
    "denoising_gain": Meaning(
        "Better than a filter",
        "Error of the best linear filter for these images, divided by the model's error.",
        "At 1 the model reconstructs no better than a filter; well above 1.1 is needed.",
        lambda v: _grade(v, 1.3, 1.1),
    ),
    "still_improving": Meaning(
        "Training unfinished",
        "How much the error on held-out images fell over the last quarter of the training.",
        "Below 3 % the training has settled; above, train longer (--train-minutes).",
        lambda v: _grade(-v, -0.03, -0.06),
        ".1%",
    ),
    "vectors_per_second": Meaning(
        "Speed of vectors", "Images embedded per second, decoding included.", "", spec=".3g"
    ),
    "images_per_second": Meaning(
        "Speed", "Images scored per second, all draws included.", "", spec=".3g"
    ),
}


def diagnostics(numbers: dict[str, float]) -> list[dict[str, str]]:
    """Rows of the table of diagnostics: those of `MEANINGS` in its order, then the others."""
    rows = []
    for name in [
        *(n for n in MEANINGS if n in numbers),
        *(n for n in numbers if n not in MEANINGS),
    ]:
        value = numbers[name]
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue
        meaning = MEANINGS.get(name) or Meaning(name.replace("_", " "), "", "", spec=".3g")
        rows.append(
            {
                "name": name,
                "title": meaning.title,
                "value": format(value, meaning.spec),
                "what": meaning.what,
                "good": meaning.good,
                "verdict": meaning.verdict(value),
            }
        )
    return rows


def curve(curve: list[list[float | None]]) -> dict[str, Any] | None:
    """Two polylines in a 100 by 100 drawing; ``None`` with fewer than two points."""
    rows = np.array(curve, dtype=np.float64).reshape(-1, 3)
    losses = rows[:, 1:]
    if len(rows) < 2 or not np.isfinite(losses).any():
        return None
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    x = 100 * rows[:, 0] / rows[-1, 0]

    def line(values: NDArray[np.float64]) -> str:
        y = 97 - 94 * (values - low) / (high - low or 1)
        return " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True) if math.isfinite(b))

    held = losses[:, 1][np.isfinite(losses[:, 1])]
    return {
        "train": line(losses[:, 0]),
        "held_out": line(losses[:, 1]),
        "low": low,
        "high": high,
        "images": int(rows[-1, 0]),
        "last": float(held[-1]) if len(held) else None,
    }
