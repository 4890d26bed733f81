"""Generate more of the rare: the one call behind ``mincurate augment`` (method, sections 3 and 4).

A scored run brings the model, the classes and the images. The model is trained on to all noise
levels where it knows only some, a classifier of the classes guides it, and every generated image is
scored, placed on the map and inspected like a real one.
"""

import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.compute.device import choose_device, choose_precision
from mincurate.compute.ray_map import Cluster, choose_engine
from mincurate.curation import gather
from mincurate.diffusion import models
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.generation import generate, labels, samplers
from mincurate.generation.classifier import Classifier
from mincurate.generation.generate import Starts
from mincurate.generation.guided_classes import (
    Target,
    choose_target,
    classes_of,
    disagreement,
    guided_by,
    labels_of,
    rarest_classes,
)
from mincurate.generation.held_out import split
from mincurate.generation.labels import Labels
from mincurate.generation.networks import Trainings, plan_trainings
from mincurate.generation.solvers import Sampler
from mincurate.pipelines import inspection, new_files, own_vectors
from mincurate.pipelines.augment_settings import AugmentSettings, GuideSettings
from mincurate.pipelines.inspection import Judge
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import reference
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base
from mincurate.runs import digests, schema, store
from mincurate.runs.manifest import read_manifest
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

KIND = store.AUGMENT


@dataclass(frozen=True, repr=False)
class Augmented:
    """The result of `augment`.

    Attributes:
        run: the folder with images, manifest, table and report.
        dataset: name of the FiftyOne dataset the images were added to, or ``None``.
        counts: images accepted, and rejected for each reason.
    """

    run: Run
    dataset: str | None
    counts: dict[str, int]

    def __repr__(self) -> str:
        accepted, total = self.counts["accepted"], self.run.record["counts"]["images"]
        return f"<Augmented {self.run.key}: {accepted:,} of {total:,} images accepted>"

    @property
    def frame(self) -> pd.DataFrame:
        """One row per generated image; see ``docs/files.md`` for the columns."""
        return table(self.run)


