"""Operators that generate: more of the rare, more like these, and what a class lacks."""

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types
import pandas as pd

from mincurate.errors import UserError
from mincurate.pipelines import estimates, operators
from mincurate.progress import Reporter

from .forms import choose, invalid, notice, try_out, value
from .long_running import LongRunning

SOLVERS = (
    ("sde-dpm++", "sde-dpm++: stochastic, 25 steps"),
    ("dpm++", "dpm++: deterministic, 25 steps"),
    ("ddim", "ddim: deterministic, 50 steps"),
    ("ancestral", "ancestral (the paper's): stochastic, 250 steps"),
)
SAMPLERS = (
    ("minority", "Minority guidance (the paper's)"),
    ("ddpm", "Plain, without guidance"),
    ("self-guided", "Self-guided"),
    ("boost-and-skip", "Boost and skip"),
)
TRAININGS = ("train_minutes", "train_steps", "guide_minutes", "guide_steps")


class Augment(LongRunning):
    """Generates more of the rare."""

    NAME = "augment"
    LABEL = "generate more of the rare"
    DESCRIPTION = "Generate images of the rarest tenth, of a class, or of a label"
    ICON = "auto_awesome"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """The target, the number of images, and the expected time."""
        run = operators.find_run_of_images(ctx.dataset)
        counts = operators.counts(run, _by(ctx, inputs, run))
        of = [("top_decile", "The rarest tenth"), ("class", "One class")]
        of += [("label", "Rare images of a label")] if counts.labels else []
        choose(inputs, "of", of, label="More of", default="top_decile", radio=True)
        target = value(ctx, "of", "top_decile")
        if target == "class":
            lines = [(str(c), f"{c}: {n:,} images") for c, n in counts.classes.items()]
            choose(inputs, "target_class", lines, label="Class", default=lines[0][0])
        if target == "label":
            lines = [(name, f"{name}: {n:,} images") for name, n in counts.labels.items()]
            label = choose(inputs, "label", lines, label="Label", default=lines[0][0])
            label.required = True
        _how(ctx, inputs, run, 100)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Generate, judge, and add the images to the dataset."""
        of = value(ctx, "of", "top_decile")
        target: dict[str, Any] = {}
        if of == "class":
            run = operators.find_run_of_images(ctx.dataset)
            classes = operators.counts(run, value(ctx, "by", "rarity")).classes
            target["target_class"] = int(value(ctx, "target_class", max(classes)))
        elif of == "label":
            target["label"] = value(ctx, "label", None)
        return _augment(ctx, reporter, 100, **target)


class MoreLikeThese(LongRunning):
    """Generates variants of the selected images, or of those with a tag."""

    NAME = "more_like_these"
    LABEL = "more like these"
    DESCRIPTION = "Generate variants of the selected images, or of those with a tag"
    ICON = "control_point_duplicate"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which images to vary, how far, how many, and the expected time."""
        run = operators.find_run_of_images(ctx.dataset)
        choices = operators.images_to_vary(ctx.dataset, ctx.selected)
        if not choices:
            raise UserError(
                "Select scored images first, or tag some (for example rare-keep), and open this "
                "form again."
            )
        first = next(iter(choices))
        choose(inputs, "like", choices.items(), label="Images", default=first, radio=True)
        like = value(ctx, "like", first)
        if like not in choices:
            raise UserError(f"There is no image to vary: {like!r} is not one of the choices.")
        _by(ctx, inputs, run)
        inputs.float(
            "strength",
            default=0.6,
            min=0.01,
            max=1.0,
            label="Strength: near 0 returns the images, 1 starts from pure noise",
        )
        _how(ctx, inputs, run, 20)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Generate, judge, and add the images to the dataset."""
        choices = operators.images_to_vary(ctx.dataset, ctx.selected)
        like = value(ctx, "like", next(iter(choices), "selection"))
        hashes = operators.hashes_to_vary(ctx.dataset, like, ctx.selected)
        strength = float(value(ctx, "strength", 0.6))
        return _augment(ctx, reporter, 20, like=hashes, strength=strength)


class RebalancePlan(LongRunning):
    """Shows how many images labels or classes lack; generates them on request."""

    NAME = "rebalance_plan"
    LABEL = "rebalance"
    DESCRIPTION = "Show what every label or class lacks; generate it, or write weights"
    ICON = "balance"

    def is_long(self, ctx: Any) -> bool:
        """Only generating takes long."""
        return bool(value(ctx, "generate", False))

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """What to count, the target, and the plan."""
        run = operators.find_run_of_images(ctx.dataset)
        images = operators.images_in_use(ctx.dataset)
        by = [("label", "Labels")] if images["label"].notna().any() else []
        classes = {"rarity": "class", "minority": "minority"}
        by += [
            (classes[name], f"Classes of {title}") for name, title in operators.guides(run).items()
        ]
        choose(inputs, "by", by, label="Rebalance", default=by[0][0], radio=True)
        goals = [
            ("uniform", "as many of each as of the largest"),
            ("sqrt", "in proportion to the square root of what there is"),
            ("number", "a number of each"),
        ]
        choose(inputs, "to", goals, label="To", default="uniform", radio=True)
        if value(ctx, "to", "uniform") == "number":
            inputs.int("number", default=100, min=1, label="Images of each")
        inputs.int("cap", default=5000, min=1, label="Images to generate of each, at most")
        weights = inputs.str("weights", label="Also write sampling weights to this CSV file")
        path = value(ctx, "weights", "")
        if path and not Path(path).expanduser().parent.is_dir():
            invalid(weights, f"There is no folder {Path(path).expanduser().parent}.")
        generate = inputs.bool("generate", default=False, label="Generate the missing images")
        plan = try_out(generate, lambda: self._plan(ctx, images))
        if plan is None:
            return
        inputs.md(_table(plan), name="plan")
        total = int(plan["generate"].sum())
        if value(ctx, "generate", False):
            if not total:
                invalid(generate, "No image is missing.")
            _notice_cost(ctx, inputs, run, total)
            _trainings(inputs, run)

    def resolve_output(self, ctx: Any) -> types.Property:
        """The plan, and what was done."""
        outputs = types.Object()
        results = ctx.results or {}
        if results.get("plan"):
            outputs.md(_table(pd.DataFrame(results["plan"])), name="table")
            outputs.md(str(results.get("message", "")), name="message")
        return types.Property(outputs)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Plan; write weights and generate on request."""
        images = operators.images_in_use(ctx.dataset)
        plan = self._plan(ctx, images)
        total, by = int(plan["generate"].sum()), self._by(ctx, images)
        results: dict[str, Any] = {
            "plan": [
                {key: item.item() if hasattr(item, "item") else item for key, item in row.items()}
                for row in plan.to_dict("records")
            ],
            "generate": total,
            "message": f"To generate: {total:,} images.",
        }
        if entered := value(ctx, "weights", ""):
            path = Path(entered).expanduser()
            count = operators.write_weights(images, by, self._to(ctx), path)
            results["weights"] = str(path)
            results["message"] += f" Weights of {count:,} images: {path}."
        if value(ctx, "generate", False) and total:
            filled = operators.fill(
                ctx.dataset,
                plan,
                by=by,
                **_given(ctx, TRAININGS),
                steps=value(ctx, "steps", 25),
                seed=value(ctx, "seed", 0),
                reporter=reporter,
            )
            landed = sum(part.landed for part in filled)
            results |= {"runs": [part.run.key for part in filled], "landed": landed}
            results["message"] = (
                f"{landed:,} of {total:,} missing images were generated; the others were rejected "
                "or came out as another label or class."
            )
        return results

    def _by(self, ctx: Any, images: pd.DataFrame) -> Any:
        return value(ctx, "by", "label" if images["label"].notna().any() else "class")

    def _to(self, ctx: Any) -> Any:
        to = value(ctx, "to", "uniform")
        return int(value(ctx, "number", 100)) if to == "number" else to

    def _plan(self, ctx: Any, images: pd.DataFrame) -> pd.DataFrame:
        cap = int(value(ctx, "cap", 5000))
        return operators.rebalance_plan(images, self._by(ctx, images), self._to(ctx), cap)


