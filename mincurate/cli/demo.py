"""``mincurate demo``: find rare images among real ones that ship with scikit-learn."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mincurate.cli import summaries
from mincurate.cli.options import BASIC
from mincurate.cli.shared import settings_of
from mincurate.progress import duration
from mincurate.terminal import Terminal

if TYPE_CHECKING:
    from mincurate.pipelines.result import Result

COMMON, RARE, PLANTED = 7, 0, 12
"""Digits that are common and rare in the demo, and how many of the rare are planted."""
TRAIN_STEPS = 500
"""Training steps of the small model."""
GENERATED, ALL_LEVELS_STEPS, GUIDE_STEPS = 96, 800, 200
"""Images that ``--augment`` generates, and the steps of the trainings before."""


def demo(
    ctx: typer.Context,
    *,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--score-only",
            help="Then generate more of the rare, and compare; 4 minutes more.",
            rich_help_panel=BASIC,
        ),
    ] = False,
) -> None:
    """Find a few rare handwritten digits among many common ones.

    It takes under 3 minutes on 2 cores. The scorer sees no labels. At the end, the planted images
    that reached the rarest tenth are counted. With --augment, more images of the rarest tenth are
    generated, and compared with plain samples of the same model.
    """
    settings = {"train_steps": TRAIN_STEPS, **settings_of(locals())}
    settings.pop("augment")
    started = time.monotonic()
    from mincurate import paths
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import score
    from mincurate.ranking import classes

    keep_freed_memory()
    reporter = Terminal()
    folder = paths.home() / "demo"
    total = write_digits(folder)
    reporter.say(
        f"Demo: {total} handwritten digits from scikit-learn in {folder}: {PLANTED} zeros hidden "
        "among sevens, ranked by the paper's score."
    )
    result = score.score(
        folder,
        labels=False,
        image_size=16,
        sigma=0.2,
        rank_by="minority",
        embedding="unet",  # the same figures with and without the extra `offline`
        dataset=None if settings.get("fiftyone") is False else "mincurate-demo",
        reporter=reporter,
        **settings,
    )
    summaries.scored(result, reporter)
    frame = result.frame
    planted = frame["rel_path"].str.startswith("rare/")
    top = classes.in_tail(frame["rarity"])
    reporter.say("")
    reporter.say(
        f"{int((planted & top).sum())} of the {int(planted.sum())} planted images are in the top "
        f"decile ({int(top.sum())} of {len(frame)} images; chance would put "
        f"{planted.sum() * top.mean():.1f} there)."
    )
    if augment:
        _augment(result, reporter)
    look = "mincurate launch mincurate-demo" if result.dataset else f"open {result.report}"
    reporter.say(f"See them: {look}")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def _augment(scored: "Result", reporter: Terminal) -> None:
    """Generate more of the rarest tenth, and say whether it is rarer than plain samples."""
    from mincurate.pipelines import augment as pipeline
    from mincurate.pipelines import evaluate

    reporter.say("")
    augmented = pipeline.augment(
        scored.run,
        n=GENERATED,
        train_steps=ALL_LEVELS_STEPS,
        guide_steps=GUIDE_STEPS,
        dataset=scored.dataset,
        reporter=reporter,
    )
    summaries.generated(augmented, reporter)
    reporter.say("")
    summaries.evaluation(evaluate.evaluate(augmented.run, reporter=reporter), reporter)


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
