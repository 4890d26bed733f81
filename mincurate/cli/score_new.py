"""``mincurate score-new``."""

import time
from typing import Annotated

import typer

from mincurate.cli.console import Terminal
from mincurate.progress import duration


def score_new(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a scored run. Default: the one scored last."),
    ] = None,
    *,
    dataset: Annotated[
        str | None,
        typer.Option(help="FiftyOne dataset. Default: the one the run was written to."),
    ] = None,
    fiftyone: Annotated[
        bool,
        typer.Option(
            "--fiftyone/--no-fiftyone", help="Add them to the dataset, or to the files only."
        ),
    ] = True,
    batch_size: Annotated[
        int, typer.Option(help="Images per batch; does not change the scores.")
    ] = 32,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Score the images that came since a run was scored, and add them to it.

    New are files of the run's folder or table, and samples of its FiftyOne dataset, that the run
    does not hold. They get scores, classes by the run's own edges, and a place on its map; nothing
    changes for the others. Ctrl-C keeps what is done.

    Example:

        mincurate score-new
    """
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score_new as pipeline

    keep_freed_memory()
    reporter = Terminal()
    done = pipeline.score_new(
        run,
        dataset=dataset,
        batch_size=batch_size,
        workers=workers,
        device=device,
        fiftyone=fiftyone,
        reporter=reporter,
    )
    reporter.say(done.words)
    if not len(done.frame):
        return
    reporter.say(f"Table:   {done.run.path / 'scores.csv'} (and scores.parquet)")
    if done.dataset:
        reporter.say(f"Dataset: {done.dataset}")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")
