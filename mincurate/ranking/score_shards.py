"""Score every image of a run, shard by shard."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from mincurate.compute.device import choose_device, out_of_memory
from mincurate.compute.ray_map import Cluster, Item
from mincurate.compute.threads import Threads
from mincurate.diffusion.conditions import Conditions
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.prompts import Wording
from mincurate.diffusion.weight_precision import cast_once
from mincurate.errors import UserError
from mincurate.features import perceptual as perception
from mincurate.images.collection import Collection
from mincurate.progress import Advance, Reporter
from mincurate.ranking import minority_score, shard_loop, table_file
from mincurate.ranking.minority_score import Edge, Scorer
from mincurate.ranking.shard_loop import Reading, Rows, Work
from mincurate.runs.store import Run

PILOT = 256
"""Images by which `pilot` tells the edge of the rarest class: as well as 512 do (measured:
`benchmarks/adaptive.py`), and their draws, which are not used again, count for less."""


@dataclass(frozen=True)
class Recipe:
    """What another process needs to build a `Scorer`: names of networks, which it has to find.

    Attributes:
        wording: what a model that takes text is told.
        networks: what `network_hashes` gives for the scorer that is to be built again.
    """

    model: str
    perceptual: str
    device: str
    sigma: float
    n_draws: int
    seed: int
    dtype: torch.dtype | None
    edge: Edge | None
    networks: tuple[str, str]
    conditions: Conditions | None = None
    wording: Wording | None = None

    def build(self) -> Scorer:
        """The scorer.

        Raises:
            UserError: a model or its weights are not there, or are others.
        """
        device = choose_device(self.device)
        denoiser = cast_once(load_denoiser(self.model, device, self.wording), self.dtype)
        distance = perception.load_perceptual(self.perceptual, denoiser, device=device)
        scorer = Scorer(
            denoiser=denoiser,
            perceptual=distance,
            sigma=self.sigma,
            n_draws=self.n_draws,
            seed=self.seed,
            dtype=self.dtype,
            edge=self.edge,
            conditions=self.conditions,
        )
        if network_hashes(scorer) != self.networks:
            raise UserError(
                f"A worker finds other weights under {self.model} or {self.perceptual} than this "
                "machine; keep models where all nodes see the same files."
            )
        return scorer


def pilot(
    run: Run,
    collection: Collection,
    scorer: Scorer,
    reading: Reading,
    num_classes: int,
    reporter: Reporter,
) -> Edge | None:
    """Where the rarest class begins, by four draws of some images; ``None`` where none is read.

    It is kept in the run's record, and read there by whoever goes on with the run.
    """
    if recorded := run.record.get("edge"):
        return Edge(**recorded)
    files = shard_loop.files_of(collection)
    rng = np.random.default_rng(scorer.seed)
    chosen = np.sort(rng.permutation(len(files))[:PILOT])
    scorer = replace(scorer, n_draws=2 * minority_score.FIRST_DRAWS)
    with reporter.task("Finding the edge of the rarest class", len(chosen)) as advance:
        rows = score_files(scorer, reading, [files[i] for i in chosen], advance)
    if not rows.parts:
        return None
    edge = minority_score.find_edge(np.concatenate([p.draws for p in rows.parts]), num_classes)
    run.update(edge=asdict(edge))
    return edge


def network_hashes(scorer: Scorer) -> tuple[str, str]:
    """Which weights a scorer has: of the denoiser and of the perceptual network."""
    return scorer.denoiser.content_hash(), scorer.perceptual.weights_hash


def score(
    run: Run,
    collection: Collection,
    scorer: Scorer,
    reading: Reading,
    reporter: Reporter,
    *,
    cluster: Cluster | None = None,
    recipe: Recipe | None = None,
) -> dict[str, str]:
    """Score every image that no finished shard holds.

    Args:
        cluster: where to score instead of here, by scorers that are built by ``recipe``.

    Returns:
        Reasons, by content hash, of images that have no score.
    """
    threads = Threads(scorer.denoiser.device.type)

    def one_by_one(parts: list[list[Item]], advance: Advance | None) -> Iterator[Rows]:
        return (score_files(scorer, reading, files, advance, threads=threads) for files in parts)

    work = Work(
        kind="scores",
        title="Scoring",
        do_all=one_by_one,
        build=partial(build_work, recipe, reading) if recipe else None,
        table=lambda rows: table_file.shard_table(rows.hashes, rows.parts),
        rate="images_per_second",
        threads=threads,
    )
    return shard_loop.work_off(run, collection, work, reporter, cluster=cluster)


def build_work(recipe: Recipe, reading: Reading) -> shard_loop.Do:
    """What a worker on a cluster does with files."""
    return partial(score_files, recipe.build(), reading)


def score_files(
    scorer: Scorer,
    reading: Reading,
    files: list[Item],
    advance: Advance | None = None,
    *,
    threads: Threads | None = None,
) -> Rows:
    """Decode and score files, pairs of content hash and path, in batches.

    Args:
        threads: chooses their number, from one call to the next.
    """
    threads = threads or Threads(scorer.denoiser.device.type)
    rows = Rows()
    for identities, pixels, bad in reading.batches(files):
        rows.lost.update(bad)
        if identities:
            with threads.step(len(identities)):
                rows.parts.extend(_score_batch(scorer, pixels, identities))
            rows.hashes.extend(identities)
        if advance:
            advance(len(identities) + len(bad), "")
    return rows


def _score_batch(
    scorer: Scorer, pixels: NDArray[np.uint8], identities: list[str]
) -> list[minority_score.Scored]:
    """Score a batch, in halves where the whole does not fit into memory: the scores are the same.

    Raises:
        UserError: not even a single image fits.
    """
    try:
        return [scorer(pixels, identities)]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    if len(identities) == 1:
        raise UserError(
            f"Scoring one image of {pixels.shape[2]} px with {scorer.n_draws} draws needs more "
            f"memory than {scorer.denoiser.device} has: take fewer --n-draws or a smaller model."
        )
    if scorer.denoiser.device.type == "cuda":
        torch.cuda.empty_cache()
    half = len(identities) // 2
    return [
        *_score_batch(scorer, pixels[:half], identities[:half]),
        *_score_batch(scorer, pixels[half:], identities[half:]),
    ]
