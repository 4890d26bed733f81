"""``mincurate guide`` and ``mincurate augment``."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mincurate.cli import summaries
from mincurate.cli.console import Terminal
from mincurate.cli.options import BASIC, METHOD, GeneratingModel, GuidanceScale, Scored, Steps
from mincurate.cli.shared import settings_of
from mincurate.errors import UserError
from mincurate.progress import duration

if TYPE_CHECKING:
    from mincurate.runs.store import Run

TARGET = "What to generate"


def guide(ctx: typer.Context, run: Scored = None, *, model: GeneratingModel = None) -> None:
    """Train the minority guidance, a classifier of the classes.

    It knows the ordinal classes at every noise level. `mincurate augment` does this when it is
    needed. This command does it alone, and shows how well the classifier tells the classes apart on
    held-out images. Ctrl-C keeps what is done.

    Example:

        mincurate guide --loss ordinal
    """
    settings = with_budget(settings_of(locals()))
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


def augment(
    ctx: typer.Context,
    run: Scored = None,
    *,
    n: Annotated[int, typer.Option("--n", help="Number of images.", rich_help_panel=BASIC)] = 1000,
    top_decile: Annotated[
        bool,
        typer.Option(
            "--top-decile",
            help="Images of the rarest tenth; this is the default.",
            rich_help_panel=BASIC,
        ),
    ] = False,
    label: Annotated[
        str | None,
        typer.Option(
            help="Rare images of this label (--sampler minority). Default: of any.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    guidance_scale: GuidanceScale = None,
    model: GeneratingModel = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and how long it takes.", rich_help_panel=BASIC
        ),
    ] = False,
    target_class: Annotated[
        int | None,
        typer.Option(
            help="One ordinal class, 0 (commonest) to L-1. Default: the rarest tenth.",
            rich_help_panel=TARGET,
        ),
    ] = None,
    top_fraction: Annotated[
        float | None,
        typer.Option(
            help="The rarest share, above 0, at most 1. Default: 0.1.", rich_help_panel=TARGET
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Vary samples: tag:NAME, view:NAME or ids (FiftyOne). Default: new images.",
            rich_help_panel=TARGET,
        ),
    ] = None,
    init: Annotated[
        Literal["noise", "real"],
        typer.Option(
            help="Start from noise, or from real images of the target.", rich_help_panel=TARGET
        ),
    ] = "noise",
    strength: Annotated[
        float,
        typer.Option(
            help="Share of a start image that may change, above 0, at most 1.",
            rich_help_panel=TARGET,
        ),
    ] = 0.6,
    sampler: Annotated[
        Literal["minority", "ddpm", "self-guided", "boost-and-skip", "low-density"],
        typer.Option(
            help="minority is the paper's guidance, ddpm plain sampling.", rich_help_panel=METHOD
        ),
    ] = "minority",
    solver: Annotated[
        Literal["sde-dpm++", "dpm++", "ddim", "ancestral"] | None,
        typer.Option(
            help="ancestral is the paper's. Default: sde-dpm++ (self-guided: ancestral).",
            rich_help_panel=METHOD,
        ),
    ] = None,
    steps: Steps = None,
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
    settings = with_budget(settings_of(locals()))
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import augment as pipeline
    from mincurate.runs import store

    if sum([settings.pop("top_decile"), target_class is not None, top_fraction is not None,
            like is not None]) > 1:  # fmt: skip
        raise UserError(
            "Give one of --top-decile, --target-class, --top-fraction and --like, not several."
        )
    keep_freed_memory()
    reporter = Terminal()
    scored = store.find(settings.pop("run"), kind=store.SCORE)
    fiftyone, dataset = settings.pop("fiftyone", True), settings.pop("dataset", None)
    if dataset is None and (fiftyone or like is not None):
        from mincurate.dataset import lookup

        dataset = lookup.dataset_of(scored, reporter)
    settings["like"] = _chosen(scored, dataset, like)
    settings["top_fraction"] = 0.1 if top_fraction is None else top_fraction
    settings["dataset"] = dataset if fiftyone else None
    if settings.pop("dry_run"):
        _show_estimate(scored, settings, reporter)
        return
    generated = pipeline.augment(scored, **settings, reporter=reporter)
    summaries.generated(generated, reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def with_budget(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the four training budgets as one `Budget`."""
    from mincurate.generation.budget import Budget

    names = ("train_minutes", "train_steps", "guide_minutes", "guide_steps")
    budget = Budget(**{name: settings.get(name) for name in names})
    return {k: v for k, v in settings.items() if k not in names} | {"budget": budget}


def _chosen(scored: "Run", dataset: str | None, like: str | None) -> list[str] | None:
    """Content hashes of the images that ``--like`` names."""
    if like is None:
        return None
    if dataset is None:
        raise UserError(f"--like needs a FiftyOne dataset, and run {scored.key} has none.")
    from mincurate.dataset import generated

    return list(generated.selection(dataset, like))


def _show_estimate(scored: "Run", settings: dict[str, Any], reporter: Terminal) -> None:
    """What `pipelines.augment.augment` would do with these settings, and how long it takes."""
    from mincurate.generation import networks, samplers
    from mincurate.generation.target import choose_target
    from mincurate.pipelines import augment as pipeline
    from mincurate.ranking import reference

    n, sampler, batch_size = settings["n"], settings["sampler"], settings.get("batch_size", 64)
    label, like, init = settings["label"], settings["like"], settings["init"]
    strength = settings["strength"]
    _, steps, _ = samplers.settle(
        sampler, settings["solver"], settings["steps"], settings["guidance_scale"]
    )
    pipeline.check(
        n=n, sampler=sampler, label=label, init=init, strength=strength, batch_size=batch_size
    )
    base = reference.open_base(scored)
    target, members = choose_target(
        base,
        target_class=settings["target_class"],
        top_fraction=settings["top_fraction"],
        label=label,
        like=like,
    )
    names = ("model", "loss", "budget", "device", "precision")
    workshop = networks.open_workshop(
        base, **{k: settings[k] for k in names if k in settings}, reporter=reporter
    )
    reporter.say(
        f"Would generate {n:,} images of {target} of run {base.run.key}, which has "
        f"{int(members.sum()):,} of {len(base.frame):,} images of this kind:"
    )
    share = strength if init == "real" or like is not None else 1.0
    for part, time_it_takes in networks.estimate(
        workshop, n=n, sampler=sampler, steps=max(1, round(share * steps)), batch_size=batch_size
    ):
        reporter.say(f"  {part}: {time_it_takes}")
