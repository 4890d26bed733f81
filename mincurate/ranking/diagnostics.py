"""How far a ranking can be trusted: numbers about the run, and what they mean in words."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.features.embedder import Embedder
from mincurate.images import collection
from mincurate.images.decode import Fit
from mincurate.images.depth import Rendering
from mincurate.ranking import classes, minority_score, outliers, reliability
from mincurate.ranking.minority_score import Scorer
from mincurate.runs.store import Run

FEWEST = 50
"""Images of which a rarest tenth means something."""
SAMPLE = 512
"""Images used for the linear filter's error."""


def examine(run: Run, scorer: Scorer, embedder: Embedder, *, size: int, fit: Fit) -> dict[str, Any]:
    """``diagnostics`` of an assembled run, and the ``warnings`` and ``trust`` that follow.

    The numbers: ``spearman_complexity`` (score against PNG bytes per pixel), ``rank_stability``
    (expected rank correlation with a run on fresh noise), ``mean_relative_se``,
    ``denoising_error`` (mean squared, [-1, 1] scale), ``denoising_gain`` (error of the best linear
    filter over the model's; 1 is no better than a filter), ``still_improving`` (relative fall of
    the held-out error over the last quarter of the training), ``agreement_neighbors`` (Spearman of
    score and neighbour distance), ``tail_agreement`` (`outliers.tail_agreement` of the vectors) and
    ``images_per_second``. What cannot be known is left out.
    """
    frame = run.frame()
    known = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    numbers: dict[str, float] = {}
    if len(known) >= 3:
        score = known["minority_score"].to_numpy(np.float64)
        all_draws = known["minority_score_draws"]
        made = all_draws.map(len)
        draws = np.stack([np.asarray(d, np.float64)[: made.min()] for d in all_draws])
        numbers["draws_per_image"] = float(made.mean())
        numbers["spearman_complexity"] = _spearman(score, known["complexity"].to_numpy())
        numbers["agreement_neighbors"] = _spearman(score, known["neighbor_distance"].to_numpy())
        numbers["rank_stability"] = minority_score.rank_stability(draws)
        numbers["mean_relative_se"] = float((known["minority_score_se"] / score).mean())
    vectors = np.load(run.path / "embeddings.npy", allow_pickle=False)
    hashes = pd.read_parquet(run.path / "embeddings.parquet")["content_hash"]
    groups = pd.Series("", index=hashes)
    if run.record["settings"].get("within_label"):
        groups = known.set_index("content_hash")["label"].reindex(hashes).astype(object).fillna("")
    numbers["tail_agreement"] = agreement_in_groups(vectors, hashes, groups)
    if len(known):
        error = float(known["denoising_error"].mean())
        files = list(zip(known["content_hash"], known["path"], strict=True))[
            :: -(-len(known) // SAMPLE)
        ]
        rendering = Rendering.of_record(run.record.get("rendering"))
        batches = collection.read_batches(
            files, size=size, fit=fit, rendering=rendering, batch_size=64, workers=1
        )
        pixels = np.concatenate([p for _, p, _ in batches])
        numbers["denoising_error"] = error
        numbers["denoising_gain"] = linear_filter_error(pixels, scorer.sigma) / max(error, 1e-12)
    model = run.record.get("model") or {}
    if curve := model.get("curve"):
        numbers["still_improving"] = still_improving([point[2] for point in curve])
    if rate := run.record.get("images_per_second"):
        numbers["images_per_second"] = float(rate)
    numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
    found = reliability.judge(
        numbers,
        rank_by=run.record["settings"]["rank_by"],
        weak_embedding=embedder.weak,
        images=len(known),
        minutes=model.get("trained_minutes") if model.get("trained_here") else None,
    )
    return {
        "diagnostics": numbers,
        "warnings": in_words(numbers, run, len(known), scorer, embedder),
        "trust": {"level": found.level, "words": found.words},
    }


def agreement_in_groups(
    vectors: NDArray[np.float32], hashes: pd.Series, groups: pd.Series
) -> float:
    """Mean `outliers.tail_agreement` of the groups that are ranked apart, by their sizes.

    NaN where no group has `FEWEST` images.
    """
    found, sizes = [], []
    for _, rows in classes.members_by_label(groups):
        if len(rows) >= FEWEST and vectors.shape[1] > 1:
            among = outliers.reference(hashes.iloc[rows])
            found.append(outliers.tail_agreement(vectors[rows], among))
            sizes.append(len(rows))
    return float(np.average(found, weights=sizes)) if found else math.nan


def in_words(
    numbers: dict[str, float], run: Run, images: int, scorer: Scorer, embedder: Embedder
) -> list[str]:
    """Sentences for what stands between the ranking and the truth; none when all is well."""
    said = []
    rank_by = run.record["settings"]["rank_by"]
    if numbers.get("denoising_gain", math.inf) < 1.1:
        said.append(
            f"The model is too little trained, or trained on other images: at sigma "
            f"{scorer.sigma:.3g} it removes noise no better than a linear filter (gain "
            f"{numbers['denoising_gain']:.2f}). Its score is mostly texture; train longer "
            "(--train-minutes) or give a trained model (--model)."
        )
    elif numbers.get("still_improving", 0) > 0.03:
        said.append(
            f"The model was still getting better when its time was up (held-out error fell by "
            f"{numbers['still_improving']:.0%} in the last quarter): more --train-minutes will "
            "change the minority score."
        )
    trained = scorer.denoiser.trained_sigmas
    if trained and not trained[0] <= scorer.sigma <= trained[1]:
        said.append(
            f"The model was trained for noise levels {trained[0]:.2g} to {trained[1]:.2g} and "
            f"scored at {scorer.sigma:.2g}: train it there (mincurate train --sigma)."
        )
    if rank_by == "minority" and abs(numbers.get("spearman_complexity", 0)) > 0.5:
        direction = "complex" if numbers["spearman_complexity"] > 0 else "simple"
        said.append(
            f"The minority score follows image complexity (Spearman "
            f"{numbers['spearman_complexity']:.2f}): {direction} images rank high because they are "
            f"{direction}, not only because they are rare. Compare with --rank-by embedding."
        )
    if numbers.get("rank_stability", 1) < 0.9:
        said.append(
            f"Fresh noise would rank by the score with a correlation of only "
            f"{numbers['rank_stability']:.2f}: "
            "raise --n-draws."
        )
    if embedder.weak:
        what = "The ranking" if rank_by == "embedding" else "The calibrated score"
        said.append(
            f"{what}, neighbour distances and the map rest on a weak embedding (features of the "
            "denoiser, which were not trained to tell kinds of images apart): give --embedding "
            "torchvision:NAME@FILE for a better one."
        )
    if images < 200:
        said.append(
            f"{images} different images are few: a class of a tenth holds {max(1, images // 10)}, "
            "and which images are rare is largely chance."
        )
    return said


def linear_filter_error(pixels: NDArray[np.uint8], sigma: float) -> float:
    """Mean squared error of the Wiener filter for these images at noise ``sigma``, in closed form.

    The best linear, shift-invariant denoiser keeps ``S / (S + sigma^2)`` of every frequency whose
    mean power is S, and leaves the error ``S sigma^2 / (S + sigma^2)``.

    Args:
        pixels: ``(N, 3, H, W)`` uint8.
        sigma: noise level on the [-1, 1] scale.
    """
    x = pixels.astype(np.float32) / 127.5 - 1
    x -= x.mean()
    power = (np.abs(np.fft.fft2(x, norm="ortho")) ** 2).mean(0)
    return float((power * sigma**2 / (power + sigma**2)).mean())


def still_improving(errors: list[float]) -> float:
    """Relative fall of an error over the last quarter of its points; 0 with fewer than 8."""
    if len(errors) < 8:
        return 0.0
    before = float(np.mean(errors[-len(errors) // 4 - 2 : -len(errors) // 4 + 1]))
    after = float(np.mean(errors[-3:]))
    return max(0.0, 1 - after / before) if before > 0 else 0.0


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b, nan_policy="omit").statistic)
