"""Operators that score: a dataset, a view or a selection, and images added later."""

import os
import re
from importlib.util import find_spec
from typing import Any

import fiftyone.operators.types as types

from mincurate.errors import UserError
from mincurate.pipelines import estimates, new_files, operators, score_form
from mincurate.progress import Reporter

from .forms import choose, from_app, invalid, notice, value
from .long_running import LongRunning

RANKINGS = (
    ("embedding", "Embedding: outliers among the embeddings (best in our study)"),
    ("minority", "Minority score: the diffusion model's, as in the paper"),
    ("calibrated", "Calibrated: minority score without texture, averaged with neighbours"),
    ("neighbors", "Neighbours: distance to the nearest embeddings"),
)
DISTANCES = ("lpips-vgg", "lpips-alex", "lpips-squeeze", "unet", "latent")
"""As in `features.perceptual`, which takes seconds to import."""
ADAPTIVE = "Adaptive: all draws only near the edge of the rarest class, two for other images"


class Score(LongRunning):
    """Scores the dataset, the view that is open, or the selected samples."""

    NAME = "score"
    LABEL = "score"
    DESCRIPTION = "Find rare images: score the dataset, this view or the selection"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which images, the settings, and the expected time."""
        targets = [("dataset", "The whole dataset")]
        targets += [("view", "The view that is open")] if ctx.has_custom_view else []
        targets += [("selection", "The selected samples")] if ctx.selected else []
        if len(targets) > 1:
            choose(inputs, "target", targets, label="Score", default=self._target(ctx), radio=True)
        samples = operators.images_to_score(self._samples(ctx))
        _rows(ctx, inputs, samples)
        n, whole = samples.count(), operators.count_images(ctx.dataset)
        if not n:
            raise UserError("There is no image to score here; generated ones are left out.")
        quick = value(ctx, "quick", False)
        inputs.bool("quick", default=False, label="By vectors alone: no training, no scores")
        if not quick:
            _model(ctx, inputs)
            inputs.int("n_draws", default=6, min=1, max=1000, label="Noise draws per image")
        inputs.int("num_classes", default=10, min=1, max=1000, label="Ordinal classes")
        ranking = choose(inputs, "rank_by", RANKINGS, label="Rank by", default="embedding")
        by = value(ctx, "rank_by", "embedding")
        invalid(ranking, score_form.problem(quick=quick, rank_by=by))
        if score_form.has_labels(samples):
            inputs.bool("within_label", default=False, label="Rank images within each label")
        inputs.bool("more", default=False, label="More options", view=types.SwitchView())
        if value(ctx, "more", False):
            self._more(ctx, inputs, quick=quick)
        notice(inputs, "cost", self._cost(ctx, n))
        if n < whole:
            inputs.view(
                "rest",
                types.Warning(
                    label=f"The other {whole - n:,} images keep the scores that they have, which "
                    "are not comparable with the new ones; the ranked views show only the images "
                    "scored here."
                ),
            )

    def _more(self, ctx: Any, inputs: types.Object, *, quick: bool) -> None:
        """What is seldom chosen."""
        if not quick:
            if _can_adapt(ctx):
                inputs.bool("adaptive", default=False, label=ADAPTIVE)
            distance = inputs.str("perceptual", default="auto", label="Perceptual distance")
            invalid(distance, _distance_problem(value(ctx, "perceptual", "auto")))
            sigma = "Noise level sigma (empty: by image size)"
            inputs.float("sigma", min=0.02, max=100, label=sigma)
            inputs.int("train_steps", min=1, label="Training steps, instead of minutes")
        embedding = inputs.str("embedding", default="auto", label="Embedding")
        invalid(embedding, _embedding_problem(value(ctx, "embedding", "auto")))
        bands = inputs.str(
            "bands", label="Bands of TIFF files: such as 3,2,1, or all (empty: their colours)"
        )
        invalid(bands, score_form.problem(bands=value(ctx, "bands", None)))
        inputs.int("seed", default=0, min=0, max=2**32 - 1, label="Random seed")

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Score, and write the run into the dataset."""
        from mincurate.pipelines import score

        p = ctx.params
        result = score.score(
            operators.place(self._samples(ctx)),
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
            **_chosen_rows(ctx),
            bands=value(ctx, "bands", None),
            quick=value(ctx, "quick", False),
            dataset=ctx.dataset.name,
            train_minutes=value(ctx, "train_minutes", 10.0),
            train_steps=p.get("train_steps"),
            reporter=reporter,
        )
        counts = result.run.record["counts"]
        return {
            "run": result.run.key,
            "dataset": result.dataset,
            "report": str(result.report),
            "warnings": result.warnings,
            "message": f"Run {result.run.key}: {counts['scored']:,} {result.run.noun} scored, "
            f"{counts['unscorable']:,} cannot be read.",
        }

    def _target(self, ctx: Any) -> str:
        """By default the whole dataset in the App, and what was passed from Python."""
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
        if value(ctx, "quick", False):
            return f"{n:,} images, ranked by their vectors, without a training."
        draws = value(ctx, "n_draws", 6)
        current = operators.current_run(ctx.dataset)
        seconds = estimates.scoring(n, n_draws=draws, like=current)
        count = f"2 to {draws}" if self._adaptive(ctx) else str(draws)
        cost = f"{n:,} images, {count} draws each: {estimates.words(seconds)}."
        if not value(ctx, "model", ""):
            minutes = value(ctx, "train_minutes", 10.0)
            cost += f" Plus training of at most {minutes:g} minutes, unless these images have a "
            cost += "model already."
        return cost


