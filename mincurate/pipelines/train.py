"""Train a denoiser on a folder of images: the one call behind ``mincurate train``."""

from pathlib import Path

from mincurate import hashing
from mincurate.compute.device import choose_device
from mincurate.compute.ray_map import choose_engine
from mincurate.diffusion import models, train_denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.models import SIGMA_PER_PIXEL, training_words
from mincurate.errors import UserError
from mincurate.images import collection as collections
from mincurate.images.decode import Fit
from mincurate.pipelines.open_images import open_images
from mincurate.progress import SILENT, Reporter
from mincurate.runs import digests, files
from mincurate.runs.store import Run


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
    models.check_numbers(
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
    start = load_denoiser(models.place(model), device) if model else None
    collection = open_images(
        path, labels=False, max_images=max_images, seed=seed, workers=workers, reporter=reporter
    )
    size = start.image_size if start else image_size or models.choose_size(collection, device)
    plan = train_denoiser.Training(
        image_size=size,
        sigmas=None if all_levels else train_denoiser.around(sigma or SIGMA_PER_PIXEL * size),
        minutes=minutes,
        steps=steps,
        seed=seed,
        batch_size=models.images_per_step(device, all_levels=all_levels),
    )
    folder = Path(output).expanduser()
    identity = hashing.fingerprint([collection.digest, str(plan), start and start.content_hash()])
    marker = folder / "training-request"
    if marker.is_file() and marker.read_text() != identity:
        raise UserError(
            f"{folder} holds a training of other images or settings; choose another --output."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_atomically(marker, identity.encode())
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}.") from error
    reporter.say(training_words(plan, len(collection.unique), device))
    pixels = collections.training_pixels(collection, size=size, fit=fit, seed=seed, workers=workers)
    with digests.held(Run(folder)):
        return train_denoiser.train(
            pixels, folder, plan, start=start, device=device, cluster=cluster, reporter=reporter
        )
