"""``mincurate rebalance`` and ``mincurate export``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mincurate.cli.augment import (
    BatchSize,
    Device,
    GuideMinutes,
    GuideSteps,
    IntoDataset,
    Model,
    Seed,
    Solver,
    Steps,
    TrainMinutes,
    TrainSteps,
)
from mincurate.cli.console import Terminal, confirm
from mincurate.progress import duration

if TYPE_CHECKING:
    import pandas as pd

    from mincurate.pipelines.rebalance import Filled
    from mincurate.runs.store import Run

Scored = Annotated[
    str | None,
    typer.Argument(help="Key, number or folder of a scored run. Default: the one scored last."),
]


def rebalance(
    run: Scored = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            help="Images per class: uniform (as many as the largest has), sqrt (in proportion to "
            "the square root of what there is), or a number."
        ),
    ] = "uniform",
    by: Annotated[
        Literal["label", "class"],
        typer.Option(help="Rebalance labels, or ordinal classes from common to rare."),
    ] = "label",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and stop.")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Write a CSV of weights for WeightedRandomSampler, one per image. Default: none.",
            show_default=False,
        ),
    ] = None,
    cap: Annotated[int, typer.Option(help="Generate at most so many images per class.")] = 5000,
    solver: Solver = None,
    steps: Steps = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(help="The paper's w. Default: 2.", show_default=False),
    ] = None,
    model: Model = None,
    train_minutes: TrainMinutes = None,
    train_steps: TrainSteps = None,
    guide_minutes: GuideMinutes = None,
    guide_steps: GuideSteps = None,
    fiftyone: IntoDataset = True,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Even out labels or classes: show what is missing, and generate that alone.

    Accepted images of earlier generations count. Giving the same command again goes on after a
    stop, and after the end replaces images that the gate sent back.

    Examples:

        mincurate rebalance --to uniform --dry-run --weights weights.csv

        mincurate rebalance --to 500 --by class
    """
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.curation import gather
    from mincurate.curation import rebalance as curation_rebalance
    from mincurate.errors import UserError
    from mincurate.pipelines import rebalance as pipeline
    from mincurate.runs import files, store

    named: dict[str, Literal["uniform", "sqrt"]] = {"uniform": "uniform", "sqrt": "sqrt"}
    if to not in named and not to.isdecimal():
        raise UserError(f"--to is uniform, sqrt or a number, not {to!r}.")
    target = named[to] if to in named else int(to)
    if cap < 1:
        raise UserError("--cap is at least 1.")
    reporter = Terminal()
    scored = store.find(run, kind=store.SCORE)
    images = gather.in_use(gather.gather(scored, tags=_tags(scored, reporter)))
    plan = curation_rebalance.plan_for(images, by, target, cap)
    _show_plan(plan, by, reporter)
    total = int(plan["generate"].sum())
    missing = int(plan["add"].sum())
    capped = f" of {missing:,} (--cap {cap} per class)" if total < missing else ""
    reporter.say(f"To generate: {total:,} images{capped}.")
    if weights is not None:
        table = curation_rebalance.weights_for(images, by, target)
        files.write_atomically(weights, table.to_csv(index=False).encode())
        reporter.say(f"Weights of {len(table):,} images: {weights}")
    if dry_run or total == 0:
        return
    if not yes:
        confirm("Generate them?")
    keep_freed_memory()
    filled = pipeline.fill(
        scored,
        plan,
        by=by,
        solver=solver,
        steps=steps,
        guidance_scale=guidance_scale,
        model=model,
        train_minutes=train_minutes,
        train_steps=train_steps,
        guide_minutes=guide_minutes,
        guide_steps=guide_steps,
        seed=seed,
        batch_size=batch_size,
        device=device,
        dataset=scored.record.get("dataset") if fiftyone else None,
        reporter=reporter,
    )
    _show_filled(filled, by, reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def export(
    folder: Annotated[Path, typer.Argument(help="Where to: a new folder.")],
    *,
    run: Annotated[
        str | None,
        typer.Option(help="Key, number or folder of a scored run. Default: the one scored last."),
    ] = None,
    format: Annotated[
        Literal["folder", "csv", "parquet", "coco"],
        typer.Option(help="A folder per class, or images with a table or COCO annotations."),
    ] = "folder",
    by: Annotated[
        Literal["label", "class"], typer.Option(help="What the classes are: labels, or ordinal.")
    ] = "label",
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the files; by default they are hard links.")
    ] = False,
    include_rejected: Annotated[
        bool,
        typer.Option("--include-rejected", help="Also generated images that the gate sent back."),
    ] = False,
    split_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the table, or field of the FiftyOne dataset, that was scored, with the "
            "split (train, test, ...) of every real image. Generated images go to train, and those "
            "next to an image of another split are left out. Default: none.",
            show_default=False,
        ),
    ] = None,
    split_folders: Annotated[
        bool,
        typer.Option(
            "--split-folders",
            help="The same, with an image's first folder (train/..., test/...) as its split.",
        ),
    ] = False,
) -> None:
    """Write a dataset: the run's real images and the accepted ones that were generated for it.

    Images tagged `outlier-drop` in FiftyOne are left out. An export that was stopped goes on with
    the same command.

    Example:

        mincurate export ./balanced --format coco --copy
    """
    from mincurate.curation import export as exports
    from mincurate.curation import gather
    from mincurate.runs import store

    reporter = Terminal()
    scored = store.find(run, kind=store.SCORE)
    table = gather.gather(
        scored,
        tags=_tags(scored, reporter),
        splits=_splits(scored, split_column, split_folders),
    )
    done = exports.export(
        table,
        folder,
        format=format,
        classes="label" if by == "label" else "minority_class",
        files="copy" if copy else "link",
        include_rejected=include_rejected,
        reporter=reporter,
    )
    reporter.say(f"{done.real:,} real and {done.synthetic:,} synthetic images: {done.folder}")
    for reason, n in done.excluded.items():
        reporter.say(f"Left out: {n:,} {reason}")


