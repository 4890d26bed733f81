"""Operators that score: a dataset, a view or a selection, and what has been added since."""

import os
import re
from importlib.util import find_spec
from typing import Any

import fiftyone.operators.types as types

from mincurate.dataset import labels, lookup
from mincurate.dataset import samples as parts
from mincurate.errors import UserError
from mincurate.pipelines import estimates, new_files
from mincurate.progress import Reporter
from mincurate.runs import store

from .forms import choose, from_app, invalid, notice, value
from .long_running import LongRunning

RANKINGS = (
    ("embedding", "Embedding: far from what is common, and unusual (found the rare best)"),
    ("minority", "The minority score (the paper's)"),
    ("calibrated", "Calibrated: texture regressed out, averaged with neighbours"),
    ("neighbors", "Distance to the nearest neighbours"),
)
DISTANCES = ("lpips-vgg", "lpips-alex", "lpips-squeeze", "unet")
"""As `mincurate.perceptual` knows them, which takes seconds to load."""
ADAPTIVE = "All draws only for images near the edge of the rarest class, two for the others"


class Score(LongRunning):
    """Scores the dataset, the view that is open, or the selected samples."""

    NAME = "score"
    LABEL = "score"
    DESCRIPTION = "Find what is rare: score the dataset, this view or the selection"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """What, with which model, and what it costs."""
        targets = [("dataset", "The whole dataset")]
        targets += [("view", "The view that is open")] if ctx.has_custom_view else []
        targets += [("selection", "The selected samples")] if ctx.selected else []
        if len(targets) > 1:
            choose(inputs, "target", targets, label="Score", default=self._target(ctx), radio=True)
        samples = parts.real(parts.flat(self._samples(ctx), "This view"))
        n, whole = samples.count(), parts.real(parts.images(ctx.dataset)).count()
        if not n:
            raise UserError("There is no image to score here; generated ones are left out.")
        known = [run.key for run in lookup.scored(ctx.dataset)]
        view = types.AutocompleteView(
            label="Model",
            description="Empty: a small one is trained on the images first. Or the model of a run "
            "(mincurate_3), a diffusers folder, or a hub id.",
        )
        for key in known:
            view.add_choice(key, label=f"that of run {key}")
        model = inputs.str("model", default="", view=view)
        invalid(model, _model_problem(value(ctx, "model", "")))
        if not value(ctx, "model", ""):
            inputs.float("train_minutes", default=10.0, min=0.1, label="Training, at most minutes")
        inputs.int("n_draws", default=6, min=1, max=1000, label="Draws per image")
        inputs.int("num_classes", default=10, min=1, max=1000, label="Ordinal classes")
        choose(inputs, "rank_by", RANKINGS, label="Rank by", default="embedding")
        if _labelled(samples):
            inputs.bool("within_label", default=False, label="Rank among images of the same label")
        inputs.bool("more", default=False, label="More options", view=types.SwitchView())
        if value(ctx, "more", False):
            if _can_adapt(ctx):
                inputs.bool("adaptive", default=False, label=ADAPTIVE)
            distance = inputs.str("perceptual", default="auto", label="Perceptual distance")
            invalid(distance, _distance_problem(value(ctx, "perceptual", "auto")))
            embedding = inputs.str("embedding", default="auto", label="Embedding")
            invalid(embedding, _embedding_problem(value(ctx, "embedding", "auto")))
            inputs.float("sigma", min=0.02, max=100, label="Noise level (empty: by size)")
            inputs.int("seed", default=0, min=0, max=2**32 - 1, label="Seed")
            inputs.int("train_steps", min=1, label="Exact number of training steps")
        notice(inputs, "cost", self._cost(ctx, n))
        if n < whole:
            inputs.view(
                "rest",
                types.Warning(
                    label=f"The other {whole - n:,} images keep the scores that they have, which "
                    "are not comparable; the ranked views show these images alone."
                ),
            )

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Score, and write the run into the dataset."""
        from mincurate.pipelines import score

        p = ctx.params
        done = score.score(
            lookup.place(self._samples(ctx)),
            model=value(ctx, "model", None),
            sigma=p.get("sigma"),
            n_draws=value(ctx, "n_draws", 6),
            adaptive=self._adaptive(ctx),
            num_classes=value(ctx, "num_classes", 10),
            within_label=value(ctx, "within_label", False),
            rank_by=value(ctx, "rank_by", "embedding"),
            perceptual=value(ctx, "perceptual", "auto"),
            embedding=value(ctx, "embedding", "auto"),
            seed=value(ctx, "seed", 0),
            dataset=ctx.dataset.name,
            train_minutes=value(ctx, "train_minutes", 10.0),
            train_steps=p.get("train_steps"),
            reporter=reporter,
        )
        counts = done.run.record["counts"]
        return {
            "run": done.run.key,
            "dataset": done.dataset,
            "report": str(done.report),
            "warnings": done.warnings,
            "message": f"Run {done.run.key}: {counts['scored']:,} images scored, "
            f"{counts['unscorable']:,} cannot be read.",
        }

    def _target(self, ctx: Any) -> str:
        """In the App the whole dataset, however it is looked at; from Python what was given."""
        here = "view" if ctx.has_custom_view and not from_app(ctx) else "dataset"
        return str(value(ctx, "target", here))

    def _samples(self, ctx: Any) -> Any:
        target = self._target(ctx)
        if target == "selection":
            return ctx.dataset.select(ctx.selected)
        return ctx.view if target == "view" else ctx.dataset

    def _adaptive(self, ctx: Any) -> bool:
        return value(ctx, "adaptive", False) and _can_adapt(ctx)

    def _cost(self, ctx: Any, n: int) -> str:
        draws = value(ctx, "n_draws", 6)
        seconds = estimates.scoring(n, n_draws=draws, like=lookup.current(ctx.dataset))
        said = f"2 to {draws}" if self._adaptive(ctx) else str(draws)
        cost = f"{n:,} images, {said} draws each: {estimates.words(seconds)}."
        if not value(ctx, "model", ""):
            minutes = value(ctx, "train_minutes", 10.0)
            cost += f" Before it a training of at most {minutes:g} minutes, unless these images "
            cost += "have a model already."
        return cost


def _can_adapt(ctx: Any) -> bool:
    """Whether the numbers that are filled in leave draws to spare."""
    return estimates.spares_draws(
        value(ctx, "n_draws", 6), value(ctx, "num_classes", 10), value(ctx, "within_label", False)
    )


def _model_problem(model: str) -> str | None:
    """Why a model cannot be what is meant, as far as its name tells."""
    if model.startswith(store.PREFIX) and model not in {run.key for run in store.all_runs()}:
        return f"There is no run {model}."
    if model.startswith(("/", "~", ".")) and not os.path.isdir(os.path.expanduser(model)):
        return f"There is no folder {model}."
    return None


def _distance_problem(spec: str) -> str | None:
    """Why there cannot be such a perceptual distance, as far as its name and the disk tell."""
    name, _, file = spec.partition("@")
    if spec == "auto" or name in DISTANCES or _of_torchvision(name):
        return _file_problem(file)
    return (
        f"There is no perceptual distance {spec!r}: take auto, {', '.join(DISTANCES)}, or "
        "torchvision:NAME; weights of your own follow as @FILE."
    )


def _embedding_problem(spec: str) -> str | None:
    """The same of an embedding, which may be a folder or a hub id, too."""
    name, _, file = spec.partition("@")
    if spec in ("auto", "unet") or _of_torchvision(name):
        return _file_problem(file)
    if not os.path.isdir(spec) and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", spec):
        return (
            f"There is no embedding {spec!r}: take auto, unet, torchvision:NAME[@FILE], a folder, "
            "or a hub id such as facebook/dinov2-small."
        )
    if find_spec("transformers") is None:
        return "Folders and hub ids need transformers: pip install 'mincurate[hub]'."
    return None


def _of_torchvision(name: str) -> bool:
    return re.fullmatch(r"torchvision:\w+", name) is not None


def _file_problem(file: str) -> str | None:
    there = not file or os.path.isfile(os.path.expanduser(file))
    return None if there else f"There is no weights file {file}."


def _labelled(samples: Any) -> bool:
    """Whether scoring these samples would find labels (see `mincurate.dataset.read_sources`)."""
    field = labels.choose(samples)
    return field is not None and len(samples.exists(field.name).limit(1)) > 0


class ScoreNew(LongRunning):
    """Scores the images that came since the run that the dataset shows."""

    NAME = "score_new"
    LABEL = "score new images"
    DESCRIPTION = "Score only what was added since: same classes, same map"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """How many are new."""
        run = lookup.find(ctx.dataset)
        new = new_files.find_new(run, ctx.dataset.name)
        if not new:
            raise UserError(f"No image is new since run {run.key} was scored.")
        seconds = estimates.scoring(len(new), like=run)
        notice(inputs, "cost", f"{len(new):,} new images: {estimates.words(seconds)}.")
        notice(
            inputs,
            "how",
            f"They join run {run.key}: its model scores them, its edges class them, and they get "
            "a place on its map. Nothing changes for the others.",
        )

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Score them, and write them into the dataset."""
        from mincurate.pipelines import score_new

        run = lookup.find(ctx.dataset)
        done = score_new.score_new(run, dataset=ctx.dataset.name, reporter=reporter)
        return {"run": run.key, "added": len(done.frame), "message": done.words}


CLASSES = (Score, ScoreNew)
