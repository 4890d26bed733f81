"""Operators that judge: an evaluation of generated images, and a comparison of two runs."""

from typing import Any

import fiftyone.operators.types as types

from mincurate.errors import UserError
from mincurate.pipelines import estimates, operators
from mincurate.pipelines import panel as look
from mincurate.progress import Reporter

from .forms import Formed, choose, invalid, notice, value
from .long_running import LongRunning

MOVED = 100
"""Images in the view of those that moved most, by default."""


class Evaluate(LongRunning):
    """Compares generated images with plain ones of the same model, and with the real ones."""

    NAME = "evaluate"
    LABEL = "evaluate generated images"
    DESCRIPTION = "Are the generated images rarer than plain ones, as realistic, and new?"
    ICON = "fact_check"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which generation, and the expected time."""
        generations = self._generations(ctx)
        lines = [
            (run.key, f"{run.key}: {run.record['counts']['images']:,} images, {_target(run)}")
            for run in reversed(generations)
        ]
        choose(inputs, "run", lines, label="Generation", default=lines[0][0])
        run = next((r for r in generations if r.key == value(ctx, "run", lines[0][0])), None)
        if run is None:
            raise UserError(f"The dataset has no generation {ctx.params['run']!r}.")
        total = int(run.record["counts"]["images"])
        inputs.int("n", min=6, max=total, label="Number of images to judge (empty: all)")
        base = operators.find_run(ctx.dataset, run.record["base"])
        trainable = operators.can_train(run, base)
        if trainable:
            inputs.bool(
                "downstream",
                default=False,
                label="Also train classifiers of the labels with and without them",
            )
        n, settings = int(value(ctx, "n", total)), run.record["settings"]
        seconds = estimates.generating(n, steps=int(settings["steps"]), scored=base)
        cost = f"{n:,} plain images are generated and scored first, unless an earlier evaluation "
        cost += f"did so: {estimates.words(seconds)}."
        if trainable and value(ctx, "downstream", False):
            cost += " Then small classifiers are trained: five times each without the generated "
            cost += "images, with cheap remedies for rare labels, and with them; no earlier run "
            cost += "tells how long that takes."
        notice(inputs, "cost", cost)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Evaluate."""
        from mincurate.pipelines import evaluate

        key = value(ctx, "run", self._generations(ctx)[-1].key)
        evaluation = evaluate.evaluate(
            operators.find_run(ctx.dataset, key),
            n=ctx.params.get("n"),
            downstream=value(ctx, "downstream", False),
            reporter=reporter,
        )
        verdict, advice = evaluation.verdict, evaluation.advice
        more = f" {advice.words}" if advice else ""
        return {
            "run": key,
            "tone": verdict.tone,
            "points": [words for _, words in verdict.points],
            "page": str(evaluation.page),
            "message": f"{verdict.headline}{more} Details: {evaluation.page}.",
        }

    def _generations(self, ctx: Any) -> list[Any]:
        generations = operators.generations(ctx.dataset)
        if not generations:
            raise UserError(
                "There are no generated images in this dataset yet: generate some first (operator "
                "augment)."
            )
        return generations


def _target(run: Any) -> str:
    """What was to be generated, in words."""
    return str((run.record.get("source") or {}).get("value", "")).partition(", ")[2]


class CompareRuns(Formed):
    """Compares the rankings of two scored runs, and shows the images that moved most."""

    NAME = "compare_runs"
    LABEL = "compare two runs"
    DESCRIPTION = "Rank correlation of two runs, and a view of the images that moved most"
    ICON = "compare_arrows"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which two runs."""
        runs = operators.scored_runs(ctx.dataset)
        if len(runs) < 2:
            raise UserError(
                "Comparing takes two scored runs of this dataset, and there "
                f"{'is one' if runs else 'are none'}: score it again with other settings first."
            )
        lines = [(run.key, f"{run.key}: {_how(run)}") for run in runs]
        choose(inputs, "first", lines, label="First", default=runs[-2].key)
        second = choose(inputs, "second", lines, label="Second", default=runs[-1].key)
        if value(ctx, "first", runs[-2].key) == value(ctx, "second", runs[-1].key):
            invalid(second, "Choose another run than the first.")
        inputs.int(
            "top", default=MOVED, min=1, max=100_000, label="Number of images to show, moved most"
        )

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Compare, and show the images that moved most."""
        runs = operators.scored_runs(ctx.dataset)
        first = value(ctx, "first", runs[-2].key)
        second = value(ctx, "second", runs[-1].key)
        compared = operators.compare_runs(ctx.dataset, first, second)
        frame = compared.frame
        moved = frame[frame["change"] != 0].head(int(value(ctx, "top", MOVED)))
        ids = look.ids_of(ctx.dataset, moved["path"])
        if ids and not ctx.delegated:
            ctx.ops.set_view(ctx.dataset.select(ids, ordered=True))
        rows = moved.head(10)[["path", "rarity_first", "rarity_second", "change"]]
        return {
            "first": first,
            "second": second,
            "correlation": compared.correlation,
            "kept_in_tail": compared.kept_in_tail,
            "images": len(frame),
            "moved": ids,
            "rows": rows.astype({"path": str}).to_dict("records"),
            "message": compared.words,
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        """The correlation, and the first ten images that moved."""
        outputs = types.Object()
        results = ctx.results or {}
        lines = [str(results.get("message", "")), "", "| image | first | second | change |"]
        lines.append("|---|--:|--:|--:|")
        for row in results.get("rows", []):
            name = row["path"].rsplit("/", 1)[-1].replace("|", "\\|")
            numbers = f"{row['rarity_first']:.3f} | {row['rarity_second']:.3f}"
            lines.append(f"| {name} | {numbers} | {row['change']:+.3f} |")
        outputs.md("\n".join(lines), name="agreement")
        return types.Property(outputs)


def _how(run: Any) -> str:
    """When and how a run was scored."""
    record = run.record
    parts = [str(record.get("created", ""))[:16].replace("T", " ")]
    parts.append(f"ranked by {record.get('rank_by', 'minority')}")
    parts.append(f"{record['counts']['scored']:,} images")
    return ", ".join(parts)


CLASSES = (Evaluate, CompareRuns)
