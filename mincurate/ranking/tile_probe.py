"""Would a small object be found in these tiles? Discs are drawn into some, and it is seen where
these rank."""

import math
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mincurate.compute.ray_map import Item
from mincurate.features.embedder import Embedder
from mincurate.images import regions
from mincurate.ranking import judging, outliers, reference, small_kinds
from mincurate.ranking.judging import Rank, Sample
from mincurate.ranking.shard_loop import Reading
from mincurate.ranking.vectors import embed_batches, in_small_batches
from mincurate.runs import schema
from mincurate.runs.store import Run

DISCS = 48
"""Tiles that are given a disc."""
SIDE = 0.25
"""Diameter of a disc, as a share of the side of the tile."""
AT_ONCE = 0.01
"""Share of the tiles that have a disc at the same time, so that discs stay rare."""
Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]


def probe(
    run: Run, embedder: Embedder, device: str, dtype: torch.dtype | None, reading: Reading
) -> None:
    """Add ``discs_found`` to the record of a run of tiles that has its table.

    Args:
        embedder: of the run, with device, precision and `Reading` as it embedded the tiles.
    """
    vectors = np.load(run.path / schema.VECTORS, allow_pickle=False).astype(np.float32)
    hashes = pd.read_parquet(run.path / schema.VECTOR_HASHES)["content_hash"]
    frame = run.frame().drop_duplicates("content_hash").set_index("content_hash").loc[hashes]
    picks = outliers.reference(hashes, DISCS)
    files = [*zip(hashes.iloc[picks], regions.places(frame.iloc[picks]), strict=True)]
    reading = in_small_batches(reading, device, in_parts=True)
    vector_of = _embed(embedder, device, dtype, reading, files)
    within = run.record["settings"].get("within_label")
    rank: Rank = partial(outliers.rarity, weights=reference.weights_of(run))
    if run.record["rare_are"] == "small_kind":
        rank = small_kinds.rarity
    samples = judging.of_all(hashes, rank)
    if within:
        samples = judging.of_labels(hashes, frame["label"].astype(object).fillna(""))
    found = discs_found(vectors, hashes, samples, vector_of)
    run.update(discs_found=None if math.isnan(found) else found)


def _embed(
    embedder: Embedder,
    device: str,
    dtype: torch.dtype | None,
    reading: Reading,
    files: list[Item],
) -> dict[str, Vectors]:
    """The vectors of tiles with a disc, by content hash; none of what cannot be read any more."""
    hashes: list[str] = []

    def pixels() -> Iterator[Pixels]:
        for names, batch, _ in reading.batches(files):
            if len(batch):
                hashes.extend(names)
                yield with_discs(batch, seed=len(hashes))

    parts = [*embed_batches(embedder, device, dtype, pixels())]
    vectors = [row.astype(np.float32) for part in parts for row in part]
    return dict(zip(hashes, vectors, strict=True))


def with_discs(pixels: Pixels, seed: int = 0) -> Pixels:
    """Tiles ``(n, C, H, W)`` with a disc each: anywhere within the tile, in any colour."""
    rng = np.random.default_rng(seed)
    drawn = pixels.copy()
    _, channels, height, width = pixels.shape
    radius = SIDE * min(height, width) / 2
    rows, columns = np.ogrid[:height, :width]
    for tile in drawn:
        y, x = (rng.uniform(radius, side - radius) for side in (height, width))
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        tile[:, inside] = rng.integers(0, 256, (channels, 1), dtype=np.uint8)
    return drawn


def discs_found(
    vectors: Vectors, hashes: pd.Series, samples: Iterable[Sample], vector_of: dict[str, Vectors]
) -> float:
    """How far up tiles with a disc rank: the share of the other tiles that are less rare.

    Args:
        vectors: ``(N, d)``, of all tiles.
        hashes: ``(N,)``, their content hashes.
        samples: tiles that are ranked apart.
        vector_of: content hash to the vector ``(d,)`` of that tile with a disc.

    Returns:
        In [0, 1], the AUROC of the discs; 0.5 is chance. NaN without samples.
    """
    found, discs = [], []
    for sample in samples:
        of_sample = hashes.iloc[sample.rows[: sample.ranked]]
        for auroc, count in _rounds(vectors[sample.rows], of_sample, sample, vector_of):
            found.append(auroc)
            discs.append(count)
    return float(np.average(found, weights=discs)) if found else math.nan


def _rounds(
    vectors: Vectors, hashes: pd.Series, sample: Sample, vector_of: dict[str, Vectors]
) -> Iterator[tuple[float, int]]:
    """AUROC of a few discs among the other tiles, and how many these are, until all have had
    their turn."""
    from sklearn.metrics import roc_auc_score

    picks = np.flatnonzero(hashes.isin(vector_of.keys()))
    at_once = max(1, round(AT_ONCE * sample.ranked))
    for part in np.array_split(picks, max(1, -(-len(picks) // at_once))):
        if len(part):
            changed = vectors.copy()
            changed[part] = np.stack([vector_of[name] for name in hashes.iloc[part]])
            with_disc = np.isin(np.arange(sample.ranked), part)
            yield float(roc_auc_score(with_disc, sample.rank(changed))), len(part)
