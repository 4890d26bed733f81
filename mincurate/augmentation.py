"""Generate more of the rare: the one call behind ``mincurate augment`` (method, sections 3 and 4).

What `score` left is the start: its model, its classes, its images. The model is trained on to all
noise levels where it knows only some, a classifier of the classes guides it, and every image that
comes out is scored, placed on the map and inspected like a real one.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mincurate import classifier as classifiers
from mincurate import (
    classifier_training,
    curated,
    generation,
    joining,
    models,
    quality,
    runs,
    sampling,
    training,
)
from mincurate import denoiser as denoisers
from mincurate.classifier import Classifier, ClassifierTraining
from mincurate.denoiser import Denoiser
from mincurate.device import choose_device, choose_precision
from mincurate.errors import UserError
from mincurate.generation import Starts
from mincurate.joining import Base
from mincurate.progress import SILENT, Reporter, duration
from mincurate.runs import Run
from mincurate.sampling import SAMPLERS, Sampler
from mincurate.scoring import to_tensor

KIND = runs.AUGMENT
TABLE = "synthetic.parquet"
VECTORS = "embeddings.npy"
FAKES = 512
"""Plain samples that low-density sampling learns to tell from real images."""
GUIDED_COST = 1.4
"""One guided evaluation in plain ones (``benchmarks/sampling.py``), for estimates of time."""


@dataclass(frozen=True)
class Budget:
    """How long the trainings before a generation may take.

    Attributes:
        train_minutes: for all noise levels, where the model knows only some.
        train_steps: exact number of steps, in place of ``train_minutes``.
        guide_minutes: for the classifier.
        guide_steps: exact number of steps, in place of ``guide_minutes``.
    """

    train_minutes: float = 20.0
    train_steps: int | None = None
    guide_minutes: float = 3.0
    guide_steps: int | None = None


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        classes: ordinal classes, any of which will do.
        label: rare images of this label only.
    """

    classes: tuple[int, ...]
    label: str | None = None

    def __str__(self) -> str:
        """In words."""
        few = ", ".join(map(str, self.classes))
        what = f"class {few}" if len(self.classes) == 1 else f"classes {few}"
        return what + (f", label {self.label!r}" if self.label is not None else "")


