"""Score every image of a run, shard by shard; what a finished shard holds is not scored again."""

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from mincurate import collection as collections
from mincurate import results, runs, scoring
from mincurate.collection import Collection
from mincurate.errors import UserError
from mincurate.images import Fit
from mincurate.progress import Reporter
from mincurate.runs import Run
from mincurate.scoring import Scorer

SHARD_IMAGES = 256
"""Images per shard: what a killed run loses at most."""


def score(
    run: Run,
    collection: Collection,
    scorer: Scorer,
    size: int,
    fit: Fit,
    batch_size: int,
    workers: int,
    reporter: Reporter,
) -> dict[str, str]:
    """Score every image that no finished shard holds.

    Returns:
        Reasons, by content hash, of images that became unreadable since they were identified.
    """
    files = [(h, source.path) for h, (source, _) in collection.unique.items()]
    lost: dict[str, str] = {}
    started, scored = time.monotonic(), 0
    with reporter.task("Scoring", len(files)) as advance:
        for index, shard in enumerate(_chunks(files, SHARD_IMAGES)):
            if runs.shard_done(run, index):
                advance(len(shard), "")
                continue
            hashes: list[str] = []
            parts: list[scoring.Scored] = []
            for identities, pixels, bad in collections.read_batches(
                shard, size=size, fit=fit, batch_size=batch_size, workers=workers
            ):
                lost |= bad
                if identities:
                    parts += _score_batch(scorer, pixels, identities)
                    hashes += identities
                advance(len(identities) + len(bad), "")
            if parts:
                runs.write_shard(run, index, results.shard_table(hashes, parts))
            scored += len(hashes)
    if scored:
        run.update(images_per_second=scored / (time.monotonic() - started))
    return lost


def _score_batch(
    scorer: Scorer, pixels: NDArray[np.uint8], identities: list[str]
) -> list[scoring.Scored]:
    """Score a batch, in halves where the whole does not fit into memory: the scores are the same.

    Raises:
        UserError: not even a single image fits.
    """
    try:
        return [scorer(pixels, identities)]
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
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


def _out_of_memory(error: Exception) -> bool:
    """PyTorch has a class of its own for this on a GPU alone."""
    words = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "can't allocate memory" in words
        or "not enough memory" in words
    )


def _chunks(items: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
