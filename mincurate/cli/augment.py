"""``mincurate guide`` and ``mincurate augment``."""

import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mincurate.cli.console import Terminal
from mincurate.cli.options import Address, NumWorkers
from mincurate.progress import duration

if TYPE_CHECKING:
    from mincurate.pipelines.augment import Augmented

Solver = Annotated[
    Literal["sde-dpm++", "dpm++", "ddim", "ancestral"] | None,
    typer.Option(
        help="The first three need few steps; ancestral is the paper's. Default: sde-dpm++ "
        "(ancestral for self-guided).",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="Noise levels = evaluations of the network. Default: 25 (ddim 50, ancestral 250).",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(help="Images per batch; changes no image but in rounding.")]
IntoDataset = Annotated[
    bool,
    typer.Option("--fiftyone/--no-fiftyone", help="Add them to the dataset, or files only."),
]
Loss = Annotated[
    Literal["ordinal", "cross_entropy"],
    typer.Option(help="Of the classifier: cross_entropy (the paper's), or ordinal."),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Diffusion model that generates, used as it is: folder, hub id or run. Default: the "
        "run's own, trained on to all noise levels.",
        show_default=False,
    ),
]
TrainMinutes = Annotated[
    float | None,
    typer.Option(
        help="Budget, in minutes, for training the model on to all noise levels. Default: as "
        "before for this run, or 20."
    ),
]
TrainSteps = Annotated[
    int | None, typer.Option(help="Exact number of those training steps, instead of minutes.")
]
GuideMinutes = Annotated[
    float | None,
    typer.Option(
        help="Budget, in minutes, for training the classifier. Default: as before for this run, "
        "or 3."
    ),
]
GuideSteps = Annotated[
    int | None, typer.Option(help="Exact number of the classifier's steps, instead of minutes.")
]
Seed = Annotated[
    int, typer.Option(help="Decides what is drawn; the trainings have a seed of their own (guide).")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="Compute in this process, or in processes of a Ray cluster, which all must see "
        "the run and MINCURATE_HOME under the same path."
    ),
]


def guide(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a scored run. Default: the one scored last."),
    ] = None,
    *,
    model: Model = None,
    loss: Loss = "ordinal",
    train_minutes: TrainMinutes = None,
    train_steps: TrainSteps = None,
    guide_minutes: GuideMinutes = None,
    guide_steps: GuideSteps = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Decides the trainings. Default: as before for this run, or 0."),
    ] = None,
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    num_workers: NumWorkers = None,
) -> None:
    """Train the minority guidance: a classifier of the ordinal classes at every noise level.

    `mincurate augment` does this when it is needed; this command does it alone, and shows how well
    the classes can be told apart on held-out images. Ctrl-C keeps what is done.

    Example:

        mincurate guide --loss ordinal
    """
    from rich.table import Table

    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import augment as pipeline
    from mincurate.report import evaluation_figures, run_page
    from mincurate.runs import store

    keep_freed_memory()
    reporter = Terminal()
    scored = store.find(run, kind=store.SCORE)
    found = pipeline.guide(
        scored,
        model=model,
        loss=loss,
        train_minutes=train_minutes,
        train_steps=train_steps,
        guide_minutes=guide_minutes,
        guide_steps=guide_steps,
        seed=seed,
        device=device,
        engine=engine,
        address=address,
        num_workers=num_workers,
        reporter=reporter,
    )
    levels = found.record["levels"]
    names = {"sigma": "noise (sigma)", "accuracy": "accuracy", "macro_f1": "macro F1"}
    names["mean_absolute_error"] = "mean class error"
    if "label_accuracy" in levels[0]:
        names["label_accuracy"] = "accuracy of labels"
    table = Table(title="Held-out images, by noise level", expand=False)
    for name in names.values():
        table.add_column(name, justify="right")
    for level in levels:
        table.add_row(*(f"{level[key]:.3g}" for key in names))
    reporter.console.print(table)
    reporter.say(f"Classes: {found.num_classes}; chance would give {1 / found.num_classes:.2f}.")
    plot = evaluation_figures.guidance_plot(scored, found.record["fingerprint"])
    run_page.write_report(scored)
    reporter.say(f"Plot: {plot} (and in the run's report)")
    reporter.say("Use it: mincurate augment --top-decile")


