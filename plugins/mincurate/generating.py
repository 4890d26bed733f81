"""Operators that generate: more of the rare, more like these, and what a class lacks."""

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types
import pandas as pd

from mincurate.curation import gather, rebalance
from mincurate.curation.review import KEEP_TAG
from mincurate.dataset import lookup, now
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import SYNTHETIC
from mincurate.errors import UserError
from mincurate.pipelines import estimates
from mincurate.pipelines import rebalance as pipeline
from mincurate.progress import Reporter
from mincurate.runs import files, schema
from mincurate.runs.store import Run

from .forms import choose, invalid, notice, try_out, value
from .long_running import LongRunning

SOLVERS = (
    ("sde-dpm++", "sde-dpm++, few steps"),
    ("dpm++", "dpm++, few steps"),
    ("ddim", "ddim, few steps"),
    ("ancestral", "ancestral"),
)
SAMPLERS = (
    ("minority", "Minority guidance (the paper's)"),
    ("ddpm", "Plain, without guidance"),
    ("self-guided", "Self-guided"),
    ("boost-and-skip", "Boost and skip"),
)


class Augment(LongRunning):
    """Generates more of the rare."""

    NAME = "augment"
    LABEL = "generate more of the rare"
    DESCRIPTION = "Generate images of the rarest tenth, of a class, or of a label"
    ICON = "auto_awesome"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Of what, how many, and what it costs."""
        run = lookup.find(ctx.dataset)
        frame = _kinds(run)
        labels = sorted({name for name in frame["label"] if isinstance(name, str)})
        of = [("top_decile", "The rarest tenth"), ("class", "One ordinal class")]
        of += [("label", "Rare images of a label")] if labels else []
        choose(inputs, "of", of, label="More of", default="top_decile", radio=True)
        wanted = value(ctx, "of", "top_decile")
        if wanted == "class":
            counts = frame["rarity_class"].value_counts()
            lines = [(str(c), f"{c}: {counts[c]:,} images") for c in sorted(counts.index)[::-1]]
            choose(inputs, "target_class", lines, label="Class", default=lines[0][0])
        if wanted == "label":
            counts = frame["label"].value_counts()
            lines = [(name, f"{name}: {counts[name]:,} images") for name in labels]
            shown_label = choose(inputs, "label", lines, label="Label", default=labels[0])
            shown_label.required = True
        _how(ctx, inputs, run, 100)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Generate, inspect, and add them to the dataset."""
        of = value(ctx, "of", "top_decile")
        kind: dict[str, Any] = {}
        if of == "class":
            run = lookup.find(ctx.dataset)
            kind["target_class"] = int(value(ctx, "target_class", _rarest(run)))
        elif of == "label":
            kind["label"] = value(ctx, "label", None)
        return _augment(ctx, reporter, 100, **kind)


class MoreLikeThese(LongRunning):
    """Varies the selected images, or those with a tag."""

    NAME = "more_like_these"
    LABEL = "more like these"
    DESCRIPTION = "Generate variants of the selected images, or of those with a tag"
    ICON = "control_point_duplicate"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Like what, how close, how many, and what it costs."""
        run = lookup.find(ctx.dataset)
        choices = _likes(ctx)
        if not choices:
            raise UserError(
                f"Select some scored images first, or tag some (for example {KEEP_TAG}), and open "
                "this again."
            )
        choose(inputs, "like", choices, label="Like", default=choices[0][0], radio=True)
        like = value(ctx, "like", choices[0][0])
        if like not in dict(choices):
            raise UserError(f"There is no image to vary: {like!r} is none of the choices.")
        inputs.float(
            "strength",
            default=0.6,
            min=0.01,
            max=1.0,
            label="How far from them: near 0 gives them back, 1 forgets them",
        )
        _how(ctx, inputs, run, 20)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Generate, inspect, and add them to the dataset."""
        from mincurate.dataset import generated

        choices = _likes(ctx)
        like = value(ctx, "like", choices[0][0] if choices else "selection")
        wanted = ",".join(ctx.selected) if like == "selection" else like
        hashes = generated.selection(ctx.dataset.name, wanted)
        strength = float(value(ctx, "strength", 0.6))
        return _augment(ctx, reporter, 20, like=hashes, strength=strength)


