"""The minority score: perceptual distance between an image and its one-shot reconstruction.

    minority_score(x0) = E_eps[ distance(x0, denoise(x0 + sigma * eps, sigma)) ],  mean of K draws

With a latent model x0 is the latent of the image. A distance of images compares its decoded
reconstruction with the decoded latent, so that the error of the autoencoder itself cancels out.

Um, Lee, Ye, "Don't Play Favorites: Minority Guidance for Diffusion Models", ICLR 2024, equation 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate import hashing
from mincurate.compute.device import precision
from mincurate.diffusion.conditions import Conditions
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.features.embedder import Embedder
from mincurate.features.perceptual import Perceptual


@dataclass(frozen=True)
class Scored:
    """The result of a batch of N images.

    Attributes:
        draws: ``(N, K)`` float32, the perceptual distance of every draw; NaN for draws that were
            skipped (`Edge`). Their mean is the minority score; higher is rarer.
        layers: ``(N, L)`` float32, mean distance of every layer of the perceptual network.
        denoising_error: ``(N,)`` float32, mean squared error of the reconstructions.
    """

    draws: NDArray[np.float32]
    layers: NDArray[np.float32]
    denoising_error: NDArray[np.float32]


TOGETHER = 192
"""Reconstructions per batch on a CPU; larger ones are slowed down by memory (measured with
SqueezeNet at K = 12: 25 images/s, 22 with 384)."""
FIRST_DRAWS = 2
"""Draws of every image: one antithetic pair."""
UNDECIDED = 2.0
"""An image is undecided if the edge is within so many standard errors of its score (measured:
`benchmarks/adaptive.py`)."""


@dataclass(frozen=True)
class Edge:
    """The lower edge of the rarest class of the minority score, estimated on a sample of images.

    Attributes:
        score: the edge.
        error: relative standard error of the mean of one pair of draws.
    """

    score: float
    error: float

    def undecided(self, draws: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which images, ``(N,)``, may lie on either side, by their first pair ``(N, 2)``."""
        means = draws.mean(axis=1, dtype=np.float64)
        return np.abs(means - self.score) < UNDECIDED * self.error * means


