"""What a model is, in one line."""

from diffusers import DDPMScheduler

from mincurate.diffusion.denoiser import Denoiser

SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine", "scaled_linear": "scaled linear"}
"""diffusers' noise schedules of the usual betas, and what they are called."""
PREDICTIONS = {"epsilon": "the noise", "v_prediction": "v", "sample": "x0"}


def words(denoiser: Denoiser) -> str:
    """Kind, size, prediction, schedule, conditional or not."""
    weights = sum(parameter.numel() for parameter in denoiser.unet.parameters())
    variance = " and variance" if denoiser.learns_variance else ""
    return (
        f"{denoiser.kind} of {weights:,} weights on pixels, {denoiser.image_size} px, "
        f"unconditional; it predicts {PREDICTIONS[denoiser.prediction_type]}{variance}, with "
        f"{len(denoiser.alphas_cumprod):,} noise levels ({_schedule(denoiser)})"
    )


def _schedule(denoiser: Denoiser) -> str:
    """Name of the schedule, and the noise levels that were trained."""
    low, high = denoiser.trained_sigmas or (float(denoiser.sigmas[0]), float(denoiser.sigmas[-1]))
    name = "schedule of its own"
    for schedule, usual in SCHEDULES.items():
        scheduler = DDPMScheduler(len(denoiser.alphas_cumprod), beta_schedule=schedule)
        if denoiser.alphas_cumprod.cpu().allclose(scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6):
            name = usual
    trained = "trained on" if denoiser.trained_sigmas else "from"
    return f"{name}, {trained} sigma {low:.3g} to {high:.3g}"
