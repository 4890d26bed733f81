"""``mincurate guide`` and ``mincurate augment``."""

import time
from typing import Annotated, Any, Literal

import typer

from mincurate.cli import summaries
from mincurate.cli.options import (
    BASIC,
    METHOD,
    GeneratingModel,
    GuidanceScale,
    Guides,
    Scored,
    Steps,
)
from mincurate.cli.shared import settings_of
from mincurate.errors import UserError
from mincurate.progress import duration
from mincurate.terminal import Terminal

TARGET = "What to generate"


def guide(
    ctx: typer.Context,
    run: Scored = None,
    *,
    model: GeneratingModel = None,
    by: Guides = None,
) -> None:
    """Train the minority guidance, a classifier of the classes.

    It knows the ordinal classes at every noise level. `mincurate augment` does this when it is
    needed. This command does it alone, and shows how well the classifier tells the classes apart on
    held-out images. Ctrl-C keeps what is done.

    Example:

        mincurate guide --loss ordinal
    """
    settings = settings_of(locals())
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import augment as pipeline
    from mincurate.report import evaluation_figures, run_page
    from mincurate.runs import store

    keep_freed_memory()
    reporter = Terminal()
    scored = store.find(settings.pop("run"), kind=store.SCORE)
    classifier = pipeline.guide(scored, **settings, reporter=reporter)
    summaries.guidance(classifier, reporter)
    plot = evaluation_figures.guidance_plot(scored, classifier.record["fingerprint"])
    run_page.write_report(scored)
    reporter.say(f"Plot: {plot} (and in the run's report)")
    reporter.say("Use it: mincurate augment --top-decile")


TopDecile = Annotated[
    bool,
    typer.Option(
        "--top-decile",
        help="Images of the rarest tenth by --by; this is the default.",
        rich_help_panel=BASIC,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Rare images of this label (--sampler minority). Default: of any.",
        rich_help_panel=BASIC,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan and how long it takes.", rich_help_panel=BASIC),
]
TargetClass = Annotated[
    int | None,
    typer.Option(
        help="One ordinal class, 0 (commonest) to L-1. Default: the rarest tenth.",
        rich_help_panel=TARGET,
    ),
]
TopFraction = Annotated[
    float | None,
    typer.Option(
        help="The rarest share, above 0, at most 1. Default: 0.1 (--preset paper: 0.01).",
        rich_help_panel=TARGET,
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        help="Vary samples: tag:NAME, view:NAME or ids (FiftyOne). Default: new images.",
        rich_help_panel=TARGET,
    ),
]
Init = Annotated[
    Literal["noise", "real"],
    typer.Option(
        help="Start from noise, or from real images of the target.", rich_help_panel=TARGET
    ),
]
Strength = Annotated[
    float,
    typer.Option(
        help="Share of a start image that may change, above 0, at most 1.",
        rich_help_panel=TARGET,
    ),
]
Sampler = Annotated[
    Literal["minority", "ddpm", "self-guided", "boost-and-skip"],
    typer.Option(
        help="minority is the paper's guidance, ddpm plain sampling.", rich_help_panel=METHOD
    ),
]
Solver = Annotated[
    Literal["sde-dpm++", "dpm++", "ddim", "ancestral"] | None,
    typer.Option(
        help="ancestral is the paper's. Default: sde-dpm++ (self-guided: ancestral).",
        rich_help_panel=METHOD,
    ),
]


def augment(
    ctx: typer.Context,
    run: Scored = None,
    *,
    n: Annotated[int, typer.Option("--n", help="Number of images.", rich_help_panel=BASIC)] = 1000,
    top_decile: TopDecile = False,
    label: Label = None,
    guidance_scale: GuidanceScale = None,
    model: GeneratingModel = None,
    dry_run: DryRun = False,
    target_class: TargetClass = None,
    top_fraction: TopFraction = None,
    like: Like = None,
    init: Init = "noise",
    strength: Strength = 0.6,
    sampler: Sampler = "minority",
    solver: Solver = None,
    steps: Steps = None,
    by: Guides = None,
) -> None:
    """Generate more of the rare images.

    They are scored, checked by the gate, and added to the FiftyOne dataset. Every image has a
    random seed of its own and is written as soon as it is generated. The same command goes on after
    Ctrl-C or a crash.

    Examples:

        mincurate augment --top-decile --n 5000

        mincurate augment --label frog --n 500 --guidance-scale 2

        mincurate augment --like tag:rare-keep --n 200 --strength 0.5
    """
    settings = settings_of(locals())
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import augment as pipeline

    if settings.pop("top_decile"):
        settings["top_fraction"] = 0.1
    if sum([top_decile, target_class is not None, top_fraction is not None,
            like is not None]) > 1:  # fmt: skip
        raise UserError(
            "Give one of --top-decile, --target-class, --top-fraction and --like, not several."
        )
    keep_freed_memory()
    reporter = Terminal()
    if settings.pop("dry_run"):
        _show_estimate(settings, reporter)
        return
    generated = pipeline.augment(**settings, reporter=reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")
    summaries.generated(generated, reporter)


def _show_estimate(settings: dict[str, Any], reporter: Terminal) -> None:
    """What `pipelines.augment.augment` would do with these settings, and how long it takes."""
    from mincurate.pipelines.preview import preview

    planned = preview(**settings, reporter=reporter)
    reporter.say(
        f"Would generate {settings['n']:,} images of {planned.target} of run {planned.run}, which "
        f"has {planned.of_target:,} of {planned.images:,} images of this kind:"
    )
    for part, time_it_takes in planned.parts:
        reporter.say(f"  {part}: {time_it_takes}")