class RebalancePlan(LongRunning):
    """Shows what labels or classes lack, and generates it if asked to."""

    NAME = "rebalance_plan"
    LABEL = "rebalance"
    DESCRIPTION = "Show what every label or class lacks; generate it, or write weights"
    ICON = "balance"

    def is_long(self, ctx: Any) -> bool:
        """A plan alone is there at once."""
        return bool(value(ctx, "generate", False))

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """By what, to what, and the plan."""
        run = lookup.find(ctx.dataset)
        images = self._images(ctx, run)
        by = [("label", "Labels")] if images["label"].notna().any() else []
        by.append(("class", "Ordinal classes, from common to rare"))
        choose(inputs, "by", by, label="Rebalance", default=by[0][0], radio=True)
        goals = [
            ("uniform", "as many of each as the largest has"),
            ("sqrt", "in proportion to the square root of what there is"),
            ("number", "a number of each"),
        ]
        choose(inputs, "to", goals, label="To", default="uniform", radio=True)
        if value(ctx, "to", "uniform") == "number":
            inputs.int("number", default=100, min=1, label="Images of each")
        inputs.int("cap", default=5000, min=1, label="Generate at most, of each")
        weights = inputs.str("weights", label="Also write weights for training to this CSV file")
        path = value(ctx, "weights", "")
        if path and not Path(path).expanduser().parent.is_dir():
            invalid(weights, f"There is no folder {Path(path).expanduser().parent}.")
        here = inputs.bool("generate", default=False, label="Generate what is missing")
        plan = try_out(here, lambda: self._plan(ctx, images))
        if plan is None:
            return
        inputs.md(_table(plan), name="plan")
        total = int(plan["generate"].sum())
        if value(ctx, "generate", False):
            if not total:
                invalid(here, "Nothing is missing.")
            steps = value(ctx, "steps", 25)
            seconds = estimates.generating(total, steps=steps, scored=run)
            notice(
                inputs,
                "cost",
                f"{total:,} images: {estimates.words(seconds)}{_training(ctx, run)}.",
            )
            _trainings(inputs, run)

    def resolve_output(self, ctx: Any) -> types.Property:
        """The plan."""
        outputs = types.Object()
        found = ctx.results or {}
        if found.get("plan"):
            outputs.md(_table(pd.DataFrame(found["plan"])), name="table")
            outputs.md(str(found.get("message", "")), name="said")
        return types.Property(outputs)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Plan; write weights and generate, if asked to."""
        run = lookup.find(ctx.dataset)
        images = self._images(ctx, run)
        plan = self._plan(ctx, images)
        total, by = int(plan["generate"].sum()), self._by(ctx, images)
        found: dict[str, Any] = {
            "plan": [
                {key: item.item() if hasattr(item, "item") else item for key, item in row.items()}
                for row in plan.to_dict("records")
            ],
            "generate": total,
            "message": f"To generate: {total:,} images.",
        }
        if path := value(ctx, "weights", ""):
            weights = rebalance.weights_for(images, by, self._to(ctx))
            place = Path(path).expanduser()
            files.write_atomically(place, weights.to_csv(index=False).encode())
            found |= {"weights": str(place)}
            found["message"] += f" Weights of {len(weights):,} images: {place}."
        if value(ctx, "generate", False) and total:
            filled = pipeline.fill(
                run,
                plan,
                by=by,
                steps=value(ctx, "steps", 25),
                **_budget(ctx),
                seed=value(ctx, "seed", 0),
                dataset=ctx.dataset.name,
                reporter=reporter,
            )
            landed = sum(part.landed for part in filled)
            found |= {"runs": [part.run.key for part in filled], "landed": landed}
            found["message"] = f"{landed:,} of {total:,} missing images are there now; the others "
            found["message"] += "were sent back or came out as something else."
        return found

    def _images(self, ctx: Any, run: Run) -> pd.DataFrame:
        state = now.read(run, ctx.dataset.name)
        return gather.in_use(gather.gather(run, tags=state.tags, frame=state.frame))

    def _by(self, ctx: Any, images: pd.DataFrame) -> Any:
        return value(ctx, "by", "label" if images["label"].notna().any() else "class")

    def _to(self, ctx: Any) -> Any:
        to = value(ctx, "to", "uniform")
        return int(value(ctx, "number", 100)) if to == "number" else to

    def _plan(self, ctx: Any, images: pd.DataFrame) -> pd.DataFrame:
        cap = int(value(ctx, "cap", 5000))
        return rebalance.plan_for(images, self._by(ctx, images), self._to(ctx), cap)


def _how(ctx: Any, inputs: types.Object, run: Run, n: int) -> None:
    """How many, how, and what it costs."""
    inputs.int("n", default=n, min=1, max=10**6, label="How many")
    inputs.bool("more", default=False, label="More options", view=types.SwitchView())
    if value(ctx, "more", False):
        choose(inputs, "sampler", SAMPLERS, label="Sampler", default="minority")
        choose(inputs, "solver", SOLVERS, label="Solver", default="sde-dpm++")
        inputs.int("steps", default=25, min=1, max=1000, label="Steps")
        inputs.float("guidance_scale", min=0, label="Guidance scale (empty: the sampler's own)")
        inputs.int("seed", default=0, min=0, max=2**32 - 1, label="Seed")
        _trainings(inputs, run)
    count, steps = int(value(ctx, "n", n)), int(value(ctx, "steps", 25))
    seconds = estimates.generating(count, steps=steps, scored=run)
    notice(inputs, "cost", f"{count:,} images: {estimates.words(seconds)}{_training(ctx, run)}.")


def _trainings(inputs: types.Object, run: Run) -> None:
    if not estimates.trained(run):
        inputs.float("train_minutes", default=20.0, min=0.1, label="Training, at most minutes")
        inputs.float("guide_minutes", default=3.0, min=0.1, label="Classifier, at most minutes")


def _training(ctx: Any, run: Run) -> str:
    """What happens once before the first generation of a run."""
    if estimates.trained(run):
        return ""
    minutes = value(ctx, "train_minutes", 20.0) + value(ctx, "guide_minutes", 3.0)
    return f", after the trainings of a run's first generation ({minutes:g} min at most)"


def _budget(ctx: Any) -> dict[str, Any]:
    names = ("train_minutes", "train_steps", "guide_minutes", "guide_steps")
    return {name: value(ctx, name, None) for name in names}


def _augment(ctx: Any, reporter: Reporter, n: int, **kind: Any) -> dict[str, Any]:
    from mincurate.pipelines import augment

    done = augment.augment(
        lookup.find(ctx.dataset),
        n=int(value(ctx, "n", n)),
        sampler=value(ctx, "sampler", "minority"),
        solver=value(ctx, "solver", "sde-dpm++"),
        steps=int(value(ctx, "steps", 25)),
        guidance_scale=ctx.params.get("guidance_scale"),
        **_budget(ctx),
        seed=int(value(ctx, "seed", 0)),
        batch_size=int(value(ctx, "batch_size", 64)),
        dataset=ctx.dataset.name,
        reporter=reporter,
        **kind,
    )
    total, accepted = len(done.frame), done.counts["accepted"]
    return {
        "run": done.run.key,
        "images": total,
        "counts": done.counts,
        "message": f"Run {done.run.key}: {total:,} images generated, {accepted:,} accepted; they "
        f"are in the saved view {SYNTHETIC}.",
    }


def _likes(ctx: Any) -> list[tuple[str, str]]:
    """What may be varied: the selection, and tags."""
    real = parts.real(parts.images(ctx.dataset))
    if not real.has_field("content_hash"):
        return []
    real = real.exists("content_hash")
    chosen = real.select(ctx.selected).count() if ctx.selected else 0
    found = [("selection", f"The {chosen:,} selected images")] if chosen else []
    counts = real.count_sample_tags()
    tags = sorted(counts, key=lambda tag: (tag != KEEP_TAG, tag))
    return found + [(f"tag:{tag}", f"The {counts[tag]:,} tagged {tag}") for tag in tags]


def _kinds(run: Run) -> pd.DataFrame:
    """Label and class of the images that a run rests on; of the table no more is read."""
    frame = pd.read_parquet(run.path / schema.SCORES, columns=["label", "rarity_class", "status"])
    return frame[frame["status"] == "ok"].astype({"rarity_class": "int64"})


def _rarest(run: Run) -> int:
    return int(_kinds(run)["rarity_class"].max())


def _table(plan: pd.DataFrame) -> str:
    """A plan as markdown."""
    lines = ["| | have | target | missing | generate | weight |", "|---|--:|--:|--:|--:|--:|"]
    for row in plan.to_dict("records"):
        name = str(row["class"]).replace("|", "\\|")
        numbers = " | ".join(f"{row[key]:,}" for key in ("have", "target", "add", "generate"))
        lines.append(f"| {name} | {numbers} | {row['weight']:.3g} |")
    return "\n".join(lines)


CLASSES = (Augment, MoreLikeThese, RebalancePlan)
