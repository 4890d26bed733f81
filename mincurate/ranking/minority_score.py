"""The minority score: perceptual distance between an image and its one-shot reconstruction.

    minority_score(x0) = E_eps[ distance(x0, denoise(x0 + sigma * eps, sigma)) ],  mean of K draws

Um, Lee, Ye, "Don't Play Favorites: Minority Guidance for Diffusion Models", ICLR 2024, equation 5.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate import hashing
from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.features import perceptual as perception
from mincurate.features.perceptual import Perceptual


@dataclass(frozen=True)
class Scored:
    """What a batch of N images gave.

    Attributes:
        draws: ``(N, K)`` float32, distance of every draw, NaN for those that were spared; their
            mean is the minority score.
        layers: ``(N, L)`` float32, mean distance of every layer of the perceptual network.
        denoising_error: ``(N,)`` float32, mean squared error of the reconstructions.
        embeddings: ``(N, d)`` float32, L2-normalised.
    """

    draws: NDArray[np.float32]
    layers: NDArray[np.float32]
    denoising_error: NDArray[np.float32]
    embeddings: NDArray[np.float32]


TOGETHER = 192
"""Reconstructions that go through the networks at once on a CPU: with more, memory is what takes
the time (measured with SqueezeNet at K = 12: 25 images/s, 22 with 384)."""
FIRST_DRAWS = 2
"""Draws that every image gets: one opposite pair."""
UNDECIDED = 2.0
"""An image is undecided if the edge is within so many standard errors of its score (measured:
`benchmarks/adaptive.py`)."""


@dataclass(frozen=True)
class Edge:
    """Where the rarest class of the minority score begins, as a sample of the images tells.

    Attributes:
        score: the edge.
        error: standard error of the mean of a pair of draws, as a share of the score.
    """

    score: float
    error: float

    def undecided(self, draws: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whose first pair of draws, ``(N, 2)``, does not tell the side of the edge."""
        means = draws.mean(axis=1, dtype=np.float64)
        return np.abs(means - self.score) < UNDECIDED * self.error * means


