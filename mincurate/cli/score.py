"""``mincurate score``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mincurate.cli.console import Terminal
from mincurate.cli.options import Address, NumWorkers
from mincurate.progress import duration

if TYPE_CHECKING:
    from mincurate.pipelines.score import Result


def score(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder, s3://BUCKET/FOLDER or gs://, a CSV or Parquet table with a path "
            "column, or fiftyone:NAME[/VIEW]."
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            help="Diffusion model: a diffusers pipeline or UNet2DModel folder, a hub id, or a run "
            "whose model to use (mincurate_3). "
            "Default: a small one, trained on your images first."
        ),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Noise level of the score, on pixels in [-1, 1]. Default: 0.005 per pixel of the "
            "image side (0.16 at 32 px).",
            show_default=False,
        ),
    ] = None,
    n_draws: Annotated[int, typer.Option(help="Noise draws per image (K).")] = 6,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive/--all-draws",
            help="Make 2 draws of every image, and all --n-draws of those only that 2 do not put "
            "clearly inside or outside the rarest class of the minority score.",
        ),
    ] = False,
    num_classes: Annotated[
        int, typer.Option(help="Ordinal classes (L); 0 is the commonest, L-1 the rarest.")
    ] = 10,
    within_label: Annotated[
        bool,
        typer.Option(
            "--within-label/--whole-set",
            help="Rarity, classes and sorting rank an image among those of its own label, or among "
            "all. Images without a label are ranked among themselves.",
        ),
    ] = False,
    rank_by: Annotated[
        Literal["embedding", "minority", "calibrated", "neighbors"],
        typer.Option(
            help="What rarity, classes and sorting follow: embedding (how far from common and how "
            "unusual the vectors are), minority (the paper's score), calibrated (that with texture "
            "regressed out, averaged with neighbors), or neighbors (mean distance to the nearest)."
        ),
    ] = "embedding",
    perceptual: Annotated[
        str,
        typer.Option(
            help="Distance: auto, lpips-vgg, lpips-alex, lpips-squeeze (each with @FILE for local "
            "weights), unet, or torchvision:NAME[@FILE]."
        ),
    ] = "auto",
    embedding: Annotated[
        str,
        typer.Option(
            help="Vectors for neighbours and map: auto, unet, torchvision:NAME[@FILE], or a hub id."
        ),
    ] = "auto",
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side, in pixels, at which to train and score; a multiple of 8. Default: that of "
            "the images, at most 32 (64 on a GPU). With --model, it is the model's own.",
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
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Take labels (names of sub-folders, or the label column of a table), or none. "
            "Default: sub-folders, if they look like classes, and the column, if there is one.",
            show_default=False,
        ),
    ] = None,
    label_field: Annotated[
        str | None,
        typer.Option(help="Label field of a FiftyOne source. Default: its first classification."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="FiftyOne dataset to write to. Default: the one that is scored, or mincurate-NAME "
            "after the folder or table."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for table, report and pictures. Default: new under ~/.mincurate/runs."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides everything random.")] = 0,
    batch_size: Annotated[
        int, typer.Option(help="Images per batch; does not change the scores.")
    ] = 32,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Of the networks; auto is bfloat16 where the hardware computes it."),
    ] = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh",
            help="Go on with the run of the same images and settings, or start anew.",
        ),
    ] = True,
    fiftyone: Annotated[
        bool,
        typer.Option("--fiftyone/--no-fiftyone", help="Write a FiftyOne dataset, or files only."),
    ] = True,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Try the files again that the last run of PATH could not read, with that run's "
            "model and settings; everything else is kept.",
        ),
    ] = False,
    umap: Annotated[
        bool, typer.Option("--umap/--no-umap", help="Make the 2-D map (of few images by PCA).")
    ] = True,
    max_images: Annotated[
        int | None, typer.Option(help="Score a random sample of this many files. Default: all.")
    ] = None,
    train_minutes: Annotated[
        float, typer.Option(help="Training budget in minutes, when no model is given.")
    ] = 10.0,
    train_steps: Annotated[
        int | None, typer.Option(help="Exact number of training steps, instead of minutes.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Train and score in this process, or in processes of a Ray cluster."),
    ] = "local",
    address: Address = None,
    num_workers: NumWorkers = None,
) -> None:
    """Score every image, rank them, and show what is rare.

    Examples:

        mincurate score ./images

        mincurate score ./images --perceptual torchvision:squeezenet1_0@weights.safetensors

        mincurate score fiftyone:my-dataset/my-view --rank-by calibrated

        mincurate score table.csv --no-fiftyone --output results

        mincurate score table.csv --engine ray --address auto
    """
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score as pipeline

    keep_freed_memory()

    reporter = Terminal()
    if retry_failed:
        from mincurate.pipelines import new_files, score_new

        again = score_new.retry_failed(
            new_files.last_run_of(path),
            batch_size=batch_size,
            workers=workers,
            device=device,
            fiftyone=fiftyone,
            reporter=reporter,
        )
        reporter.say(again.words)
        return
    result = pipeline.score(
        path,
        model=model,
        sigma=sigma,
        n_draws=n_draws,
        adaptive=adaptive,
        num_classes=num_classes,
        within_label=within_label,
        rank_by=rank_by,
        perceptual=perceptual,
        embedding=embedding,
        image_size=image_size,
        fit=fit,
        labels=labels,
        label_field=label_field,
        dataset=dataset,
        output=output,
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        device=device,
        precision=precision,
        resume=resume,
        fiftyone=fiftyone,
        umap=umap,
        max_images=max_images,
        train_minutes=train_minutes,
        train_steps=train_steps,
        engine=engine,
        address=address,
        num_workers=num_workers,
        reporter=reporter,
    )
    summarize(result, reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def summarize(result: "Result", reporter: Terminal) -> None:
    """The rarest images, the warnings, and where everything is."""
    from rich.table import Table

    from mincurate.ranking import tail_groups
    from mincurate.ranking.classes import RANKINGS, rarest_first
    from mincurate.runs.command import quoted

    record = result.run.record
    rare = rarest_first(result.frame, RANKINGS[record["rank_by"]]).head(5)
    table = Table(title=f"The rarest of {record['counts']['scored']:,} scored images", expand=False)
    ranked_by = RANKINGS[record["rank_by"]]
    scores = list(dict.fromkeys((ranked_by, "minority_score")))
    for name in ("rarity", *(s.replace("_", " ") for s in scores), "class", "label", "image"):
        table.add_column(name, justify="left" if name in ("label", "image") else "right")
    for row in rare.itertuples():
        from rich.text import Text

        table.add_row(
            f"{row.rarity:.3f}",
            *(f"{getattr(row, score):.4f}" for score in scores),
            str(row.rarity_class),
            Text(row.label if isinstance(row.label, str) else ""),
            Text(str(row.rel_path)),
        )
    reporter.console.print(table)
    if said := tail_groups.summary(result.frame):
        reporter.say(said)
    for warning in result.warnings:
        reporter.warn(warning)
    if (texture := record["diagnostics"].get("spearman_complexity")) is not None:
        reporter.say(f"Spearman of minority score and image complexity: {texture:.2f}")
    reporter.say(f"Trust in this ranking: {record['trust']['words']}")
    reporter.say(f"Table:   {result.run.path / 'scores.csv'} (and scores.parquet)")
    reporter.say(f"Report:  {result.report}")
    if result.dataset:
        reporter.say(f"Dataset: {result.dataset} ({result.stored})")
        reporter.say(f"Browse:  {quoted('mincurate', 'launch', result.dataset)}")
