"""The network of guided-diffusion (ADM) is diffusers' `UNet2DModel` under other names.

Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021. The names and shapes of
the tensors tell all of its layout but how attention is split into heads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import UNet2DModel

OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""Layers outside the blocks: ADM's names and diffusers'."""
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}
CONVOLUTION = {"op": "conv", "conv": "conv"}
GROUPS = 32


@dataclass(frozen=True)
class Layout:
    """What the tensors of a checkpoint tell of its network.

    Attributes:
        channels: width of every level, from the image down.
        depth: residual blocks of a level in the encoder half.
        attention: whether the blocks of a level are followed by attention.
        in_channels: 3 for RGB.
        out_channels: twice as many with learned variance.
        num_classes: of a class-conditional network, else ``None``.
        scale_shift: whether the timestep scales and shifts, or is added.
        resblock_updown: whether residual blocks change the resolution, or convolutions.
    """

    channels: tuple[int, ...]
    depth: int
    attention: tuple[bool, ...]
    in_channels: int
    out_channels: int
    num_classes: int | None
    scale_shift: bool
    resblock_updown: bool

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "Layout":
        """The layout of a checkpoint.

        Raises:
            LookupError: it lacks layers that every such network has.
        """
        ups = [k for k in range(_count(weights, "output_blocks")) if _last(weights, k) is not None]
        depth = ups[0] if ups else _count(weights, "output_blocks") - 1
        firsts = [f"input_blocks.{1 + level * (depth + 1)}" for level in range(len(ups) + 1)]
        first = weights["input_blocks.1.0.out_layers.3.weight"].shape[0]
        label_emb = weights.get("label_emb.weight")
        return cls(
            channels=tuple(weights[f"{f}.0.out_layers.3.weight"].shape[0] for f in firsts),
            depth=depth,
            attention=tuple(f"{f}.1.qkv.weight" in weights for f in firsts),
            in_channels=weights["input_blocks.0.0.weight"].shape[1],
            out_channels=weights["out.2.weight"].shape[0],
            num_classes=None if label_emb is None else label_emb.shape[0],
            scale_shift=weights["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * first,
            resblock_updown=f"input_blocks.{depth + 1}.0.in_layers.0.weight" in weights,
        )

    @property
    def attention_widths(self) -> list[int]:
        """Channels of the attention layers; the middle of the network always has one."""
        widths = zip(self.channels, self.attention, strict=True)
        return sorted({width for width, attends in widths if attends} | {self.channels[-1]})

    def widens_by(self, mult: tuple[int, ...]) -> bool:
        """Whether the widths of the levels are these multiples of the first."""
        return self.channels == tuple(factor * self.channels[0] for factor in mult)

    def config(self, image_size: int, head_channels: int) -> dict[str, Any]:
        """The same network in the words of diffusers."""
        plain = "Resnet{}sampleBlock2D" if self.resblock_updown else "{}Block2D"
        kind = "resnet" if self.resblock_updown else "conv"
        return {
            "sample_size": image_size,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.channels,
            "layers_per_block": self.depth,
            "down_block_types": [
                "AttnDownBlock2D" if attends else plain.format("Down") for attends in self.attention
            ],
            "up_block_types": [
                "AttnUpBlock2D" if attends else plain.format("Up")
                for attends in reversed(self.attention)
            ],
            "downsample_type": kind,
            "upsample_type": kind,
            "resnet_time_scale_shift": "scale_shift" if self.scale_shift else "default",
            "attention_head_dim": head_channels,
            "norm_num_groups": GROUPS,
            "attn_norm_num_groups": GROUPS,
            "norm_eps": 1e-5,
            "num_class_embeds": self.num_classes,
        }

    def modules(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
        """Every module within the blocks: ADM's name and that of diffusers."""
        levels, per_level = len(self.channels), self.depth + 1
        for level in range(levels):
            for j in range(self.depth):
                block = f"input_blocks.{1 + level * per_level + j}"
                yield f"{block}.0", f"down_blocks.{level}.resnets.{j}"
                yield f"{block}.1", f"down_blocks.{level}.attentions.{j}"
            yield f"input_blocks.{(level + 1) * per_level}.0", f"down_blocks.{level}.downsamplers.0"
        yield "middle_block.0", "mid_block.resnets.0"
        yield "middle_block.1", "mid_block.attentions.0"
        yield "middle_block.2", "mid_block.resnets.1"
        for k in range(levels * per_level):
            level, j = divmod(k, per_level)
            up = _last(weights, k)
            yield f"output_blocks.{k}.0", f"up_blocks.{level}.resnets.{j}"
            if up is not None:
                yield f"output_blocks.{k}.{up}", f"up_blocks.{level}.upsamplers.0"
            if up != 1:
                yield f"output_blocks.{k}.1", f"up_blocks.{level}.attentions.{j}"


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    return len({key.split(".")[1] for key in weights if key.startswith(f"{name}.")})


def _last(weights: Mapping[str, Tensor], k: int) -> int | None:
    """Place of the upsampling in output block k, which follows the residual block or attention."""
    for place in (1, 2):
        block = f"output_blocks.{k}.{place}"
        if f"{block}.conv.weight" in weights or f"{block}.in_layers.0.weight" in weights:
            return place
    return None


def translated(
    weights: Mapping[str, Tensor], layout: Layout, head_channels: int, *, heads_first: bool
) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of diffusers, float32.

    Args:
        head_channels: of one attention head.
        heads_first: whether queries, keys and values lie within each head (ADM's legacy order), or
            the heads within each of them (``use_new_attention_order``).
    """
    layers = dict(OUTSIDE)
    for adm, diffusers in layout.modules(weights):
        for names in (RESNET, ATTENTION, CONVOLUTION):
            layers |= {f"{adm}.{a}": f"{diffusers}.{d}" for a, d in names.items()}
        layers[f"{adm}.qkv"] = diffusers
    result = {}
    for key, tensor in weights.items():
        layer, _, kind = key.rpartition(".")
        name = layers.get(layer)
        tensor = tensor.float()
        if name is None:
            result[key] = tensor  # of no such network: it will not fit
        elif layer.endswith(".qkv"):
            for part, rows in zip("qkv", _split(tensor, head_channels, heads_first), strict=True):
                result[f"{name}.to_{part}.{kind}"] = rows
        else:
            # Attention projects by convolutions of length 1 here, and by linear layers there.
            linear = name.endswith("to_out.0") and kind == "weight"
            result[f"{name}.{kind}"] = tensor[..., 0] if linear else tensor
    return result


def _split(qkv: Tensor, head_channels: int, heads_first: bool) -> Iterator[Tensor]:
    """Queries, keys and values, heads outermost, of a weight ``(3C, C, 1)`` or a bias ``(3C,)``."""
    qkv = qkv[..., 0] if qkv.ndim == 3 else qkv
    width = qkv.shape[0] // 3
    heads = width // head_channels
    shape = (heads, 3, head_channels) if heads_first else (3, heads, head_channels)
    parts = qkv.reshape(*shape, *qkv.shape[1:]).unbind(1 if heads_first else 0)
    return (part.reshape(width, *qkv.shape[1:]) for part in parts)


def build(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> "UNet2DModel":
    """The network of a `Layout.config` with its tensors, without copies of them.

    Raises:
        RuntimeError: they do not fit.
    """
    from diffusers import UNet2DModel

    with torch.device("meta"):
        unet = UNet2DModel(**config)
    unet.load_state_dict(tensors, assign=True)
    return unet
