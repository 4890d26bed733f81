"""Generate images into a folder: one seed, one PNG and one manifest line each.

The batches do not depend on which images are there already, so that a generation that was stopped
and goes on ends with the same bytes as one that was not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute import ray_map
from mincurate.compute.device import keep_freed_memory, out_of_memory
from mincurate.compute.ray_map import Cluster
from mincurate.diffusion.denoiser import to_tensor
from mincurate.errors import StoppedError, UserError
from mincurate.generation.labels import Labels
from mincurate.generation.solvers import OnStep, Sampler
from mincurate.hashing import content_hash
from mincurate.progress import SILENT, Advance, Reporter
from mincurate.runs.atomic_files import write_atomically
from mincurate.runs.manifest import IMAGES, append, png, repair


class GenerationStoppedError(StoppedError):
    """Generation was stopped by Ctrl-C; what is finished is on disk."""

    def __init__(self, folder: Path, done: int, n: int) -> None:
        super().__init__(
            f"{done} of {n} images are in {folder}; give the same command again to go on."
        )


@dataclass(frozen=True, eq=False)
class Starts:
    """Real images that generated ones start from.

    Attributes:
        pixels: ``(M, 3, S, S)`` uint8; image i starts from ``pixels[i % M]``.
        names: ``(M,)``, their content hashes, for the manifest.
        strength: share of the way to pure noise, in (0, 1].
    """

    pixels: NDArray[np.uint8]
    names: Sequence[str]
    strength: float


def image_seed(seed: int, index: int) -> int:
    """The seed of image ``index`` of a generation: 32 bits, as many as torch's generator takes.

    Different images of a generation have different seeds: an odd factor permutes the numbers below
    2^32. Generations with different seeds start at unrelated numbers.
    """
    start = int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0])
    return (start + index * 0x9E3779B1) % 2**32


def generate(
    folder: Path,
    sampler: Sampler,
    n: int,
    *,
    seed: int,
    batch_size: int,
    facts: dict[str, Any],
    first: int = 0,
    starts: Starts | None = None,
    labels: Labels | None = None,
    cluster: Cluster | None = None,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Generate ``n`` images into ``folder``, or those of them that are not there yet.

    Args:
        seed: of the generation; image i has the seed `image_seed` (seed, first + i).
        first: how many images of earlier generations with this seed come before.
        labels: for a class-conditional model.
        facts: entries of every manifest line besides index, file, seed and start.
        cluster: where to compute; this process when absent. Only this process writes.

    Returns:
        The manifest, one entry per image in order.

    Raises:
        UserError: the disk is full, or the folder cannot be written; there is no such cluster, or
            its workers die again and again.
        GenerationStoppedError: on Ctrl-C; every image finished so far is kept.
    """
    try:
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        entries = {e["index"]: e for e in repair(folder) if e["index"] < n}
        batches = enumerate(range(i, min(i + batch_size, n)) for i in range(0, n, batch_size))
        todo = {number: batch for number, batch in batches if not entries.keys() >= set(batch)}
        make = _fitting(partial(_make, sampler, starts, labels, seed, first))
        with reporter.task("Generating", n) as advance:
            advance(len(entries))
            batches_of_pixels = (
                _here(make, todo, advance)
                if cluster is None
                else _on_ray(make, todo, cluster, reporter)
            )
            for number, pixels in batches_of_pixels:
                lines = []
                for i, picture in zip(todo[number], pixels, strict=True):
                    if i in entries:
                        continue
                    file = f"{IMAGES}/{i:06d}.png"
                    content = png(picture)
                    write_atomically(folder / file, content)
                    entry = {"index": i, "file": file, "seed": image_seed(seed, first + i)} | facts
                    entry["content_hash"] = content_hash(content)
                    if starts is not None:
                        name = starts.names[(first + i) % len(starts.names)]
                        entry |= {"start": name, "strength": starts.strength}
                    if labels is not None:
                        entry["label"] = labels.names[(first + i) % len(labels.names)]
                    entries[i] = entry
                    lines.append(entry)
                append(folder, lines)
                advance(len(lines))
    except KeyboardInterrupt:
        raise GenerationStoppedError(folder, len(repair(folder)), n) from None
    except OSError as error:
        raise UserError(
            f"The images cannot be written to {folder} ({error.strerror or error}). Finished "
            "images are kept: free some space and give the same command again."
        ) from error
    return [entries[i] for i in range(n)]


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """``(N, 3, H, W)`` in [-1, 1] as uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _fitting(make: "Make") -> "Make":
    """``make``, in halves where the whole batch does not fit into memory: the images are the same.

    Raises:
        UserError: not even a single image fits.
    """

    def fitting(indices: Sequence[int], on_step: OnStep | None = None) -> NDArray[np.uint8]:
        try:
            return make(indices, on_step)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if len(indices) == 1:
            raise UserError(
                "Generating one image needs more memory than the device has: take a smaller model "
                "or another --device."
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(indices) // 2
        return np.concatenate([fitting(indices[:half]), fitting(indices[half:])])

    return fitting


Make = Callable[..., NDArray[np.uint8]]
Batches = dict[int, range]
Numbered = Iterator[tuple[int, NDArray[np.uint8]]]


def _make(
    sampler: Sampler,
    starts: Starts | None,
    labels: Labels | None,
    seed: int,
    first: int,
    indices: Sequence[int],
    on_step: OnStep | None = None,
) -> NDArray[np.uint8]:
    """The images of these numbers, ``(N, 3, H, W)``."""
    x0 = None
    if starts is not None:
        x0 = to_tensor(starts.pixels[[(first + i) % len(starts.pixels) for i in indices]])
    if labels is not None:
        turns = [(first + i) % len(labels.classes) for i in indices]
        sampler = sampler.under(torch.from_numpy(labels.classes[turns]))
    images = sampler(
        [image_seed(seed, first + i) for i in indices],
        start=x0,
        strength=starts.strength if starts else 1.0,
        on_step=on_step,
    )
    return to_pixels(images)


def _here(make: Make, todo: Batches, advance: Advance) -> Numbered:
    for number, batch in todo.items():
        yield number, make(batch, _interim(advance))


def _on_ray(make: Make, todo: Batches, cluster: Cluster, reporter: Reporter) -> Numbered:
    shards = [(number, [(str(i), "") for i in batch]) for number, batch in todo.items()]
    for done in ray_map.on_ray(partial(_worker, make), shards, cluster, reporter):
        if done.killers:
            raise UserError(
                "Worker processes die while generating a single image, perhaps for lack of memory. "
                "Finished images are kept: take fewer --workers and give the same command "
                "again."
            )
        yield done.shard, np.concatenate(done.results)


def _worker(make: Make) -> Callable[[list[ray_map.Item]], NDArray[np.uint8]]:
    """The function that a worker on a cluster calls with the numbers of its images."""
    keep_freed_memory()
    return lambda items: make([int(number) for number, _ in items])


def _interim(advance: Advance) -> OnStep:
    """Shows the steps done within a batch."""

    def on_step(done: int, steps: int) -> None:
        advance(0, f"step {done} of {steps}")

    return on_step
