"""``mincurate demo``: the whole main job on real images that ship inside scikit-learn."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mincurate.cli.console import Terminal
from mincurate.cli.score import summarize
from mincurate.progress import duration

if TYPE_CHECKING:
    from mincurate.pipelines.score import Result

COMMON, RARE, PLANTED = 7, 0, 12
"""Digits that are common and rare in the demo, and how many of the rare are planted."""


GENERATED, ALL_LEVELS_STEPS, GUIDE_STEPS = 96, 800, 200
"""Images that ``--augment`` generates, and the steps of the trainings before."""


def demo(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where the images go. Default: ~/.mincurate/demo.", show_default=False),
    ] = None,
    fiftyone: Annotated[
        bool,
        typer.Option("--fiftyone/--no-fiftyone", help="Write a FiftyOne dataset, or files only."),
    ] = True,
    train_steps: Annotated[int, typer.Option(help="Training steps of the small model.")] = 500,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--score-only",
            help="Then generate more of the rare, and compare: about 4 minutes more.",
        ),
    ] = False,
) -> None:
    """Find a few rare handwritten digits among many common ones, in under 3 minutes on 2 cores.

    The scorer sees no labels; in the end the planted images that reached the rarest tenth are
    counted. With --augment, images like those of the rarest tenth are generated, and compared with
    plain ones of the same model.
    """
    started = time.monotonic()
    from mincurate import paths
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score

    keep_freed_memory()

    reporter = Terminal()
    folder = (folder or paths.home() / "demo").expanduser()
    total = write_digits(folder)
    reporter.say(
        f"Demo: {total} handwritten digits from scikit-learn in {folder}: sevens, among which "
        f"{PLANTED} zeros are hidden, ranked by the paper's score."
    )
    result = score.score(
        folder,
        labels=False,
        image_size=16,
        sigma=0.2,
        train_steps=train_steps,
        rank_by="minority",
        dataset="mincurate-demo" if fiftyone else None,
        fiftyone=fiftyone,
        reporter=reporter,
    )
    summarize(result, reporter)
    frame = result.frame
    planted = frame["rel_path"].str.startswith("rare/")
    top = frame["rarity"] >= 0.9
    reporter.say("")
    reporter.say(
        f"{int((planted & top).sum())} of the {int(planted.sum())} planted images are in the top "
        f"decile ({int(top.sum())} of {len(frame)} images; chance would put "
        f"{planted.sum() * top.mean():.1f} there)."
    )
    if augment:
        _augment(result, reporter)
    look = "mincurate launch mincurate-demo" if fiftyone else f"open {result.report}"
    reporter.say(f"See them: {look}")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def _augment(scored: "Result", reporter: Terminal) -> None:
    """Generate more of the rarest tenth, and say whether it is rarer than plain samples."""
    from mincurate.cli.augment import summarize as summarize_generated
    from mincurate.cli.evaluate import summarize as summarize_evaluation
    from mincurate.pipelines import augment as pipeline
    from mincurate.pipelines import evaluate

    reporter.say("")
    made = pipeline.augment(
        scored.run,
        n=GENERATED,
        train_steps=ALL_LEVELS_STEPS,
        guide_steps=GUIDE_STEPS,
        dataset=scored.dataset,
        reporter=reporter,
    )
    summarize_generated(made, reporter)
    reporter.say("")
    summarize_evaluation(evaluate.evaluate(made.run, reporter=reporter), reporter)


def write_digits(folder: Path) -> int:
    """Write the demo's images (8 x 8 px PNG) into ``folder`` and return how many there are."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    total = 0
    for name, digit, limit in (("common", COMMON, None), ("rare", RARE, PLANTED)):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for index in (digits.target == digit).nonzero()[0][:limit]:
            pixels = (digits.images[index] * (255 / 16)).round().astype("uint8")
            Image.fromarray(pixels).save(place / f"digit-{index:04d}.png")
            total += 1
    return total
