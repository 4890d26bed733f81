"""Does w mean one thing? A trained classifier against the truth, where it is known.

    python benchmarks/calibration.py [--correlation 0.9] [--steps 400] [--seeds 0 1]

Images of one brightness that correlates with the score; the classes are deciles of the score, the
encoder is untrained. Prints, for each loss, the share of the top decile that ``p(top | x)^w`` gives
to further images at the lowest noise level, with and without the temperatures.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

CLASSES, IMAGES, FURTHER, SIDE = 10, 3000, 2000, 16


def draw(correlation, seed):
    """Images ``(N, 3, S, S)``, their scores, and the true ``p(top decile | x)``; both normal."""
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    n, spread = IMAGES + FURTHER, (1 - correlation**2) ** 0.5
    scores = rng.normal(size=n)
    brightness = correlation * scores + spread * rng.normal(size=n)
    grain = 5 * rng.normal(size=(n, 3, SIDE, SIDE))
    pixels = np.clip(127.5 + 40 * brightness[:, None, None, None] + grain, 0, 255)
    top = norm.sf((norm.ppf(1 - 1 / CLASSES) - correlation * brightness) / spread)
    return pixels.astype(np.uint8), scores, top


def encoder():
    """An untrained denoiser."""
    import torch
    from diffusers import UNet2DModel

    from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        add_attention=False,
    )
    unet = unet.eval().requires_grad_(False)
    return Denoiser(unet, linear_alphas_cumprod(), "epsilon", "untrained", SIDE)


def share(p, truth, scale):
    """Share of the top decile among images drawn as ``p^scale``."""
    weight = p.astype(float) ** scale
    return (weight * truth).sum() / weight.sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--correlation", type=float, default=0.9)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()

    from mincurate.generation import classifier as classifiers
    from mincurate.generation import train_classifier
    from mincurate.generation.classifier import LOSSES, ClassifierTraining
    from mincurate.ranking.classes import ordinal_classes

    model = encoder()
    for seed in options.seeds:
        pixels, scores, top = draw(options.correlation, seed)
        truth, further = top[IMAGES:], pixels[IMAGES:]
        predicted = {"the truth": truth}
        for loss in LOSSES:
            plan = ClassifierTraining(CLASSES, loss, steps=options.steps, seed=seed)
            with tempfile.TemporaryDirectory() as folder:
                trained = train_classifier.train(
                    model,
                    pixels[:IMAGES],
                    ordinal_classes(scores[:IMAGES], CLASSES),
                    Path(folder) / "classifier",
                    plan,
                )
            cases = {loss: trained}
            if trained.temperatures is not None:
                cases[f"{loss} without temperatures"] = replace(trained, temperatures=None)
            for name, one in cases.items():
                predicted[name] = classifiers.predict(
                    model, one, further, classes=[CLASSES - 1], label=None
                ).target
        for name, p in predicted.items():
            shares = "  ".join(f"w = {w}: {share(p, truth, w):.3f}" for w in (1, 2))
            print(f"correlation {options.correlation}  seed {seed}  {name:32} {shares}", flush=True)


if __name__ == "__main__":
    main()
