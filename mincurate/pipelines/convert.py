"""Convert an ADM checkpoint into a diffusers pipeline: the call behind ``mincurate convert``."""

import os
import shutil
from pathlib import Path

from mincurate.diffusion import adm, load
from mincurate.diffusion.adm import AttentionOrder, Choices, Schedule
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError


def convert(
    checkpoint: str | Path,
    output: str | Path,
    *,
    schedule: Schedule | None = None,
    attention_order: AttentionOrder | None = None,
    head_channels: int | None = None,
    image_size: int | None = None,
) -> Denoiser:
    """Write a checkpoint of guided-diffusion (ADM) as a diffusers pipeline, and load that.

    Args:
        checkpoint: a ``.pt`` file, or its tensors in a ``.safetensors`` file.
        output: folder of the pipeline; there must be none yet.
        schedule: ``linear`` or ``cosine``; linear when absent.
        attention_order: ``legacy``, or ``new`` after ``use_new_attention_order``; legacy when
            absent.
        head_channels: channels of an attention head (``num_head_channels``); 64 when absent.
        image_size: side in pixels; when absent, that of ADM's networks with as many levels.

    Raises:
        UserError: the file is no such checkpoint, or ``output`` cannot be written.
    """
    checkpoint, output = Path(checkpoint).expanduser(), Path(output).expanduser()
    if not checkpoint.is_file():
        raise UserError(f"There is no file {checkpoint}: give an ADM checkpoint (.pt).")
    if output.exists():
        raise UserError(f"{output} is there already: choose another folder.")
    choices = Choices(schedule, attention_order, head_channels, image_size)
    denoiser = load.prepare(adm.load(checkpoint, choices))
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        denoiser.save(partial)
        os.replace(partial, output)
    except OSError as error:
        raise UserError(f"Cannot write to {output}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return denoiser
