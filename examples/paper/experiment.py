"""What the experiments share: sets of images made for one scored run, judged and written down.

A set is made by `mincurate.augment`, as a run of its own: what one experiment has made, the next
one takes from there, and what was stopped goes on. Sets have the same seeds, image by image.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import mincurate
from mincurate import hashing
from mincurate.compute.device import choose_device, choose_precision, keep_freed_memory
from mincurate.evaluation import metrics
from mincurate.generation import generate, samplers
from mincurate.generation.guided_classes import Target, guided_by
from mincurate.generation.networks import plan_trainings
from mincurate.generation.solvers import Sampler
from mincurate.generation.training_time import Budget
from mincurate.ranking import classes, joining
from mincurate.ranking import reference as references
from mincurate.ranking.reference import Base
from mincurate.report import evaluation_figures
from mincurate.runs import atomic_files, schema, store
from mincurate.runs import manifest as manifests
from mincurate.terminal import Terminal

NAMES = {
    "minority_score": "minority score",
    "avg_knn": "AvgkNN",
    "lof": "LOF",
    "precision": "precision",
}
"""What `measure` measures. The first three rise with artefacts, too: precision tells."""


@dataclass(frozen=True, eq=False)
class Made:
    """A set of generated images: their table and their vectors ``(n, d)``, in the run's space."""

    frame: pd.DataFrame
    vectors: np.ndarray


@dataclass(frozen=True, eq=False)
class Experiment:
    """A scored run, and how images are made for it."""

    base: Base
    options: argparse.Namespace
    reporter: Terminal

    @property
    def rarest(self) -> int:
        """The rarest ordinal class, L - 1."""
        return self.base.num_classes - 1

    @property
    def space(self) -> str:
        """What the numbers are measured in."""
        return f"{self.base.run.record['embedding']} at {self.base.size} px"

    def make(
        self,
        sampler: str,
        *,
        target_class: int | None = None,
        guidance_scale: float | None = None,
    ) -> Made:
        """``--n`` images, made now or before."""
        o = self.options
        generation = mincurate.augment(
            self.base.run,
            n=o.n,
            target_class=self.rarest if target_class is None else target_class,
            sampler=sampler,
            preset="paper",
            by=self.base.guided_by,
            solver=o.solver,
            steps=o.steps,
            guidance_scale=guidance_scale,
            model=o.model,
            **asdict(self.budget),
            seed=o.seed,
            batch_size=o.batch_size,
            device=o.device,
            reporter=self.reporter,
        )
        return Made(generation.frame, np.load(generation.run.path / schema.VECTORS))

    def make_low_density(self) -> Made:
        """``--n`` images of the rival, which is no sampler of mincurate: files in ``--output``."""
        import low_density

        o = self.options
        device = choose_device(o.device)
        folder = Path(o.output)
        trainings = plan_trainings(self.base, model=o.model, budget=self.budget, device=device)
        denoiser = trainings.train_denoiser(self.reporter)
        pixels = self.base.pixels(size=denoiser.image_size)
        solver, steps, _ = samplers.settle("ddpm", o.solver, o.steps, paper=True)
        how = {"steps": steps, "solver": solver}
        realness = low_density.train_realness(
            denoiser, pixels, trainings.guidance, folder, reporter=self.reporter, **how
        )
        hardness = low_density.fit_hardness(denoiser, pixels, seed=trainings.guidance.seed)
        dtype = choose_precision("auto", device)
        sampler = low_density.sampler(denoiser, hardness, realness, dtype=dtype, **how)
        return self._make_files("low-density", sampler, [how, realness.record["fingerprint"]])

    def make_of_classes(self, num_classes: int, guidance_scale: float) -> Made:
        """``--n`` images of the rarest of so many classes (L): files in ``--output``."""
        o = self.options
        device = choose_device(o.device)
        base = with_classes(self.base, num_classes)
        trainings = plan_trainings(
            base,
            model=o.model,
            loss="cross_entropy",
            timesteps="uniform",
            budget=self.budget,
            device=device,
        )
        denoiser = trainings.train_denoiser(self.reporter)
        pixels = base.pixels(size=denoiser.image_size)
        classifier = trainings.train_classifier(denoiser, pixels, self.reporter)
        solver, steps, _ = samplers.settle("minority", o.solver, o.steps, paper=True)
        sampler = samplers.build(
            "minority",
            denoiser,
            solver=solver,
            steps=steps,
            guidance_scale=guidance_scale,
            dtype=choose_precision("auto", device),
            target=Target((num_classes - 1,)),
            classifier=classifier,
            paper=True,
        )
        facts = [solver, steps, guidance_scale, classifier.record["fingerprint"]]
        return self._make_files(f"classes-{num_classes}", sampler, facts)

    def _make_files(self, name: str, sampler: Sampler, facts: list[object]) -> Made:
        """``--n`` images of a sampler, as files in a folder of ``--output``."""
        o = self.options
        digest = hashing.fingerprint([o.n, o.seed, *facts])
        folder = Path(o.output) / f"{name}-{digest}"
        manifest = generate.generate(
            folder,
            sampler,
            o.n,
            seed=o.seed,
            batch_size=o.batch_size,
            facts={},
            reporter=self.reporter,
        )
        scorer = references.scorer_of(self.base.run, choose_device(o.device))
        files = manifests.files(folder, manifest)
        return Made(*joining.join(self.base, scorer, files, reporter=self.reporter))

    @property
    def budget(self) -> Budget:
        """How long the trainings may take."""
        o = self.options
        return Budget(
            train_minutes=o.train_minutes,
            train_steps=o.train_steps,
            guide_minutes=o.guide_minutes,
            guide_steps=o.guide_steps,
        )

    def measure(self, images: Made) -> dict[str, metrics.Interval]:
        """`NAMES` to mean and 95 % interval over images."""
        real = self.base.vectors
        values = {
            "minority_score": images.frame["minority_score"],
            "avg_knn": metrics.neighbor_distance(real, images.vectors),
            "lof": metrics.lof(real, images.vectors),
            "precision": metrics.precision(real, images.vectors),
        }
        return {name: metrics.interval(v, seed=self.options.seed) for name, v in values.items()}

    def rows(self, name: str, intervals: Mapping[str, metrics.Interval]) -> list[dict[str, object]]:
        """`measure`, as rows of a table."""
        common = {"n": self.options.n, "n_real": len(self.base.frame), "feature_space": self.space}
        return [
            {"set": name, "metric": metric, "value": value, "low": low, "high": high} | common
            for metric, (value, low, high) in intervals.items()
        ]

    def publish(self, name: str, table: pd.DataFrame, figure: Figure) -> None:
        """Print the table, and write it and the figure as ``name.csv`` and ``name.png``."""
        folder = Path(self.options.output)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_files.write_atomically(folder / f"{name}.csv", table.to_csv(index=False).encode())
        evaluation_figures.save(figure, folder / f"{name}.png")
        self.show(table)
        self.reporter.say(f"Figure: {folder / f'{name}.png'}\nTable:  {folder / f'{name}.csv'}")

    def show(self, table: pd.DataFrame) -> None:
        """A column per metric, a row per set, each value with its interval."""
        from rich.table import Table

        title = f"{self.options.n} images each, 95 % intervals, features {self.space}"
        for reference, part in _parts(table):
            shown = Table(title=title + (f", against {reference}" if reference else ""))
            metrics_of = list(dict.fromkeys(part["metric"]))
            sets = list(dict.fromkeys(part["set"]))
            upright = len(sets) > len(metrics_of)
            heads, sides = (metrics_of, sets) if upright else (sets, metrics_of)
            for head in ("", *heads):
                shown.add_column(head, justify="right" if head else "left")
            cells = {
                (r.set, r.metric): f"{r.value:.3g} [{r.low:.3g}, {r.high:.3g}]"
                for r in part.itertuples()
            }
            for side in sides:
                places = [(side, head) if upright else (head, side) for head in heads]
                shown.add_row(side, *(cells.get(place, "") for place in places))
            self.reporter.console.print(shown)


