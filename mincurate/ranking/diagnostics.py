"""Diagnostics of a run: numbers about model, score and embedding, and warnings in words."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.features.embedder import Embedder
from mincurate.images import collection, regions
from mincurate.images.bit_depth import Rendering
from mincurate.images.decode import Fit
from mincurate.ranking import (
    classes,
    judging,
    minority_score,
    object_sizes,
    outliers,
    rare_labels,
    reference,
    reliability,
)
from mincurate.ranking.judging import Sample
from mincurate.ranking.minority_score import Scorer
from mincurate.runs import schema
from mincurate.runs.store import Run

SAMPLE = 512
"""Images used for the linear filter's error, at most."""


def examine(run: Run, scorer: Scorer, embedder: Embedder, *, size: int, fit: Fit) -> dict[str, Any]:
    """``diagnostics``, ``warnings`` and ``trust`` of a run that has its table.

    ================================ =============================================================
    ``draws_per_image``              mean number of draws
    ``spearman_complexity``          of the minority score and the bytes per pixel as PNG
    ``agreement_neighbors``          Spearman's of the minority score and the neighbour distance
    ``rank_stability``               `minority_score.rank_stability`
    ``mean_relative_se``             mean standard error of the minority score, as a share of it
    ``tail_agreement``               `outliers.tail_agreement` of the embeddings
    ``kind_stability``               `small_kinds.Pattern.stability`, unless ranked within labels
    ``large_kinds``                  `small_kinds.Pattern.large_kinds`, unless ranked within labels
    ``reach``                        `small_kinds.Pattern.reach`, unless ranked within labels
    ``standing_out``                 `outliers.standing_out`, unless ranked within labels
    ``discs_found``                  of tiles, `tile_probe.discs_found`
    ``rare_labels``                  labels of at most half as many images as the average one
    ``missed_labels``                those of them that rank below the middle, on average
    ``rare_labels_found``            AUROC of the images of rare labels
    ``denoising_error``              mean squared error of the reconstructions, [-1, 1] scale
    ``denoising_gain``               error of the best linear filter over the model's
    ``still_improving``              relative fall of the held-out error in the last quarter
    ``images_per_second``            when the images were scored
    ``vectors_per_second``           when they were embedded
    ================================ =============================================================

    A number that cannot be computed is left out.

    Args:
        run: with table, embeddings and record.
        scorer: that the images were scored with.
        embedder: of the embeddings.
        size: side at which the images were scored, in pixels.
        fit: how they were made square.
    """
    frame, model = run.frame(), run.record.get("model") or {}
    scored = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    numbers = _of_scores(scored)
    numbers |= _of_embeddings(run, scored) | _of_tiles(run)
    if len(scored):
        error = float(scored["denoising_error"].mean())
        rendering = Rendering.of_record(run.record.get("rendering"))
        pixels = _sample(scored, size, fit, rendering)
        numbers["denoising_error"] = error
        linear = linear_filter_error(scorer.samples(pixels).cpu().numpy(), scorer.sigma)
        numbers["denoising_gain"] = linear / max(error, 1e-12)
    if curve := model.get("curve"):
        numbers["still_improving"] = still_improving([point[2] for point in curve])
    for rate in ("images_per_second", "vectors_per_second"):
        if run.record.get(rate):
            numbers[rate] = float(run.record[rate])
    minutes = model.get("trained_minutes") if model.get("trained_here") else None
    outcome = _outcome(numbers, run, embedder, len(scored), minutes)
    words = in_words(outcome["diagnostics"], run, len(scored), scorer, embedder)
    return outcome | {"warnings": words}


def examine_vectors(run: Run, embedder: Embedder) -> dict[str, Any]:
    """The same of a run that is ranked by vectors and has no minority scores."""
    frame = run.frame()
    scored = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    numbers = _of_embeddings(run, scored) | _of_tiles(run)
    if rate := run.record.get("vectors_per_second"):
        numbers["vectors_per_second"] = float(rate)
    return _outcome(numbers, run, embedder, len(scored), None) | {
        "warnings": _few(len(scored), run.noun)
    }