def find_edge(draws: NDArray[np.floating], num_classes: int) -> Edge:
    """The edge of the rarest of L classes.

    Args:
        draws: ``(N, 4)``, two pairs of draws of images that were taken at random.
    """
    pairs = draws.astype(np.float64).reshape(len(draws), 2, 2).mean(2)
    means = pairs.mean(1)
    relative = (pairs[:, 0] - pairs[:, 1]) / np.maximum(means, np.finfo(np.float32).tiny)
    error = float(np.sqrt(np.mean(relative**2) / 2))
    return Edge(score=float(np.quantile(means, 1 - 1 / num_classes)), error=error)


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores batches of images; holds the networks and nothing of the data.

    Attributes:
        denoiser: the diffusion model.
        perceptual: the distance.
        embed: ``(N, 3, H, W)`` in [-1, 1] to ``(N, d)`` vectors.
        sigma: noise level, one of the denoiser's own.
        n_draws: K, reconstructions per image.
        seed: of the run.
        dtype: precision of the networks; ``None`` is float32.
        edge: where there is one, images that two draws put clearly on one side of it get no more.
    """

    denoiser: Denoiser
    perceptual: Perceptual
    embed: Callable[[Tensor], Tensor]
    sigma: float
    n_draws: int
    seed: int
    dtype: torch.dtype | None = None
    edge: Edge | None = None

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8], identities: Sequence[str]) -> Scored:
        """Score ``pixels``, ``(N, 3, H, W)`` uint8 RGB, whose content hashes are ``identities``."""
        device = self.denoiser.device
        x0 = to_tensor(pixels, device)
        eps = noise(identities, self.n_draws, tuple(x0.shape[1:]), self.seed).to(device)
        with precision(device.type, self.dtype):
            reference = self.perceptual.features(x0)
            embeddings = self.embed(x0).float()
        if self.edge is None:
            layers, error = self._compare(x0, reference, eps)
        else:
            shape = len(x0), self.n_draws
            first, first_error = self._compare(x0, reference, eps[:, :FIRST_DRAWS])
            layers = first.new_full((*shape, first.shape[2]), torch.nan)
            error = first_error.new_full(shape, torch.nan)
            layers[:, :FIRST_DRAWS], error[:, :FIRST_DRAWS] = first, first_error
            undecided = self.edge.undecided(first.sum(2).cpu().numpy())
            if undecided.any():
                rows = torch.from_numpy(undecided).to(device)
                known = [layer[rows] for layer in reference]
                layers[rows, FIRST_DRAWS:], error[rows, FIRST_DRAWS:] = self._compare(
                    x0[rows], known, eps[rows, FIRST_DRAWS:]
                )
        return Scored(
            draws=layers.sum(2).cpu().numpy(),
            layers=layers.nanmean(1).cpu().numpy(),
            denoising_error=error.nanmean(1).cpu().numpy(),
            embeddings=torch.nn.functional.normalize(embeddings, dim=1).cpu().numpy(),
        )

    def _compare(self, x0: Tensor, reference: list[Tensor], eps: Tensor) -> tuple[Tensor, Tensor]:
        """Distances per layer ``(N, k, L)`` and squared errors ``(N, k)`` of k draws of ``x0``.

        Args:
            reference: perceptual features of ``x0``.
            eps: ``(N, k, 3, H, W)``.
        """
        n, k = eps.shape[:2]
        most = max(1, TOGETHER // k)
        if x0.device.type == "cpu" and n > most:
            parts = [
                self._compare(x0[i : i + most], [f[i : i + most] for f in reference], part)
                for i, part in zip(range(0, n, most), eps.split(most), strict=True)
            ]
            return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        # All draws of all images go through the networks as one batch: (N * k, 3, H, W).
        repeated = x0.repeat_interleave(k, dim=0)
        with precision(x0.device.type, self.dtype):
            x0hat = self.denoiser.denoise(repeated + self.sigma * eps.flatten(0, 1), self.sigma)
            features = self.perceptual.features(x0hat)
        layers = perception.distance(reference, features).view(n, k, -1)
        return layers, (x0hat - repeated).square().mean((1, 2, 3)).view(n, k)

    @torch.inference_mode()
    def reconstruct(
        self, pixels: NDArray[np.uint8], identities: Sequence[str]
    ) -> NDArray[np.uint8]:
        """The first draw's reconstructions, ``(N, 3, H, W)`` uint8: what the score looks at."""
        x0 = to_tensor(pixels, self.denoiser.device)
        eps = noise(identities, 1, tuple(x0.shape[1:]), self.seed)[:, 0].to(x0.device)
        with precision(x0.device.type, self.dtype):
            x0hat = self.denoiser.denoise(x0 + self.sigma * eps, self.sigma)
        return ((x0hat + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def noise(identities: Sequence[str], n_draws: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise ``(N, K, *shape)``, float32, in antithetic pairs: eps, -eps, eps', ...

    A pair of opposite noises tells more of the mean than two independent ones (measured: two draws
    rank as well as three). The noise of an image depends on (seed, its content, the draw) alone:
    never on the batch it is in, its place in the collection, or the number of workers.
    """
    drawn = torch.empty(len(identities), n_draws, *shape)
    for n, identity in enumerate(identities):
        for k in range(0, n_draws, 2):
            digest = hashing.digest(f"{seed}/{identity}/{k}".encode(), 8)
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
            torch.randn(shape, generator=generator, out=drawn[n, k])
    drawn[:, 1::2] = -drawn[:, : n_draws - 1 : 2]
    return drawn


def standard_error(draws: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard error of the mean over draws ``(N, K)``; NaN for a single draw.

    Draws of an antithetic pair are correlated; how much is found over all images together that have
    K draws (it cannot be with two draws, which are then taken to be independent). Draws that were
    spared are NaN, and stand at the end.
    """
    values = draws.astype(np.float64)
    made = np.isfinite(values).sum(axis=1)
    rho = pair_correlation(values[made == values.shape[1]])
    error = np.full(len(values), np.nan)
    for k in np.unique(made[made > 1]):
        variance = values[made == k, :k].var(axis=1, ddof=1)
        # A mean holds 2 m of k^2 products that are correlated: Var = sigma^2 (k + 2 m rho) / k^2.
        share = 2 * (k // 2) * rho / k
        error[made == k] = np.sqrt(variance / k * (1 + share) / (1 - share / (k - 1)))
    return error


def pair_correlation(draws: NDArray[np.float64]) -> float:
    """Correlation of the two draws of a pair, given the image, over images ``(N, K)``; 0 for K < 3.

    The products of deviations from an image's own mean are biased, in a known way: with rho the
    correlation, their mean over the mean variance is r = (b rho - 1 / k) / (1 + d rho).
    """
    n, k = draws.shape
    if k < 3 or n == 0:
        return 0.0
    pairs = k // 2
    apart = draws - draws.mean(axis=1, keepdims=True)
    product = (apart[:, 0 : 2 * pairs : 2] * apart[:, 1 : 2 * pairs : 2]).mean()
    spread = draws.var(axis=1, ddof=1).mean()
    if spread == 0:
        return 0.0
    r, b, d = product / spread, 1 - 2 / k + 2 * pairs / k**2, -2 * pairs / (k * (k - 1))
    return float(np.clip((r + 1 / k) / (b - r * d), -1, 1))


def semantic_surprise(
    layers: NDArray[np.floating], among: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """How much more the deep layers differ than the first layer's difference would suggest.

    The log distance of the deepest three layers, regressed on the log distance of the first: what
    remains is not explained by texture. Needs at least two layers and three images.

    Args:
        layers: ``(N, L)`` distances per layer.
        among: ``(M, L)``, the images whose regression is used; ``layers`` itself when absent.

    Returns:
        ``(N,)`` residuals; higher is rarer.
    """
    shallow, deep = _shallow_and_deep(layers)
    known_shallow, known_deep = _shallow_and_deep(layers if among is None else among)
    if len(known_deep) < 3 or layers.shape[1] < 2:
        return deep - known_deep.mean() if len(known_deep) else deep
    design = np.stack([known_shallow, np.ones_like(known_shallow)], axis=1)
    slope, offset = np.linalg.lstsq(design, known_deep, rcond=None)[0]
    return deep - slope * shallow - offset


def _shallow_and_deep(
    layers: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = layers.astype(np.float64)
    tiny = np.finfo(np.float32).tiny
    shallow = np.log(values[:, 0] + tiny)
    return shallow, np.log(values[:, max(1, values.shape[1] - 3) :].sum(1) + tiny)


def rank_stability(draws: NDArray[np.floating]) -> float:
    """Expected Spearman correlation with a second run of as many fresh draws.

    The draws are split in two halves, whose rank correlation is carried to full length by the
    Spearman-Brown formula. NaN with fewer than two draws or three images.

    Args:
        draws: ``(N, K)``.
    """
    from scipy.stats import spearmanr

    k = draws.shape[1]
    if k < 2 or len(draws) < 3:
        return float("nan")
    half = k // 2
    rho = float(spearmanr(draws[:, :half].mean(1), draws[:, half : 2 * half].mean(1)).statistic)
    # Two halves of `half` draws each; a run has k draws.
    factor = k / half
    return factor * rho / (1 + (factor - 1) * rho) if rho > 0 else rho
