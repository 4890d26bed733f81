"""Train a denoiser on a folder of images: the one call behind ``mincurate train``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.compute.device import choose_device
from mincurate.compute.ray_map import choose_engine
from mincurate.diffusion import (
    conditions,
    lora,
    models,
    tail_weights,
    train_denoiser,
    training_plan,
)
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.train_denoiser import Training
from mincurate.errors import UserError
from mincurate.images import collection
from mincurate.images.collection import Collection
from mincurate.images.decode import Fit
from mincurate.pipelines import training_samples
from mincurate.pipelines.open_images import Images, open_images, place_of
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.runs import atomic_files, digests, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

if TYPE_CHECKING:
    from mincurate.diffusion.autoencoder import Autoencoder


@dataclass(frozen=True)
class TrainSettings:
    """The settings of `train`; a command-line option and a setting have the same names.

    Attributes:
        model: a model to go on from, in place of a new one.
        image_size: side of the images, in pixels; a multiple of 8.
        sigma: noise level to concentrate on; default as in `score`.
        conditional: learn the labels of the images, too.
        all_levels: train every noise level, as generating images needs.
        tail_weight: draw images of rare labels oftener: 0 as they come, 1 all labels equally often.
        rarity_of: a scored run (see `find_run`): draw the images that are rare there oftener, in
            place of those of rare labels.
        latent: an autoencoder, on whose latents a new model is trained, at all noise levels.
        lora: rank of adapters that are trained in place of all weights of ``model``.
        train_minutes: training budget in minutes.
        train_steps: exact number of training steps, in place of minutes.
        fit: how an image becomes square.
        max_images: train on a random sample of this many files.
        seed: random seed.
        workers: processes that decode images.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        engine: ``local``, or ``ray`` to train in processes of a Ray cluster, which all see the
            output folder under the same path.
        address: of a running cluster; one is started on this machine when absent.
        num_workers: processes on Ray; one per GPU, or per CPU where there is none, when absent.
    """

    model: str | None = None
    image_size: int | None = None
    sigma: float | None = None
    conditional: bool = False
    all_levels: bool = False
    tail_weight: float = 0.0
    rarity_of: AnyRun = None
    latent: str | None = None
    lora: int | None = None
    train_minutes: float = 10.0
    train_steps: int | None = None
    fit: Fit = "crop"
    max_images: int | None = None
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    engine: str = "local"
    address: str | None = None
    num_workers: int | None = None


def train(
    path: Images,
    output: str | Path,
    settings: TrainSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Denoiser:
    """Train a denoiser on the images of ``path`` and save it as a diffusers pipeline in ``output``.

    Args:
        path: as in `score`.
        output: folder of the model.
        settings: all settings at once.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings by name, such as ``train_steps=100``; see `TrainSettings`.

    Raises:
        UserError: something the user can mend.
        trainer.TrainingInterruptedError: Ctrl-C; give the same command again to go on.
    """
    reporter = choose_reporter(reporter, progress)
    settings = replace(settings or TrainSettings(), **changes)
    cluster = choose_engine(
        settings.engine, settings.address, settings.num_workers, settings.device
    )
    _check(settings)
    device = choose_device(settings.device)
    start = _start(settings.model, device)
    conditional = settings.conditional or bool(start and start.num_classes)
    ranked = None if settings.rarity_of is None else find_run(settings.rarity_of, kind=store.SCORE)
    by_label = settings.tail_weight > 0 and ranked is None
    images = _open(path, settings, reporter, labels=conditional or by_label)
    if start:
        models.check_bands(start, images)
    autoencoder = training_samples.autoencoder_for(settings.latent, start, images, device)
    plan = _plan(images, start, autoencoder, settings, device)
    plan = replace(plan, rarity_of=ranked.key if ranked else None)
    classes: dict[str, int] = {}
    if conditional:
        classes, plan = _classes(images, start, plan)
    weight_of = _weights(images, ranked, settings.tail_weight)
    folder = Path(output).expanduser()
    _claim(folder, _identity(images, start, autoencoder, plan, classes, weight_of))
    words = models.training_words(plan, len(images.unique), device, latent=autoencoder is not None)
    reporter.say(words)
    samples = training_samples.of_images(
        images,
        size=plan.image_size,
        fit=settings.fit,
        seed=settings.seed,
        workers=settings.workers,
        autoencoder=autoencoder,
        standardise=start is None,
        reporter=reporter,
    )
    with digests.held(Run(folder)):
        return train_denoiser.train(
            samples.values,
            folder,
            plan,
            start=start,
            autoencoder=samples.autoencoder,
            classes=_classes_of(samples.hashes, images, classes) if conditional else None,
            weights=np.array([weight_of[name] for name in samples.hashes]) if weight_of else None,
            device=device,
            cluster=cluster,
            reporter=reporter,
        )


def _start(model: str | None, device: str) -> Denoiser | None:
    """The model to go on from, if any.

    Raises:
        UserError: there is no such model, or it is not one to train.
    """
    if model is None:
        return None
    start = load_denoiser(models.place(model), device)
    kind = type(start.unet).__name__
    if kind != "UNet2DModel":
        raise UserError(
            f"The model {start.name} has a network of the class {kind}; only a UNet2DModel can be "
            "trained further, on pixels or latents."
        )
    return start


def _rate(start: Denoiser | None, settings: TrainSettings) -> float:
    """Peak of the learning rate."""
    if settings.lora:
        return training_plan.ADAPTER_RATE
    if start is None or train_denoiser.record(Path(start.name)):
        return Training.learning_rate
    return training_plan.FINE_TUNING_RATE


def _check(settings: TrainSettings) -> None:
    """Raise `UserError` for a number that is out of range."""
    models.check_numbers(
        sigma=settings.sigma,
        image_size=settings.image_size,
        minutes=settings.train_minutes,
        steps=settings.train_steps,
        seed=settings.seed,
        workers=settings.workers,
        max_images=settings.max_images,
    )
    if not 0 <= settings.tail_weight <= 1:
        raise UserError(f"--tail-weight is a number from 0 to 1, not {settings.tail_weight}.")
    if settings.rarity_of is not None and not settings.tail_weight:
        raise UserError("--rarity-of says by what --tail-weight weighs: give both, or neither.")
    if settings.lora is not None:
        lora.check(settings.lora)
        if settings.model is None:
            raise UserError("--lora adapts a trained model: name it with --model.")
    if settings.latent is not None and settings.model is not None:
        raise UserError("--latent is for a new model; one of --model has its own autoencoder.")


def _open(path: Images, settings: TrainSettings, reporter: Reporter, *, labels: bool) -> Collection:
    """The images to train on, with their labels where these are needed.

    Raises:
        UserError: there are none.
    """
    taken = None if labels else False
    place = place_of(path, labels=taken)
    collection.check_place(place)
    images = open_images(
        place,
        labels=taken,
        max_images=settings.max_images,
        seed=settings.seed,
        workers=settings.workers,
        reporter=reporter,
    )
    if labels and not images.labels:
        needs = "The class-conditional --model"
        if settings.tail_weight or settings.conditional:
            needs = "--tail-weight" if settings.tail_weight else "--conditional"
        other = ", or weigh by the rarity of a run (--rarity-of)" if settings.tail_weight else ""
        raise UserError(
            f"{needs} needs labels: put the images into a sub-folder for each, or give a table "
            f"with a label column{other}."
        )
    return images


def _identity(
    images: Collection,
    start: Denoiser | None,
    autoencoder: "Autoencoder | None",
    plan: Training,
    classes: dict[str, int],
    weight_of: dict[str, float],
) -> str:
    """Fingerprint of all that decides the model."""
    facts: list[Any] = [images.digest, str(plan), start and start.content_hash()]
    if classes:
        facts += [sorted(classes.items()), _labels(images)]
    if autoencoder is not None:
        facts.append(autoencoder.content_hash())
    if plan.lora:
        facts.append(f"lora {plan.lora}")
    if plan.tail_weight:
        facts += [plan.tail_weight, weight_of if plan.rarity_of else _labels(images)]
    return hashing.fingerprint(facts)


def _labels(images: Collection) -> dict[str, str | None]:
    """Content hash of every different image to its label."""
    return {name: source.label for name, (source, _) in images.unique.items()}


def _classes(
    images: Collection, start: Denoiser | None, plan: Training
) -> tuple[dict[str, int], Training]:
    """The class of every label, and the plan with the names of the classes.

    Raises:
        UserError: the labels are not those of the model to go on from.
    """
    if start is None:
        names = images.labels
        return {name: i for i, name in enumerate(names)}, replace(plan, class_names=tuple(names))
    if not start.num_classes:
        raise UserError(
            f"The model {start.name} is unconditional and stays so when it is trained further: "
            "leave out --conditional, or --model for a new one."
        )
    classes = conditions.of_labels(start, list(_labels(images).values()))
    of_class = {k: name for name, k in classes.items()}
    own = start.class_names or tuple(of_class.get(k, str(k)) for k in range(start.num_classes))
    return classes, replace(plan, class_names=own)


def _classes_of(
    hashes: list[str], images: Collection, classes: dict[str, int]
) -> NDArray[np.int64]:
    """The class of every image, ``(N,)``."""
    labels = _labels(images)
    of = conditions.of_images(classes, hashes, [labels[name] for name in hashes])
    return of.classes(hashes).numpy()


def _weights(images: Collection, ranked: Run | None, tail_weight: float) -> dict[str, float]:
    """Content hash to how often an image is drawn; empty for all equally often.

    Raises:
        UserError: the run has ranked none of them.
    """
    if not tail_weight:
        return {}
    names = list(images.unique)
    if ranked is None:
        labels = _labels(images)
        weights = tail_weights.by_label([labels[name] for name in names], tail_weight)
    else:
        ranked.check_whole_images()
        rarity = ranked.frame().drop_duplicates("content_hash").set_index("content_hash")["rarity"]
        values = rarity.reindex(names).to_numpy(np.float64, na_value=np.nan)
        if np.isnan(values).all():
            raise UserError(f"The run {ranked.key} has ranked none of these images: score them.")
        weights = tail_weights.by_rarity(values, tail_weight)
    return dict(zip(names, weights.tolist(), strict=True))


def _plan(
    images: Collection,
    start: Denoiser | None,
    autoencoder: "Autoencoder | None",
    settings: TrainSettings,
    device: str,
) -> Training:
    """Size, noise levels and budget of the training."""
    if start:
        size = start.image_size
    elif autoencoder is not None:
        size = training_samples.size_in_latents(
            images, autoencoder, len(Training.channels), settings.image_size
        )
    else:
        size = settings.image_size or models.choose_size(images, device)
    sigma = settings.sigma or models.SIGMA_PER_PIXEL * size
    all_levels = settings.all_levels or autoencoder is not None
    return Training(
        image_size=size,
        sigmas=None if all_levels else training_plan.around(sigma),
        minutes=settings.train_minutes,
        steps=settings.train_steps,
        seed=settings.seed,
        batch_size=models.images_per_step(
            device, all_levels=all_levels, latent=autoencoder is not None
        ),
        learning_rate=_rate(start, settings),
        bands=images.rendering.channels,
        tail_weight=settings.tail_weight,
        lora=settings.lora,
    )


def _claim(folder: Path, identity: str) -> None:
    """Mark the output folder as that of this training.

    Raises:
        UserError: it holds another training, or cannot be written.
    """
    marker = folder / "training-request"
    if marker.is_file() and marker.read_text() != identity:
        raise UserError(
            f"{folder} holds a training of other images or settings; choose another --output."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_atomically(marker, identity.encode())
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}.") from error