@dataclass(frozen=True)
class Augmented:
    """What `augment` leaves.

    Attributes:
        run: the folder with images, manifest, table and report.
        dataset: name of the FiftyOne dataset the images were added to, or ``None``.
        counts: images accepted, and flagged for each reason.
    """

    run: Run
    dataset: str | None
    counts: dict[str, int]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per generated image; see ``docs/files.md`` for the columns."""
        return table(self.run)


def rarest_classes(num_classes: int, fraction: float) -> tuple[int, ...]:
    """The ordinal classes that make up the rarest ``fraction`` of the images, at least one."""
    if not 0 < fraction <= 1:
        raise UserError(f"--top-fraction lies above 0 and at most at 1; {fraction} does not.")
    n = max(1, round(num_classes * fraction))
    return tuple(range(num_classes - n, num_classes))


def table(run: Run) -> pd.DataFrame:
    """The table of a finished generation.

    Raises:
        UserError: the run is another kind, or not finished.
    """
    if runs.kind_of(run) != KIND:
        raise UserError(f"{run.key} holds no generated images; make some with `mincurate augment`.")
    if not (run.path / TABLE).is_file():
        raise UserError(f"The run {run.key} is not finished; give its command again to go on.")
    return pd.read_parquet(run.path / TABLE)


@dataclass(frozen=True, eq=False)
class Workshop:
    """The networks and images that generating on top of a scored run takes.

    Attributes:
        base: the scored run.
        device: where everything computes.
        dtype: precision of the networks; ``None`` is float32.
        budget: for the trainings.
        model: a generating model given by the user.
        loss: of the classifier.
        seed: of the trainings.
        reporter: hears of it.
    """

    base: Base
    device: str
    dtype: torch.dtype | None
    budget: Budget
    model: str | None
    loss: str
    seed: int
    reporter: Reporter

    @cached_property
    def known(self) -> Denoiser:
        """The model that is given, or that of the scored run."""
        place = (
            models.place(self.model) if self.model else str(self.base.run.record["model"]["name"])
        )
        return denoisers.load(place, self.device)

    @property
    def ready(self) -> bool:
        """Whether `denoiser` is there without a training."""
        return self._knows_all or training.finished(self._place)

    @cached_property
    def denoiser(self) -> Denoiser:
        """A model of all noise levels: the one known, or trained on from it."""
        if self._knows_all:
            return self.known
        if self.model:  # a model of the user's is taken as it is
            denoisers.check_all_levels(self.known)
        self._place.mkdir(parents=True, exist_ok=True)
        if not training.finished(self._place):
            plan = self._plan
            budget = f"{plan.steps} steps" if plan.steps else f"about {plan.minutes:g} minutes"
            self.reporter.say(
                "The model knows only the noise levels around that of the score; generating needs "
                f"all of them. It is trained on now ({budget}, once for this run)."
            )
        with runs.locked(Run(self._place)):
            return training.train(
                self.base.pixels(),
                self._place,
                self._plan,
                start=self.known,
                device=self.device,
                reporter=self.reporter,
            )

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The run's images at the size of `denoiser`."""
        return self.base.pixels(size=self.denoiser.image_size)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Ordinal class of every image of the run."""
        return self.base.frame["minority_class"].to_numpy(np.int64)

    @property
    def labels(self) -> list[str | None]:
        """Label of every image of the run."""
        return [n if isinstance(n, str) else None for n in self.base.frame["label"]]

    @cached_property
    def classifier(self) -> Classifier:
        """``p(l | x, sigma)``: trained now, or before."""
        settings = ClassifierTraining(
            num_classes=self.base.num_classes,
            loss=self.loss,
            minutes=self.budget.guide_minutes,
            steps=self.budget.guide_steps,
            seed=self.seed,
        )
        key = runs.fingerprint(
            [str(settings), self.denoiser.content_hash(), self.classes.tolist(), self.labels]
        )
        folder = self.base.run.path / "guidance" / key
        if not classifiers.finished(folder):
            self.reporter.say(
                f"Training the classifier of {self.base.num_classes} classes on "
                f"{len(self.classes):,} images ({settings.loss})."
            )
        return self._fit_classifier(folder, settings, self.pixels, self.classes, self.labels)

    def sampler(
        self, name: str, target: Target, solver: str, steps: int, scale: float | None
    ) -> Sampler:
        """The sampler called ``name``.

        Args:
            scale: the guidance scale; ``None`` takes the sampler's own default.
        """
        more: dict[str, Any] = {"steps": steps, "dtype": self.dtype}
        if name in ("ddpm", "minority", "boost-and-skip", "low-density"):
            more["solver"] = solver
        elif solver != "ancestral":
            raise UserError(f"The sampler {name} takes ancestral steps only: --solver ancestral.")
        if scale is not None and name in ("ddpm", "boost-and-skip"):
            raise UserError(f"The sampler {name} is not guided; it takes no --guidance-scale.")
        if scale is not None:
            more["guidance_scale"] = scale
        if target.label is not None and name != "minority":
            raise UserError(f"--label needs --sampler minority; {name} knows no labels.")
        if name == "ddpm":
            return sampling.ddpm(self.denoiser, **more)
        if name == "boost-and-skip":
            return sampling.boost_and_skip(self.denoiser, **more)
        if name == "self-guided":
            distance = joining.scorer_of(self.base.run, self.device).perceptual
            return sampling.self_guided(self.denoiser, distance, **more)
        if name == "low-density":
            hardness = sampling.fit_hardness(self.denoiser, self.pixels, seed=self.seed)
            return sampling.low_density(
                self.denoiser, hardness, self._realness(solver, steps), **more
            )
        return sampling.minority(
            self.denoiser, self.classifier, target_class=target.classes, label=target.label, **more
        )

    def seconds_per_image(self, steps: int, *, guided: bool, batch_size: int) -> float:
        """Time of generating one image, measured with the model that is known."""
        side = self.known.image_size
        n = min(batch_size, 16)
        x = torch.randn(n, 3, side, side, device=self.device)
        sigma = self.known.nearest_sigma(1.0)
        with torch.inference_mode():
            self.known.denoise(x, sigma)
            started = time.monotonic()
            for _ in range(3):
                self.known.denoise(x, sigma)
        plain = (time.monotonic() - started) / 3 / n
        return plain * steps * (GUIDED_COST if guided else 1.0)

    def _realness(self, solver: str, steps: int) -> Classifier:
        """Tells generated images (0) from real ones (1), at every noise level."""
        folder = self.base.run.path / "guidance" / f"real-{self.denoiser.content_hash()}"
        n = min(FAKES, len(self.pixels))
        plain = sampling.ddpm(self.denoiser, steps=steps, solver=solver, dtype=self.dtype)
        self.reporter.say(f"Low-density sampling first needs {n} plain samples to compare with.")
        made = generation.generate(
            folder, plain, n, seed=self.seed, batch_size=64, facts={}, reporter=self.reporter
        )
        fakes = np.stack([read_png(folder / e["file"]) for e in made])
        real = self.pixels[np.random.default_rng(self.seed).permutation(len(self.pixels))[:n]]
        settings = ClassifierTraining(
            num_classes=2,
            loss="cross_entropy",
            minutes=self.budget.guide_minutes,
            steps=self.budget.guide_steps,
            seed=self.seed,
        )
        both = np.concatenate([fakes, real])
        kinds = np.repeat(np.array([0, 1], np.int64), [len(fakes), len(real)])
        return self._fit_classifier(folder, settings, both, kinds, None)

    def _fit_classifier(
        self,
        folder: Path,
        settings: ClassifierTraining,
        pixels: NDArray[np.uint8],
        classes: NDArray[np.int64],
        labels: Sequence[str | None] | None,
    ) -> Classifier:
        folder.mkdir(parents=True, exist_ok=True)
        with runs.locked(Run(folder)):
            return classifier_training.train(
                self.denoiser,
                pixels,
                classes,
                folder,
                settings,
                labels=labels,
                reporter=self.reporter,
            )

    @property
    def _knows_all(self) -> bool:
        try:
            denoisers.check_all_levels(self.known)
        except UserError:
            return False
        return True

    @cached_property
    def _plan(self) -> training.Training:
        return training.Training(
            image_size=self.known.image_size,
            sigmas=None,
            minutes=self.budget.train_minutes,
            steps=self.budget.train_steps,
            seed=self.seed,
            batch_size=models.images_per_step(self.device),
        )

    @cached_property
    def _place(self) -> Path:
        run = self.base.run.record
        images = sorted(self.base.frame["content_hash"])
        key = runs.fingerprint([images, run["model"]["hash"], str(self._plan), self.base.fit])
        return runs.home() / "models" / key


def guide(
    run: str | Run | None = None,
    *,
    model: str | None = None,
    loss: str = ClassifierTraining.loss,
    budget: Budget | None = None,
    seed: int = 0,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> Classifier:
    """Train the minority guidance of a scored run, or load what was trained before.

    Its held-out figures at every noise level are in ``Classifier.record["levels"]``.

    Args:
        run: a run or its key; the one scored last when absent.
        model: a model of all noise levels to use as it is; by default the run's own, trained on.
        loss: ``ordinal`` or ``cross_entropy`` (the paper's).

    Raises:
        UserError: something the user can mend.
    """
    base = joining.open_base(find_scored(run))
    return open_workshop(
        base, model=model, loss=loss, budget=budget, seed=seed, device=device, reporter=reporter
    ).classifier


def augment(
    run: str | Run | None = None,
    *,
    n: int = 1000,
    first: int = 0,
    target_class: int | None = None,
    top_fraction: float = 0.1,
    label: str | None = None,
    like: Sequence[str] | None = None,
    sampler: str = "minority",
    solver: str = "dpm++",
    steps: int = 25,
    guidance_scale: float | None = None,
    init: str = "noise",
    strength: float = 0.6,
    model: str | None = None,
    loss: str = ClassifierTraining.loss,
    budget: Budget | None = None,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "auto",
    resume: bool = True,
    dataset: str | None = None,
    reporter: Reporter = SILENT,
) -> Augmented:
    """Generate ``n`` images of the rarest kind of a scored run, score and inspect them.

    Args:
        run: the scored run, or its key; the one scored last when absent.
        first: how many images of this kind and seed were generated before; these are others.
        target_class: one ordinal class, in place of ``top_fraction``.
        top_fraction: the classes that make up this rarest share of the images.
        label: only rare images of this label.
        like: content hashes of images of the run to vary; implies ``init="real"``.
        sampler: one of `sampling.SAMPLERS`.
        solver: one of `sampling.SOLVERS`.
        steps: noise levels, which is the number of network evaluations.
        guidance_scale: the paper's w; ``None`` takes the sampler's default.
        init: ``noise``, or ``real`` to start from real images of the target.
        strength: how far start images are noised, in (0, 1].
        dataset: FiftyOne dataset to add the images to; none when absent.

    Raises:
        UserError: something the user can mend.
        StoppedError: Ctrl-C; the same call goes on.
    """
    check(n=n, sampler=sampler, init=init, strength=strength, batch_size=batch_size)
    base = joining.open_base(find_scored(run))
    if dataset is not None:
        from mincurate import synthetic

        synthetic.check(dataset, base.run)
    workshop = open_workshop(
        base,
        model=model,
        loss=loss,
        budget=budget,
        seed=seed,
        device=device,
        precision=precision,
        reporter=reporter,
    )
    target, starts = choose_target(
        base, target_class=target_class, top_fraction=top_fraction, label=label, like=like
    )
    settings = {
        "n": n,
        "first": first,
        "target_classes": list(target.classes),
        "label": label,
        "like": list(like) if like is not None else None,
        "sampler": sampler,
        "solver": solver,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "init": "real" if like is not None else init,
        "strength": strength,
        "loss": loss,
        "seed": seed,
        "batch_size": batch_size,
        "precision": precision,
    }
    reporter.say(plan_words(base, settings, target))
    drawn = workshop.sampler(sampler, target, solver, steps, guidance_scale)
    request = runs.fingerprint(
        [curated.identity(base.run), workshop.denoiser.content_hash(), str(budget), settings]
    )
    made = runs.begun_or_new(request, resume, reporter)
    with runs.locked(made):
        made.update(
            kind=KIND,
            base=base.run.key,
            base_path=str(base.run.path.resolve()),
            base_created=base.run.record["created"],
            base_identity=curated.identity(base.run),
            request=request,
            settings=settings,
            source={"kind": KIND, "value": f"{base.run.key}, {target}"},
            model=models.model_record(workshop.denoiser, trained_here=model is None),
            version=version("mincurate"),
        )
        facts = {
            "sampler": sampler,
            "solver": solver,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "target_classes": list(target.classes),
            "label": label,
            "model": workshop.denoiser.content_hash(),
            "run": made.key,
        }
        begin = time.monotonic()
        before = len(generation.read_manifest(made.path))
        manifest = generation.generate(
            made.path,
            drawn,
            n,
            seed=seed,
            batch_size=batch_size,
            facts=facts,
            first=first,
            starts=_starts(workshop, starts, strength, seed)
            if settings["init"] == "real"
            else None,
            reporter=reporter,
        )
        if len(manifest) > before:
            rate = (len(manifest) - before) / (time.monotonic() - begin)
            made.update(images_per_second=rate)
        frame = _inspect(made, workshop, target, manifest, reporter)
        counted = quality.counts(frame["reason"])
        made.update(
            counts={"images": len(frame)} | counted,
            guidance=workshop.classifier.record if sampler == "minority" else None,
            dataset=dataset,
            finished=made.record.get("finished") or runs.now(),
        )
        if dataset is not None:
            synthetic.write(made, frame, dataset, reporter)
    return Augmented(made, dataset, counted)


def find_scored(run: str | Run | None) -> Run:
    """The scored run that is meant: the one scored last when nothing is said."""
    return run if isinstance(run, Run) else runs.find(run, kind=runs.SCORE)


def open_workshop(
    base: Base,
    *,
    model: str | None = None,
    loss: str = ClassifierTraining.loss,
    budget: Budget | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    reporter: Reporter = SILENT,
) -> Workshop:
    """The networks for generating on top of ``base``; trained when they are first used."""
    device = choose_device(device)
    dtype = choose_precision(precision, device)
    return Workshop(base, device, dtype, budget or Budget(), model, loss, seed, reporter)


def check(*, n: int, sampler: str, init: str, strength: float, batch_size: int) -> None:
    """Raise `UserError` for what cannot be."""
    if n < 1 or batch_size < 1:
        raise UserError("--n and --batch-size are at least 1.")
    if sampler not in SAMPLERS:
        raise UserError(f"There is no sampler {sampler!r}: take one of {', '.join(SAMPLERS)}.")
    if init not in ("noise", "real"):
        raise UserError(f"--init is noise or real, not {init!r}.")
    if not 0 < strength <= 1:
        raise UserError(f"--strength lies above 0 and at most at 1; {strength} does not.")


def choose_target(
    base: Base,
    *,
    target_class: int | None,
    top_fraction: float,
    label: str | None,
    like: Sequence[str] | None,
) -> tuple[Target, NDArray[np.bool_]]:
    """What is to be generated, and which images of the run are of this kind."""
    frame, classes = base.frame, base.frame["minority_class"].to_numpy(np.int64)
    if target_class is not None and not 0 <= target_class < base.num_classes:
        raise UserError(
            f"There is no class {target_class}: run {base.run.key} has 0 (commonest) to "
            f"{base.num_classes - 1} (rarest)."
        )
    if like is not None:
        members = frame["content_hash"].isin(list(like)).to_numpy(bool)
        if not members.any():
            raise UserError(f"None of the images to vary is among those of run {base.run.key}.")
        return Target(tuple(sorted(set(classes[members].tolist()))), label), members
    wanted = (
        (target_class,)
        if target_class is not None
        else rarest_classes(base.num_classes, top_fraction)
    )
    members = np.isin(classes, wanted)
    names = sorted({n for n in frame["label"] if isinstance(n, str)})
    if label is not None:
        if label not in names:
            raise UserError(
                f"Run {base.run.key} knows no label {label!r}; "
                f"it has: {', '.join(names) or 'none'}."
            )
        members &= (frame["label"] == label).to_numpy(bool)
    if not members.any():
        raise UserError(
            f"There is no image of {Target(wanted, label)} in run {base.run.key}; take a larger "
            "--top-fraction."
        )
    return Target(wanted, label), members


def plan_words(base: Base, settings: dict[str, Any], target: Target) -> str:
    """One line on what will be made."""
    how = f"{settings['sampler']} sampler, {settings['solver']}, {settings['steps']} steps"
    start = (
        ""
        if settings["init"] == "noise"
        else f", from real images at strength {settings['strength']:g}"
    )
    return f"Making {settings['n']:,} images of {target} of run {base.run.key}: {how}{start}."


def read_png(path: Path) -> NDArray[np.uint8]:
    """Pixels ``(3, H, W)`` of an image that we wrote."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _starts(workshop: Workshop, members: NDArray[np.bool_], strength: float, seed: int) -> Starts:
    """The images to vary, in an order of their own."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(members))
    hashes = workshop.base.frame["content_hash"].to_numpy()
    return Starts(workshop.pixels[order], hashes[order].tolist(), strength)


def _inspect(
    made: Run,
    workshop: Workshop,
    target: Target,
    manifest: list[dict[str, Any]],
    reporter: Reporter,
) -> pd.DataFrame:
    """Score what was generated, place it among the run's images, and judge every image."""
    base = workshop.base
    paths = [str(made.path.resolve() / entry["file"]) for entry in manifest]
    contents = [Path(p).read_bytes() for p in paths]
    hashes = [hashlib.blake2b(c, digest_size=16).hexdigest() for c in contents]
    scorer = joining.scorer_of(base.run, workshop.device)
    frame, vectors = joining.join(
        base, scorer, list(zip(hashes, paths, strict=True)), reporter=reporter
    )
    generated = np.stack([read_png(Path(p)) for p in paths])
    believed = workshop_belief(workshop, target, generated)
    kind = np.isin(workshop.classes, target.classes)
    if target.label is not None:
        kind &= np.array([name == target.label for name in workshop.labels])
    known = workshop_belief(workshop, target, workshop.pixels)
    gate = quality.calibrate(
        base.vectors,
        feature_space=str(base.run.record["embedding"]),
        like=kind,
        probability=known[0],
    )
    judged = quality.inspect(gate, base.vectors, vectors, believed[0])
    frame["reason"] = judged["reason"].to_numpy()
    frame["accepted"] = judged["reason"].isna().to_numpy()
    frame["target_probability"] = judged["probability"].to_numpy()
    frame["ball_ratio"] = judged["ball_ratio"].to_numpy()
    frame["label"], frame["label_confidence"] = believed[1], believed[2]
    nearest = base.frame.set_index("content_hash")["path"]
    frame["nearest_real"] = frame["nearest_real"].map(nearest).to_numpy()
    facts = pd.DataFrame(manifest)
    for name in ("index", "seed", "sampler", "solver", "steps", "guidance_scale", "run"):
        frame[name] = facts[name].to_numpy()
    frame["start"] = facts["start"].map(nearest).to_numpy() if "start" in facts else None
    frame["target_class"] = target.classes[-1]
    made.update(
        gate={
            "near_copy": gate.near_copy,
            "allowance": gate.allowance,
            "floor": gate.floor,
            "feature_space": gate.feature_space,
        }
    )
    import io

    import pyarrow as pa

    buffer = io.BytesIO()
    np.save(buffer, vectors)
    runs.write_atomically(made.path / VECTORS, buffer.getvalue())
    runs.write_table(made.path / TABLE, pa.Table.from_pandas(frame, preserve_index=False))
    flat = frame.drop(columns=["minority_score_draws", "layer_distances"])
    runs.write_atomically(made.path / "synthetic.csv", flat.to_csv(index=False).encode())
    return frame


def workshop_belief(
    workshop: Workshop, target: Target, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], list[str | None], NDArray[np.float64]]:
    """What the classifier holds of images: probability of the target, label, and its confidence."""
    classes, labels = [], []
    for start in range(0, len(pixels), 256):
        x0 = to_tensor(pixels[start : start + 256]).to(workshop.device)
        of_classes, of_labels = classifiers.classify(workshop.denoiser, workshop.classifier, x0)
        classes.append(of_classes)
        if of_labels is not None:
            labels.append(of_labels)
    found = np.concatenate(classes)[:, list(target.classes)].sum(1, dtype=np.float64)
    names = workshop.classifier.label_names
    if not labels:
        return found, [None] * len(found), np.full(len(found), np.nan)
    chances = np.concatenate(labels)
    if target.label is not None:
        found = found * chances[:, names.index(target.label)]
    return found, [names[i] for i in chances.argmax(1)], chances.max(1).astype(np.float64)


def estimate(
    workshop: Workshop, *, n: int, sampler: str, steps: int, batch_size: int
) -> list[tuple[str, str]]:
    """What `augment` would do, in order, and how long each part takes about."""
    parts = []
    if not workshop.ready:
        b = workshop.budget
        budget = f"{b.train_steps} steps" if b.train_steps else duration(b.train_minutes * 60)
        parts.append(("train on to all noise levels", budget))
    if sampler == "minority":
        b = workshop.budget
        budget = f"{b.guide_steps} steps" if b.guide_steps else duration(b.guide_minutes * 60)
        parts.append(("train the classifier, if it is not there yet", f"at most {budget}"))
    seconds = workshop.seconds_per_image(
        steps, guided=sampler not in ("ddpm", "boost-and-skip"), batch_size=batch_size
    )
    parts.append((f"generate {n:,} images", duration(seconds * n)))
    rate = workshop.base.run.record.get("images_per_second")
    if rate:
        parts.append(("score and inspect them", duration(n / float(rate))))
    return parts