def _by(ctx: Any, inputs: types.Object, run: Any) -> str:
    """A choice whose classes guide, where there is one; the choice made."""
    guides = operators.guides(run)
    if len(guides) > 1:
        choose(inputs, "by", guides.items(), label="Rare by", default="rarity", radio=True)
    return str(value(ctx, "by", "rarity"))


def _how(ctx: Any, inputs: types.Object, run: Any, n: int) -> None:
    """How many images, how, and the expected time."""
    inputs.int("n", default=n, min=1, max=10**6, label="How many")
    inputs.bool("more", default=False, label="More options", view=types.SwitchView())
    if value(ctx, "more", False):
        choose(inputs, "sampler", SAMPLERS, label="Sampler", default="minority")
        choose(inputs, "solver", SOLVERS, label="Solver", default="sde-dpm++")
        inputs.int("steps", default=25, min=1, max=1000, label="Sampling steps")
        inputs.float("guidance_scale", min=0, label="Guidance scale w (empty: the sampler's own)")
        inputs.int("seed", default=0, min=0, max=2**32 - 1, label="Random seed")
        _trainings(inputs, run)
    _notice_cost(ctx, inputs, run, int(value(ctx, "n", n)))


def _trainings(inputs: types.Object, run: Any) -> None:
    if not estimates.trained(run):
        inputs.float("train_minutes", default=20.0, min=0.1, label="Training, minutes at most")
        inputs.float("guide_minutes", default=3.0, min=0.1, label="Classifier, minutes at most")


