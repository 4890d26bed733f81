"""Score every image of a run, shard by shard; what a finished shard holds is not scored again.

Here or on a Ray cluster: the same function scores a shard, and this process writes it, so that a
run begun by one engine can be finished by the other.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from mincurate.compute import ray_map
from mincurate.compute.device import choose_device, keep_freed_memory, out_of_memory
from mincurate.compute.ray_map import Cluster, Item
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
from mincurate.features import embedder
from mincurate.features import perceptual as perception
from mincurate.images import collection as collections
from mincurate.images.bit_depth import DEFAULT, Rendering
from mincurate.images.collection import Collection
from mincurate.images.decode import Fit
from mincurate.progress import Advance, Reporter
from mincurate.ranking import minority_score, table_file
from mincurate.ranking.minority_score import Edge, Scorer
from mincurate.runs import shards
from mincurate.runs.store import Run

SHARD_IMAGES = 256
"""Images per shard: what a killed run loses at most."""
PILOT = 256
"""Images by which `pilot` tells the edge of the rarest class: as well as 512 do (measured:
`benchmarks/adaptive.py`), and their draws, which are not used again, count for less."""


@dataclass(frozen=True)
class Reading:
    """How files become batches.

    Attributes:
        size: side in pixels.
        workers: threads that decode.
        rendering: how files become pixels.
    """

    size: int
    fit: Fit
    batch_size: int
    workers: int
    rendering: Rendering = DEFAULT


@dataclass(frozen=True)
class Rows:
    """What scoring some files gave.

    Attributes:
        hashes: of the images that were scored, in order.
        parts: their scores, in batches.
        lost: reasons, by content hash, of those that became unreadable since they were identified.
    """

    hashes: list[str]
    parts: list[minority_score.Scored]
    lost: dict[str, str]


@dataclass(frozen=True)
class Recipe:
    """What another process needs to build a `Scorer`: names of networks, which it has to find.

    Attributes:
        networks: what `network_hashes` gives for the scorer that is to be built again.
    """

    model: str
    perceptual: str
    embedding: str
    device: str
    sigma: float
    n_draws: int
    seed: int
    dtype: torch.dtype | None
    edge: Edge | None
    networks: tuple[str, str]

    def build(self) -> Scorer:
        """The scorer.

        Raises:
            UserError: a model or its weights are not there, or are others.
        """
        device = choose_device(self.device)
        denoiser = load_denoiser(self.model, device)
        distance = perception.load_perceptual(self.perceptual, denoiser, device=device)
        scorer = Scorer(
            denoiser=denoiser,
            perceptual=distance,
            embed=embedder.load_embedder(self.embedding, denoiser, device=device).embed,
            sigma=self.sigma,
            n_draws=self.n_draws,
            seed=self.seed,
            dtype=self.dtype,
            edge=self.edge,
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
    files = _files(collection)
    rng = np.random.default_rng(scorer.seed)
    chosen = np.sort(rng.permutation(len(files))[:PILOT])
    scorer = replace(scorer, n_draws=2 * minority_score.FIRST_DRAWS)
    with reporter.task("Finding the edge of the rarest class", len(chosen)) as advance:
        rows = score_files(scorer, [files[i] for i in chosen], reading, advance)
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
    files = _files(collection)
    lost: dict[str, str] = {}
    todo: list[tuple[int, list[Item]]] = []
    started, scored = time.monotonic(), 0
    with reporter.task("Scoring", len(files)) as advance:
        for index, shard in enumerate(_chunks(files, SHARD_IMAGES)):
            if shards.shard_done(run, index):
                lost |= shards.lost_in_shard(run, index)
                advance(len(shard), "")
            else:
                todo.append((index, shard))
        if not todo:
            return lost
        if cluster is None:
            results = _here(scorer, todo, reading, advance)
        else:
            assert recipe is not None
            results = _on_ray(recipe, todo, reading, cluster, reporter, advance)
        for index, rows in results:
            shard = table_file.shard_table(rows.hashes, rows.parts)
            shards.write_shard(run, index, shard, rows.lost)
            lost |= rows.lost
            scored += len(rows.hashes)
    run.update(images_per_second=scored / (time.monotonic() - started))
    return lost


def _here(
    scorer: Scorer, todo: list[tuple[int, list[Item]]], reading: Reading, advance: Advance
) -> Iterator[tuple[int, Rows]]:
    for index, shard in todo:
        yield index, score_files(scorer, shard, reading, advance)


def _on_ray(
    recipe: Recipe,
    todo: list[tuple[int, list[Item]]],
    reading: Reading,
    cluster: Cluster,
    reporter: Reporter,
    advance: Advance,
) -> Iterator[tuple[int, Rows]]:
    for done in ray_map.on_ray(partial(build_work, recipe, reading), todo, cluster, reporter):
        rows = Rows([], [], dict.fromkeys(done.killers, ray_map.KILLED))
        for part in done.results:
            rows.hashes.extend(part.hashes)
            rows.parts.extend(part.parts)
            rows.lost.update(part.lost)
        advance(len(rows.hashes) + len(rows.lost), "")
        yield done.shard, rows


def build_work(recipe: Recipe, reading: Reading) -> Callable[[list[Item]], Rows]:
    """What a worker on a cluster does with the files it is given."""
    keep_freed_memory()
    return partial(score_files, recipe.build(), reading=reading)


def score_files(
    scorer: Scorer, files: list[Item], reading: Reading, advance: Advance | None = None
) -> Rows:
    """Decode and score files, pairs of content hash and path, in batches."""
    rows = Rows([], [], {})
    for identities, pixels, bad in collections.read_batches(
        files,
        size=reading.size,
        fit=reading.fit,
        rendering=reading.rendering,
        batch_size=reading.batch_size,
        workers=reading.workers,
    ):
        rows.lost.update(bad)
        if identities:
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


def _files(collection: Collection) -> list[Item]:
    """Content hash and path of every different image."""
    return [(h, source.path) for h, (source, _) in collection.unique.items()]


def _chunks(items: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
