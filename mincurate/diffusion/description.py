"""What a model is, in one line."""

from mincurate.diffusion.denoiser import Denoiser

SCHEDULES = {"linear": "linear", "squaredcos_cap_v2": "cosine", "scaled_linear": "scaled linear"}
"""diffusers' noise schedules of the usual betas, and what they are called."""
PREDICTIONS = {"epsilon": "the noise", "v_prediction": "v", "sample": "x0"}


def model_line(denoiser: Denoiser) -> str:
    """Kind, pixels or latents, size, prediction, schedule, conditional or not."""
    weights = sum(parameter.numel() for parameter in denoiser.unet.parameters())
    variance = " and variance" if denoiser.learns_variance else ""
    predicts = PREDICTIONS[denoiser.prediction_type] + variance
    return (
        f"{denoiser.kind} of {weights:,} weights on {_space(denoiser)}, {denoiser.image_size} px, "
        f"{_condition(denoiser)}; it predicts {predicts}, with "
        f"{len(denoiser.alphas_cumprod):,} noise levels ({_schedule(denoiser)})"
    )


def score_line(denoiser: Denoiser, sigma: float, perceptual: str = "") -> str:
    """What the minority score means with this model and distance."""
    under = ""
    if denoiser.num_classes:
        under = ", denoised under its label; images are ranked within their labels"
    return (
        f"Its minority score: {_distance(denoiser, perceptual)} "
        f"at sigma {denoiser.nearest_sigma(sigma):.3g}{under}."
    )


def _distance(denoiser: Denoiser, perceptual: str) -> str:
    if denoiser.autoencoder is None:
        return "perceptual distance between an image and its one-shot reconstruction"
    if perceptual == "latent":
        return "Euclidean distance between an image's latent and its one-shot reconstruction"
    if perceptual == "unet":
        return (
            "distance between an image's latent and its one-shot reconstruction, in the features "
            "of the network,"
        )
    return (
        "perceptual distance between an image's latent and its one-shot reconstruction, both "
        "decoded,"
    )


def _space(denoiser: Denoiser) -> str:
    if denoiser.autoencoder is None:
        return "pixels"
    channels, h, w = denoiser.space.shape
    return f"the {h} x {w} x {channels} latents of {denoiser.autoencoder.kind}"


def _condition(denoiser: Denoiser) -> str:
    if denoiser.wording is not None:
        prompt = denoiser.wording.prompt
        return f"told {prompt!r}" if prompt else "told an empty prompt"
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
