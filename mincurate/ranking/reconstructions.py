"""One-shot reconstructions of both ends of the ranking: what the score looks at."""

import io

import numpy as np
import pandas as pd

from mincurate.images import collection, regions
from mincurate.images.bit_depth import Rendering
from mincurate.images.decode import Fit
from mincurate.ranking.classes import RANKINGS, rarest_first
from mincurate.ranking.minority_score import Scorer
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run

SHOWN_RECONSTRUCTIONS = 12
"""Images of either end of the ranking whose reconstructions the report shows."""


def save_reconstructions(run: Run, scorer: Scorer, *, size: int, fit: Fit) -> None:
    """Keep originals and one-shot reconstructions of both ends of the ranking, for the report."""
    rank_by = run.record["settings"]["rank_by"]
    ranked = rarest_first(run.frame(), RANKINGS[rank_by])
    n = min(SHOWN_RECONSTRUCTIONS, (len(ranked) + 1) // 2)
    ends = pd.concat([ranked.head(n), ranked.tail(min(n, len(ranked) - n))])
    pairs = list(zip(ends["content_hash"], regions.places(ends), strict=True))
    rendering = Rendering.of_record(run.record.get("rendering"))
    batches = collection.read_batches(
        pairs, size=size, fit=fit, rendering=rendering, batch_size=32, workers=1
    )
    shown = [(h, p[:, :3], scorer.reconstruct(p, h)[:, :3]) for h, p, _ in batches if h]
    empty = np.zeros((0, size, size, 3), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        content_hash=np.array([h for hashes, _, _ in shown for h in hashes], dtype=str),
        original=np.concatenate([empty, *(p.transpose(0, 2, 3, 1) for _, p, _ in shown)]),
        reconstruction=np.concatenate([empty, *(r.transpose(0, 2, 3, 1) for _, _, r in shown)]),
    )
    atomic_files.write_atomically(run.path / schema.RECONSTRUCTIONS, buffer.getvalue())
