"""Any diffusion model as one call, ``denoise(x, sigma) -> x0hat``, and its training."""
