"""What the first half of a network makes of noised samples."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Encoded:
    """The output of a network's encoder half for ``N`` samples; the decoder half goes on from it.

    Of a transformer the first half of the blocks is the encoder half.

    Attributes:
        residuals: activations of the skip connections, shallow to deep; none in a transformer.
        deepest: ``(N, C, h, w)``, after the middle block if there is one; of a transformer
            ``(N, tokens, C)``.
        timesteps: ``(N,)``, the noise level of each sample.
        embedded: ``(N, E)``, the embedding of the timesteps.
        maps: ``(N, C, h, w)`` of every block and of the middle block, shallow to deep; without the
            first convolution, a linear filter.
        condition: what the decoder half is conditional on, if it reads a condition of its own.
    """

    residuals: tuple[Tensor, ...]
    deepest: Tensor
    timesteps: Tensor
    embedded: Tensor
    maps: list[Tensor]
    condition: Tensor | None = None

    def detach(self) -> "Encoded":
        """The same values without gradients."""
        return Encoded(
            tuple(r.detach() for r in self.residuals),
            self.deepest.detach(),
            self.timesteps,
            self.embedded.detach(),
            [m.detach() for m in self.maps],
            self.condition,
        )
