"""Score a collection of images, end to end: the one call behind ``mincurate score``.

open the images; load the networks, or train the denoiser
score         distance(x0, denoise(x0 + sigma * eps, sigma)), mean of K draws, and vectors
rank          ordinal classes, other evidence of rarity, the map: the table
store         report, FiftyOne dataset
"""

import html
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mincurate.compute.device import choose_device
from mincurate.diffusion import models
from mincurate.errors import UserError
from mincurate.images import collection as collections
from mincurate.images.collection import Collection, Place
from mincurate.images.object_storage import remote
from mincurate.pipelines import scoring_plan
from mincurate.pipelines.open_images import Images, open_images, place_of, run_of
from mincurate.pipelines.score_settings import ScoreSettings
from mincurate.pipelines.scoring_plan import Networks, ScoringPlan
from mincurate.progress import Reporter
from mincurate.ranking import diagnostics, reconstructions, score_shards, table
from mincurate.ranking.classes import RANKINGS, rarest_first
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.score_shards import Reading, Recipe
from mincurate.runs import digests, shards
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        scored, shown = self.run.record["counts"]["scored"], f" in {self.dataset!r}"
        return f"<Result {self.run.key}: {scored:,} images scored{shown if self.dataset else ''}>"

    def _repr_html_(self) -> str:
        """For a notebook: the rarest images, and how far to trust that they are."""
        columns = ["rarity", "minority_score", "rarity_class", "label", "rel_path"]
        rarest = self.rarest(10)[columns]
        table = rarest.to_html(index=False, na_rep="", float_format="{:.3f}".format)
        trust = f"Trust in this ranking: {self.run.record['trust']['words']}"
        return f"<p>{html.escape(repr(self))}<br>{html.escape(trust)}</p>{table}"

    def rarest(self, n: int = 10) -> "pd.DataFrame":
        """The rows of ``frame`` of the ``n`` rarest images, the rarest first."""
        return rarest_first(self.frame, RANKINGS[self.run.record["rank_by"]]).head(n)

    @property
    def frame(self) -> "pd.DataFrame":
        """One row per file; see `docs/files.md` for the columns. Higher scores are rarer."""
        return self.run.frame()

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the ranking, in words."""
        return list(self.run.record.get("warnings", []))


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
    path = place_of(
        path,
        labels=settings.labels,
        label_field=settings.label_field,
        path_column=settings.path_column,
    )
    collections.check_place(path)
    dataset = _choose_dataset(path, settings)

    device = choose_device(settings.device)
    settings, networks = scoring_plan.load_networks(settings, device, reporter)
    images = _open(path, settings, reporter)
    plan = scoring_plan.make(images, networks, settings, device)
    run = scoring_plan.open_run(images, plan, settings.output, settings.resume, reporter)
    if dataset:
        _check_key(run, dataset)
    if not run.finished:
        reporter.say(scoring_plan.announcement(images, networks, plan))

    with digests.held(run):
        scoring_plan.record(run, images, plan)
        networks = _train_denoiser(images, networks, plan, cluster, reporter)
        reading = Reading(
            plan.size, settings.fit, settings.batch_size, settings.workers, images.rendering
        )
        scorer = _build_scorer(run, images, networks, plan, reading, reporter)
        scoring_plan.check_fingerprint(run, images, scorer, networks, plan)
        unreadable = _score_shards(run, images, scorer, reading, plan, cluster, reporter)
        _rank(run, images, scorer, unreadable, plan, reporter)
        _record_outcome(run, networks, scorer, plan)
        if dataset:
            run.update(dataset=dataset)
        report = _report(run)
        dataset, stored = _store(run, dataset, reporter)
    return Result(run=run, dataset=dataset, report=report, stored=stored)


def _choose_dataset(path: Place, settings: ScoreSettings) -> str | None:
    """The FiftyOne dataset to write to. The database is asked before any long work."""
    if not settings.fiftyone:
        return None
    place = collections.place_name(path)
    if remote(place):
        raise UserError("FiftyOne shows local files only: score objects with --no-fiftyone.")
    from mincurate.dataset import database, destination

    database.check_database()
    return destination.choose_name(place, settings.dataset)


def _check_key(run: Run, dataset: str) -> None:
    from mincurate.dataset import destination

    destination.check_run(dataset, run)


def _open(path: Place, settings: ScoreSettings, reporter: Reporter) -> Collection:
    images = open_images(
        path,
        labels=settings.labels,
        label_field=settings.label_field,
        path_column=settings.path_column,
        follow_links=settings.follow_links,
        max_images=settings.max_images,
        background=settings.background,
        seed=settings.seed,
        workers=settings.workers,
        reporter=reporter,
    )
    for line in (describe(table.counts(images), images), *images.lines):
        reporter.say(line)
    return images


def _train_denoiser(
    images: Collection,
    networks: Networks,
    plan: ScoringPlan,
    cluster: Any,
    reporter: Reporter,
) -> Networks:
    """All networks: without a model, the denoiser is trained now, or was trained before."""
    if plan.training is None:
        return networks.complete(plan.settings, plan.device)
    denoiser = models.trained_model(
        images,
        plan.training,
        fit=plan.settings.fit,
        workers=plan.settings.workers,
        device=plan.device,
        cluster=cluster,
        reporter=reporter,
    )
    return replace(networks, denoiser=denoiser).complete(plan.settings, plan.device)


def _build_scorer(
    run: Run,
    images: Collection,
    networks: Networks,
    plan: ScoringPlan,
    reading: Reading,
    reporter: Reporter,
) -> Scorer:
    scorer = networks.scorer(plan.sigma, plan.n_draws, plan.settings.seed, plan.dtype)
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
    for index in shards.damaged_shards(run):
        reporter.say(f"Shard {index} of run {run.key} is damaged and is scored again.")
    recipe = Recipe(
        model=scorer.denoiser.name,
        perceptual=plan.settings.perceptual,
        embedding=plan.settings.embedding,
        device=plan.settings.device,
        sigma=scorer.sigma,
        n_draws=scorer.n_draws,
        seed=scorer.seed,
        dtype=scorer.dtype,
        edge=scorer.edge,
        networks=score_shards.network_hashes(scorer),
    )
    return score_shards.score(
        run, images, scorer, reading, reporter, cluster=cluster, recipe=recipe
    )


def _rank(
    run: Run,
    images: Collection,
    scorer: Scorer,
    unreadable: dict[str, str],
    plan: ScoringPlan,
    reporter: Reporter,
) -> None:
    """The table of the run, and pictures of both ends of the ranking."""
    settings = plan.settings
    table.assemble(
        run,
        images,
        unreadable,
        plan.ranking,
        map_seed=settings.seed if settings.umap else None,
        shard_images=score_shards.SHARD_IMAGES,
        reporter=reporter,
    )
    reconstructions.save_reconstructions(run, scorer, size=plan.size, fit=settings.fit)


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
        versions=versions(),
        **diagnostics.examine(run, scorer, networks.embedding, size=plan.size, fit=settings.fit),
    )


def _report(run: Run) -> Path:
    from mincurate.report import run_page

    return run_page.write_report(run)


def _store(run: Run, dataset: str | None, reporter: Reporter) -> tuple[str | None, str]:
    """Write the run into FiftyOne: last, so that all else is on disk if the database is lost.

    Returns:
        What the dataset is called now, and what was written, in words.
    """
    if dataset is None:
        return None, ""
    from mincurate.dataset import writer

    try:
        written = writer.write_run(run, dataset, reporter)
    except UserError as error:
        raise UserError(
            f"{error} Everything else is done and kept in {run.path}; with the database back, the "
            "same command only writes it there."
        ) from error
    run.update(dataset=written.name)
    return written.name, f"{written.added} samples added, {written.updated} updated"


def describe(counts: dict[str, int], images: Collection) -> str:
    """One line on what was found."""
    line = f"Found {counts['images']:,} files: {counts['unique']:,} different readable images"
    if counts["duplicates"]:
        line += f", {counts['duplicates']:,} exact duplicates"
    if counts["unscorable"]:
        line += f", {counts['unscorable']:,} that cannot be read (listed in the report)"
    if warned := sum(identity.warning is not None for _, identity in images.files):
        line += f", {warned:,} with a part missing or left out (listed in the report)"
    labels = images.labels
    return line + (f"; {len(labels)} labels." if labels else "; no labels.")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    numbers = {}
    for name in ("mincurate", "torch", "diffusers", "pillow", "numpy", "umap-learn", "fiftyone"):
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            continue
    return numbers