@dataclass(frozen=True, eq=False)
class Regraded(Base):
    """A run with another number of classes of the minority score."""

    number: int = 0

    @property
    def num_classes(self) -> int:
        """Number of ordinal classes, L."""
        return self.number


def with_classes(base: Base, number: int) -> Regraded:
    """The run with so many quantile classes of the minority score."""
    graded = classes.ordinal_classes(base.frame["minority_score"], number)
    frame = base.frame.assign(minority_class=graded)
    parts = {f.name: getattr(base, f.name) for f in fields(base)} | {"frame": frame}
    return Regraded(**parts, number=number)


def arguments(what: str) -> argparse.ArgumentParser:
    """The options of every experiment; their defaults are for two cores."""
    parser = argparse.ArgumentParser(description=what)
    add = parser.add_argument
    add("run", nargs="?", help="a run of `mincurate score`; default: the last one")
    add("--n", type=int, default=128, help="images in every set")
    add("--guidance-scale", type=float, default=3.5, help="w; 3.5 is the paper's")
    add("--solver", default="sde-dpm++", help="as in `mincurate augment`; ancestral is the paper's")
    add("--steps", type=int, help="sampling steps; default: 25, or 250 with --solver ancestral")
    add("--model", help="a model of all noise levels; default: the run's own, trained on")
    add("--train-minutes", type=float, default=8.0, help="for all noise levels")
    add("--train-steps", type=int, help="in place of minutes")
    add("--guide-minutes", type=float, default=2.0, help="for the classifier")
    add("--guide-steps", type=int, help="in place of minutes")
    add("--batch-size", type=int, default=64)
    add("--seed", type=int, default=0)
    add("--device", default="auto", help="auto, cpu, cuda, ...")
    add("--output", default="paper", help="folder for the figure and the table")
    return parser


def main(parser: argparse.ArgumentParser, experiment: Callable[[Experiment], None]) -> None:
    """Open the run and carry the experiment out; what the user can mend is one sentence."""
    options = parser.parse_args()
    keep_freed_memory()
    try:
        run = store.find(options.run, kind=store.SCORE)
        base = guided_by(references.open_base(run), "minority")
        experiment(Experiment(base, options, Terminal()))
    except mincurate.UserError as error:
        sys.exit(f"Error: {error}")


def _parts(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if "reference" not in table:
        return [("", table)]
    names = {"all": "all real images", "tail": "the rarest tenth"}
    return [(names[str(k)], part) for k, part in table.groupby("reference", sort=False)]
