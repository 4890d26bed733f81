"""``mincurate train``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mincurate.cli.console import Terminal
from mincurate.cli.options import Address, NumWorkers


def train(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder, a CSV or Parquet table with a path column, or fiftyone:NAME[/VIEW]."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the diffusers pipeline.")
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(help="Model folder or hub id to go on from. Default: a new one."),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--train-minutes", help="Training budget in minutes.")
    ] = 10.0,
    steps: Annotated[
        int | None,
        typer.Option("--train-steps", help="Exact number of training steps, instead of minutes."),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Noise level to concentrate on, on pixels in [-1, 1]. Default: 0.005 per pixel "
            "of the image side, as scoring uses.",
            show_default=False,
        ),
    ] = None,
    all_levels: Annotated[
        bool,
        typer.Option(
            "--all-levels/--scoring-level",
            help="Train every noise level, as generating images needs, or only around --sigma.",
        ),
    ] = False,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels; a multiple of 8. Default: that of the images, at most 32 (64 on "
            "a GPU).",
            show_default=False,
        ),
    ] = None,
    fit: Annotated[
        Literal["crop", "pad", "stretch"],
        typer.Option(
            help="How images become square: the middle is cut out, borders are added, or the image "
            "is stretched."
        ),
    ] = "crop",
    max_images: Annotated[
        int | None, typer.Option(help="Train on a random sample of this many files. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="Train in this process, or in processes of a Ray cluster, which all must see "
            "--output under the same path."
        ),
    ] = "local",
    address: Address = None,
    num_workers: NumWorkers = None,
) -> None:
    """Train an unconditional diffusion model on your images, or go on training one.

    The result is a diffusers pipeline folder for `mincurate score PATH --model FOLDER`. Ctrl-C
    keeps what is done; the same command goes on.

    Examples:

        mincurate train ./images --output model --train-minutes 30

        mincurate train ./images --output model --engine ray --num-workers 4
    """
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import train as pipeline
    from mincurate.runs.command import quoted

    keep_freed_memory()

    reporter = Terminal()
    trained = pipeline.train(
        path,
        output,
        model=model,
        image_size=image_size,
        sigma=sigma,
        all_levels=all_levels,
        train_minutes=minutes,
        train_steps=steps,
        fit=fit,
        max_images=max_images,
        seed=seed,
        workers=workers,
        device=device,
        engine=engine,
        address=address,
        num_workers=num_workers,
        reporter=reporter,
    )
    reporter.say(f"Model: {output} ({sum(p.numel() for p in trained.unet.parameters()):,} weights)")
    use = quoted("mincurate", "score", path, "--model", str(output))
    reporter.say(f"Use it: {use}")
