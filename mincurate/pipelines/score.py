"""Score a collection of images, end to end: the one call behind ``mincurate score``.

open the images; load the networks
embed         the vector of each image, by a pretrained network, or the user's own
rank          by vectors; the first table, map, report and dataset, while there is much to come
train         the denoiser, where no model is given
score         distance(x0, denoise(x0 + sigma * eps, sigma)), mean of K draws
rank          ordinal classes, other evidence of rarity: the table
store         report, FiftyOne dataset
"""

from dataclasses import replace
from importlib.metadata import version
from typing import Any

from mincurate.compute.device import choose_device, return_freed_memory
from mincurate.diffusion import description, models
from mincurate.errors import UserError
from mincurate.images import collection as collections
from mincurate.images.collection import Collection, Place
from mincurate.images.object_storage import remote
from mincurate.pipelines import (
    fingerprints,
    open_frames,
    open_objects,
    own_vectors,
    previews,
    publish,
    scoring_plan,
    scoring_time,
)
from mincurate.pipelines.open_images import Images, describe, open_images, place_of, run_of
from mincurate.pipelines.result import Result
from mincurate.pipelines.score_settings import ScoreSettings
from mincurate.pipelines.scoring_plan import Networks, ScoringPlan
from mincurate.progress import Reporter
from mincurate.ranking import (
    diagnostics,
    reconstructions,
    reference,
    score_shards,
    shard_loop,
    table,
    tile_probe,
    vectors,
)
from mincurate.ranking.classes import BY_VECTORS
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.score_shards import Recipe
from mincurate.ranking.shard_loop import Reading
from mincurate.runs import digests, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

MUCH = 30.0
"""Seconds of scoring from which a first look by vectors is worth its time."""


