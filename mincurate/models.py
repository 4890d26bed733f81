"""The denoiser of a collection: trained now, trained before, or given by the user."""

from pathlib import Path
from typing import Any

from mincurate import collection as collections
from mincurate import denoiser as denoisers
from mincurate import runs, seals, training
from mincurate.collection import Collection
from mincurate.denoiser import Denoiser
from mincurate.device import choose_device
from mincurate.engine import Cluster, choose_engine
from mincurate.errors import UserError
from mincurate.images import Fit
from mincurate.progress import SILENT, Reporter
from mincurate.runs import Run

SIGMA_PER_PIXEL = 0.005
"""Default noise level per pixel of the image's side: 0.16 at 32 px.

Measured against lower and higher ones by ``benchmarks/detection.py --sigmas`` and
``benchmarks/tried.py``."""


def train(
    path: str | Path,
    output: str | Path,
    *,
    model: str | None = None,
    image_size: int | None = None,
    sigma: float | None = None,
    all_levels: bool = False,
    minutes: float = 10.0,
    steps: int | None = None,
    fit: Fit = "crop",
    max_images: int | None = None,
    seed: int = 0,
    workers: int = 2,
    device: str = "auto",
    engine: str = "local",
    address: str | None = None,
    num_workers: int | None = None,
    reporter: Reporter = SILENT,
) -> Denoiser:
    """Train a denoiser on the images of ``path`` and save it as a diffusers pipeline in ``output``.

    Args:
        model: a model to go on from, in place of a new one.
        sigma: noise level to concentrate on; default as in `score`.
        all_levels: train every noise level, as generating images needs.
        engine: ``local``, or ``ray`` to train in processes of a Ray cluster, which all see
            ``output`` under the same path.
        address: of a running cluster; one is started on this machine when absent.
        num_workers: processes on Ray; one per GPU, or per CPU where there is none, when absent.

    Raises:
        UserError: something the user can mend.
        trainer.TrainingInterruptedError: Ctrl-C; give the same command again to go on.
    """
    cluster = choose_engine(engine, address, num_workers, device)
    check_numbers(
        sigma=sigma,
        image_size=image_size,
        minutes=minutes,
        steps=steps,
        seed=seed,
        workers=workers,
        max_images=max_images,
    )
    collections.check_place(path)
    device = choose_device(device)
    start = denoisers.load(place(model), device) if model else None
    collection = collections.open_collection(
        path, labels=False, max_images=max_images, seed=seed, workers=workers, reporter=reporter
    )
    size = start.image_size if start else image_size or choose_size(collection, device)
    plan = training.Training(
        image_size=size,
        sigmas=None if all_levels else training.around(sigma or SIGMA_PER_PIXEL * size),
        minutes=minutes,
        steps=steps,
        seed=seed,
        batch_size=images_per_step(device, all_levels=all_levels),
    )
    folder = Path(output).expanduser()
    identity = runs.fingerprint([collection.digest, str(plan), start and start.content_hash()])
    marker = folder / "training-request"
    if marker.is_file() and marker.read_text() != identity:
        raise UserError(
            f"{folder} holds a training of other images or settings; choose another --output."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_atomically(marker, identity.encode())
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}.") from error
    reporter.say(_training_words(plan, len(collection.unique), device))
    pixels = collections.training_pixels(collection, size=size, fit=fit, seed=seed, workers=workers)
    with seals.held(Run(folder)):
        return training.train(
            pixels, folder, plan, start=start, device=device, cluster=cluster, reporter=reporter
        )