def augment(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a scored run. Default: the one scored last."),
    ] = None,
    *,
    n: Annotated[int, typer.Option("--n", help="How many images to generate.")] = 1000,
    top_decile: Annotated[
        bool,
        typer.Option(
            "--top-decile",
            help="Images of the rarest tenth: the rarest class of 10, or the classes that make up "
            "the tenth. The default.",
        ),
    ] = False,
    target_class: Annotated[
        int | None, typer.Option(help="One ordinal class instead: 0 commonest to L-1 rarest.")
    ] = None,
    top_fraction: Annotated[
        float | None, typer.Option(help="The rarest share instead, above 0 and at most 1.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Rare images of this label (sampler minority). Default: any.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Vary these images instead of making new ones: tag:NAME, view:NAME, or sample ids "
            "with commas between. Needs a FiftyOne dataset.",
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[
        Literal["minority", "ddpm", "self-guided", "boost-and-skip"],
        typer.Option(help="minority is the paper's guidance, ddpm plain sampling."),
    ] = "minority",
    solver: Solver = None,
    steps: Steps = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(
            help="The paper's w: more is rarer and less real. Default: 2 (self-guided 0.3).",
            show_default=False,
        ),
    ] = None,
    init: Annotated[
        Literal["noise", "real"],
        typer.Option(help="Start from pure noise, or from real images of the target."),
    ] = "noise",
    strength: Annotated[
        float,
        typer.Option(
            help="With --init real or --like: how much of the image may change, above 0 and at "
            "most 1 (all of it)."
        ),
    ] = 0.6,
    model: Model = None,
    loss: Loss = "ordinal",
    train_minutes: TrainMinutes = None,
    train_steps: TrainSteps = None,
    guide_minutes: GuideMinutes = None,
    guide_steps: GuideSteps = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="FiftyOne dataset. Default: the one the run was written to."),
    ] = None,
    fiftyone: IntoDataset = True,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    num_workers: NumWorkers = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh", help="Go on with the same generation, or start another one."
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be made and how long it takes, and stop."),
    ] = False,
) -> None:
    """Generate more of the rare: synthetic minority images, scored, inspected, in the dataset.

    Every image has a seed of its own and is written as soon as it is made; the same command goes
    on after Ctrl-C or a crash.

    Examples:

        mincurate augment --top-decile --n 5000

        mincurate augment --label frog --n 500 --guidance-scale 2

        mincurate augment --like tag:rare-keep --n 200 --strength 0.5
    """
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.errors import UserError
    from mincurate.pipelines import augment as pipeline
    from mincurate.pipelines.augment_settings import AugmentSettings
    from mincurate.pipelines.preview import preview
    from mincurate.runs import store

    if sum([top_decile, target_class is not None, top_fraction is not None, like is not None]) > 1:
        raise UserError(
            "Give one of --top-decile, --target-class, --top-fraction and --like, not several."
        )
    keep_freed_memory()
    reporter = Terminal()
    scored = store.find(run, kind=store.SCORE)
    name = (dataset or scored.record.get("dataset")) if fiftyone else None
    chosen = None
    if like is not None:
        from mincurate.dataset import generated

        where = dataset or scored.record.get("dataset")
        if where is None:
            raise UserError(f"--like needs a FiftyOne dataset, and run {scored.key} has none.")
        chosen = generated.selection(where, like)
    settings = AugmentSettings(
        n=n,
        target_class=target_class,
        top_fraction=0.1 if top_fraction is None else top_fraction,
        label=label,
        like=chosen,
        sampler=sampler,
        solver=solver,
        steps=steps,
        guidance_scale=guidance_scale,
        init=init,
        strength=strength,
        model=model,
        loss=loss,
        train_minutes=train_minutes,
        train_steps=train_steps,
        guide_minutes=guide_minutes,
        guide_steps=guide_steps,
        seed=seed,
        batch_size=batch_size,
        device=device,
        resume=resume,
        dataset=name,
        engine=engine,
        address=address,
        num_workers=num_workers,
    )
    if dry_run:
        planned = preview(scored, settings)
        reporter.say(
            f"Would make {n:,} images of {planned.target} of run {planned.run}, which has "
            f"{planned.of_target:,} of {planned.images:,} images of this kind:"
        )
        for part, time_it_takes in planned.parts:
            reporter.say(f"  {part}: {time_it_takes}")
        return
    made = pipeline.augment(scored, settings, reporter=reporter)
    summarize(made, reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def summarize(made: "Augmented", reporter: Terminal) -> None:
    """How many images are fit for use, how rare they are, and where everything is."""
    frame, record = made.frame, made.run.record
    total = len(frame)
    flagged = {name: n for name, n in made.counts.items() if name != "accepted" and n}
    words = ", ".join(f"{n:,} {name}" for name, n in flagged.items()) or "none flagged"
    reporter.say(f"{made.counts['accepted']:,} of {total:,} images accepted ({words}).")
    share = (frame["rarity"] >= 0.9).mean()
    reporter.say(
        f"Mean rarity {frame['rarity'].mean():.2f} (real images: 0.50); {share:.0%} rank among the "
        f"rarest tenth of the real ones."
    )
    reporter.say(f"Images:   {made.run.path / 'images'}")
    reporter.say(f"Table:    {made.run.path / 'synthetic.csv'} (and .parquet)")
    if made.dataset:
        reporter.say(f"Dataset:  {made.dataset} (saved view 'synthetic')")
        reporter.say(f"Browse:   mincurate launch {made.dataset}")
    reporter.say(f"Did it help? mincurate evaluate {record['key']}")