def score(
    path: Images,
    settings: ScoreSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Result:
    """Score every image of ``path``, rank them, and store the result.

    Args:
        path: a folder, a URL such as ``s3://bucket/folder``, a CSV, JSON Lines or Parquet table,
            ``fiftyone:NAME[/VIEW]``, or several files and folders; a pandas data frame with a
            column of paths; a FiftyOne dataset or view; or a scored run or its `Result`, to go on
            with it or to score its images with other settings.
        settings: all settings at once; those of the run where ``path`` is one.
        reporter: hears of progress; see `terminal.choose_reporter`, also for ``progress``.
        progress: show progress (True), or only log it (False).
        changes: single settings by name, such as ``n_draws=3``; see `ScoreSettings`.

    Raises:
        UserError: something the user can mend.
        trainer.TrainingInterruptedError: Ctrl-C while training; nothing is lost.
    """
    reporter = choose_reporter(reporter, progress)
    before = run_of(path)
    settings = settings or (ScoreSettings.again(before) if before else ScoreSettings())
    settings = replace(settings, **changes).settled().with_lasting_paths()
    cluster = settings.cluster
    path, settings = _place(path, settings, reporter)
    dataset = _choose_dataset(path, settings)

    settings, networks, images = _load(path, settings, reporter)
    plan = scoring_plan.make(images, networks, settings, choose_device(settings.device))
    run = scoring_plan.open_run(images, plan, settings.output, settings.resume, reporter)
    if dataset:
        from mincurate.dataset import destination

        destination.check_run(dataset, run)
    scored = run.finished and bool(run.record.get("fingerprint"))
    quick = settings.quick and not scored
    plan = replace(plan, settings=replace(plan.settings, quick=quick))
    seconds = 0.0 if scored or quick else scoring_time.seconds(images, networks, plan)
    if networks.denoiser is not None and not quick:
        reporter.say(f"Model: {description.model_line(networks.denoiser)}.")
        distance = plan.settings.perceptual
        reporter.say(description.score_line(networks.denoiser, plan.sigma, distance))
    if not scored and not quick:
        reporter.say(scoring_time.announcement(images, plan, seconds))
        if line := scoring_time.larger_side(images, plan, seconds):
            reporter.say(line)
    with digests.held(run):
        scoring_plan.record(run, images, plan)
        previews.write_unseen(run, images, dataset, settings.workers, reporter)
        pretrained = networks.embedder is not None
        lost = _embed(run, images, networks, plan, cluster, reporter) if pretrained else {}
        if first_look := quick or (pretrained and _worth_a_first_look(run, plan, seconds)):
            result = _rank_by_vectors(run, images, lost, networks, plan, dataset, reporter)
            if quick:
                return result
            reporter.say(_first_look(result))
        networks = _train_denoiser(images, networks, plan, cluster, reporter)
        reading = _reading(images, plan, plan.size)
        scorer = _build_scorer(run, images, networks, plan, reading, reporter)
        if not pretrained:
            lost = _embed(run, images, networks, plan, cluster, reporter)
        fingerprints.check_fingerprint(run, images, scorer, plan)
        lost |= _score_shards(run, images, scorer, reading, plan, cluster, reporter)
        _rank(run, images, lost, plan, scores=True, reporter=reporter)
        if not first_look:
            _probe_tiles(run, images, networks, plan)
        reconstructions.save_reconstructions(run, scorer, size=plan.size, fit=plan.settings.fit)
        _record_outcome(run, networks, scorer, plan)
        return publish.publish(run, dataset, reporter)


def _load(
    path: Place, settings: ScoreSettings, reporter: Reporter
) -> tuple[ScoreSettings, Networks, Collection]:
    """The networks that need no training, and the images.

    Raises:
        UserError: one of them is not there, or vectors are wanted and nothing gives any.
    """
    device = choose_device(settings.device)
    settings, networks = scoring_plan.load_networks(settings, device, reporter)
    own = own_vectors.read(settings.vectors, path)
    images = _open(path, settings, reporter)
    networks = networks.told(settings.prompt, images)
    given = own_vectors.embedder_of(settings.vectors, own, images, device, reporter)
    networks = replace(networks, embedder=given or networks.embedder)
    return settings, networks, images


def _place(
    path: Images, settings: ScoreSettings, reporter: Reporter
) -> tuple[Place, ScoreSettings]:
    place = place_of(
        path,
        labels=settings.labels,
        label_field=settings.label_field,
        path_column=settings.path_column,
    )
    collections.check_place(place)
    place = open_frames.of_videos(place, reporter)
    return place, replace(settings, objects=open_objects.lasting(place, settings.objects))


def _choose_dataset(path: Place, settings: ScoreSettings) -> str | None:
    """The FiftyOne dataset to write to. The database is asked before any long work."""
    if not settings.fiftyone:
        return None
    place = collections.place_name(path)
    if remote(place):
        raise UserError("FiftyOne shows local files only: score objects with --no-fiftyone.")
    from mincurate.dataset import database, destination

    database.check_database()
    name = destination.choose_name(place, settings.dataset)
    if settings.objects is not None or settings.tiles is not None:
        destination.check_objects(name, place, settings.objects)
    return name


def _open(path: Place, settings: ScoreSettings, reporter: Reporter) -> Collection:
    images = open_images(
        path,
        labels=settings.labels,
        label_field=settings.label_field,
        path_column=settings.path_column,
        follow_links=settings.follow_links,
        objects=settings.objects,
        tiles=settings.tiles,
        context=settings.context,
        max_images=settings.max_images,
        background=settings.background,
        bands=settings.band_numbers,
        seed=settings.seed,
        workers=settings.workers,
        reporter=reporter,
    )
    for line in (describe(images), *images.lines):
        reporter.say(line)
    return images


def _reading(images: Collection, plan: ScoringPlan, size: int) -> Reading:
    settings = plan.settings
    return Reading(size, settings.fit, settings.batch_size, settings.workers, images.rendering)


def _vector_reading(run: Run, images: Collection, networks: Networks, plan: ScoringPlan) -> Reading:
    reading = _reading(images, plan, networks.embedding.side_for(images.usual_side()))
    return replace(reading, resampling=reference.resampling_of(run))


def _embed(
    run: Run,
    images: Collection,
    networks: Networks,
    plan: ScoringPlan,
    cluster: Any,
    reporter: Reporter,
) -> dict[str, str]:
    """Vectors that no finished shard holds; reasons, by content hash, of what has none."""
    embedder, denoiser = networks.embedding, networks.denoiser
    own = denoiser.name if embedder.weak and denoiser else None
    fingerprints.check_vectors(run, images, embedder, plan)
    recipe = vectors.Recipe(
        plan.settings.embedding,
        own,
        plan.settings.device,
        plan.dtype,
        embedder.weights_hash,
        networks.wording,
    )
    reading = _vector_reading(run, images, networks, plan)
    if plan.settings.vectors:
        cluster = None  # its processes know neither the vectors nor the function
    lost = vectors.embed(run, images, embedder, recipe, reading, reporter, cluster=cluster)
    return_freed_memory()
    return lost


def _worth_a_first_look(run: Run, plan: ScoringPlan, seconds: float) -> bool:
    """Whether to rank by vectors before the minority scores are there."""
    training = plan.training is not None and plan.training.steps is None
    ranked = bool(run.record.get("rank_by"))
    return plan.settings.rank_by in BY_VECTORS and not ranked and (training or seconds > MUCH)


def _first_look(result: Result) -> str:
    from mincurate.runs.command import quoted

    look = f"open {result.report}"
    if result.dataset:
        look = quoted("mincurate", "launch", result.dataset)
    return (
        f"The images are ranked by their vectors: `{look}` shows them now, in another terminal. "
        "The minority scores follow."
    )


def _train_denoiser(
    images: Collection,
    networks: Networks,
    plan: ScoringPlan,
    cluster: Any,
    reporter: Reporter,
) -> Networks:
    """All networks: without a model, the denoiser is trained now, or was trained before."""
    if plan.training is None:
        return networks.complete(plan.settings, plan.device, plan.dtype)
    denoiser = models.trained_model(
        images,
        plan.training,
        fit=plan.settings.fit,
        workers=plan.settings.workers,
        device=plan.device,
        cluster=cluster,
        reporter=reporter,
    )
    return replace(networks, denoiser=denoiser).complete(plan.settings, plan.device, plan.dtype)


def _build_scorer(
    run: Run,
    images: Collection,
    networks: Networks,
    plan: ScoringPlan,
    reading: Reading,
    reporter: Reporter,
) -> Scorer:
    scorer = networks.scorer(plan.sigma, plan.n_draws, plan.settings.seed, plan.dtype)
    scorer = replace(scorer, conditions=plan.conditions)
    if not plan.settings.adaptive:
        return scorer
    edge = score_shards.pilot(run, images, scorer, reading, plan.ranking.num_classes, reporter)
    return replace(scorer, edge=edge)


def _score_shards(
    run: Run,
    images: Collection,
    scorer: Scorer,
    reading: Reading,
    plan: ScoringPlan,
    cluster: Any,
    reporter: Reporter,
) -> dict[str, str]:
    """Score what no finished shard holds; reasons, by content hash, of what has no score."""
    recipe = Recipe(
        model=scorer.denoiser.name,
        perceptual=plan.settings.perceptual,
        device=plan.settings.device,
        sigma=scorer.sigma,
        n_draws=scorer.n_draws,
        seed=scorer.seed,
        dtype=scorer.dtype,
        edge=scorer.edge,
        networks=score_shards.network_hashes(scorer),
        conditions=scorer.conditions,
        wording=scorer.denoiser.wording,
    )
    return score_shards.score(
        run, images, scorer, reading, reporter, cluster=cluster, recipe=recipe
    )


def _rank(
    run: Run,
    images: Collection,
    unreadable: dict[str, str],
    plan: ScoringPlan,
    *,
    scores: bool,
    reporter: Reporter,
) -> None:
    table.assemble(
        run,
        images,
        unreadable,
        plan.ranking,
        scores=scores,
        map_seed=plan.settings.seed if plan.settings.umap else None,
        shard_images=shard_loop.SHARD_IMAGES,
        reporter=reporter,
    )


def _probe_tiles(run: Run, images: Collection, networks: Networks, plan: ScoringPlan) -> None:
    """Of tiles that vectors rank: whether they would show a small object."""
    if plan.settings.tiles is not None and plan.settings.rank_by in BY_VECTORS:
        reading = _vector_reading(run, images, networks, plan)
        tile_probe.probe(run, networks.embedding, plan.device, plan.dtype, reading)
        return_freed_memory()


def _rank_by_vectors(
    run: Run,
    images: Collection,
    lost: dict[str, str],
    networks: Networks,
    plan: ScoringPlan,
    dataset: str | None,
    reporter: Reporter,
) -> Result:
    """A ranking by vectors alone, and how far to trust it."""
    settings = plan.settings
    _rank(run, images, lost, plan, scores=False, reporter=reporter)
    _probe_tiles(run, images, networks, plan)
    run.update(
        rank_by=settings.rank_by,
        num_classes=settings.num_classes,
        seed=settings.seed,
        version=version("mincurate"),
        embedding=networks.embedding.name,
        versions=publish.versions(),
        **diagnostics.examine_vectors(run, networks.embedding),
    )
    if settings.quick:
        run.update(finished=store.now(), scored_last=store.tick())
    return publish.publish(run, dataset, reporter)


def _record_outcome(run: Run, networks: Networks, scorer: Scorer, plan: ScoringPlan) -> None:
    """Diagnostics, and what the numbers of the run depend on."""
    settings, denoiser = plan.settings, scorer.denoiser
    run.update(model=models.model_record(denoiser, trained_here=plan.training is not None))
    table.record_outcome(
        run,
        rank_by=plan.ranking.rank_by,
        num_classes=plan.ranking.num_classes,
        seed=settings.seed,
        version=version("mincurate"),
        sigma=scorer.sigma,
        n_draws=scorer.n_draws,
        perceptual=scorer.perceptual.name,
        embedding=networks.embedding.name,
        versions=publish.versions(),
        **diagnostics.examine(run, scorer, networks.embedding, size=plan.size, fit=settings.fit),
    )