def _rows(ctx: Any, inputs: types.Object, samples: Any) -> None:
    """What is ranked: images by a network's vectors or the user's own, their tiles, or objects."""
    if fields := score_form.object_fields(samples):
        lines = [("", "Images"), *((f, f"Objects of the field {f}") for f in fields)]
        choose(inputs, "objects", lines, label="Rank", default="", radio=True)
        if value(ctx, "objects", ""):
            context = inputs.float(
                "context", default=0.0, label="Context of an object: share of its sides, 0 to 10"
            )
            chosen = {"objects": value(ctx, "objects", ""), "context": value(ctx, "context", 0.0)}
            invalid(context, score_form.problem(**chosen))
            return
    tiles = inputs.str("tiles", label="Tiles: 256 or 256/128 in pixels (empty: whole images)")
    invalid(tiles, score_form.problem(tiles=value(ctx, "tiles", None)))
    view = types.AutocompleteView(
        label="Your own vectors",
        description="Empty: those of a network. Otherwise a field, a brain run, or a file.",
    )
    for source in score_form.vector_sources(ctx.dataset):
        view.add_choice(source, label=source)
    vectors = inputs.str("vectors", default="", view=view)
    chosen = {name: value(ctx, name, None) for name in ("vectors", "tiles")}
    invalid(
        vectors,
        score_form.vectors_problem(ctx.dataset, chosen["vectors"])
        or (score_form.problem(**chosen) if chosen["vectors"] else None),
    )


def _chosen_rows(ctx: Any) -> dict[str, Any]:
    """The settings that `_rows` asks for."""
    if objects := value(ctx, "objects", None):
        return {"objects": objects, "context": float(value(ctx, "context", 0.0))}
    return {name: value(ctx, name, None) for name in ("tiles", "vectors")}


def _model(ctx: Any, inputs: types.Object) -> None:
    """The denoiser, and how long one is trained."""
    view = types.AutocompleteView(
        label="Model",
        description="Empty: train a small one on the images first. Otherwise the model of a "
        "run (mincurate_3), a diffusers folder, or a hub id.",
    )
    for run in operators.scored_runs(ctx.dataset):
        view.add_choice(run.key, label=f"model of run {run.key}")
    model = inputs.str("model", default="", view=view)
    invalid(model, _model_problem(value(ctx, "model", "")))
    if not value(ctx, "model", ""):
        inputs.float("train_minutes", default=10.0, min=0.1, label="Training, minutes at most")


def _can_adapt(ctx: Any) -> bool:
    """Whether adaptive draws can save time with the numbers entered."""
    return estimates.spares_draws(
        value(ctx, "n_draws", 6), value(ctx, "num_classes", 10), value(ctx, "within_label", False)
    )


def _model_problem(model: str) -> str | None:
    """Why a model cannot be loaded, as far as its name tells."""
    if re.fullmatch(r"mincurate_\d+", model) and not operators.run_exists(model):
        return f"There is no run {model}."
    if model.startswith(("/", "~", ".")) and not os.path.isdir(os.path.expanduser(model)):
        return f"There is no folder {model}."
    return None


def _distance_problem(spec: str) -> str | None:
    """Why a perceptual distance cannot be loaded, as far as its name tells."""
    name, _, file = spec.partition("@")
    if spec == "auto" or name in DISTANCES or _of_torchvision(name):
        return _file_problem(file)
    return (
        f"There is no perceptual distance {spec!r}: use auto, {', '.join(DISTANCES)}, or "
        "torchvision:NAME; append @FILE for your own weights."
    )


def _embedding_problem(spec: str) -> str | None:
    """Why an embedding cannot be loaded, as far as its name tells."""
    name, _, file = spec.partition("@")
    if spec in ("auto", "unet") or _of_torchvision(name):
        return _file_problem(file)
    if not os.path.isdir(spec) and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", spec):
        return (
            f"There is no embedding {spec!r}: use auto, unet, torchvision:NAME[@FILE], a folder, "
            "or a hub id such as facebook/dinov2-small."
        )
    if find_spec("transformers") is None:
        return "Folders and hub ids need transformers: pip install 'mincurate[hub]'."
    return None


def _of_torchvision(name: str) -> bool:
    return re.fullmatch(r"torchvision:\w+", name) is not None


def _file_problem(file: str) -> str | None:
    readable = not file or os.path.isfile(os.path.expanduser(file))
    return None if readable else f"There is no weights file {file}."


class ScoreNew(LongRunning):
    """Scores the images added since the run that the dataset shows."""

    NAME = "score_new"
    LABEL = "score new images"
    DESCRIPTION = "Score only images added since the last run: same classes, same map"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """How many images are new."""
        run = operators.find_run_of_images(ctx.dataset)
        new = new_files.find_new(run, ctx.dataset.name)
        if not new:
            raise UserError(f"No image is new since run {run.key} was scored.")
        seconds = estimates.scoring(len(new), like=run)
        notice(inputs, "cost", f"{len(new):,} new images: {estimates.words(seconds)}.")
        notice(
            inputs,
            "how",
            f"They join run {run.key}: its model scores them, its class edges give their classes, "
            "and they get a place on its map. Scores and classes of other images do not change.",
        )

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Score them, and write them into the dataset."""
        from mincurate.pipelines import score_new

        run = operators.find_run(ctx.dataset)
        joined = score_new.score_new(run, dataset=ctx.dataset.name, reporter=reporter)
        return {"run": run.key, "added": len(joined.frame), "message": joined.words}


CLASSES = (Score, ScoreNew)
