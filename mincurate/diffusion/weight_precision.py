"""Weights are cast to the precision of the network once, and not at every pass as autocast does."""

from dataclasses import replace

import torch
from torch import nn

from mincurate.diffusion.denoiser import Denoiser


def cast_once(denoiser: Denoiser, dtype: torch.dtype | None) -> Denoiser:
    """The denoiser with the weights of its layers in ``dtype``: half the memory in bfloat16.

    Under autocast to ``dtype`` it computes the same to the last bit. The first layer and all that
    autocast leaves alone stay in float32, so that the network's own casts stay the same, too.
    The weights change in place: prompts are told before, and the content hash, which stays that of
    the weights as they were read, is from then on that of the returned denoiser alone.

    Args:
        dtype: ``None`` leaves everything in float32.
    """
    if dtype is None:
        return denoiser
    denoiser = replace(denoiser, hash_as_read=denoiser.content_hash())
    layers = [m for m in denoiser.unet.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers[1:]:
        layer.to(dtype)
    return denoiser
