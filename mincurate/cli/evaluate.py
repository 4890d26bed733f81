"""``mincurate evaluate``."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mincurate.cli.console import Terminal
from mincurate.progress import duration

if TYPE_CHECKING:
    from mincurate.pipelines.evaluate import Evaluation

STYLES = {"good": "green", "fair": "yellow", "poor": "red"}
MARKS = {"good": "+", "fair": "~", "poor": "-"}


def evaluate(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Key, number or folder of a run of `mincurate augment`. Default: the last one."
        ),
    ] = None,
    *,
    n: Annotated[
        int | None,
        typer.Option("--n", help="Judge the first so many images only. Default: all of them."),
    ] = None,
    downstream: Annotated[
        bool,
        typer.Option(
            "--downstream",
            help="Also train a small classifier of the labels without the accepted images, with as "
            "many copies of real ones, and with them, and compare recall on held-out real images.",
        ),
    ] = False,
    seeds: Annotated[
        int, typer.Option(help="Trainings of that classifier in each case, at least 3.")
    ] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume/--fresh", help="Use plain images from before, or make them anew."),
    ] = True,
) -> None:
    """See whether it helped: are generated images rarer than plain ones, as real, and new?

    As many plain images of the same model and seeds are made to compare with. Ctrl-C keeps what is
    done.

    Example:

        mincurate evaluate --downstream
    """
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import evaluate as pipeline

    keep_freed_memory()
    reporter = Terminal()
    found = pipeline.evaluate(
        run,
        n=n,
        downstream=downstream,
        seeds=seeds,
        device=device,
        resume=resume,
        reporter=reporter,
    )
    summarize(found, reporter)
    reporter.say(f"Page:  {found.page}")
    reporter.say(f"Table: {found.run.path / 'evaluation.csv'} (and evaluation.json)")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def summarize(found: "Evaluation", reporter: Terminal) -> None:
    """The main figures with their intervals, and the verdict."""
    from rich.table import Table
    from rich.text import Text

    from mincurate.report import evaluation_page

    for reference, title in (("all", "all real images"), ("tail", "the rarest tenth")):
        rows = evaluation_page.rows(found.table, reference)
        if not rows:
            continue
        table = Table(title=f"Against {title} (95 % intervals)", expand=False)
        table.add_column("measure")
        for name in evaluation_page.SETS.values():
            table.add_column(name, justify="right")
        for row in rows:
            cells = [
                f"{cell['text']} [{cell['interval']}]" if cell["text"] else ""
                for cell in row["cells"]
            ]
            table.add_row(Text(row["name"]), *(Text(cell) for cell in cells))
        reporter.console.print(table)
    if found.downstream is not None:
        table = Table(title="Recall on held-out real images (95 % intervals)", expand=False)
        heads = ("labels", "without", "copies", "with", "change", "beyond copies")
        for name in heads:
            table.add_column(name, justify="left" if name == "labels" else "right")
        groups, classes = found.downstream.groups, found.downstream.classes
        for frame, key in ((groups, "group"), (classes, "class")):
            for numbers in frame.to_dict("records"):
                row = {str(key): value for key, value in numbers.items()}
                table.add_row(
                    Text(str(row[key]) + (" (rare)" if row.get("rare") else "")),
                    f"{row['recall_without']:.3f}",
                    f"{row['recall_oversampled']:.3f}",
                    f"{row['recall_with']:.3f}",
                    f"{row['change']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
                    f"{row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]",
                )
            table.add_section()
        reporter.console.print(table)
        if classes["rare"].any():
            reporter.say("Rare are the labels with the fewest images, a third of all.")
        reporter.say(
            f"The {classes['n_test'].sum():,} held-out images are new to these trainings only: the "
            "generating model and the classifier that gives its images their labels have seen them."
        )
    told = found.verdict
    reporter.console.print(told.headline, style=f"bold {STYLES[told.tone]}", markup=False)
    for tone, words in told.points:
        reporter.console.print(f"{MARKS[tone]} {words}", style=STYLES[tone], markup=False)