def _outcome(
    numbers: dict[str, float], run: Run, embedder: Embedder, images: int, minutes: float | None
) -> dict[str, Any]:
    """``diagnostics``, without what could not be computed, and ``trust``."""
    numbers = {name: value for name, value in numbers.items() if math.isfinite(value)}
    trust = reliability.judge(
        numbers,
        rank_by=run.record["settings"]["rank_by"],
        rare_are=run.record.get("rare_are", "outlying"),
        weak_embedding=embedder.weak,
        images=images,
        minutes=minutes,
    )
    words = trust.words_on(run.noun)
    return {"diagnostics": numbers, "trust": {"level": trust.level, "words": words}}


def _of_scores(scored: pd.DataFrame) -> dict[str, float]:
    """Diagnostics of the minority score and its draws; none for fewer than three images."""
    if len(scored) < 3:
        return {}
    score = scored["minority_score"].to_numpy(np.float64)
    all_draws = scored["minority_score_draws"]
    counts = all_draws.map(len)
    draws = np.stack([np.asarray(d, np.float64)[: counts.min()] for d in all_draws])
    return {
        "draws_per_image": float(counts.mean()),
        "spearman_complexity": _spearman(score, scored["complexity"].to_numpy()),
        "agreement_neighbors": _spearman(score, scored["neighbor_distance"].to_numpy()),
        "rank_stability": minority_score.rank_stability(draws),
        "mean_relative_se": float((scored["minority_score_se"] / score).mean()),
    }


def _of_embeddings(run: Run, scored: pd.DataFrame) -> dict[str, float]:
    """`agreement` of the labels where images are ranked within them; else of all images, and the
    numbers of their kinds."""
    vectors = np.load(run.path / schema.VECTORS, allow_pickle=False)
    hashes = pd.read_parquet(run.path / schema.VECTOR_HASHES)["content_hash"]
    objects = run.noun == "objects"
    if objects:
        sides = scored.set_index("content_hash")[["width", "height"]].reindex(hashes)
        vectors = object_sizes.beside(vectors, *sides.to_numpy(np.float64, na_value=1.0).T)
    if run.record["settings"].get("within_label"):
        labels = scored.set_index("content_hash")["label"].reindex(hashes)
        samples = judging.of_labels(hashes, labels.astype(object).fillna(""))
        return {"tail_agreement": agreement(vectors, samples, objects)}
    names = ("kind_stability", "large_kinds", "reach")
    kinds: dict[str, float] = {n: run.record[n] for n in names if n in run.record}
    if "outlier_factor" in scored:
        kinds["standing_out"] = outliers.standing_out(scored["outlier_factor"].to_numpy())
    rank = partial(outliers.rarity, weights=reference.weights_of(run))
    halves = agreement(vectors, judging.of_all(hashes, rank), objects)
    return {"tail_agreement": halves, **kinds, **rare_labels.check(scored)}


def _of_tiles(run: Run) -> dict[str, float]:
    """Whether small objects are found, unless tiles are ranked by the minority score."""
    found = run.record.get("discs_found")
    ranked = run.record["settings"]["rank_by"] in classes.BY_VECTORS
    return {"discs_found": found} if ranked and found is not None else {}


