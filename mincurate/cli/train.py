"""``mincurate train``."""

from pathlib import Path
from typing import Annotated

import typer

from mincurate.cli.options import BASIC, METHOD, Fit, ImageSize, MaxImages, Sigma
from mincurate.cli.shared import settings_of
from mincurate.terminal import Terminal

Latent = Annotated[
    str | None,
    typer.Option(
        help="Train on latents of this autoencoder: folder, hub id, taef2 file. Default: pixels.",
        rich_help_panel=BASIC,
    ),
]
Lora = Annotated[
    int | None,
    typer.Option(
        help="Rank of adapters to train instead of all weights of --model. Default: none.",
        rich_help_panel=METHOD,
    ),
]
TailWeight = Annotated[
    float,
    typer.Option(
        help="Draw rare images oftener: 0 as they come, 1 all labels alike. Default: 0.",
        rich_help_panel=METHOD,
    ),
]
RarityOf = Annotated[
    str | None,
    typer.Option(
        help="Scored run by whose rarity --tail-weight weighs. Default: by labels.",
        rich_help_panel=METHOD,
    ),
]


def train(
    ctx: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            help="A folder, a CSV or Parquet table with a path column, or fiftyone:NAME[/VIEW]."
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for the diffusers pipeline.", rich_help_panel=BASIC
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "--from",
            help="Model to train further: folder, ADM file (.pt) or hub id. Default: a new one.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    latent: Latent = None,
    all_levels: Annotated[
        bool,
        typer.Option(
            "--all-levels/--scoring-level",
            help="Train on all noise levels, to generate; or around --sigma, to score.",
            rich_help_panel=BASIC,
        ),
    ] = False,
    conditional: Annotated[
        bool,
        typer.Option(
            "--conditional",
            help="Learn the labels, too: images are then scored and generated under theirs.",
            rich_help_panel=BASIC,
        ),
    ] = False,
    max_images: MaxImages = None,
    image_size: ImageSize = None,
    fit: Fit = "crop",
    sigma: Sigma = None,
    lora: Lora = None,
    tail_weight: TailWeight = 0.0,
    rarity_of: RarityOf = None,
) -> None:
    """Train a diffusion model on your images, or train one further.

    The result is a diffusers pipeline folder for `mincurate score PATH
    --model FOLDER`. Ctrl-C keeps what is done; the same command goes on.

    Examples:

        mincurate train ./images --output model --train-minutes 30

        mincurate train ./images --output model --ray local --workers 4
    """
    settings = settings_of(locals())
    from mincurate.compute.device import keep_freed_memory
    from mincurate.diffusion import description
    from mincurate.pipelines import train as pipeline
    from mincurate.runs.command import quoted

    keep_freed_memory()
    reporter = Terminal()
    trained = pipeline.train(**settings, reporter=reporter)
    reporter.say(f"Model: {description.model_line(trained)}.")
    use = quoted("mincurate", "score", path, "--model", str(output))
    reporter.say(f"Use it: {use}")
