"""How long scoring takes, and what a larger side would cost: said before it is done."""

import time
from dataclasses import replace

import numpy as np

from mincurate.diffusion import new_network
from mincurate.diffusion.train_denoiser import Training
from mincurate.images.collection import Collection
from mincurate.pipelines.scoring_plan import Networks, ScoringPlan
from mincurate.progress import about

SLOW = 10.0
"""Seconds for one image from which its first measurement, with all that prepares, will do."""


def announcement(images: Collection, plan: ScoringPlan, seconds: float) -> str:
    """What will be done, and how long it takes about."""
    settings, count = plan.settings, len(images.unique)
    draws = f"2 to {plan.n_draws}" if settings.adaptive else str(plan.n_draws)
    return (
        f"Scoring {draws} draws of {count:,} {images.noun} at sigma {plan.sigma:.3g} on "
        f"{plan.device} takes {about(seconds, 'at most' if settings.adaptive else 'about')}"
        + (", after the training." if plan.training else ".")
    )


def larger_side(images: Collection, plan: ScoringPlan, seconds: float) -> str | None:
    """What twice the side would cost, where the denoiser to be trained sees less than the images
    hold; ``None`` elsewhere.

    The time of the network grows with the pixels.

    Args:
        seconds: that scoring takes as planned.
    """
    side, usual = plan.size, images.usual_side()
    if plan.training is None or usual < 2 * side:
        return None
    return (
        f"The denoiser sees {images.noun} of about {usual:,} px at {side} px. With --image-size "
        f"{2 * side} scoring takes 4 times as long ({about(4 * seconds)}), and so does a training "
        "of as many steps."
    )


def seconds(images: Collection, networks: Networks, plan: ScoringPlan) -> float:
    """How long scoring takes about."""
    return _seconds_per_image(networks, plan) * len(images.unique)


def _seconds_per_image(networks: Networks, plan: ScoringPlan) -> float:
    """Time of scoring one image, measured on noise; an untrained network is just as slow."""
    denoiser = networks.denoiser
    if denoiser is None:
        denoiser = new_network.untrained(plan.training or Training(32, None), plan.device)
    networks = replace(networks, denoiser=denoiser).complete(plan.settings, plan.device)
    scorer = networks.scorer(0.1, plan.n_draws, 0, plan.dtype)
    count, side = 8, denoiser.image_size
    shape = count, denoiser.bands, side, side
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    names = [str(i) for i in range(count)]
    started = time.monotonic()
    scorer(pixels[:1], names[:1])
    one = time.monotonic() - started
    if one > SLOW:
        return one
    started = time.monotonic()
    scorer(pixels, names)
    return (time.monotonic() - started) / count