def _notice_cost(ctx: Any, inputs: types.Object, run: Any, count: int) -> None:
    seconds = estimates.generating(count, steps=int(value(ctx, "steps", 25)), scored=run)
    cost = f"{count:,} images: {estimates.words(seconds)}"
    if not estimates.trained(run):
        minutes = value(ctx, "train_minutes", 20.0) + value(ctx, "guide_minutes", 3.0)
        cost += f", plus the training before a run's first generation ({minutes:g} min at most)"
    notice(inputs, "cost", f"{cost}.")


def _given(ctx: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value(ctx, name, None) for name in names}


def _augment(ctx: Any, reporter: Reporter, n: int, **target: Any) -> dict[str, Any]:
    augmented = operators.augment(
        ctx.dataset,
        n=int(value(ctx, "n", n)),
        by=value(ctx, "by", "rarity"),
        sampler=value(ctx, "sampler", "minority"),
        solver=value(ctx, "solver", "sde-dpm++"),
        steps=int(value(ctx, "steps", 25)),
        guidance_scale=ctx.params.get("guidance_scale"),
        **_given(ctx, TRAININGS),
        seed=int(value(ctx, "seed", 0)),
        batch_size=int(value(ctx, "batch_size", 64)),
        reporter=reporter,
        **target,
    )
    total, accepted = len(augmented.frame), augmented.counts["accepted"]
    return {
        "run": augmented.run.key,
        "images": total,
        "counts": augmented.counts,
        "message": f"Run {augmented.run.key}: {total:,} images generated, {accepted:,} accepted; "
        "they are in the saved view synthetic.",
    }


def _table(plan: pd.DataFrame) -> str:
    """A plan as markdown."""
    lines = ["| | have | target | missing | generate | weight |", "|---|--:|--:|--:|--:|--:|"]
    for row in plan.to_dict("records"):
        name = str(row["class"]).replace("|", "\\|")
        numbers = " | ".join(f"{row[key]:,}" for key in ("have", "target", "add", "generate"))
        lines.append(f"| {name} | {numbers} | {row['weight']:.3g} |")
    return "\n".join(lines)


CLASSES = (Augment, MoreLikeThese, RebalancePlan)
