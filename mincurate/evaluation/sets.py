"""The sets of images that an evaluation compares: real, plain and guided ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from mincurate.diffusion.denoiser import to_tensor
from mincurate.errors import UserError
from mincurate.evaluation import metric_table, metrics
from mincurate.evaluation.metrics import Vectors
from mincurate.images import collection
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import classes
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base

LEAST = 6
"""Images that a set needs to be judged: one more than `metrics.COVERAGE_K`."""
SPATIAL_SIDE = 4
"""The spatial FID takes the deepest layer with at least so many positions on a side."""
EQUAL = "ddpm-as-accepted"
"""The plain images, cut to the number of accepted ones: for metrics that depend on it."""
READINGS = {
    "minority_score": "higher is rarer",
    "rarity_percentile": "higher is rarer; real images have 0.5",
    "in_rarest_tenth": "higher is rarer; real images have 0.1",
}
"""Metrics from the run's own ranking, beside those of `metric_table.READINGS`."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Generated images: their table, embeddings, and features for the spatial FID."""

    frame: pd.DataFrame
    vectors: Vectors
    spatial: Vectors


def spatial_features(
    scorer: Scorer, base: Base, paths: list[str], reporter: Reporter = SILENT
) -> tuple[Vectors, str]:
    """Features for the spatial FID, from a spatial layer of the score's own perceptual network.

    Returns:
        ``(N, d)``, and what they are.
    """
    parts, where = [], ""
    batches = collection.read_batches(
        [(path, path) for path in paths],
        size=base.size,
        fit=base.fit,
        rendering=base.rendering,
        batch_size=128,
        workers=2,
    )
    with reporter.task("Spatial features", len(paths)) as advance:
        for _, pixels, bad in batches:
            if bad:
                path, reason = next(iter(bad.items()))
                raise UserError(f"{path} can no longer be read: {reason}.")
            with torch.inference_mode():
                maps = scorer.perceptual.trunk(to_tensor(pixels, scorer.denoiser.device))
            wide = [i for i, m in enumerate(maps) if min(m.shape[2:]) >= SPATIAL_SIDE]
            layer = wide[-1] if wide else 0
            chosen = maps[layer].float().cpu().numpy()
            h, w = chosen.shape[2:]
            where = f"{scorer.perceptual.name}, layer {layer + 1} of {len(maps)} at {h} x {w}"
            parts.append(metrics.spatial_vectors(chosen))
            advance(len(pixels))
    return np.concatenate(parts), where


def judge(
    base: Base, spatial: Vectors, guided: ImageSet, ddpm: ImageSet, reporter: Reporter = SILENT
) -> pd.DataFrame:
    """The table of an `Evaluation`.

    Args:
        spatial: spatial features of the images of ``base``.
    """
    tail = classes.tail_rows(base.frame[base.column])
    accepted = guided.frame["accepted"].to_numpy(bool)
    few = LEAST <= int(accepted.sum()) < len(accepted)
    references = 2 if len(tail) >= LEAST else 1
    if references == 1:
        reporter.warn(
            f"The rarest tenth of run {base.run.key} has {len(tail)} images, too few to judge by."
        )
    space = f"{base.run.record['embedding']} at {base.size} px"
    seed = int(base.run.record["settings"]["seed"])

    def compare(sets: dict[str, ImageSet]) -> pd.DataFrame:
        return metric_table.judge(
            base.vectors,
            {name: images.vectors for name, images in sets.items()},
            feature_space=space,
            tail=tail if references == 2 else None,
            spatial_real=spatial,
            spatial_generated={name: images.spatial for name, images in sets.items()},
            seed=seed,
            advance=advance,
        )

    with reporter.task("Judging", references * (3 + 3 * few), "sets") as advance:
        parts = [compare({"ddpm": ddpm, "guided": guided})]
        if few:
            fit = ImageSet(
                guided.frame[accepted], guided.vectors[accepted], guided.spatial[accepted]
            )
            both = compare({"accepted": fit, EQUAL: ddpm})
            parts.append(both[both["set"] != "real"])
    if accepted.all():
        parts.append(parts[0][parts[0]["set"] == "guided"].assign(set="accepted"))
    sets = {"real": base.frame, "ddpm": ddpm.frame, "guided": guided.frame}
    if accepted.any():
        sets["accepted"] = guided.frame[accepted]
    record = base.run.record
    distance = f"{record.get('perceptual') or record['settings']['perceptual']} at {base.size} px"
    parts.append(_ranks(sets, len(base.frame), distance, seed))
    return pd.concat(parts, ignore_index=True)


def _ranks(sets: dict[str, pd.DataFrame], n_real: int, space: str, seed: int) -> pd.DataFrame:
    rows = []
    for name, frame in sets.items():
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
                    "n_real": n_real,
                    "n": len(frame),
                    "feature_space": space,
                }
            )
    return pd.DataFrame(rows)
