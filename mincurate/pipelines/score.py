"""Score a collection of images, end to end: the one call behind ``mincurate score``."""

import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mincurate import hashing
from mincurate.compute.device import choose_device, choose_precision
from mincurate.compute.ray_map import choose_engine
from mincurate.diffusion import models, train_denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
from mincurate.features import embedder as embedders
from mincurate.features import perceptual as perception
from mincurate.features.embedder import Embedder
from mincurate.features.perceptual import Perceptual
from mincurate.images import collection as collections
from mincurate.images.collection import Collection
from mincurate.images.decode import Fit
from mincurate.images.object_storage import remote as is_object
from mincurate.pipelines import estimates
from mincurate.pipelines.open_images import open_images
from mincurate.progress import SILENT, Reporter, about
from mincurate.ranking import classes, diagnostics, score_shards, table
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.score_shards import Reading, Recipe
from mincurate.runs import command, digests, shards, store
from mincurate.runs.store import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """What `score` leaves.

    Attributes:
        run: the folder with everything.
        dataset: name of the FiftyOne dataset, or ``None`` when none was written.
        report: the HTML report.
        stored: how many samples were added and updated in FiftyOne, in words; may be empty.
    """

    run: Run
    dataset: str | None
    report: Path
    stored: str = ""

    @property
    def frame(self) -> "pd.DataFrame":
        """One row per file; see `docs/files.md` for the columns. Higher scores are rarer."""
        return self.run.frame()

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the ranking, in words."""
        return list(self.run.record.get("warnings", []))


def score(
    path: str | Path,
    *,
    model: str | None = None,
    sigma: float | None = None,
    n_draws: int = 6,
    adaptive: bool = False,
    num_classes: int = 10,
    within_label: bool = False,
    rank_by: str = "embedding",
    perceptual: str = "auto",
    embedding: str = "auto",
    image_size: int | None = None,
    fit: Fit = "crop",
    labels: bool | None = None,
    label_field: str | None = None,
    dataset: str | None = None,
    output: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 2,
    device: str = "auto",
    precision: str = "auto",
    resume: bool = True,
    fiftyone: bool = True,
    umap: bool = True,
    max_images: int | None = None,
    train_minutes: float = 10.0,
    train_steps: int | None = None,
    engine: str = "local",
    address: str | None = None,
    num_workers: int | None = None,
    reporter: Reporter = SILENT,
) -> Result:
    """Score every image of ``path``, rank them, and store the result.

    Without ``model``, a small denoiser is trained on the images first and kept for the next time.

    Args:
        path: a folder, a URL such as ``s3://bucket/folder``, a CSV or Parquet table with a path
            column, or ``fiftyone:NAME[/VIEW]``.
        model: a diffusers pipeline or ``UNet2DModel`` folder, a hub id, or a run whose model to
            use (``mincurate_3``).
        sigma: noise level of the score; default 0.005 per pixel of the image side.
        n_draws: noise draws per image (K).
        adaptive: two draws of every image, and K of those only that two draws do not put clearly
            inside or outside the rarest class of the minority score.
        num_classes: number of ordinal classes (L), 0 = commonest.
        within_label: let ``rarity`` and ``minority_class`` rank an image among its own label.
        rank_by: ``embedding``, ``minority``, ``calibrated`` or ``neighbors``: what rarity and
            classes follow. ``embedding`` found the rare best in the study (docs/results).
        perceptual: ``auto``, ``lpips-vgg|lpips-alex|lpips-squeeze[@FILE]``, ``unet`` or
            ``torchvision:NAME[@FILE]``.
        embedding: ``auto``, ``unet``, ``torchvision:NAME[@FILE]`` or a hub id.
        image_size: side the model trains and scores at, in pixels; a multiple of 8.
        fit: how an image becomes square.
        labels: True: parent folders are labels; False: none; None: if they look like classes.
        dataset: name of the FiftyOne dataset to write.
        output: folder for the run, in place of one under ``~/.mincurate``.
        batch_size: images per batch; does not change the scores.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        resume: go on with the run of the same images and settings, if there is one.
        fiftyone: write a FiftyOne dataset.
        umap: make the two-dimensional map.
        max_images: score a random sample of this many files.
        train_minutes: training budget when there is no model; ``train_steps`` is its exact form.
        engine: ``local``, or ``ray`` to train and score in processes of a Ray cluster.
        address: of a running cluster; one is started on this machine when absent.
        num_workers: processes on Ray; one per GPU, or per CPU where there is none, when absent.

    Raises:
        UserError: something the user can mend.
        trainer.TrainingInterruptedError: Ctrl-C while training; nothing is lost.
    """
    if rank_by not in classes.RANKINGS:
        raise UserError(f"--rank-by is {', '.join(classes.RANKINGS)}, not {rank_by!r}.")
    if n_draws < 1 or num_classes < 1 or batch_size < 1:
        raise UserError("--n-draws, --num-classes and --batch-size are at least 1.")
    if adaptive and not estimates.spares_draws(n_draws, num_classes, within_label):
        raise UserError(
            "--adaptive spends draws at the edge of the rarest class of all images: it goes with "
            "4 or more --n-draws, 2 or more --num-classes, and not with --within-label."
        )
    cluster = choose_engine(engine, address, num_workers, device)
    models.check_numbers(
        sigma=sigma,
        image_size=image_size,
        minutes=train_minutes,
        steps=train_steps,
        seed=seed,
        workers=workers,
        max_images=max_images,
    )
    collections.check_place(path)
    if fiftyone and is_object(str(path)):
        raise UserError("FiftyOne shows local files only: score objects with --no-fiftyone.")
    name = None
    if fiftyone:
        from mincurate.dataset import writer

        writer.check_database()
        name = writer.choose_name(str(path), dataset)
    model = command.lasting(model, bare=True) if model else None
    perceptual, embedding = command.lasting(perceptual), command.lasting(embedding)
    wanted, device = device, choose_device(device)
    dtype = choose_precision(precision, device)
    given = load_denoiser(models.place(model), device) if model else None
    perceptual, why = perception.choose(perceptual)
    if why:
        reporter.say(why)
    embedding = embedders.choose(embedding, perceptual)
    # What needs no denoiser is loaded before the long work, so that a wrong name fails at once.
    distance = None if perceptual == "unet" else perception.load(perceptual, given, device=device)
    embedder = None if embedding == "unet" else embedders.load(embedding, given, device=device)
    collection = open_images(
        path,
        labels=labels,
        label_field=label_field,
        max_images=max_images,
        seed=seed,
        workers=workers,
        reporter=reporter,
    )
    counts = table.counts(collection)
    reporter.say(describe(counts, collection))
    size = given.image_size if given else image_size or models.choose_size(collection, device)
    sigma = float(sigma or models.SIGMA_PER_PIXEL * size)
    plan = None
    if given is None:
        plan = train_denoiser.Training(
            image_size=size,
            sigmas=train_denoiser.around(sigma),
            minutes=train_minutes,
            steps=train_steps,
            seed=seed,
            batch_size=models.images_per_step(device),
        )
    request = hashing.fingerprint(
        {
            "images": list(collection.unique),
            "files": [s.rel_path for s, _ in collection.files],
            "source": collection.value,
            "model": given.content_hash() if given else str(plan),
            "scoring": [sigma, n_draws, perceptual, embedding, size, fit, seed, str(dtype)],
            "method": METHOD,
            **({"adaptive": num_classes} if adaptive else {}),
        }
    )
    run = _open_run(request, Path(output).expanduser() if output else None, resume, reporter)
    if not run.finished:
        seconds = _seconds_per_image(
            given, plan, distance, embedder, n_draws=n_draws, device=device, dtype=dtype
        )
        reporter.say(
            f"Scoring {f'2 to {n_draws}' if adaptive else n_draws} draws of "
            f"{len(collection.unique):,} images at sigma {sigma:.3g} on {device} takes "
            + about(seconds * len(collection.unique), "at most" if adaptive else "about")
            + (", after the training." if plan else ".")
        )
    with digests.held(run):
        run.update(
            source={"kind": collection.kind, "value": collection.value},
            settings={
                "model": model,
                "sigma": sigma,
                "n_draws": n_draws,
                "adaptive": adaptive,
                "num_classes": num_classes,
                "within_label": within_label,
                "rank_by": rank_by,
                "perceptual": perceptual,
                "embedding": embedding,
                "image_size": size,
                "fit": fit,
                "seed": seed,
                "batch_size": batch_size,
                "device": device,
                "precision": str(dtype or torch.float32).removeprefix("torch."),
                "train_minutes": None if given else train_minutes,
                "train_steps": train_steps,
                "max_images": max_images,
                "labels": labels,
                "label_field": label_field,
                "umap": umap,
            },
            request=request,
            counts=counts,
        )
        denoiser = given
        if denoiser is None:
            denoiser = models.trained_model(
                collection,
                plan,
                fit=fit,
                workers=workers,
                device=device,
                cluster=cluster,
                reporter=reporter,
            )
        distance = distance or perception.load(perceptual, denoiser, device=device)
        embedder = embedder or embedders.load(embedding, denoiser, device=device)
        scorer = Scorer(
            denoiser=denoiser,
            perceptual=distance,
            embed=embedder.embed,
            sigma=denoiser.nearest_sigma(sigma),
            n_draws=n_draws,
            seed=seed,
            dtype=dtype,
        )
        reading = Reading(size, fit, batch_size, workers)
        if adaptive:
            scorer = replace(
                scorer,
                edge=score_shards.pilot(run, collection, scorer, reading, num_classes, reporter),
            )
        _check_fingerprint(run, collection, scorer, embedder, size, fit)
        recipe = Recipe(
            model=denoiser.name,
            perceptual=perceptual,
            embedding=embedding,
            device=wanted,
            sigma=scorer.sigma,
            n_draws=n_draws,
            seed=seed,
            dtype=dtype,
            edge=scorer.edge,
            networks=score_shards.network_hashes(scorer),
        )
        for index in shards.damaged_shards(run):
            reporter.say(f"Shard {index} of run {run.key} is damaged and is scored again.")
        lost = score_shards.score(
            run, collection, scorer, reading, reporter, cluster=cluster, recipe=recipe
        )
        table.assemble(
            run,
            collection,
            scorer,
            lost,
            num_classes=num_classes,
            within_label=within_label,
            rank_by=rank_by,
            umap=umap,
            shard_images=score_shards.SHARD_IMAGES,
            reporter=reporter,
        )
        table.save_reconstructions(run, scorer, size=size, fit=fit)
        run.update(model=models.model_record(denoiser, trained_here=given is None))
        table.record_outcome(
            run,
            rank_by=rank_by,
            num_classes=num_classes,
            seed=seed,
            version=version("mincurate"),
            sigma=scorer.sigma,
            n_draws=n_draws,
            perceptual=distance.name,
            embedding=embedder.name,
            versions=versions(),
            **diagnostics.examine(run, scorer, embedder, size=size, fit=fit),
        )
        stored = ""
        if name:
            run.update(dataset=name)
        from mincurate.report import run_page

        page = run_page.write_report(run)
        # Last, because everything else is then on disk should the database be lost.
        if name:
            try:
                written = writer.write_run(run, name, reporter)
            except UserError as error:
                raise UserError(
                    f"{error} Everything else is done and kept in {run.path}; with the database "
                    "back, the same command only writes it there."
                ) from error
            stored = f"{written.added} samples added, {written.updated} updated"
    return Result(run=run, dataset=name, report=page, stored=stored)


METHOD = 6
"""Raised when the definition of a score changes: older runs are then not gone on with."""


def describe(counts: dict[str, int], collection: Collection) -> str:
    """One line on what was found."""
    line = f"Found {counts['images']:,} files: {counts['unique']:,} different readable images"
    if counts["duplicates"]:
        line += f", {counts['duplicates']:,} exact duplicates"
    if counts["unscorable"]:
        line += f", {counts['unscorable']:,} that cannot be read (listed in the report)"
    names = collection.labels
    return line + (f"; {len(names)} labels." if names else "; no labels.")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {}
    for name in ("mincurate", "torch", "diffusers", "pillow", "numpy", "umap-learn", "fiftyone"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _seconds_per_image(
    given: Denoiser | None,
    plan: train_denoiser.Training | None,
    distance: Perceptual | None,
    embedder: Embedder | None,
    *,
    n_draws: int,
    device: str,
    dtype: torch.dtype | None,
) -> float:
    """Time of scoring one image, measured on noise; an untrained network is just as slow."""
    denoiser = given or train_denoiser.untrained(plan or train_denoiser.Training(32, None), device)
    n = 8
    side = denoiser.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    scorer = Scorer(
        denoiser=denoiser,
        perceptual=distance or perception.load("unet", denoiser),
        embed=(embedder or embedders.load("unet", denoiser)).embed,
        sigma=denoiser.nearest_sigma(0.1),
        n_draws=n_draws,
        seed=0,
        dtype=dtype,
    )
    names = [str(i) for i in range(n)]
    scorer(pixels[:1], names[:1])
    started = time.monotonic()
    scorer(pixels, names)
    return (time.monotonic() - started) / n


def _open_run(request: str, output: Path | None, resume: bool, reporter: Reporter) -> Run:
    """The run to write: the one begun with this request, or a new one."""
    if output is not None:
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file; --output is a folder.")
        present = Run(output.resolve())
        record = present.record
        if record and record.get("request") not in (request, None) and resume:
            raise UserError(
                f"{output} holds a run of other images or settings; choose another --output, or "
                "--fresh to replace it."
            )
        if record and resume:
            return present
        if record:
            with store.locked(present):
                store.clear(present)
                present.update(key=record["key"], created=store.tick(), finished=None)
            return present
        return store.create(output, request=request)
    return store.begun_or_new(request, resume, reporter)


def _check_fingerprint(
    run: Run, collection: Collection, scorer: Scorer, embedder: Embedder, size: int, fit: Fit
) -> None:
    """Record what the scores depend on; scores that depend on something else are not mixed in.

    Other versions of what decodes and computes are refused only while scores are missing: a
    finished run may still be shown and stored after an upgrade.
    """
    begun, now = run.record.get("scored_with"), computing()
    if begun and begun != now and not run.finished:
        raise UserError(
            f"The run {run.key} was begun with {_listed(begun)}, and here is {_listed(now)}: go on "
            "with those, or start anew with --fresh."
        )
    current = hashing.fingerprint(
        [
            METHOD,
            list(collection.unique),
            scorer.denoiser.content_hash(),
            scorer.sigma,
            scorer.n_draws,
            scorer.seed,
            str(scorer.dtype),
            scorer.perceptual.name,
            scorer.perceptual.weights_hash,
            embedder.name,
            embedder.weights_hash,
            size,
            fit,
            *([asdict(scorer.edge)] if scorer.edge else []),
        ]
    )
    before = run.record.get("fingerprint")
    if before and before != current:
        raise UserError(
            f"The run {run.key} was scored with another model or other weights; "
            "start anew with --fresh."
        )
    run.update(fingerprint=current, scored_with=begun or now)


def computing() -> dict[str, str]:
    """Versions, to the second number, of what decides over the last digits of a score."""
    return {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "pillow")}


def _listed(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {number}" for name, number in versions.items())