def find_edge(draws: NDArray[np.floating], num_classes: int) -> Edge:
    """Estimate the `Edge` of the rarest of L classes.

    Args:
        draws: ``(N, 4)``, two antithetic pairs of draws of a random sample of images.
        num_classes: L.
    """
    pairs = draws.astype(np.float64).reshape(len(draws), 2, 2).mean(2)
    means = pairs.mean(1)
    relative = (pairs[:, 0] - pairs[:, 1]) / np.maximum(means, np.finfo(np.float32).tiny)
    error = float(np.sqrt(np.mean(relative**2) / 2))
    return Edge(score=float(np.quantile(means, 1 - 1 / num_classes)), error=error)


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores batches of images: the networks and settings of the score, and no data.

    Attributes:
        denoiser: the diffusion model.
        perceptual: the distance.
        sigma: noise level, one of the denoiser's own.
        n_draws: K, reconstructions per image.
        seed: random seed of the noise.
        dtype: precision of the networks; ``None`` is float32.
        edge: images whose first two draws lie clearly on one side of it get no more draws.
            ``None``: every image gets K.
        embedder: gives the vectors of images that join a run; the score does not use it.
        conditions: the classes of the images, for a class-conditional model.
    """

    denoiser: Denoiser
    perceptual: Perceptual
    sigma: float
    n_draws: int
    seed: int
    dtype: torch.dtype | None = None
    edge: Edge | None = None
    embedder: Embedder | None = None
    conditions: Conditions | None = None

    def denoiser_for(self, identities: Sequence[str], draws: int = 1) -> Denoiser:
        """The denoiser under the labels of images, each ``draws`` times in a row."""
        if self.conditions is None:
            return self.denoiser
        return self.denoiser.under(self.conditions.classes(identities, draws))

    @torch.inference_mode()
    def samples(self, pixels: NDArray[np.uint8]) -> Tensor:
        """What the denoiser sees of images ``(N, C, H, W)``: themselves in [-1, 1], or latents."""
        images = to_tensor(pixels, self.denoiser.device)
        with precision(images.device.type, self.dtype):
            return self.denoiser.space.to_samples(images)

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8], identities: Sequence[str]) -> Scored:
        """Score a batch (equation 5).

        Args:
            pixels: ``(N, C, H, W)`` uint8, of as many bands as the denoiser has.
            identities: content hashes, which with the seed determine the noise.
        """
        device, x0 = self.denoiser.device, self.samples(pixels)
        with precision(device.type, self.dtype):
            reference = self.perceptual.sample_features(self.denoiser, x0)
        eps = noise(identities, self.n_draws, tuple(x0.shape[1:]), self.seed).to(device)
        if self.edge is None:
            layers, error = self._compare(x0, reference, eps, identities)
        else:
            shape = len(x0), self.n_draws
            first, first_error = self._compare(x0, reference, eps[:, :FIRST_DRAWS], identities)
            layers = first.new_full((*shape, first.shape[2]), torch.nan)
            error = first_error.new_full(shape, torch.nan)
            layers[:, :FIRST_DRAWS], error[:, :FIRST_DRAWS] = first, first_error
            undecided = self.edge.undecided(first.sum(2).cpu().numpy())
            if undecided.any():
                rows = torch.from_numpy(undecided).to(device)
                features = [layer[rows] for layer in reference]
                layers[rows, FIRST_DRAWS:], error[rows, FIRST_DRAWS:] = self._compare(
                    x0[rows],
                    features,
                    eps[rows, FIRST_DRAWS:],
                    [
                        identity
                        for identity, more in zip(identities, undecided, strict=True)
                        if more
                    ],
                )
        return Scored(
            draws=layers.sum(2).cpu().numpy(),
            layers=layers.nanmean(1).cpu().numpy(),
            denoising_error=error.nanmean(1).cpu().numpy(),
        )

    def _compare(
        self, x0: Tensor, reference: list[Tensor], eps: Tensor, identities: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Distances per layer ``(N, k, L)`` and mean squared errors ``(N, k)`` of k draws.

        Args:
            x0: ``(N, C, h, w)``, samples.
            reference: perceptual features of ``x0``, ``(N, C, h, w)`` per layer.
            eps: ``(N, k, C, h, w)``, standard normal.
            identities: content hashes of the N images.
        """
        n, k = eps.shape[:2]
        most = max(1, TOGETHER // k)
        if x0.device.type == "cpu" and n > most:
            parts = [
                self._compare(
                    x0[i : i + most], [f[i : i + most] for f in reference], part, identities[i:]
                )
                for i, part in zip(range(0, n, most), eps.split(most), strict=True)
            ]
            return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        # All draws of all images go through the networks as one batch: (N * k, C, h, w).
        repeated = x0.repeat_interleave(k, dim=0)
        denoiser = self.denoiser_for(identities[:n], k)
        with precision(x0.device.type, self.dtype):
            x0hat = denoiser.denoise(repeated + self.sigma * eps.flatten(0, 1), self.sigma)
            features = self.perceptual.sample_features(denoiser, x0hat)
        layers = self.perceptual.between(reference, features).view(n, k, -1)
        return layers, (x0hat - repeated).square().mean((1, 2, 3)).view(n, k)

    @torch.inference_mode()
    def reconstruct(
        self, pixels: NDArray[np.uint8], identities: Sequence[str]
    ) -> NDArray[np.uint8]:
        """Reconstructions of the first draw, ``(N, C, H, W)`` uint8; arguments as for a call."""
        x0 = self.samples(pixels)
        eps = noise(identities, 1, tuple(x0.shape[1:]), self.seed)[:, 0].to(x0.device)
        with precision(x0.device.type, self.dtype):
            x0hat = self.denoiser_for(identities).denoise(x0 + self.sigma * eps, self.sigma)
            images = self.denoiser.space.to_images(x0hat)
        return ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def noise(identities: Sequence[str], n_draws: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise ``(N, K, *shape)``, float32, in antithetic pairs: eps, -eps, eps', ...

    An antithetic pair estimates the mean better than two independent draws (measured: two draws
    rank as well as three). The noise of an image depends only on (seed, identity, draw): not on
    its batch, its position in the collection, or the number of workers.

    Args:
        identities: N content hashes.
        n_draws: K.
        shape: of a sample, ``(C, h, w)``.
        seed: random seed.
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
    """Standard error of the mean over the draws, ``(N,)``; NaN for a single draw.

    The two draws of an antithetic pair are correlated. The correlation is estimated over all images
    with K draws; with K = 2 it cannot be, and draws count as independent.

    Args:
        draws: ``(N, K)``; skipped draws are NaN and come last.
    """
    values = draws.astype(np.float64)
    counts = np.isfinite(values).sum(axis=1)
    rho = pair_correlation(values[counts == values.shape[1]])
    error = np.full(len(values), np.nan)
    for k in np.unique(counts[counts > 1]):
        variance = values[counts == k, :k].var(axis=1, ddof=1)
        # A mean holds 2 m of k^2 products that are correlated: Var = sigma^2 (k + 2 m rho) / k^2.
        share = 2 * (k // 2) * rho / k
        error[counts == k] = np.sqrt(variance / k * (1 + share) / (1 - share / (k - 1)))
    return error


def pair_correlation(draws: NDArray[np.float64]) -> float:
    """Correlation rho of the two draws of a pair, given the image, in [-1, 1]; 0 for K < 3.

    Deviations from an image's own mean bias their products: the mean product over the mean
    variance is r = (b rho - 1 / k) / (1 + d rho), which is solved for rho.

    Args:
        draws: ``(N, K)``, none of them NaN.
    """
    n, k = draws.shape
    if k < 3 or n == 0:
        return 0.0
    pairs = k // 2
    deviations = draws - draws.mean(axis=1, keepdims=True)
    product = (deviations[:, 0 : 2 * pairs : 2] * deviations[:, 1 : 2 * pairs : 2]).mean()
    variance = draws.var(axis=1, ddof=1).mean()
    if variance == 0:
        return 0.0
    r, b, d = product / variance, 1 - 2 / k + 2 * pairs / k**2, -2 * pairs / (k * (k - 1))
    return float(np.clip((r + 1 / k) / (b - r * d), -1, 1))


def semantic_surprise(
    layers: NDArray[np.floating], among: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Residual of the deep layers' distance, regressed on the first layer's.

    Both are logarithms; deep is the sum over the last three layers. The residual is the part of
    the distance that texture does not explain. With fewer than two layers or three images it is
    the deviation from the mean.

    Args:
        layers: ``(N, L)`` distances per layer, at least 0.
        among: ``(M, L)``, the images that the regression is fitted to. Default: ``layers``.

    Returns:
        ``(N,)``; higher is rarer.
    """
    shallow, deep = _shallow_and_deep(layers)
    fitted_shallow, fitted_deep = _shallow_and_deep(layers if among is None else among)
    if len(fitted_deep) < 3 or layers.shape[1] < 2:
        return deep - fitted_deep.mean() if len(fitted_deep) else deep
    design = np.stack([fitted_shallow, np.ones_like(fitted_shallow)], axis=1)
    slope, offset = np.linalg.lstsq(design, fitted_deep, rcond=None)[0]
    return deep - slope * shallow - offset


def _shallow_and_deep(
    layers: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = layers.astype(np.float64)
    tiny = np.finfo(np.float32).tiny
    shallow = np.log(values[:, 0] + tiny)
    return shallow, np.log(values[:, max(1, values.shape[1] - 3) :].sum(1) + tiny)


def rank_stability(draws: NDArray[np.floating]) -> float:
    """Expected Spearman correlation with a second run of as many fresh draws, in [-1, 1].

    Split-half reliability: the rank correlation of two halves of the draws, extrapolated to K
    draws by the Spearman-Brown formula. NaN with fewer than two draws or three images.

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
