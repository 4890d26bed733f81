"""``mincurate convert``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mincurate.cli.options import BASIC
from mincurate.terminal import Terminal


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of guided-diffusion (ADM): a .pt file.")
    ],
    output: Annotated[Path, typer.Argument(help="Folder for the diffusers pipeline; a new one.")],
    *,
    schedule: Annotated[
        Literal["linear", "cosine"] | None,
        typer.Option(
            help="Noise schedule of its training. Default: linear.", rich_help_panel=BASIC
        ),
    ] = None,
    attention_order: Annotated[
        Literal["legacy", "new"] | None,
        typer.Option(
            help="new after use_new_attention_order in its training. Default: legacy.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    head_channels: Annotated[
        int | None,
        typer.Option(
            help="Channels of an attention head (num_head_channels). Default: 64.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in px. Default: told by the number of levels where it is one of ADM's.",
            rich_help_panel=BASIC,
        ),
    ] = None,
) -> None:
    """Convert an ADM checkpoint into a diffusers pipeline folder.

    The options are for what the tensors do not tell. `mincurate score PATH --model FILE` reads such
    a file directly, with the defaults. A wrong value gives a model that denoises badly: look at the
    reconstructions in the report.

    Examples:

        mincurate convert lsun_bedroom.pt bedroom

        mincurate convert celeba.pt celeba --attention-order new
    """
    settings = dict(locals())
    from mincurate.diffusion import description
    from mincurate.pipelines import convert as pipeline
    from mincurate.runs.command import quoted

    terminal = Terminal()
    terminal.say(f"Model: {description.model_line(pipeline.convert(**settings))}.")
    terminal.say(f"Use it: {quoted('mincurate', 'score', 'PATH', '--model', str(output))}")
