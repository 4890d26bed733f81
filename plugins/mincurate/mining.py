"""The operator that looks for real images like some of the dataset's in a pool."""

from typing import Any

import fiftyone.operators.types as types

from mincurate.errors import UserError
from mincurate.pipelines import mining_operator, operators
from mincurate.progress import Reporter

from .forms import choose, notice, try_out, value
from .long_running import LongRunning


class MineImages(LongRunning):
    """Finds real images like the selected ones, those with a tag, of a label, or the rarest."""

    NAME = "mine_images"
    LABEL = "mine real images like these"
    DESCRIPTION = "Find real images like the rare ones in a pool, and add them for review"
    ICON = "travel_explore"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Where to look, for what, and how many."""
        run = operators.find_run(ctx.dataset)
        pool = inputs.str(
            "pool",
            required=True,
            label="Pool",
            description="A folder, s3:// or gs://, a table of paths, or fiftyone:NAME[/VIEW]",
        )
        if place := value(ctx, "pool", ""):
            try_out(pool, lambda: mining_operator.check_pool(place))
        choices = mining_operator.examples(ctx.dataset, run, ctx.selected)
        choose(inputs, "like", choices.items(), label="Like", default=next(iter(choices)))
        inputs.int("n", default=500, min=1, max=10**6, label="How many, at most")
        notice(
            inputs,
            "how",
            f"The images are compared by the vectors of run {run.key}. Near copies are left out. "
            "Labels are proposed: tag what is right rare-keep.",
        )

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Find them, and add them to the dataset."""
        run = operators.find_run(ctx.dataset)
        choices = mining_operator.examples(ctx.dataset, run, ctx.selected)
        like = value(ctx, "like", next(iter(choices)))
        if like not in choices:
            raise UserError(f"There is no image to look for: {like!r} is not one of the choices.")
        found = mining_operator.mine(
            ctx.dataset,
            value(ctx, "pool", ""),
            like=like,
            selected=ctx.selected,
            n=int(value(ctx, "n", 500)),
            reporter=reporter,
        )
        return {
            "run": found.run.key,
            "images": len(found.frame),
            "message": f"Run {found.run.key}: {len(found.frame):,} images mined; they are in the "
            "saved view mined.",
        }


CLASSES = (MineImages,)
