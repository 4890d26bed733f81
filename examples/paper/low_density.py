"""Low-density sampling (Sehwag et al., CVPR 2022), the paper's rival, in a form without labels.

    D += sigma^2 * grad_x [ alpha * hardness(x, sigma) + beta * log p(real | x, sigma) ]

A step away from the dense regions, and one that keeps to the manifold of real images, are the two
ideas of the original. What differs from it, which guides a class-conditional model: hardness is the
negative log-likelihood of an embedding under one Gaussian of all images, not of the image's class;
the embedding is that of the denoiser's encoder at the same noise level, not of a classifier's; and
gradients are not normalised, because they belong to log-densities here, so that the original's
alpha and beta do not carry over. In the embedding, alpha < 1 widens the Gaussian to
``covariance / (1 - alpha)``; from 1 on only the real/fake guidance and the clamp hold it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from torch import Tensor

from mincurate import hashing
from mincurate.diffusion.denoiser import Denoiser, Encoded, to_tensor
from mincurate.generation import generate, samplers, solvers, train_classifier
from mincurate.generation.classifier import Classifier, ClassifierTraining
from mincurate.generation.guidance import Guided, guided
from mincurate.generation.solvers import Sampler
from mincurate.progress import SILENT, Reporter
from mincurate.runs.manifest import read_png

FAKES = 512
"""Plain samples that the real/fake classifier learns to tell from real images."""
ALPHA, BETA = 0.5, 1.0
"""Scales of hardness and of real/fake guidance."""


def sampler(
    denoiser: Denoiser,
    hardness: "Hardness",
    realness: Classifier,
    *,
    guidance_scale: float = ALPHA,
    real_scale: float = BETA,
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
) -> Sampler:
    """Low-density sampling.

    Args:
        realness: a `Classifier` of two classes, 0 for plain samples and 1 for real images.
        guidance_scale: alpha.
        real_scale: beta.
    """
    real = guided(denoiser, realness, target_class=1, guidance_scale=1.0)

    def log_prob(encoded: Encoded) -> Tensor:
        return guidance_scale * hardness(encoded) + real_scale * real.log_prob(encoded)

    model = Guided(denoiser, log_prob, 1.0)
    return solvers.checked(Sampler(model, solver, steps, dtype=dtype))


@dataclass(frozen=True, eq=False)
class Hardness:
    """How unlikely an image's embedding is, at every noise level, under a Gaussian of all images.

    Attributes:
        timesteps: ``(M,)``, the noise levels at which a Gaussian was fitted; the nearest is used.
        mean: ``(M, d)``.
        precision: ``(M, d, d)``, inverse covariances.
    """

    timesteps: Tensor
    mean: Tensor
    precision: Tensor

    def __call__(self, encoded: Encoded) -> Tensor:
        """Half the squared Mahalanobis distance of each image's embedding, ``(N,)``."""
        level = (encoded.timesteps[:, None] - self.timesteps).abs().argmin(1)
        z = _embedding(encoded) - self.mean[level]
        return 0.5 * torch.einsum("ni,nij,nj->n", z, self.precision[level], z)


@torch.no_grad()
def fit_hardness(
    denoiser: Denoiser,
    images: NDArray[np.uint8],
    *,
    levels: int = 16,
    batch_size: int = 128,
    seed: int = 0,
) -> Hardness:
    """Fit the Gaussians of `Hardness` to ``images``, ``(N, 3, S, S)`` uint8, with the shrinkage
    that few images need (Ledoit and Wolf, 2004)."""
    device = denoiser.device
    timesteps = torch.linspace(0, len(denoiser.sigmas) - 1, levels).round().long()
    means, precisions = [], []
    for t in timesteps.tolist():
        generator = torch.Generator().manual_seed(seed)
        embeddings = []
        for start in range(0, len(images), batch_size):
            x0 = to_tensor(images[start : start + batch_size], device)
            eps = torch.randn(x0.shape, generator=generator).to(device)
            at = torch.full((len(x0),), t, device=device)
            sigma = float(denoiser.sigmas[t])
            embeddings.append(_embedding(denoiser.encode(x0 + sigma * eps, at)).double().cpu())
        fitted = LedoitWolf().fit(torch.cat(embeddings).numpy())
        means.append(torch.from_numpy(fitted.location_).float())
        precisions.append(torch.from_numpy(fitted.precision_).float())
    return Hardness(
        timesteps.to(device), torch.stack(means).to(device), torch.stack(precisions).to(device)
    )


def train_realness(
    denoiser: Denoiser,
    pixels: NDArray[np.uint8],
    training: ClassifierTraining,
    folder: Path,
    *,
    steps: int,
    solver: str,
    reporter: Reporter = SILENT,
) -> Classifier:
    """Learn to tell plain samples (0) from real images (1) at every noise level.

    Args:
        pixels: the real images, ``(N, 3, S, S)`` uint8.
        training: budget and seed.
        steps: of the plain samples.
    """
    training = replace(training, num_classes=2, loss="cross_entropy")
    facts = [str(training), denoiser.content_hash(), solver, steps]
    folder = folder / f"realness-{hashing.fingerprint(facts)}"
    n = min(FAKES, len(pixels))
    reporter.say(f"Low-density sampling first needs {n} plain samples to compare with.")
    manifest = generate.generate(
        folder,
        samplers.ddpm(denoiser, steps=steps, solver=solver),
        n,
        seed=training.seed,
        batch_size=64,
        facts={},
        reporter=reporter,
    )
    fakes = np.stack([read_png(folder / entry["file"]) for entry in manifest])
    real = pixels[np.random.default_rng(training.seed).permutation(len(pixels))[:n]]
    classes = np.repeat(np.array([0, 1], np.int64), n)
    images = np.concatenate([fakes, real])
    return train_classifier.train(denoiser, images, classes, folder, training, reporter=reporter)


def _embedding(encoded: Encoded) -> Tensor:
    """The deepest feature map, averaged over its positions, ``(N, d)``."""
    return encoded.deepest.float().mean((2, 3))
