"""Where an image and its one-shot reconstruction differ: the minority score, place by place."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from numpy.typing import NDArray

from mincurate.compute.device import choose_device, precision
from mincurate.errors import UserError
from mincurate.images.bit_depth import Rendering
from mincurate.images.decode import Fit, UnreadableImage
from mincurate.images.decode_pool import decode_many
from mincurate.images.regions import FileOrRegion
from mincurate.ranking import minority_score, reference
from mincurate.ranking.minority_score import Scorer
from mincurate.report.figures import Picture
from mincurate.runs.store import Run


@dataclass(frozen=True, eq=False)
class Difference:
    """An image as the score sees it.

    Attributes:
        original: ``(S, S, 3)``, at the size that was scored.
        reconstruction: by the model, from the first draw's noise.
        heat: ``(S, S)``, perceptual distance at every place, mean over the draws. Its mean is the
            minority score where the layers divide the image evenly, and near it elsewhere.
    """

    original: Picture
    reconstruction: Picture
    heat: NDArray[np.float32]


def difference(run: Run, place: FileOrRegion, content_hash: str) -> Difference:
    """Reconstruct an image as ``run`` did when it was scored, and see where it differs.

    The run's networks are loaded once, which takes seconds, and kept.

    Raises:
        UserError: the file cannot be read, or the networks are not to be had any more.
    """
    if not run.record.get("model"):
        raise UserError(f"The run {run.key} has no minority scores yet.")
    settings = run.record["settings"]
    size, fit = int(settings["image_size"]), _fit(settings["fit"])
    rendering = Rendering.of_record(run.record.get("rendering"))
    [[decoded]] = decode_many(
        [place], size=size, fit=fit, rendering=rendering, workers=1, batch_size=1
    )
    if isinstance(decoded, UnreadableImage):
        raise UserError(f"{place} cannot be read: {decoded}.")
    pixels = decoded[None]
    scorer = _scorer(run.path, str(run.record["model"]["hash"]))
    heat = heat_map(scorer, pixels, content_hash)
    back = scorer.reconstruct(pixels, [content_hash])
    return Difference(pixels[0, :3].transpose(1, 2, 0), back[0, :3].transpose(1, 2, 0), heat)


@torch.inference_mode()
def heat_map(scorer: Scorer, pixels: NDArray[np.uint8], identity: str) -> NDArray[np.float32]:
    """Perceptual distance of one image at every place, ``(S, S)``, mean over the scorer's draws.

    Args:
        pixels: ``(1, C, S, S)`` uint8.
        identity: content hash, which decides the noise.
    """
    device = scorer.denoiser.device
    with precision(device.type, scorer.dtype):
        x0 = scorer.samples(pixels)
        shape = tuple(x0.shape[1:])
        eps = minority_score.noise([identity], scorer.n_draws, shape, scorer.seed)[0].to(device)
        original = scorer.perceptual.sample_features(scorer.denoiser, x0)
        denoiser = scorer.denoiser_for([identity], len(eps))
        x0hat = denoiser.denoise(x0 + scorer.sigma * eps, scorer.sigma)
        features = scorer.perceptual.sample_features(denoiser, x0hat)
    side = pixels.shape[2:]
    total = torch.zeros(side, device=device)
    for a, b in zip(original, features, strict=True):
        layer = (a - b).square().sum(1, keepdim=True).mean(0, keepdim=True)
        # Blocks, not a smooth surface: a feature tells of its whole cell, and the mean is kept.
        total += F.interpolate(layer, size=side, mode="nearest-exact")[0, 0]
    return total.float().cpu().numpy()


def overlay(picture: Picture, heat: NDArray[np.float32], strength: float = 0.75) -> Picture:
    """The picture in grey under the heat in colours, brightest where it differs most."""
    grey = picture.astype(np.float32).mean(2, keepdims=True).repeat(3, axis=2)
    share = heat / max(float(heat.max()), 1e-12)
    colors = colormaps["inferno"](share)[..., :3] * 255
    weight = strength * share[..., None]
    mixed: Picture = ((1 - weight) * grey + weight * colors).round().clip(0, 255).astype(np.uint8)
    return mixed


def _fit(name: str) -> Fit:
    fits: dict[str, Fit] = {"crop": "crop", "pad": "pad", "stretch": "stretch"}
    return fits[name]


@lru_cache(maxsize=1)
def _scorer(folder: Path, model_hash: str) -> Scorer:
    return reference.scorer_of(Run(folder), choose_device("auto"))
