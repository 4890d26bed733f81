"""The vectors in the shards of a run, read a shard at a time: a pool may be larger than memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking import table_file
from mincurate.ranking.shard_loop import SHARD_IMAGES
from mincurate.runs import shards
from mincurate.runs.store import Run


@dataclass(frozen=True)
class ShardVectors:
    """The images of a run whose shards of vectors are finished.

    Attributes:
        run: the run.
        images: different images that it was begun with.
    """

    run: Run
    images: int

    def parts(self) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Content hashes, and vectors ``(n, d)`` of length 1, of every shard."""
        for index in range(-(-self.images // SHARD_IMAGES)):
            part = shards.read_shard(self.run, "vectors", index)
            if part is not None and len(part):
                vectors = table_file.matrix(part, "embedding").astype(np.float32)
                yield part["content_hash"].to_pylist(), vectors

    def hashes(self) -> NDArray[np.str_]:
        """Content hashes of all images that have a vector, ``(N,)``."""
        return np.array([content for part, _ in self.parts() for content in part], dtype=str)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some rows of `hashes`, ``(len(rows), d)``, in their order."""
        place = {int(row): i for i, row in enumerate(rows)}
        result: NDArray[np.float32] | None = None
        first = 0
        for hashes, vectors in self.parts():
            if result is None:
                result = np.empty((len(rows), vectors.shape[1]), np.float32)
            for row in place.keys() & range(first, first + len(hashes)):
                result[place[row]] = vectors[row - first]
            first += len(hashes)
        assert result is not None
        return result
