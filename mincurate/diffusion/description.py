"""What a model is, in one line."""

from mincurate.diffusion.denoiser import Denoiser

SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine", "scaled_linear": "scaled linear"}
"""diffusers' noise schedules of the usual betas, and what they are called."""
PREDICTIONS = {"epsilon": "the noise", "v_prediction": "v", "sample": "x0"}


def model_line(denoiser: Denoiser) -> str:
    """Kind, size, prediction, schedule, conditional or not."""
    weights = sum(parameter.numel() for parameter in denoiser.unet.parameters())
    variance = " and variance" if denoiser.learns_variance else ""
    predicts = PREDICTIONS[denoiser.prediction_type] + variance
    return (
        f"{denoiser.kind} of {weights:,} weights on pixels, {denoiser.image_size} px, "
        f"{_condition(denoiser)}; it predicts {predicts}, with "
        f"{len(denoiser.alphas_cumprod):,} noise levels ({_schedule(denoiser)})"
    )


def score_line(denoiser: Denoiser, sigma: float) -> str:
    """What the minority score means with this model."""
    under = ""
    if denoiser.num_classes:
        under = ", denoised under its label; images are ranked within their labels"
    return (
        "Its minority score: perceptual distance between an image and its one-shot reconstruction "
        f"at sigma {denoiser.nearest_sigma(sigma):.3g}{under}."
    )


def _condition(denoiser: Denoiser) -> str:
    if not denoiser.num_classes:
        return "unconditional"
    names = f" ({', '.join(denoiser.class_names)})" if 0 < len(denoiser.class_names) <= 10 else ""
    null = ", also without one" if denoiser.null_class is not None else ""
    return f"conditional on {denoiser.num_classes:,} classes{names}{null}"


def _schedule(denoiser: Denoiser) -> str:
    """Name of the schedule, and the noise levels that were trained."""
    from diffusers import DDPMScheduler

    low, high = denoiser.trained_sigmas or (float(denoiser.sigmas[0]), float(denoiser.sigmas[-1]))
    name = "schedule of its own"
    for schedule, usual in SCHEDULES.items():
        scheduler = DDPMScheduler(len(denoiser.alphas_cumprod), beta_schedule=schedule)
        if denoiser.alphas_cumprod.cpu().allclose(scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6):
            name = usual
    trained = "trained on" if denoiser.trained_sigmas else "from"
    return f"{name}, {trained} sigma {low:.3g} to {high:.3g}"