def trained_model(
    collection: Collection,
    plan: training.Training | None,
    *,
    fit: Fit,
    workers: int,
    device: str,
    cluster: Cluster | None,
    reporter: Reporter,
) -> Denoiser:
    """The model of these images and settings: from the cache, or trained now and kept there."""
    assert plan is not None
    key = runs.fingerprint([collection.digest, str(plan), fit])
    folder = runs.home() / "models" / key
    if training.finished(folder):
        reporter.say(f"Using the model trained on these images before ({folder}).")
        return denoisers.load(str(folder), device)
    reporter.say(_training_words(plan, len(collection.unique), device))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with seals.held(Run(folder)):
            pixels = collections.training_pixels(
                collection, size=plan.image_size, fit=fit, seed=plan.seed, workers=workers
            )
            return training.train(
                pixels, folder, plan, device=device, cluster=cluster, reporter=reporter
            )
    except OSError as error:
        raise UserError(
            f"Cannot write the model to {folder}: {error.strerror or error}; free some space or "
            "set MINCURATE_HOME, then give the same command again."
        ) from error


def place(model: str) -> str:
    """Where a model is: ``model`` itself, or the model of the run that it names.

    Raises:
        UserError: the run is not known, or its model is gone.
    """
    if not model.startswith(runs.PREFIX) or Path(model).exists():
        return model
    name = (runs.find(model).record.get("model") or {}).get("name")
    if not name or (Path(name).is_absolute() and not Path(name).is_dir()):
        raise UserError(f"The model of run {model} is not here any more; score without --model.")
    return str(name)


def choose_size(collection: Collection, device: str) -> int:
    """Side to train at: that of the images, rounded up to a multiple of 8, within 16 .. 32 pixels
    (64 on a GPU)."""
    limit = 64 if device.startswith("cuda") else 32
    return min(limit, max(16, -(-collection.usual_side() // 8) * 8))


def images_per_step(device: str, *, all_levels: bool = False) -> int:
    """Images of a training step: few on a CPU, as many on a GPU as cost it no more than a few.

    More when all levels are trained, where gradients are noisier (the levels of a batch differ).
    """
    if device.startswith("cuda"):
        return 64
    return 32 if all_levels else training.Training.batch_size


def model_record(denoiser: Denoiser, *, trained_here: bool) -> dict[str, Any]:
    """What a run keeps of its model."""
    said = training.record(Path(denoiser.name)) if Path(denoiser.name).is_dir() else {}
    return {
        "name": denoiser.name,
        "hash": denoiser.content_hash(),
        "image_size": denoiser.image_size,
        "prediction_type": denoiser.prediction_type,
        "parameters": sum(p.numel() for p in denoiser.unet.parameters()),
        "trained_here": trained_here,
        "trained_images": said.get("images_seen"),
        "trained_minutes": said.get("minutes"),
        "trained_sigmas": said.get("trained_sigmas"),
        "curve": said.get("curve", []),
    }


def _training_words(plan: training.Training, images: int, device: str) -> str:
    levels = (
        f"on noise levels {plan.sigmas[0]:.2g} to {plan.sigmas[1]:.2g}"
        if plan.sigmas
        else "on all noise levels"
    )
    budget = f"{plan.steps} steps" if plan.steps else f"about {plan.minutes:g} minutes"
    return (
        f"Training a denoiser {levels} on {images:,} images at {plan.image_size} px on {device}: "
        f"{budget}. Ctrl-C keeps what is done."
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
    """Raise `UserError` for a noise level, size, budget or count that cannot be."""
    if sigma is not None and not 0.02 <= sigma <= 100:
        raise UserError(f"--sigma is a noise level from 0.02 to 100, not {sigma}.")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed is a whole number from 0 to 4294967295, not {seed}.")
    for name, value in (("workers", workers), ("max-images", max_images), ("train-steps", steps)):
        if value is not None and value < 1:
            raise UserError(f"--{name} is at least 1, not {value}.")
    if image_size is not None and (image_size < 16 or image_size % 8):
        raise UserError(f"--image-size is a multiple of 8, at least 16 pixels, not {image_size}.")
    if not minutes > 0:
        raise UserError(f"--train-minutes is more than 0, not {minutes}.")
