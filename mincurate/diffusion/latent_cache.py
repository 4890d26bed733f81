"""Images as latents, encoded once and kept in a file, so that a training reads them at every step.

The file grows by a part at a time, and a small one beside it says how much of it counts: a killed
encoding goes on where it was.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.device import precision, reduced_precision
from mincurate.diffusion.denoiser import to_tensor
from mincurate.errors import UserError
from mincurate.progress import Reporter
from mincurate.runs import store
from mincurate.runs.atomic_files import write_atomically
from mincurate.runs.store import Run

if TYPE_CHECKING:
    from mincurate.diffusion.autoencoder import Autoencoder

LATENTS, PROGRESS = "latents.f16", "latents.json"
PART = 256
"""Images that a killed encoding loses at most; the first part also decides the statistics."""

Read = Callable[[list[str]], Iterable[tuple[list[str], NDArray[np.uint8]]]]
"""Batches of content hashes and pixels ``(n, 3, S, S)``, of those hashes that can be read."""


@dataclass(frozen=True, eq=False)
class Latents:
    """Encoded images.

    Attributes:
        hashes: of the images.
        samples: ``(N, C, h, w)`` float16, memory-mapped.
        autoencoder: that gives these latents.
    """

    hashes: list[str]
    samples: NDArray[np.float16]
    autoencoder: "Autoencoder"


def encode(
    hashes: list[str],
    read: Read,
    autoencoder: "Autoencoder",
    folder: Path,
    *,
    standardise: bool,
    reporter: Reporter,
) -> Latents:
    """The latents of images, from ``folder`` as far as they are there.

    Args:
        hashes: content hashes, in an order that has nothing to do with what the images show.
        standardise: give latents mean 0 and standard deviation 1 in every channel, by the
            statistics of the first `PART` images.
        folder: of these images, this autoencoder and this way of reading; may not exist.

    Raises:
        UserError: the folder cannot be written, or another process works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with store.locked(Run(folder)):
            return _encode(hashes, read, autoencoder, folder, standardise, reporter)
    except OSError as error:
        raise UserError(
            f"Cannot write latents to {folder}: {error.strerror or error}; free some space or set "
            "MINCURATE_HOME, then give the same command again."
        ) from error


def _encode(
    hashes: list[str],
    read: Read,
    autoencoder: "Autoencoder",
    folder: Path,
    standardise: bool,
    reporter: Reporter,
) -> Latents:
    state = _state(folder)
    with reporter.task("Encoding images", len(hashes)) as advance:
        advance(state["images"], "")
        while state["images"] < len(hashes):
            part = hashes[state["images"] : state["images"] + PART]
            readable: list[str] = []
            latents: list[Tensor] = []
            for names, pixels in read(part):
                readable += names
                latents.append(_latents_of(autoencoder, pixels))
                advance(len(names), "")
            if readable:
                own = torch.cat(latents)
                if standardise:
                    own = _standardised(own, state)
                _append(folder, state, own)
            state["hashes"] += readable
            state["images"] += len(part)
            write_atomically(folder / PROGRESS, json.dumps(state).encode())
    if not state["hashes"]:
        return Latents([], np.empty((0, autoencoder.channels, 1, 1), np.float16), autoencoder)
    if standardise:
        autoencoder = autoencoder.standardised(*(torch.tensor(state[k]) for k in ("mean", "std")))
    shape = (len(state["hashes"]), *state["shape"])
    samples = np.memmap(folder / LATENTS, np.float16, "r", shape=shape)
    return Latents(state["hashes"], samples, autoencoder)


def _standardised(latents: Tensor, state: dict[str, Any]) -> Tensor:
    """Latents ``(n, C, h, w)`` by the statistics of the first ones, which are then in ``state``."""
    if "mean" not in state:
        state["mean"] = latents.mean((0, 2, 3)).tolist()
        state["std"] = latents.std((0, 2, 3)).clamp(min=1e-6).tolist()
    mean, std = (torch.tensor(state[of]).view(1, -1, 1, 1) for of in ("mean", "std"))
    return (latents - mean) / std


def _state(folder: Path) -> dict[str, Any]:
    """What an encoding has done: images read, hashes of their rows, shape of a row, statistics."""
    try:
        state: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
        row = 2 * int(np.prod(state["shape"]))
        if (folder / LATENTS).stat().st_size >= row * len(state["hashes"]):
            return state
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return {"images": 0, "hashes": []}


@torch.inference_mode()
def _latents_of(autoencoder: "Autoencoder", pixels: NDArray[np.uint8]) -> Tensor:
    """``(n, C, h, w)`` float32, on the CPU."""
    device = autoencoder.device
    with precision(device.type, reduced_precision(str(device))):
        return autoencoder.encode(to_tensor(pixels, device)).float().cpu()


def _append(folder: Path, state: dict[str, Any], latents: Tensor) -> None:
    """Write latents after the rows that count."""
    state["shape"] = list(latents.shape[1:])
    path = folder / LATENTS
    row = 2 * int(np.prod(state["shape"]))
    with path.open("r+b" if state["hashes"] else "wb") as file:
        file.seek(row * len(state["hashes"]))
        file.write(latents.to(torch.float16).numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())