def guide(
    run: AnyRun = None,
    settings: GuideSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Classifier:
    """Train the classifier that guides, for a scored run, or load the one trained before.

    Its held-out figures at every noise level are in ``Classifier.record["levels"]``.

    Args:
        run: the scored run (`find_run`); by default the one scored last.
        settings: see `GuideSettings`; its defaults when absent.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings by name, such as ``loss="cross_entropy"``.

    Raises:
        UserError: something the user can fix.
    """
    reporter = choose_reporter(reporter, progress)
    settings = replace(settings or GuideSettings(), **changes)
    base = guided_by(reference.open_base(find_run(run, kind=store.SCORE)), settings.classes_by)
    _warn_of_disagreement(base, reporter)
    trainings = _plan(base, settings, settings.seed)
    denoiser = trainings.train_denoiser(reporter)
    pixels = trainings.base.pixels(size=denoiser.image_size)
    return trainings.train_classifier(denoiser, pixels, reporter)


def augment(
    run: AnyRun = None,
    settings: AugmentSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Augmented:
    """Generate images of the rarest kind of a scored run, score and inspect them.

    Args:
        run: the scored run (`find_run`); by default the one scored last.
        settings: see `AugmentSettings`; its defaults when absent.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings by name, such as ``n=500``.

    Raises:
        UserError: something the user can fix.
        StoppedError: Ctrl-C; the same call goes on.
    """
    reporter = choose_reporter(reporter, progress)
    scored = find_run(run, kind=store.SCORE)
    scored.check_whole_images()
    settings = replace(settings or AugmentSettings(), **changes).settled()
    base = guided_by(reference.open_base(scored), settings.classes_by)
    own_vectors.refuse_generated(scored)
    settings = settings.in_dataset(scored, reporter)
    _check_dataset(settings, base, reporter)
    trainings = _plan(base, settings)
    samplers.check_model(settings.sampler, trainings.start, settings.label, settings.guidance_scale)
    target, members = _choose_target(base, settings, reporter)
    reporter.say(_plan_words(base, settings, target))
    if settings.sampler == "minority":
        _warn_of_disagreement(base, reporter)

    denoiser = trainings.train_denoiser(reporter)
    judged = judges(settings.sampler, base)
    pixels = _pixels(base, denoiser, settings, judged)
    classifier = trainings.train_classifier(denoiser, pixels, reporter) if judged else None

    scorer = reference.scorer_of(base.run, str(denoiser.device))
    sampler = _build_sampler(settings, target, denoiser, classifier, scorer)
    request = _request(base, settings, target, trainings, denoiser)
    generation = store.begun_or_new(request, settings.resume, reporter, kind=KIND)
    with digests.held(generation):
        generation.update(**_facts(base, settings, target, denoiser))
        starts = _starts(base, pixels, members, settings) if settings.init == "real" else None
        under = labels.in_turn(denoiser, base, members, settings.seed)
        manifest = _generate(
            generation, settings, target, sampler, starts, under, denoiser, reporter
        )
        judge = _judge(classifier, denoiser, pixels, trainings)
        frame, counts = inspection.inspect(
            generation, base, scorer, target, manifest, judge, reporter
        )
        generation.update(
            counts={"images": len(frame)} | counts,
            guidance=classifier.record if classifier and settings.sampler == "minority" else None,
            dataset=settings.dataset,
            finished=generation.record.get("finished") or store.now(),
        )
        if settings.dataset is not None:
            from mincurate.dataset import generated

            generated.write(generation, frame, settings.dataset, reporter)
    return Augmented(generation, settings.dataset, counts)


def table(run: Run) -> pd.DataFrame:
    """The table of a finished generation.

    Raises:
        UserError: the run is another kind, or not finished.
    """
    if store.kind_of(run) != KIND:
        raise UserError(f"{run.key} holds no generated images; make some with `mincurate augment`.")
    if not (run.path / schema.SYNTHETIC).is_file():
        raise UserError(f"The run {run.key} is not finished; give its command again to go on.")
    return pd.read_parquet(run.path / schema.SYNTHETIC)


def judges(sampler: str, base: Base) -> bool:
    """Whether a classifier takes part: it guides, or it gives the images their labels."""
    return sampler == "minority" or any(labels_of(base))


def _check_dataset(settings: AugmentSettings, base: Base, reporter: Reporter) -> None:
    """Refuse a FiftyOne dataset that does not show the run, before anything is computed."""
    if settings.dataset is not None:
        from mincurate.dataset import generated

        generated.check(settings.dataset, base.run)
    words = "Images are generated by the labels of the run."
    new_files.warn_of_changes(base.run, words, reporter)


def _warn_of_disagreement(base: Base, reporter: Reporter) -> None:
    if words := disagreement(base):
        reporter.warn(words)


def _plan(
    base: Base, settings: GuideSettings | AugmentSettings, seed: int | None = None
) -> Trainings:
    return plan_trainings(
        base,
        model=settings.model,
        loss=settings.classifier_loss,
        timesteps=settings.classifier_timesteps,
        budget=settings,
        seed=seed,
        device=choose_device(settings.device),
        cluster=_cluster(settings),
    )


def _cluster(settings: GuideSettings | AugmentSettings) -> Cluster | None:
    return choose_engine(settings.engine, settings.address, settings.num_workers, settings.device)


def _choose_target(
    base: Base, settings: AugmentSettings, reporter: Reporter
) -> tuple[Target, NDArray[np.bool_]]:
    """What to generate, and which images of the run are of this kind."""
    target, members = choose_target(
        base,
        target_class=settings.target_class,
        top_fraction=settings.rarest_fraction,
        label=settings.label,
        like=settings.like,
    )
    by_fraction = settings.target_class is None and settings.like is None
    if settings.label is not None and by_fraction:
        tail = rarest_classes(base.num_classes, settings.rarest_fraction)
        if target.classes != tail:
            reporter.warn(
                f"No image labelled {settings.label!r} is of {Target(tail)}. The rarest images "
                f"with this label are of {Target(target.classes)}; more of these are generated."
            )
    return target, members


def _plan_words(base: Base, settings: AugmentSettings, target: Target) -> str:
    """One line on what will be generated."""
    how = f"{settings.sampler} sampler, {settings.solver}, {settings.steps} steps"
    if settings.init == "real":
        how += f", from real images at strength {settings.strength:g}"
    return f"Making {settings.n:,} images of {target} of run {base.run.key}: {how}."


def _pixels(
    base: Base, denoiser: Denoiser, settings: AugmentSettings, judged: bool
) -> NDArray[np.uint8]:
    """The run's images at the denoiser's size, ``(N, 3, S, S)``; none where nobody needs them."""
    side = denoiser.image_size
    if judged or settings.init == "real":
        return base.pixels(size=side)
    return np.empty((0, 3, side, side), np.uint8)


def _build_sampler(
    settings: AugmentSettings,
    target: Target,
    denoiser: Denoiser,
    classifier: Classifier | None,
    scorer: Scorer,
) -> Sampler:
    assert settings.solver is not None and settings.steps is not None  # settled
    return samplers.build(
        settings.sampler,
        denoiser,
        solver=settings.solver,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        dtype=choose_precision(settings.precision, str(denoiser.device)),
        target=target,
        classifier=classifier,
        perceptual=scorer.perceptual,
        paper=settings.paper,
    )


def _request(
    base: Base,
    settings: AugmentSettings,
    target: Target,
    trainings: Trainings,
    denoiser: Denoiser,
) -> str:
    """Fingerprint of all that decides the images: the same request goes on with the same run."""
    return hashing.fingerprint(
        [
            base.run.key,
            gather.identity(base.run),
            denoiser.content_hash(),
            str(trainings.guidance),
            settings.identity(target.classes),
        ]
    )


def _facts(
    base: Base, settings: AugmentSettings, target: Target, denoiser: Denoiser
) -> dict[str, Any]:
    """What the run's record says of how its images are generated."""
    return {
        "base": base.run.key,
        "base_path": str(base.run.path.resolve()),
        "base_created": base.run.record["created"],
        "base_identity": gather.identity(base.run),
        "settings": asdict(settings) | {"target_classes": list(target.classes)},
        "source": {"kind": KIND, "value": f"{base.run.key}, {target}"},
        "model": models.model_record(denoiser, trained_here=settings.model is None),
        "version": version("mincurate"),
    }


def _starts(
    base: Base, pixels: NDArray[np.uint8], members: NDArray[np.bool_], settings: AugmentSettings
) -> Starts:
    """The images to vary, in a random order."""
    order = np.random.default_rng(settings.seed).permutation(np.flatnonzero(members))
    hashes = base.frame["content_hash"].to_numpy()
    return Starts(pixels[order], hashes[order].tolist(), settings.strength)


def _generate(
    generation: Run,
    settings: AugmentSettings,
    target: Target,
    sampler: Sampler,
    starts: Starts | None,
    under: Labels | None,
    denoiser: Denoiser,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Generate the images that are not there yet, and record the rate; returns the manifest."""
    facts = {
        "sampler": settings.sampler,
        "solver": settings.solver,
        "steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "target_classes": list(target.classes),
        "label": settings.label,
        "by": settings.classes_by,
        "model": denoiser.content_hash(),
        "run": generation.key,
    }
    started, before = time.monotonic(), len(read_manifest(generation.path))
    manifest = generate.generate(
        generation.path,
        sampler,
        settings.n,
        seed=settings.seed,
        batch_size=settings.batch_size,
        facts=facts,
        first=settings.first,
        starts=starts,
        labels=under,
        cluster=_cluster(settings),
        reporter=reporter,
    )
    if len(manifest) > before:
        rate = (len(manifest) - before) / (time.monotonic() - started)
        generation.update(images_per_second=rate)
    return manifest


def _judge(
    classifier: Classifier | None,
    denoiser: Denoiser,
    pixels: NDArray[np.uint8],
    trainings: Trainings,
) -> Judge | None:
    if classifier is None:
        return None
    trained_on = split(classes_of(trainings.base), trainings.guidance.seed)[0]
    return Judge(classifier, denoiser, pixels, trained_on)
