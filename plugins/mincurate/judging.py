"""Operators that judge: whether generating helped, and how far two runs agree."""

from typing import Any

import fiftyone.operators.types as types
import pandas as pd

from mincurate.dataset import lookup
from mincurate.errors import UserError
from mincurate.pipelines import estimates
from mincurate.progress import Reporter
from mincurate.ranking import tail
from mincurate.runs import schema

from .forms import Formed, choose, invalid, notice, value
from .long_running import LongRunning

MOVED = 100
"""Images that the view of those that moved most holds, unless told otherwise."""


class Evaluate(LongRunning):
    """Compares generated images with plain ones of the same model, and with the real ones."""

    NAME = "evaluate"
    LABEL = "evaluate: did it help?"
    DESCRIPTION = "Are the generated images rarer than plain ones, as real, and new?"
    ICON = "fact_check"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which generation, and what it costs."""
        found = self._generations(ctx)
        lines = [
            (run.key, f"{run.key}: {run.record['counts']['images']:,} images, {_target(run)}")
            for run in reversed(found)
        ]
        choose(inputs, "run", lines, label="Generation", default=lines[0][0])
        run = next((r for r in found if r.key == value(ctx, "run", lines[0][0])), None)
        if run is None:
            raise UserError(f"The dataset has no generation {ctx.params['run']!r}.")
        total = int(run.record["counts"]["images"])
        inputs.int("n", min=6, max=total, label="Judge the first so many only (empty: all)")
        base = lookup.find(ctx.dataset, run.record["base"])
        tried = _can_train(base, run)
        if tried:
            inputs.bool(
                "downstream",
                default=False,
                label="Also train a classifier of the labels without and with them",
            )
        n, settings = int(value(ctx, "n", total)), run.record["settings"]
        seconds = estimates.generating(n, steps=int(settings["steps"]), scored=base)
        cost = f"As many plain images, {n:,}, are made and scored first, unless they are there: "
        cost += f"{estimates.words(seconds)}."
        if tried and value(ctx, "downstream", False):
            cost += " Then nine small classifiers are trained (three each without them, with "
            cost += "copies in their place, and with them), for which no earlier run gives a time."
        notice(inputs, "cost", cost)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Judge."""
        from mincurate.pipelines import evaluate

        key = value(ctx, "run", self._generations(ctx)[-1].key)
        done = evaluate.evaluate(
            lookup.find(ctx.dataset, key),
            n=ctx.params.get("n"),
            downstream=value(ctx, "downstream", False),
            reporter=reporter,
        )
        told = done.verdict
        return {
            "run": key,
            "tone": told.tone,
            "points": [words for _, words in told.points],
            "page": str(done.page),
            "message": f"{told.headline} More in {done.page}.",
        }

    def _generations(self, ctx: Any) -> list[Any]:
        found = lookup.generations(ctx.dataset)
        if not found:
            raise UserError(
                "There are no generated images in this dataset yet: generate some first (operator "
                "augment)."
            )
        return found


def _can_train(base: Any, made: Any) -> bool:
    """Whether there are two labels to tell apart, and images of them that passed the gate."""
    counts = tail.look(base).images["label"].value_counts()
    names = counts.index[counts >= 2]
    table = pd.read_parquet(made.path / schema.SYNTHETIC, columns=["label", "accepted"])
    fit = table["accepted"].astype(bool) & table["label"].isin(names)
    return len(names) >= 2 and bool(fit.any())


def _target(run: Any) -> str:
    """What was asked for, in words."""
    return str((run.record.get("source") or {}).get("value", "")).partition(", ")[2]


class CompareRuns(Formed):
    """Shows how far two scored runs agree, and the images that moved most."""

    NAME = "compare_runs"
    LABEL = "compare two runs"
    DESCRIPTION = "Rank correlation of two runs, and a view of the images that moved most"
    ICON = "compare_arrows"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which two."""
        found = lookup.scored(ctx.dataset)
        if len(found) < 2:
            raise UserError(
                "Comparing takes two scored runs of this dataset, and there "
                f"{'is one' if found else 'are none'}: score it again in another way first."
            )
        lines = [(run.key, f"{run.key}: {_how(run)}") for run in found]
        choose(inputs, "first", lines, label="First", default=found[-2].key)
        second = choose(inputs, "second", lines, label="Second", default=found[-1].key)
        if value(ctx, "first", found[-2].key) == value(ctx, "second", found[-1].key):
            invalid(second, "Choose another run than the first.")
        inputs.int("top", default=MOVED, min=1, max=100_000, label="Show, of those that moved most")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Compare, and show the images that moved most."""
        from mincurate.ranking import compare

        known = lookup.scored(ctx.dataset)
        first = lookup.find(ctx.dataset, value(ctx, "first", known[-2].key))
        second = lookup.find(ctx.dataset, value(ctx, "second", known[-1].key))
        found = compare.compare(first, second)
        moved = found.frame[found.frame["change"] != 0].head(int(value(ctx, "top", MOVED)))
        ids = lookup.ids_of(ctx.dataset, moved["path"].tolist())
        if ids and not ctx.delegated:
            ctx.ops.set_view(ctx.dataset.select(ids, ordered=True))
        rows = moved.head(10)[["path", "rarity_first", "rarity_second", "change"]]
        return {
            "first": first.key,
            "second": second.key,
            "correlation": found.correlation,
            "kept_in_tail": found.kept_in_tail,
            "images": len(found.frame),
            "moved": ids,
            "rows": rows.astype({"path": str}).to_dict("records"),
            "message": found.words,
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        """The agreement, and the first of those that moved."""
        outputs = types.Object()
        found = ctx.results or {}
        lines = [str(found.get("message", "")), "", "| image | first | second | change |"]
        lines.append("|---|--:|--:|--:|")
        for row in found.get("rows", []):
            name = row["path"].rsplit("/", 1)[-1].replace("|", "\\|")
            numbers = f"{row['rarity_first']:.3f} | {row['rarity_second']:.3f}"
            lines.append(f"| {name} | {numbers} | {row['change']:+.3f} |")
        outputs.md("\n".join(lines), name="agreement")
        return types.Property(outputs)


def _how(run: Any) -> str:
    """How a run was scored, in a few words."""
    record = run.record
    parts = [str(record.get("created", ""))[:16].replace("T", " ")]
    parts.append(f"by {record.get('rank_by', 'minority')}")
    parts.append(f"{record['counts']['scored']:,} images")
    return ", ".join(parts)


CLASSES = (Evaluate, CompareRuns)
