"""Checkpoint files of guided-diffusion (ADM): read as a denoiser.

`Choices` holds the few things that the tensors do not tell.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor

from mincurate.compute.device import out_of_memory
from mincurate.diffusion import adm_network
from mincurate.diffusion.adm_network import Layout
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError, reason

Schedule = Literal["linear", "cosine"]
AttentionOrder = Literal["legacy", "new"]
SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
"""ADM's noise schedules under diffusers' names; both have 1000 timesteps."""
SIZES = {256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}
"""Image sizes, and the widths of the levels that ADM takes for them unless told otherwise."""
IMAGENET_64 = ((192, 384, 576, 768), 1000)
"""Channels and classes of the one released network with a cosine schedule and the new order."""
BEGIN = "time_embed.0.weight"
"""A tensor of every such network."""


@dataclass(frozen=True)
class Choices:
    """What the tensors of a checkpoint do not tell; ``None`` is as in the released networks.

    Attributes:
        schedule: of the noise. Usual: linear.
        attention_order: ``legacy``, or ``new`` after ``use_new_attention_order``. Usual: legacy.
        head_channels: of one attention head (``num_head_channels``). Usual: 64.
        image_size: side in pixels. Usual: that of ADM's own networks with such levels.
    """

    schedule: Schedule | None = None
    attention_order: AttentionOrder | None = None
    head_channels: int | None = None
    image_size: int | None = None

    def __str__(self) -> str:
        return (
            f"{self.schedule} schedule, {self.attention_order} attention order, "
            f"{self.head_channels} channels per head"
        )

    def settled(self, layout: Layout, name: str) -> "Choices":
        """With the usual values in place of ``None``.

        Raises:
            UserError: a value is not possible, or the image size is unknown.
        """
        usual = ("linear", "legacy")
        if (layout.channels, layout.num_classes) == IMAGENET_64:
            usual = ("cosine", "new")
        heads = self.head_channels or 64
        if heads < 1 or any(width % heads for width in layout.attention_widths):
            widths = ", ".join(map(str, layout.attention_widths))
            raise UserError(
                f"The attention layers of {name} are {widths} channels wide, which heads of "
                f"{heads} channels do not divide: give the num_head_channels of its training with "
                "`mincurate convert --head-channels`."
            )
        size = self.image_size or next(
            (size for size, mult in SIZES.items() if layout.widens_by(mult)), None
        )
        if size is None:
            raise UserError(
                f"The tensors of {name} do not tell its image size: give it with `mincurate "
                "convert --image-size`."
            )
        schedule, order = self.schedule or usual[0], self.attention_order or usual[1]
        for value, kind in ((schedule, Schedule), (order, AttentionOrder)):
            if value not in get_args(kind):
                raise UserError(f"{value!r} is none of {' and '.join(get_args(kind))}.")
        return Choices(schedule, order, heads, size)  # type: ignore[arg-type]


def load(file: Path, choices: Choices = Choices()) -> Denoiser:
    """The denoiser of a checkpoint file, on the CPU.

    Only safetensors files, or files that ``torch.load(weights_only=True)`` accepts, are read.

    Raises:
        UserError: it is no such checkpoint, or lacks something that has to be given.
    """
    weights = _read(file)
    name = file.name
    if BEGIN not in weights or not any(key.startswith("output_blocks.") for key in weights):
        raise UserError(_not_adm(name, weights))
    try:
        layout = Layout.of(weights)
    except LookupError as error:
        raise UserError(
            f"{name} is no whole guided-diffusion (ADM) network: it has no tensor {reason(error)}."
        ) from error
    _check(layout, weights, name)
    choices = choices.settled(layout, name)
    heads, size = choices.head_channels or 0, choices.image_size or 0
    tensors = adm_network.translated(
        weights, layout, heads, heads_first=choices.attention_order == "legacy"
    )
    try:
        unet = adm_network.build(layout.config(size, heads), tensors)
    except (RuntimeError, ValueError) as error:
        last = str(error).strip().splitlines()[-1].strip()  # torch names the tensors there
        raise UserError(
            f"{name} is no guided-diffusion (ADM) network that mincurate reads: {last}"
        ) from error
    from diffusers import DDPMScheduler

    schedule = DDPMScheduler(beta_schedule=SCHEDULES[str(choices.schedule)])
    kind = f"ADM network ({choices})"
    return Denoiser(unet, schedule.alphas_cumprod, "epsilon", str(file), size, kind=kind)


def _check(layout: Layout, weights: dict[str, Tensor], name: str) -> None:
    """Raise `UserError` for networks that diffusers has no words for."""
    if layout.in_channels != 3:
        raise UserError(
            f"{name} takes {layout.in_channels} channels, as ADM's upsamplers do; mincurate reads "
            "networks that make RGB images from noise alone."
        )
    if weights[BEGIN].shape[1] != layout.channels[0]:
        raise UserError(
            f"The first level of {name} is {layout.channels[0]} channels wide and its time "
            f"embedding {weights[BEGIN].shape[1]}, as in ADM's 512 px networks; mincurate reads "
            "those up to 256 px."
        )


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors in a file, by name; those of a running average where there are several sets."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        mmap = zipfile.is_zipfile(file)
        content: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # whatever a strange file makes torch raise
        if out_of_memory(error):
            raise
        raise UserError(
            f"{file.name} cannot be read as a guided-diffusion (ADM) checkpoint: it is damaged, or "
            "holds more than tensors, which might run code."
        ) from error
    sets = [content]
    if isinstance(content, dict):
        sets += [content.get(key) for key in ("ema", "state_dict", "model")]
    for one in sets:
        if isinstance(one, dict):
            tensors = {
                str(key).removeprefix("module."): value
                for key, value in one.items()
                if isinstance(value, Tensor)
            }
            if BEGIN in tensors:
                return tensors
    return {}


def _not_adm(name: str, weights: dict[str, Tensor]) -> str:
    if BEGIN in weights:
        what = f"{name} is a classifier of guided-diffusion (ADM), not a diffusion model"
    else:
        what = f"{name} holds no network of guided-diffusion (ADM)"
    return (
        f"{what}; mincurate reads ADM's diffusion models (.pt), and diffusers models in folders "
        "that `save_pretrained` writes."
    )
