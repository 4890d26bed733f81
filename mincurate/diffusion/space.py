"""What a model denoises: images themselves, or the latents of an autoencoder.

A *sample* is either. Noise, solvers, guidance and the classifier see samples only; images turn into
samples, and samples into images, here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from mincurate.diffusion.autoencoder import Autoencoder


class Space(Protocol):
    """The space of a model's samples."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one sample, ``(C, h, w)``."""

    def clamp(self, x0: Tensor) -> Tensor:
        """``x0`` within the range of samples, where they have one."""

    def to_samples(self, images: Tensor) -> Tensor:
        """Samples ``(N, C, h, w)`` of images ``(N, bands, S, S)`` in [-1, 1]."""

    def to_images(self, samples: Tensor) -> Tensor:
        """Images of samples; those within their range give images in [-1, 1]."""


@dataclass(frozen=True)
class Pixels:
    """Samples are images, in [-1, 1].

    Attributes:
        bands: channels of an image.
        side: of an image, in pixels.
    """

    bands: int
    side: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(bands, S, S)``."""
        return self.bands, self.side, self.side

    def clamp(self, x0: Tensor) -> Tensor:
        """Within [-1, 1] ("Don't Play Favorites", section 3.2)."""
        return x0.clamp(-1, 1)

    def to_samples(self, images: Tensor) -> Tensor:
        """The images."""
        return images

    def to_images(self, samples: Tensor) -> Tensor:
        """The samples."""
        return samples


@dataclass(frozen=True, eq=False)
class Latents:
    """Samples are an autoencoder's latents, which have no bounds.

    Attributes:
        autoencoder: of the model.
        side: of an image, in pixels.
    """

    autoencoder: "Autoencoder"
    side: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, h, w)`` of the latents."""
        side = self.side // self.autoencoder.factor
        return self.autoencoder.channels, side, side

    def clamp(self, x0: Tensor) -> Tensor:
        """``x0`` as it is."""
        return x0

    def to_samples(self, images: Tensor) -> Tensor:
        """Encoded."""
        return self.autoencoder.encode(images)

    def to_images(self, samples: Tensor) -> Tensor:
        """Decoded, within [-1, 1]."""
        return self.autoencoder.decode(samples).clamp(-1, 1)
