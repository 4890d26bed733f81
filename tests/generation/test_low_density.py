"""The paper's rival, of `examples/paper`: against a Gaussian mixture."""

import sys
from pathlib import Path

import numpy as np
import torch
from test_samplers import FAR, rare

from mincurate.generation.classifier import Classifier

sys.path.append(str(Path(__file__).parents[2] / "examples" / "paper"))
import low_density


def test_hardness_raises_the_share_of_the_rare_mode_and_realness_holds_the_manifold():
    rng = np.random.default_rng(0)
    kind = rng.choice(3, 4000, p=FAR.weights)
    x0 = np.array(FAR.centers)[kind][:, None, None, None] + FAR.s * rng.normal(size=(4000, 3, 2, 2))
    pixels = ((x0 + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    hardness = low_density.fit_hardness(FAR, pixels)

    class RealHead(torch.nn.Module):
        """Real images are the mixture, generated ones N(0, 0.5^2)."""

        def forward(self, maps, embedded):
            x, sigma = maps[0], float(embedded[0, 0])
            variance = FAR.s**2 + sigma**2
            far = (x[:, None] - torch.tensor(FAR.centers).view(-1, 1, 1, 1)).square()
            real = (torch.tensor(FAR.weights).log() - far.sum((2, 3, 4)) / (2 * variance)) - (
                6 * np.log(variance)
            )
            wide = 0.25 + sigma**2
            fake = -x.square().sum((1, 2, 3)) / (2 * wide) - 6 * np.log(wide)
            return torch.stack([fake, real.logsumexp(1)], 1).log_softmax(1), None

    realness = Classifier(RealHead(), 2, (), "mixture")

    def sample(alpha, beta):
        return low_density.sampler(
            FAR, hardness, realness, guidance_scale=alpha, real_scale=beta, steps=50
        )(range(1500))

    def off_manifold(images):
        far = images.mean((1, 2, 3))[:, None] - torch.tensor(FAR.centers)
        return (far.abs().amin(1) > 0.12).float().mean().item()

    plain, hard, held = sample(0.0, 0.0), sample(1.0, 0.0), sample(1.0, 1.0)
    assert rare(hard) > 2 * rare(plain)
    assert rare(held) > 2 * rare(plain)
    assert off_manifold(held) < 0.5 * off_manifold(hard)
