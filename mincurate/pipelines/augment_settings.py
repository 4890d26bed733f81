"""Settings of ``mincurate guide`` and ``mincurate augment``: the only lists of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mincurate.errors import UserError
from mincurate.generation.training_time import Budget
from mincurate.pipelines.preset import Preset
from mincurate.progress import Reporter
from mincurate.runs.store import Run

NOT_IN_REQUEST = (
    *("target_class", "top_fraction", "model"),
    *("train_minutes", "train_steps", "guide_minutes", "guide_steps"),
    *("device", "engine", "address", "num_workers", "resume", "dataset", "fiftyone"),
)
"""Settings that do not identify a generation: the target classes and the networks that the first
ones lead to do instead, and the last ones change no image."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Budget, Preset):
    """What `guide` and `augment` share; the trainings' `Budget` besides.

    The preset ``paper`` takes the classes of the minority score, of which the rarest hundredth or
    the rarest class is the target, the loss ``cross_entropy``, timesteps drawn uniformly in the
    classifier's training, w = 3.5, and 250 even ancestral steps with guidance of the mean and,
    where the model has one, its learned variance.

    Attributes:
        by: whose classes guide: ``rarity``, those of the ranking in force (default), or
            ``minority``, those of the minority score.
        model: a model of all noise levels to use as it is: folder, hub id or run; by default the
            run's own, trained on.
        loss: of the classifier, ``ordinal`` (default) or ``cross_entropy`` (the paper's).
        device: ``auto``, ``cpu``, ``cuda``, ...
        engine: ``local``, or ``ray`` to compute in processes of a Ray cluster, which must all see
            the run's folder and ``MINCURATE_HOME`` under the same path.
        address: of a running cluster; by default one is started on this machine.
        num_workers: processes on Ray; by default one per GPU, or per CPU where there is none.
    """

    by: str | None = None
    model: str | None = None
    loss: str | None = None
    device: str = "auto"
    engine: str = "local"
    address: str | None = None
    num_workers: int | None = None

    @property
    def classes_by(self) -> str:
        """Whose classes guide: those given, or the preset's."""
        return self.by or ("minority" if self.paper else "rarity")

    @property
    def classifier_loss(self) -> str:
        """The loss of the classifier: the one given, or the preset's."""
        return self.loss or ("cross_entropy" if self.paper else "ordinal")

    @property
    def classifier_timesteps(self) -> str:
        """How the classifier's training draws timesteps."""
        return "uniform" if self.paper else "quadratic"


@dataclass(frozen=True, kw_only=True)
class GuideSettings(NetworkSettings):
    """Settings of `guide`: those of `NetworkSettings`, and

    Attributes:
        seed: of the trainings; ``None`` is that of the run's trainings before, or else 0.
    """

    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(NetworkSettings):
    """Settings of `augment`: those of `NetworkSettings`, and

    Attributes:
        n: images to generate.
        first: how many images of this target and seed were generated before; these are others.
        target_class: one ordinal class, instead of ``top_fraction``.
        top_fraction: the classes that make up this rarest share of the images; default 0.1, or 0.01
            with the preset.
        label: only rare images of this label.
        like: images of the run to vary: content hashes, or ``tag:NAME``, ``view:NAME`` or sample
            ids of its FiftyOne dataset; implies ``init="real"``.
        sampler: one of `samplers.SAMPLERS`.
        solver: one of `solvers.SOLVERS`; ``None`` takes the sampler's own. With a guidance scale
            other than 1, stochastic and deterministic ones have different limits (`solvers`).
        steps: sampling steps, each one evaluation of the network; ``None`` takes the solver's own.
        guidance_scale: the paper's w; ``None`` takes the sampler's own.
        init: ``noise``, or ``real`` to start from real images of the target.
        strength: how far start images are noised, in (0, 1].
        seed: of the images; the trainings have their own (`GuideSettings`).
        batch_size: images generated together.
        precision: of the networks: ``auto``, ``float32`` or ``bfloat16``.
        resume: go on with the generation of the same settings, if there is one.
        dataset: FiftyOne dataset to add the images to; that of the run, if it has one, when absent.
        fiftyone: add them to a dataset at all.
    """

    n: int = 1000
    first: int = 0
    target_class: int | None = None
    top_fraction: float | None = None
    label: str | None = None
    like: str | Sequence[str] | None = None
    sampler: str = "minority"
    solver: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    init: str = "noise"
    strength: float = 0.6
    seed: int = 0
    batch_size: int = 64
    precision: str = "auto"
    resume: bool = True
    dataset: str | None = None
    fiftyone: bool = True

    def in_dataset(self, run: Run, reporter: Reporter) -> "AugmentSettings":
        """The same, with the run's own dataset and the hashes of what ``like`` names in it.

        Raises:
            UserError: the database does not answer, the dataset is gone, or ``like`` names nothing.
        """
        dataset, like = self.dataset, self.like
        if dataset is None and (self.fiftyone or isinstance(like, str)):
            from mincurate.dataset import lookup

            dataset = lookup.dataset_of(run, reporter)
        if isinstance(like, str):
            if dataset is None:
                raise UserError(f"--like needs a FiftyOne dataset, and run {run.key} has none.")
            from mincurate.dataset import generated

            like = generated.selection(dataset, like)
        return replace(self, dataset=dataset if self.fiftyone else None, like=like)

    @property
    def rarest_fraction(self) -> float:
        """The rarest share to generate: the one given, or the preset's, which has 100 classes."""
        if self.top_fraction is not None:
            return self.top_fraction
        return 0.01 if self.paper else 0.1

    def settled(self) -> "AugmentSettings":
        """The same, checked, with the sampler's own values in place of ``None``.

        Raises:
            UserError: a value is out of range, or has no effect together with another.
        """
        from mincurate.generation import samplers  # imports torch

        solver, steps, scale = samplers.settle(
            self.sampler, self.solver, self.steps, self.guidance_scale, paper=self.paper
        )
        if self.n < 1 or self.batch_size < 1:
            raise UserError("--n and --batch-size are at least 1.")
        if self.init not in ("noise", "real"):
            raise UserError(f"--init is noise or real, not {self.init!r}.")
        if not 0 < self.strength <= 1:
            raise UserError(f"--strength is above 0 and at most 1, not {self.strength}.")
        init = "real" if self.like is not None else self.init
        return replace(
            self,
            solver=solver,
            steps=steps,
            guidance_scale=scale,
            loss=self.classifier_loss,
            by=self.classes_by,
            top_fraction=self.rarest_fraction,
            init=init,
        )

    def identity(self, target_classes: Sequence[int]) -> dict[str, Any]:
        """The settings that, with the networks, decide the images."""
        settings = {k: v for k, v in asdict(self).items() if k not in NOT_IN_REQUEST}
        if not self.paper:
            del settings["preset"]
        if self.by == "rarity":
            del settings["by"]
        return settings | {"target_classes": list(target_classes)}
