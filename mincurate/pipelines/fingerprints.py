"""What the scores and vectors of a run depend on: others are never mixed in."""

from dataclasses import asdict
from importlib.metadata import version

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.features.embedder import Embedder
from mincurate.images.collection import Collection
from mincurate.images.fit import Resampling
from mincurate.pipelines.scoring_plan import METHOD, ScoringPlan
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import resampling_of
from mincurate.runs.store import Run


def check_fingerprint(run: Run, images: Collection, scorer: Scorer, plan: ScoringPlan) -> None:
    """Record what the scores depend on; scores that depend on something else are not mixed in.

    Other versions of what decodes and computes are refused only while scores are missing: a
    finished run may still be shown and stored after an upgrade.

    Raises:
        UserError: the run was scored with something else.
    """
    before, now = run.record.get("scored_with"), _computing_versions()
    if before and before != now and not run.finished:
        raise UserError(
            f"The run {run.key} was begun with {_listed(before)}, and here is {_listed(now)}: go "
            "on with those, or start anew with --fresh."
        )
    fingerprint = hashing.fingerprint(
        [
            METHOD,
            list(images.unique),
            images.rendering.record(),
            scorer.denoiser.content_hash(),
            scorer.sigma,
            scorer.n_draws,
            scorer.seed,
            str(scorer.dtype),
            scorer.perceptual.name,
            scorer.perceptual.weights_hash,
            run.record["vectors_from"],
            plan.size,
            plan.settings.fit,
            *([asdict(scorer.edge)] if scorer.edge else []),
            *([asdict(scorer.conditions)] if scorer.conditions else []),
        ]
    )
    if run.record.get("fingerprint") not in (None, fingerprint):
        raise UserError(
            f"The run {run.key} was scored with another model or other weights; "
            "start anew with --fresh."
        )
    run.update(fingerprint=fingerprint, scored_with=before or now)


def check_vectors(run: Run, images: Collection, embedder: Embedder, plan: ScoringPlan) -> None:
    """Record what the vectors depend on; others are not mixed in.

    Raises:
        UserError: the run has vectors of something else.
    """
    side = embedder.side_for(images.usual_side())
    facts = [METHOD, list(images.unique), images.rendering.record(), side, plan.settings.fit]
    network = [embedder.name, embedder.weights_hash, str(plan.dtype)]
    resampling = vector_resampling(run, embedder)
    vectors_from = hashing.fingerprint([*facts, *network, *of_resampling(resampling)])
    if run.record.get("vectors_from") not in (None, vectors_from):
        raise UserError(
            f"The run {run.key} has vectors of another network or other weights; "
            "start anew with --fresh."
        )
    run.update(vectors_from=vectors_from, vector_side=side, vector_resampling=resampling)
    if source := plan.settings.vectors:
        width = embedder.table.vectors.shape[1] if embedder.table else None
        run.update(vectors={"source": source, "hash": embedder.weights_hash, "dimensions": width})


def vector_resampling(run: Run, embedder: Embedder) -> Resampling:
    """The filter that shrinks images for a run's vectors; a run that was begun keeps its own."""
    return resampling_of(run) if "vectors_from" in run.record else embedder.resampling


def of_resampling(resampling: Resampling) -> list[str]:
    """The filter's part of a fingerprint; runs of before, all by Lanczos, have none."""
    return [] if resampling == "lanczos" else [resampling]


def _computing_versions() -> dict[str, str]:
    """Versions, to the second number, of what decides over the last digits of a score."""
    return {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "pillow")}


def _listed(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {number}" for name, number in versions.items())
