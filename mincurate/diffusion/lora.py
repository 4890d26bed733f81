"""Fine-tuning by low-rank adapters, which learn a small change of a model's weights.

A layer's weights ``W`` become ``W + B A``, and only A and B, of a low rank, are trained (Hu et al.,
"LoRA", ICLR 2022). Many UNets on pixels have no attention, so that the convolutions of their
residual blocks are adapted, too.
"""

import copy
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from mincurate.errors import UserError

if TYPE_CHECKING:
    from diffusers import UNet2DModel

LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj"),
)
"""What is adapted: diffusers' names of the projections of attention and of residual blocks."""


def check(rank: int) -> None:
    """Raise `UserError` for a rank out of range, or where the package peft is missing."""
    if rank < 1:
        raise UserError(f"--lora is the rank of the adapters, at least 1, not {rank}.")
    if find_spec("peft") is None:
        raise UserError("--lora needs the package peft: pip install 'mincurate[lora]'.")


def adapt(unet: "UNet2DModel", rank: int) -> None:
    """Add adapters, which change nothing yet, and freeze all other weights."""
    from peft import LoraConfig, inject_adapter_in_model

    unet.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS))
    inject_adapter_in_model(config, unet)


def merged(unet: "UNet2DModel") -> "UNet2DModel":
    """A copy with the adapters added to the weights: the same outputs from a plain network."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = copy.deepcopy(unet)
    adapted = {n: m for n, m in plain.named_modules() if isinstance(m, BaseTunerLayer)}
    with torch.no_grad():
        for name, layer in adapted.items():
            layer.merge()
            plain.set_submodule(name, layer.get_base_layer())
    return plain