def _sample(scored: pd.DataFrame, size: int, fit: Fit, rendering: Rendering) -> NDArray[np.uint8]:
    """At most `SAMPLE` of the images, evenly spaced in the table, ``(n, 3, size, size)``."""
    step = -(-len(scored) // SAMPLE)
    files = list(zip(scored["content_hash"], regions.places(scored), strict=True))[::step]
    batches = collection.read_batches(
        files, size=size, fit=fit, rendering=rendering, batch_size=64, workers=1
    )
    return np.concatenate([pixels for _, pixels, _ in batches])


def agreement(vectors: NDArray[np.float32], samples: Iterable[Sample], shared: int = 0) -> float:
    """Mean `outliers.tail_agreement` of samples that are ranked apart, weighted by their size.

    Args:
        vectors: ``(N, d)``.
        samples: of their rows.
        shared: as for `outliers.tail_agreement`.

    Returns:
        In [0, 1]; NaN without samples.
    """
    agreements, sizes = [], []
    if vectors.shape[1] > 1:
        for sample in samples:
            halves = outliers.agreement_of_halves(vectors[sample.rows], sample.rank, shared)
            agreements.append(halves)
            sizes.append(sample.size)
    return float(np.average(agreements, weights=sizes)) if agreements else math.nan


def in_words(
    numbers: dict[str, float], run: Run, images: int, scorer: Scorer, embedder: Embedder
) -> list[str]:
    """A warning, with what to do, for every number that is not good enough."""
    warnings = []
    rank_by = run.record["settings"]["rank_by"]
    if numbers.get("denoising_gain", math.inf) < 1.1:
        warnings.append(
            f"The model is not trained enough, or was trained on other images: at sigma "
            f"{scorer.sigma:.3g} it removes noise no better than a linear filter (gain "
            f"{numbers['denoising_gain']:.2f}). The minority score is mostly texture; train longer "
            "(--train-minutes) or give a trained model (--model)."
        )
    elif numbers.get("still_improving", 0) > 0.03:
        warnings.append(
            f"The model was still improving when training ended (held-out error fell by "
            f"{numbers['still_improving']:.0%} in the last quarter): more --train-minutes will "
            "change the minority score."
        )
    trained = scorer.denoiser.trained_sigmas
    if trained and not trained[0] <= scorer.sigma <= trained[1]:
        warnings.append(
            f"The model was trained for noise levels {trained[0]:.2g} to {trained[1]:.2g} and "
            f"scored at {scorer.sigma:.2g}: train it there (mincurate train --sigma)."
        )
    if rank_by == "minority" and abs(numbers.get("spearman_complexity", 0)) > 0.5:
        kind = "complex" if numbers["spearman_complexity"] > 0 else "simple"
        warnings.append(
            f"The minority score follows image complexity (Spearman "
            f"{numbers['spearman_complexity']:.2f}): {kind} images rank high because they are "
            f"{kind}, not only because they are rare. Compare with --rank-by embedding."
        )
    if numbers.get("rank_stability", 1) < 0.9:
        warnings.append(
            "With other noise the minority score would rank images differently (rank correlation "
            f"{numbers['rank_stability']:.2f}): raise --n-draws."
        )
    if embedder.weak:
        ranked = "The ranking" if rank_by == "embedding" else "The calibrated score"
        warnings.append(
            f"{ranked}, neighbour distances and the map use a weak embedding (features of the "
            "denoiser, which is not trained to distinguish kinds of images): --embedding "
            "torchvision:NAME@FILE gives a better one."
        )
    return [*warnings, *_few(images, run.noun)]


def _few(images: int, noun: str) -> list[str]:
    if images >= reliability.FEW:
        return []
    return [
        f"Few different {noun} ({images:,}): a class of a tenth holds {max(1, images // 10)}, "
        f"and which {noun} are rare is largely chance."
    ]


def linear_filter_error(x0: NDArray[np.float32], sigma: float) -> float:
    """Mean squared error of the Wiener filter for these samples, in closed form.

    The best linear, shift-invariant denoiser keeps ``S / (S + sigma^2)`` of every frequency with
    mean power S, and leaves the error ``S sigma^2 / (S + sigma^2)``.

    Args:
        x0: ``(N, C, h, w)``: images in [-1, 1], or latents.
        sigma: noise level.
    """
    power = (np.abs(np.fft.fft2(x0 - x0.mean(), norm="ortho")) ** 2).mean(0)
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
