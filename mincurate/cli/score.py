"""``mincurate score``, ``score-new`` and ``retry``."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from mincurate.cli import summaries
from mincurate.cli.options import (
    BASIC,
    IMAGES,
    METHOD,
    Fit,
    ImageSize,
    MaxImages,
    Scored,
    Sigma,
)
from mincurate.cli.shared import settings_of
from mincurate.errors import UserError
from mincurate.progress import duration
from mincurate.terminal import Terminal

PathOption = Annotated[
    list[str],
    typer.Argument(
        help="A folder, or several files and folders; s3://BUCKET/FOLDER or gs://; a table "
        "(CSV, JSON Lines, Parquet) with a path column; or fiftyone:NAME[/VIEW]."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Model: folder, ADM file (.pt), hub id or run. Default: a small one, trained first.",
        rich_help_panel=BASIC,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder for table and report. Default: a new one in ~/.mincurate/runs.",
        rich_help_panel=BASIC,
    ),
]
Labels = Annotated[
    bool | None,
    typer.Option(
        "--labels/--no-labels",
        help="Read labels (sub-folders, label column), or none. Default: if there are any.",
        show_default=False,
        rich_help_panel=BASIC,
    ),
]
RankBy = Annotated[
    Literal["embedding", "minority", "calibrated", "neighbors"] | None,
    typer.Option(
        help="Score that ranks; minority is the paper's. Default: embedding.",
        rich_help_panel=BASIC,
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Rank by vectors and stop: no training, no minority scores.",
        rich_help_panel=BASIC,
    ),
]
WithinLabel = Annotated[
    bool,
    typer.Option(
        "--within-label/--whole-set",
        help="Rank images within each label, or within the whole set.",
        rich_help_panel=BASIC,
    ),
]
NumClasses = Annotated[
    int | None,
    typer.Option(
        help="Ordinal classes (L): 0 commonest, L-1 rarest. Default: 10.", rich_help_panel=BASIC
    ),
]
LabelField = Annotated[
    str | None,
    typer.Option(
        "--label-field",
        "--label-column",
        help="FiftyOne field or table column with the labels. Default: one of a usual name.",
        rich_help_panel=IMAGES,
    ),
]
PathColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of a table with the paths. Default: one of a usual name.",
        rich_help_panel=IMAGES,
    ),
]
FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links",
        help="Read symbolic links that lead out of the folder.",
        rich_help_panel=IMAGES,
    ),
]
Objects = Annotated[
    str | None,
    typer.Option(
        help="Rank objects: FiftyOne field; COCO file, YOLO or VOC folder; auto. Default: images.",
        rich_help_panel=IMAGES,
    ),
]
Context = Annotated[
    float,
    typer.Option(
        help="Share of an object's sides to add on each side of its crop.",
        rich_help_panel=IMAGES,
    ),
]
Tiles = Annotated[
    str | None,
    typer.Option(
        help="Rank tiles, SIZE or SIZE/STRIDE in px, such as 256/128. Default: whole images.",
        rich_help_panel=IMAGES,
    ),
]
Background = Annotated[
    str,
    typer.Option(
        help="Colour behind transparent pixels; auto is white, or black where white hides all.",
        rich_help_panel=IMAGES,
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(
        help="Bands of an image, such as 3,2,1, or all. Default: colours; all if it has none.",
        rich_help_panel=IMAGES,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help="Text for a model that takes some, such as 'a photo of a {label}'. Default: empty.",
        rich_help_panel=METHOD,
    ),
]
NDraws = Annotated[
    int | None, typer.Option(help="Noise draws per image (K). Default: 6.", rich_help_panel=METHOD)
]
Adaptive = Annotated[
    bool,
    typer.Option(
        "--adaptive/--all-draws",
        help="2 draws per image, --n-draws near the edge of the rarest class; or all for all.",
        rich_help_panel=METHOD,
    ),
]
Perceptual = Annotated[
    str,
    typer.Option(
        help="Distance: lpips-vgg|alex|squeeze[@FILE], unet, latent or torchvision:NAME[@FILE].",
        rich_help_panel=METHOD,
    ),
]
Embedding = Annotated[
    str,
    typer.Option(
        help="Vectors: efficientnet-lite0, unet, torchvision:NAME[@FILE] or a hub id.",
        rich_help_panel=METHOD,
    ),
]
Vectors = Annotated[
    str | None,
    typer.Option(
        help="Your own: FILE (npy, npz, parquet, csv), fiftyone:FIELD, brain:KEY. Default: none.",
        rich_help_panel=METHOD,
    ),
]
Umap = Annotated[
    bool,
    typer.Option("--umap/--no-umap", help="Make the 2-D map, or none.", rich_help_panel=METHOD),
]


def score(
    ctx: typer.Context,
    path: PathOption,
    *,
    model: Model = None,
    output: Output = None,
    labels: Labels = None,
    rank_by: RankBy = None,
    quick: Quick = False,
    within_label: WithinLabel = False,
    num_classes: NumClasses = None,
    max_images: MaxImages = None,
    image_size: ImageSize = None,
    fit: Fit = "crop",
    label_field: LabelField = None,
    path_column: PathColumn = None,
    objects: Objects = None,
    context: Context = 0.0,
    tiles: Tiles = None,
    follow_links: FollowLinks = False,
    background: Background = "auto",
    bands: Bands = None,
    prompt: Prompt = None,
    sigma: Sigma = None,
    n_draws: NDraws = None,
    adaptive: Adaptive = False,
    perceptual: Perceptual = "auto",
    embedding: Embedding = "auto",
    vectors: Vectors = None,
    umap: Umap = True,
) -> None:
    """Score every image, rank them, and show what is rare.

    The same command goes on after Ctrl-C or a crash.

    Examples:

        mincurate score ./images

        mincurate score ./photos --quick

        mincurate score images/*.png

        mincurate score ./images --perceptual torchvision:squeezenet1_0@weights.safetensors

        mincurate score fiftyone:my-dataset/my-view --rank-by calibrated

        mincurate score table.csv --no-fiftyone --output results

        mincurate score fiftyone:my-dataset --vectors fiftyone:clip --quick

        mincurate score ./dataset --objects auto --quick

        mincurate score fiftyone:my-dataset --objects ground_truth --within-label

        mincurate score ./scans --tiles 256/128 --quick

        mincurate score table.csv --ray auto

        mincurate score ./images --model FOLDER --preset paper
    """
    settings = settings_of(locals())
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score as pipeline

    if path[0].startswith("fiftyone:") and (path_column is not None or follow_links):
        option = "--follow-links" if path_column is None else "--path-column"
        raise UserError(f"{option} has no effect on a FiftyOne dataset.")
    keep_freed_memory()
    reporter = Terminal()
    result = pipeline.score(**settings, reporter=reporter)
    summaries.scored(result, reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def score_new(ctx: typer.Context, run: Scored = None) -> None:
    """Score the images that came after a run, and add them to it.

    New are the files of the run's folder or table, and the samples of its FiftyOne dataset, that
    the run does not hold. The scores, ranks and classes of the other images stay as they are.
    The same command goes on after Ctrl-C.

    Example:

        mincurate score-new
    """
    settings = settings_of(locals())
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score_new as pipeline

    keep_freed_memory()
    reporter = Terminal()
    joined = pipeline.score_new(**settings, reporter=reporter)
    reporter.say(joined.words)
    if not len(joined.frame):
        return
    reporter.say(f"Table:   {joined.run.path / 'scores.csv'} (and scores.parquet)")
    if joined.dataset:
        reporter.say(f"Dataset: {joined.dataset}")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def retry(ctx: typer.Context, run: Scored = None) -> None:
    """Retry the files that a run could not read.

    The run's model and settings are used. Files that can be read now join the run like new ones;
    everything else stays as it is.

    Example:

        mincurate retry
    """
    settings = settings_of(locals())
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score_new as pipeline

    keep_freed_memory()
    reporter = Terminal()
    reporter.say(pipeline.retry(**settings, reporter=reporter).words)
