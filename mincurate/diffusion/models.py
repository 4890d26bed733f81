"""The denoiser of a run: trained on its images now or before, or given by the user."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mincurate import hashing, paths
from mincurate.compute.ray_map import Cluster
from mincurate.diffusion import train_denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.prompts import Wording
from mincurate.errors import UserError
from mincurate.images import collection as collections
from mincurate.images.collection import Collection
from mincurate.images.decode import Fit
from mincurate.progress import Reporter, budget
from mincurate.runs import digests, store
from mincurate.runs.store import Run

SIGMA_PER_PIXEL = 0.005
"""Default noise level per pixel of the image's side: 0.16 at 32 px.

Compared with other levels in ``benchmarks/detection.py --sigmas`` and ``benchmarks/tried.py``."""
PIXEL_STD = 0.5
"""Standard deviation of pixels in [-1, 1], about; that of latents is about 1."""


def trained_model(
    collection: Collection,
    plan: train_denoiser.Training | None,
    *,
    fit: Fit,
    workers: int,
    device: str,
    cluster: Cluster | None,
    reporter: Reporter,
) -> Denoiser:
    """The model of these images and settings: from the cache, or trained now and cached."""
    assert plan is not None
    key = hashing.fingerprint([collection.digest, str(plan), fit])
    folder = paths.home() / "models" / key
    if train_denoiser.finished(folder):
        reporter.say(f"Using the model trained on these images before ({folder}).")
        return load_denoiser(str(folder), device)
    reporter.say(training_words(plan, len(collection.unique), device))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with digests.held(Run(folder)):
            _, pixels = collections.training_pixels(
                collection, size=plan.image_size, fit=fit, seed=plan.seed, workers=workers
            )
            return train_denoiser.train(
                pixels, folder, plan, device=device, cluster=cluster, reporter=reporter
            )
    except OSError as error:
        raise UserError(
            f"Cannot write the model to {folder}: {error.strerror or error}; free some space or "
            "set MINCURATE_HOME, then give the same command again."
        ) from error


def check_bands(denoiser: Denoiser, collection: Collection) -> None:
    """Raise `UserError` where a model is of images of another number of bands."""
    channels = collection.rendering.channels
    if denoiser.bands != channels:
        raise UserError(
            f"The model {denoiser.name} is of images of {denoiser.bands} bands, and here "
            f"{channels} are taken: leave out --model, or choose other --bands."
        )


def default_sigma(image_size: int, per_pixel: float, denoiser: Denoiser | None = None) -> float:
    """The noise level of a score, where none is given.

    Latents get the level at which noise is as strong beside them as it is beside pixels, in images
    of as many pixels a side as there are latents. The level for pixels comes to the same beside the
    mean of as many pixels as a latent stands for.

    Args:
        image_size: in pixels.
        per_pixel: noise level of a pixel model, per pixel of the side.
        denoiser: the model; a pixel model when absent.
    """
    if denoiser is None or denoiser.autoencoder is None:
        return per_pixel * image_size
    return per_pixel * image_size / denoiser.autoencoder.factor / PIXEL_STD


def recorded(record: Mapping[str, Any], device: str) -> Denoiser:
    """The model of a `model_record`, with the prompts that it had.

    Raises:
        UserError: it is not there any more.
    """
    return load_denoiser(str(record["name"]), device, wording(record))


def wording(record: Mapping[str, Any]) -> Wording | None:
    """The prompts in a `model_record`; ``None`` for a model that takes no text."""
    prompts = record.get("prompts")
    return Wording(prompts["prompt"], tuple(prompts["labels"])) if prompts else None


def place(model: str) -> str:
    """The folder or hub name of a model: ``model`` itself, or the model of the run it names.

    Raises:
        UserError: there is no such run, or its model was deleted.
    """
    if not model.startswith(store.PREFIX) or Path(model).exists():
        return model
    name = (store.find(model).record.get("model") or {}).get("name")
    if not name or (Path(name).is_absolute() and not Path(name).exists()):
        raise UserError(f"The model of run {model} was deleted; score without --model.")
    return str(name)


def choose_size(collection: Collection, device: str) -> int:
    """Side to train at, in pixels: that of the images, rounded up to a multiple of 8.

    It is at least 16 and at most 32 (64 on a GPU).
    """
    limit = 64 if device.startswith("cuda") else 32
    return min(limit, max(16, -(-collection.usual_side() // 8) * 8))


def images_per_step(device: str, *, all_levels: bool = False, latent: bool = False) -> int:
    """Batch size of a training: small on a CPU, on a GPU as large as costs no more time.

    Larger for all noise levels, where gradients are noisier.

    Args:
        latent: the images are latents of 32 x 32 and the like, which cost more.
    """
    if device.startswith("cuda"):
        return 64
    if latent:
        return 16
    return 32 if all_levels else train_denoiser.Training.batch_size


def model_record(denoiser: Denoiser, *, trained_here: bool) -> dict[str, Any]:
    """What a run records of its model."""
    training = train_denoiser.record(Path(denoiser.name)) if Path(denoiser.name).is_dir() else {}
    return {
        "name": denoiser.name,
        "hash": denoiser.content_hash(),
        "image_size": denoiser.image_size,
        "prediction_type": denoiser.prediction_type,
        "num_classes": denoiser.num_classes,
        "autoencoder": denoiser.autoencoder and denoiser.autoencoder.kind,
        "prompts": denoiser.wording and asdict(denoiser.wording),
        "parameters": sum(p.numel() for p in denoiser.unet.parameters()),
        "trained_here": trained_here,
        "trained_images": training.get("images_seen"),
        "trained_minutes": training.get("minutes"),
        "trained_sigmas": training.get("trained_sigmas"),
        "curve": training.get("curve", []),
    }


def training_words(
    plan: train_denoiser.Training, images: int, device: str, *, latent: bool = False
) -> str:
    """The line before a training: noise levels, size and budget."""
    levels = (
        f"on noise levels {plan.sigmas[0]:.2g} to {plan.sigmas[1]:.2g}"
        if plan.sigmas
        else "on all noise levels"
    )
    time = budget(plan.minutes, plan.steps, "--train-minutes")
    what = "the latents of " if latent else ""
    return (
        f"Training the denoiser {levels} on {what}{images:,} images at {plan.image_size} px on "
        f"{device}: {time}. Ctrl-C keeps the progress."
    )


def check_numbers(
    *,
    sigma: float | None,
    image_size: int | None,
    minutes: float,
    steps: int | None,
    seed: int,
    workers: int,
    max_images: int | None,
) -> None:
    """Raise `UserError` for a noise level, size, budget or count that is out of range."""
    if sigma is not None and not 0.02 <= sigma <= 100:
        raise UserError(f"--sigma is a noise level from 0.02 to 100, not {sigma}.")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed is a whole number from 0 to 4294967295, not {seed}.")
    for name, value in (("workers", workers), ("max-images", max_images), ("train-steps", steps)):
        if value is not None and value < 1:
            raise UserError(f"--{name} is at least 1, not {value}.")
    if image_size is not None and (image_size < 16 or image_size % 8):
        raise UserError(f"--image-size is a multiple of 8, at least 16 pixels, not {image_size}.")
    if not 0 < minutes < math.inf:
        raise UserError(f"--train-minutes is a finite number above 0, not {minutes}.")
