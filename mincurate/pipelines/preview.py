"""What ``mincurate augment`` would generate, and how long each part takes: nothing is written."""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from mincurate.compute.device import choose_device
from mincurate.diffusion.denoiser import Denoiser
from mincurate.generation import samplers
from mincurate.generation.guided_classes import Target, choose_target, guided_by
from mincurate.generation.networks import plan_trainings
from mincurate.generation.solvers import timestep_grid
from mincurate.pipelines import own_vectors
from mincurate.pipelines.augment import judges
from mincurate.pipelines.augment_settings import AugmentSettings
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import SILENT, Reporter, duration
from mincurate.ranking import reference
from mincurate.runs import store

GUIDED_COST = {"minority": 1.5, "self-guided": 4.0}
"""One evaluation of the network in plain ones (``benchmarks/sampling.py``)."""


@dataclass(frozen=True)
class Preview:
    """What would be generated.

    Attributes:
        run: key of the scored run.
        target: what would be generated.
        of_target: images of the run that are of this kind.
        images: images of the run.
        parts: what would be done, in order, and how long each part takes about.
    """

    run: str
    target: Target
    of_target: int
    images: int
    parts: list[tuple[str, str]]


def preview(
    run: AnyRun = None,
    settings: AugmentSettings | None = None,
    *,
    reporter: Reporter = SILENT,
    **changes: Any,
) -> Preview:
    """What `augment` would do with the same arguments.

    Raises:
        UserError: something the user can fix.
    """
    scored = find_run(run, kind=store.SCORE)
    scored.check_whole_images()
    settings = replace(settings or AugmentSettings(), **changes).settled()
    base = guided_by(reference.open_base(scored), settings.classes_by)
    own_vectors.refuse_generated(scored)
    settings = settings.in_dataset(scored, reporter)
    target, members = choose_target(
        base,
        target_class=settings.target_class,
        top_fraction=settings.rarest_fraction,
        label=settings.label,
        like=settings.like,
    )
    trainings = plan_trainings(
        base,
        model=settings.model,
        loss=settings.classifier_loss,
        timesteps=settings.classifier_timesteps,
        budget=settings,
        device=choose_device(settings.device),
    )
    samplers.check_model(settings.sampler, trainings.start, settings.label, settings.guidance_scale)
    parts = []
    if trainings.needs_denoiser:
        budget = _budget(trainings.plan.steps, trainings.plan.minutes)
        parts.append(("train on to all noise levels", budget))
    if judges(settings.sampler, base):
        budget = _budget(trainings.guidance.steps, trainings.guidance.minutes)
        parts.append(("train the classifier, if it is not there yet", f"at most {budget}"))
    seconds = settings.n * _seconds_per_image(trainings.start, settings)
    parts.append((f"generate {settings.n:,} images", duration(seconds)))
    rate = base.run.record.get("images_per_second")
    if rate:
        parts.append(("score and inspect them", duration(settings.n / float(rate))))
    return Preview(base.run.key, target, int(members.sum()), len(base.frame), parts)


def _budget(steps: int | None, minutes: float) -> str:
    return f"{steps} steps" if steps else duration(minutes * 60)


def _seconds_per_image(denoiser: Denoiser, settings: AugmentSettings) -> float:
    """Time of generating one image, measured with the model at hand."""
    n = min(settings.batch_size, 16)
    x = torch.randn(n, *denoiser.space.shape, device=denoiser.device)
    sigma = denoiser.nearest_sigma(1.0)
    with torch.inference_mode():
        denoiser.denoise(x, sigma)
        started = time.monotonic()
        for _ in range(3):
            denoiser.denoise(x, sigma)
    evaluation = (time.monotonic() - started) / 3 / n
    share = settings.strength if settings.init == "real" else 1.0
    spacing = "even" if settings.paper and settings.solver == "ancestral" else "quadratic"
    grid = timestep_grid(denoiser.alphas_cumprod, settings.steps or 1, spacing, share)
    free = settings.sampler == "ddpm" and settings.guidance_scale not in (None, 1)
    return evaluation * len(grid) * (2.0 if free else GUIDED_COST.get(settings.sampler, 1.0))
