"""Images are generated into a folder: one seed, one PNG and one manifest line each; stopped, it
goes on.

Images are made in batches that do not depend on what is there already, so that a
generation that was stopped ends with the same bytes as one that was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.errors import StoppedError, UserError
from mincurate.manifest import IMAGES, append, content_hash, png, repair
from mincurate.progress import SILENT, Reporter
from mincurate.runs import write_atomically
from mincurate.sampling import OnStep, Sampler
from mincurate.scoring import to_tensor


class GenerationStoppedError(StoppedError):
    """Generation was stopped by Ctrl-C; what is finished is on disk."""

    def __init__(self, folder: Path, done: int, n: int) -> None:
        super().__init__(
            f"{done} of {n} images are in {folder}; give the same command again to go on."
        )


@dataclass(frozen=True, eq=False)
class Starts:
    """Real images that generated ones vary.

    Attributes:
        pixels: ``(M, 3, S, S)`` uint8; image i starts from ``pixels[i % M]``.
        names: ``(M,)``, what the manifest says of them: their content hashes.
        strength: share of the way to pure noise, in (0, 1].
    """

    pixels: NDArray[np.uint8]
    names: Sequence[str]
    strength: float


def image_seed(seed: int, index: int) -> int:
    """The seed of image ``index`` of a generation: 32 bits, which is what torch's generator takes.

    Different images of a generation have different seeds: an odd factor permutes the numbers below
    2^32. Generations of different seeds start at unrelated places.
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
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Generate ``n`` images into ``folder``, or those of them that are not there yet.

    Args:
        seed: of the whole generation; image i has `image_seed` (seed, first + i) of its own.
        first: how many images of other generations with this seed come before.
        facts: what every manifest line says besides index, file, seed and start.

    Returns:
        The manifest, one entry per image in order.

    Raises:
        UserError: no room left on the disk, or the folder cannot be written.
        GenerationStoppedError: on Ctrl-C; every image made so far is kept.
    """
    try:
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        entries = {e["index"]: e for e in repair(folder) if e["index"] < n}
        with reporter.task("Generating", n) as advance:
            advance(len(entries))
            for start in range(0, n, batch_size):
                indices = list(range(start, min(start + batch_size, n)))
                missing = [i for i in indices if i not in entries]
                if not missing:
                    continue
                seeds = [image_seed(seed, first + i) for i in indices]
                x0, names = _starts(starts, [first + i for i in indices])
                images = sampler(
                    seeds,
                    start=x0,
                    strength=starts.strength if starts else 1.0,
                    on_step=_interim(advance),
                )
                pixels = to_pixels(images)
                lines = []
                for i, image_seed_, picture, name in zip(
                    indices, seeds, pixels, names, strict=True
                ):
                    if i not in missing:
                        continue
                    file = f"{IMAGES}/{i:06d}.png"
                    content = png(picture)
                    write_atomically(folder / file, content)
                    entry = {"index": i, "file": file, "seed": image_seed_} | facts
                    entry["content_hash"] = content_hash(content)
                    if name is not None and starts is not None:
                        entry |= {"start": name, "strength": starts.strength}
                    entries[i] = entry
                    lines.append(entry)
                append(folder, lines)
                advance(len(missing))
    except KeyboardInterrupt:
        raise GenerationStoppedError(folder, len(repair(folder)), n) from None
    except OSError as error:
        raise UserError(
            f"The images cannot be written to {folder} ({error.strerror or error}); what is "
            "finished is kept: free some room and give the same command again."
        ) from error
    return [entries[i] for i in range(n)]


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """``(N, 3, H, W)`` in [-1, 1] as uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _starts(starts: Starts | None, indices: list[int]) -> tuple[Tensor | None, list[str | None]]:
    if starts is None:
        return None, [None] * len(indices)
    rows = [i % len(starts.pixels) for i in indices]
    return to_tensor(starts.pixels[rows]), [starts.names[r] for r in rows]


def _interim(advance: Any) -> OnStep:
    """Shows within a batch how far it is."""

    def on_step(done: int, steps: int) -> None:
        advance(0, f"step {done} of {steps}")

    return on_step
