"""What a training reads at every step: images as pixels in memory, or as latents in a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing, paths
from mincurate.diffusion import latent_cache
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.images import collection
from mincurate.images.collection import Collection
from mincurate.images.decode import Fit
from mincurate.progress import Reporter

if TYPE_CHECKING:
    from mincurate.diffusion.autoencoder import Autoencoder

LARGEST = 256
"""Side in pixels at which a training in latents takes larger images, unless told otherwise."""
ENCODED_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Samples:
    """The images of a training.

    Attributes:
        hashes: content hashes.
        values: ``(N, C, S, S)`` uint8 pixels, or ``(N, C, h, w)`` float16 latents.
        autoencoder: that gives these latents; ``None`` for pixels.
    """

    hashes: list[str]
    values: NDArray[np.uint8] | NDArray[np.float16]
    autoencoder: "Autoencoder | None" = None


def autoencoder_for(
    latent: str | None, start: Denoiser | None, images: Collection, device: str
) -> "Autoencoder | None":
    """The autoencoder of a training: that of the model to go on from, or the one that is named.

    Raises:
        UserError: there is no such autoencoder, or the images are not RGB.
    """
    if start is not None:
        return start.autoencoder
    if latent is None:
        return None
    if images.rendering.channels != 3:
        raise UserError("--latent takes RGB images: leave out --bands.")
    from mincurate.diffusion import autoencoder

    return autoencoder.load(latent, device)


def size_in_latents(
    images: Collection, autoencoder: "Autoencoder", levels: int, size: int | None
) -> int:
    """Side at which images are encoded, in pixels: ``size``, or theirs, at most `LARGEST`.

    Args:
        levels: of the UNet, which halves the latents at each but the first.

    Raises:
        UserError: ``size`` cannot be halved so often.
    """
    multiple = autoencoder.factor * 2 ** (levels - 1)
    if size is None:
        side = -(-images.usual_side() // multiple) * multiple
        return max(2 * multiple, min(LARGEST, side))
    if size % multiple:
        raise UserError(
            f"With {autoencoder.name} as --latent, --image-size is a multiple of {multiple}, not "
            f"{size}."
        )
    return size


def of_images(
    images: Collection,
    *,
    size: int,
    fit: Fit,
    seed: int,
    workers: int,
    autoencoder: "Autoencoder | None",
    standardise: bool,
    reporter: Reporter,
) -> Samples:
    """The samples of a training.

    Args:
        autoencoder: that encodes; ``None`` for pixels.
        standardise: give the latents mean 0 and standard deviation 1 in every channel.

    Raises:
        UserError: the latents cannot be written.
    """
    if autoencoder is None:
        hashes, pixels = collection.training_pixels(
            images, size=size, fit=fit, seed=seed, workers=workers
        )
        return Samples(hashes, pixels)

    def read(part: list[str]) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
        batches = collection.read_batches(
            [(name, images.unique[name][0].place) for name in part],
            size=size,
            fit=fit,
            rendering=images.rendering,
            batch_size=ENCODED_AT_ONCE,
            workers=workers,
        )
        for names, pixels, _ in batches:
            yield names, pixels

    facts = [images.digest, size, fit, autoencoder.content_hash(), standardise]
    latents = latent_cache.encode(
        sorted(images.unique),
        read,
        autoencoder,
        paths.home() / "latents" / hashing.fingerprint(facts),
        standardise=standardise,
        reporter=reporter,
    )
    return Samples(latents.hashes, latents.samples, latents.autoencoder)
