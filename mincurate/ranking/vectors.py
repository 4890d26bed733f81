"""The vector of every image of a run: each file is decoded at the side that the network sees.

On a CPU several batches are embedded at once, each by one thread. Threads that share a batch wait
for one another at every layer, and lose most of their time beside other programs.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.device import choose_device, precision
from mincurate.compute.ray_map import Cluster, Item
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.prompts import Wording
from mincurate.errors import UserError
from mincurate.features.embedder import Embedder, load_embedder
from mincurate.features.vector_table import VectorTable
from mincurate.images.collection import Collection
from mincurate.images.regions import Region
from mincurate.progress import Advance, Reporter
from mincurate.ranking import shard_loop, table_file
from mincurate.ranking.shard_loop import Reading, Rows, Work
from mincurate.runs.store import Run

Vectors = NDArray[np.float32]
CPU_BATCH = 16
"""Images per batch on a CPU, at most: 32 are a fifth slower and take a fifth more memory."""
TABLE_IMAGES = 2**15
"""Images per shard of vectors that need not be computed: they lose nothing when killed."""


@dataclass(frozen=True)
class Recipe:
    """What another process needs to embed: names of networks, which it has to find.

    Attributes:
        embedding: as for `load_embedder`.
        model: the denoiser, for the embedding ``unet``.
        wording: what it is told, where it takes text.
        weights_hash: of the embedding.
        dtype: precision; ``None`` is float32.
    """

    embedding: str
    model: str | None
    device: str
    dtype: torch.dtype | None
    weights_hash: str
    wording: Wording | None = None

    def build(self, reading: Reading) -> "shard_loop.Do":
        """What embeds files.

        Raises:
            UserError: the network is not there, or has other weights.
        """
        device = choose_device(self.device)
        denoiser = load_denoiser(self.model, device, self.wording) if self.model else None
        embedder = load_embedder(self.embedding, denoiser, device=device)
        if embedder.weights_hash != self.weights_hash:
            raise UserError(
                f"A worker finds other weights under {self.embedding} than this machine; keep "
                "models where all nodes see the same files."
            )
        return partial(embed_files, embedder, device, self.dtype, reading)


def embed(
    run: Run,
    images: Collection,
    embedder: Embedder,
    recipe: Recipe,
    reading: Reading,
    reporter: Reporter,
    *,
    cluster: Cluster | None = None,
) -> dict[str, str]:
    """Embed every image that no finished shard holds; as `shard_loop.work_off`."""
    work = Work(
        kind="vectors",
        title="Vectors",
        do_all=partial(embed_shards, embedder, choose_device(recipe.device), recipe.dtype, reading),
        build=partial(recipe.build, reading),
        table=_table,
        rate="vectors_per_second",
        shard_images=TABLE_IMAGES if embedder.table else None,
    )
    return shard_loop.work_off(run, images, work, reporter, cluster=cluster)


def embed_files(
    embedder: Embedder,
    device: str,
    dtype: torch.dtype | None,
    reading: Reading,
    files: list[Item],
    advance: Advance | None = None,
) -> Rows:
    """Decode and embed files; the vectors of `Rows.parts` are as `embed_batches` gives them.

    Of an embedder with a table they are taken from there.
    """
    [rows] = embed_shards(embedder, device, dtype, reading, [files], advance)
    return rows


def embed_shards(
    embedder: Embedder,
    device: str,
    dtype: torch.dtype | None,
    reading: Reading,
    parts: list[list[Item]],
    advance: Advance | None = None,
) -> Iterator[Rows]:
    """As `embed_files` of each shard; while the last images of one are embedded, the next is
    being decoded."""
    if embedder.table is not None:
        yield from (_look_up(embedder.table, files, advance) for files in parts)
        return
    begun: deque[Rows] = deque()
    of_batch: deque[Rows] = deque()
    in_parts = any(isinstance(place, Region) for files in parts for _, place in files)
    reading = in_small_batches(reading, device, in_parts)

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for files in parts:
            rows = Rows()
            begun.append(rows)
            for hashes, batch, bad in reading.batches(files):
                rows.hashes.extend(hashes)
                rows.lost.update(bad)
                if advance:
                    advance(len(bad), "")
                if len(batch):
                    of_batch.append(rows)
                    yield batch

    for vectors in embed_batches(embedder, device, dtype, pixels()):
        rows = of_batch.popleft()
        while begun[0] is not rows:
            yield begun.popleft()
        rows.parts.append(vectors)
        if advance:
            advance(len(vectors), "")
    yield from begun


def _look_up(table: VectorTable, files: list[Item], advance: Advance | None) -> Rows:
    rows = Rows([content for content, _ in files if content in table.rows])
    rows.lost.update({content: table.reason for content, _ in files if content not in table.rows})
    if rows.hashes:
        rows.parts.append(table.vectors[[table.rows[content] for content in rows.hashes]])
    if advance:
        advance(len(files), "")
    return rows


def in_small_batches(reading: Reading, device: str, in_parts: bool) -> Reading:
    """On a CPU in batches of `CPU_BATCH` at most; beside parts, whole images are in memory, too."""
    if device != "cpu":
        return reading
    most = CPU_BATCH // 2 if in_parts else CPU_BATCH
    return replace(reading, batch_size=min(reading.batch_size, most))


def embed_batches(
    embedder: Embedder,
    device: str,
    dtype: torch.dtype | None,
    batches: Iterable[NDArray[np.uint8]],
) -> Iterator[NDArray[np.float16]]:
    """Vectors ``(n, d)`` of length 1 of every batch ``(n, C, H, W)``, in order.

    Half precision is ample for distances between unit vectors.
    """
    kind = device.split(":")[0]

    @torch.inference_mode()
    def work(batch: NDArray[np.uint8]) -> NDArray[np.float16]:
        with precision(kind, dtype):
            vectors = embedder.embed(_to_tensor(batch, device))
        return F.normalize(vectors.float(), dim=1).cpu().numpy().astype(np.float16)

    threads = torch.get_num_threads()
    if kind != "cpu" or threads == 1:
        yield from map(work, batches)
        return
    waiting: deque[Future[NDArray[np.float16]]] = deque()
    # The setting is of each thread, and is put back for threads that begin later.
    with ThreadPoolExecutor(threads, initializer=partial(torch.set_num_threads, 1)) as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            torch.set_num_threads(threads)


def _to_tensor(pixels: NDArray[np.uint8], device: str) -> Tensor:
    """As `denoiser.to_tensor`, channels last: bytes are reordered faster than floats."""
    x = torch.from_numpy(pixels).to(device).contiguous(memory_format=torch.channels_last)
    return x.float().div_(127.5).sub_(1)


def _table(rows: Rows) -> pa.Table:
    """Rows of a shard, one per image; without any, a table of none."""
    hashes = pa.array(rows.hashes, pa.string())
    if not rows.parts:
        return pa.table({"content_hash": hashes})
    return pa.table({"content_hash": hashes, "embedding": table_file.lists(rows.parts)})
