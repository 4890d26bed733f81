"""``mincurate rebalance``."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from mincurate.cli import summaries
from mincurate.cli.console import confirm
from mincurate.cli.options import BASIC, GeneratingModel, GuidanceScale, Scored, Steps
from mincurate.cli.shared import settings_of
from mincurate.errors import UserError
from mincurate.progress import duration
from mincurate.terminal import Terminal

PLAN_ONLY = ("run", "to", "cap", "weights", "dry_run")
"""Options that say what is missing, not how it is generated."""


def rebalance(
    ctx: typer.Context,
    run: Scored = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            help="Images per class: uniform (as the largest), sqrt, or a number.",
            rich_help_panel=BASIC,
        ),
    ] = "uniform",
    by: Annotated[
        Literal["label", "class", "minority"],
        typer.Option(help="Balance labels or ordinal classes.", rich_help_panel=BASIC),
    ] = "label",
    cap: Annotated[
        int, typer.Option(help="Most images to generate per class.", rich_help_panel=BASIC)
    ] = 5000,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write, with a sampling weight per image. Default: none.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan only.", rich_help_panel=BASIC)
    ] = False,
    guidance_scale: GuidanceScale = None,
    model: GeneratingModel = None,
    steps: Steps = None,
) -> None:
    """Show what each label or class lacks, and generate it.

    Accepted images of earlier generations count. The same command goes on after a stop; given
    again after the end, it replaces rejected images.

    Examples:

        mincurate rebalance --to uniform --dry-run --weights weights.csv

        mincurate rebalance --to 500 --by class
    """
    settings = settings_of(locals())
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import rebalance as pipeline
    from mincurate.runs import atomic_files

    reporter = Terminal()
    planned = pipeline.rebalance(run, to=_goal(to), by=by, cap=cap, dry_run=True, reporter=reporter)
    summaries.plan(planned.plan, by, cap, reporter)
    if weights is not None:
        atomic_files.write_atomically(weights, planned.weights.to_csv(index=False).encode())
        reporter.say(f"Weights of {len(planned.weights):,} images: {weights}")
    if dry_run or not planned.plan["generate"].any():
        return
    if not ctx.obj.yes:
        confirm("Generate them?")
    keep_freed_memory()
    settings = {k: v for k, v in settings.items() if k not in PLAN_ONLY}
    filled = pipeline.fill(planned.run, planned.plan, **settings, reporter=reporter)
    summaries.filled(filled, by, reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def _goal(to: str) -> int | Literal["uniform", "sqrt"]:
    """What ``--to`` asks for."""
    named: dict[str, Literal["uniform", "sqrt"]] = {"uniform": "uniform", "sqrt": "sqrt"}
    if to not in named and not to.isdecimal():
        raise UserError(f"--to is uniform, sqrt or a number, not {to!r}.")
    return named[to] if to in named else int(to)
