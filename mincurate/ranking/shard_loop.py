"""Shards of images, worked through one by one; what a finished shard holds is not done again.

Here or on a Ray cluster: the same function does a shard, and this process writes it, so that a run
begun by one engine can be finished by the other.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mincurate.compute import ray_map
from mincurate.compute.device import keep_freed_memory
from mincurate.compute.ray_map import Cluster, Item
from mincurate.compute.threads import Threads
from mincurate.images.bit_depth import DEFAULT, Rendering
from mincurate.images.collection import Collection, read_batches
from mincurate.images.fit import Fit, Resampling
from mincurate.progress import Advance, Reporter
from mincurate.runs import shards
from mincurate.runs.store import Run

SHARD_IMAGES = 256
"""Images per shard: what a killed run loses at most."""


@dataclass(frozen=True)
class Reading:
    """How files become batches.

    Attributes:
        size: side in pixels.
        workers: processes that decode.
        rendering: how files become pixels.
        resampling: the filter that shrinks them.
    """

    size: int
    fit: Fit
    batch_size: int
    workers: int
    rendering: Rendering = DEFAULT
    resampling: Resampling = "lanczos"

    def batches(
        self, files: list[Item]
    ) -> Iterator[tuple[list[str], NDArray[np.uint8], dict[str, str]]]:
        """As `collection.read_batches`."""
        return read_batches(
            files,
            size=self.size,
            fit=self.fit,
            rendering=self.rendering,
            resampling=self.resampling,
            batch_size=self.batch_size,
            workers=self.workers,
        )


@dataclass(frozen=True)
class Rows:
    """The results of some files.

    Attributes:
        hashes: content hashes of the images that have results, in order.
        parts: their results, in batches.
        lost: reasons, by content hash, of those that became unreadable since they were identified.
    """

    hashes: list[str] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)


Do = Callable[[list[Item], Advance | None], Rows]
"""What is done with some files, pairs of content hash and path."""
DoAll = Callable[[list[list[Item]], Advance | None], Iterator[Rows]]
"""The same with the files of several shards, in order: one may begin before the last has ended."""


@dataclass(frozen=True)
class Work:
    """What is done with every shard.

    Attributes:
        kind: of the shards, ``vectors`` or ``scores``.
        title: what progress is called.
        do_all: for this process.
        build: makes what does one shard, for another process.
        table: the results as a table.
        rate: where the record of the run keeps images per second.
        shard_images: images per shard, where it is not `SHARD_IMAGES`.
        threads: choose how many of them compute in this process; the record keeps the number.
    """

    kind: shards.Kind
    title: str
    do_all: DoAll
    build: Callable[[], Do] | None
    table: Callable[[Rows], pa.Table]
    rate: str
    shard_images: int | None = None
    threads: Threads | None = None


def files_of(collection: Collection) -> list[Item]:
    """Content hash and place of every different image."""
    return [(h, source.place) for h, (source, _) in collection.unique.items()]


def work_off(
    run: Run,
    collection: Collection,
    work: Work,
    reporter: Reporter,
    *,
    cluster: Cluster | None = None,
) -> dict[str, str]:
    """Do what no finished shard holds, and write every shard as soon as it is done.

    Args:
        cluster: where to do it instead of here.

    Returns:
        Reasons, by content hash, of images without a result.
    """
    for index in shards.damaged_shards(run, work.kind):
        reporter.say(f"Shard {index} of the {work.kind} of {run.key} is damaged and is made again.")
    files = files_of(collection)
    lost: dict[str, str] = {}
    todo: list[tuple[int, list[Item]]] = []
    size = work.shard_images or SHARD_IMAGES
    started, done = time.monotonic(), 0
    with reporter.task(work.title, len(files), collection.noun) as advance:
        for index, start in enumerate(range(0, len(files), size)):
            shard = files[start : start + size]
            if shards.shard_done(run, work.kind, index):
                lost |= shards.lost_in_shard(run, work.kind, index)
                advance(len(shard), "")
            else:
                todo.append((index, shard))
        if not todo:
            return lost
        for index, rows in _results(work, todo, cluster, reporter, advance):
            shards.write_shard(run, work.kind, index, work.table(rows), rows.lost)
            lost |= rows.lost
            done += len(rows.hashes)
    run.update(**{work.rate: done / (time.monotonic() - started)})
    if work.threads and cluster is None:
        run.update(threads=work.threads.chosen)
    return lost


def _results(
    work: Work,
    todo: list[tuple[int, list[Item]]],
    cluster: Cluster | None,
    reporter: Reporter,
    advance: Advance,
) -> Iterator[tuple[int, Rows]]:
    if cluster is None:
        indices, files = [index for index, _ in todo], [shard for _, shard in todo]
        yield from zip(indices, work.do_all(files, advance), strict=True)
        return
    assert work.build is not None
    for finished in ray_map.on_ray(partial(_on_worker, work.build), todo, cluster, reporter):
        rows = Rows(lost=dict.fromkeys(finished.killers, ray_map.KILLED))
        for part in finished.results:
            rows.hashes.extend(part.hashes)
            rows.parts.extend(part.parts)
            rows.lost.update(part.lost)
        advance(len(rows.hashes) + len(rows.lost), "")
        yield finished.shard, rows


def _on_worker(build: Callable[[], Do]) -> Callable[[list[Item]], Rows]:
    keep_freed_memory()
    do = build()
    return lambda files: do(files, None)