def _tags(scored: "Run", reporter: Terminal) -> dict[str, list[str]]:
    """Tags from the run's FiftyOne dataset; none where there is none or it does not answer."""
    name = scored.record.get("dataset")
    if not name:
        return {}
    from mincurate.dataset import tags
    from mincurate.errors import UserError

    try:
        return tags.tags(str(name))
    except UserError as error:
        reporter.warn(f"Tags such as outlier-drop are not taken into account: {error}")
        return {}


def _splits(scored: "Run", column: str | None, folders: bool) -> dict[str, str]:
    from mincurate.curation import gather
    from mincurate.errors import UserError

    if folders and column is not None:
        raise UserError("Give one of --split-column and --split-folders, not both.")
    if folders:
        return gather.folder_splits(scored)
    if column is None:
        return {}
    source = scored.record.get("source") or {}
    if source.get("kind") == "fiftyone":
        from mincurate.dataset import tags

        return tags.field(str(source["value"]).partition("/")[0], column)
    return gather.table_column(scored, column)


def _show_plan(plan: "pd.DataFrame", by: str, reporter: Terminal) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"By {by}", expand=False)
    table.add_column(by)
    for name in ("have", "target", "add", "generate", "weight"):
        table.add_column(name, justify="right")
    for row in plan.to_dict("records"):
        numbers = [f"{row[key]:,}" for key in ("have", "target", "add", "generate")]
        table.add_row(Text(str(row["class"])), *numbers, f"{row['weight']:.3g}")
    reporter.console.print(table)


def _show_filled(filled: "list[Filled]", by: str, reporter: Terminal) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Generated", expand=False)
    table.add_column(by)
    for name in ("missing", "accepted", f"of this {by}", "still missing", "run"):
        table.add_column(name, justify="right")
    for part in filled:
        left = part.wanted - part.landed
        numbers = [f"{n:,}" for n in (part.wanted, part.accepted, part.landed, left)]
        table.add_row(Text(str(part.name)), *numbers, part.run.key)
    reporter.console.print(table)
    left = sum(part.wanted - part.landed for part in filled)
    if left:
        reporter.say(
            f"{left:,} images were rejected by the gate or came out as another {by}, and do not "
            "count; the same command again replaces them."
        )
