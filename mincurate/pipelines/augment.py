"""Generate more of the rare: the one call behind ``mincurate augment`` (method, sections 3 and 4).

What `score` left is the start: its model, its classes, its images. The model is trained on to all
noise levels where it knows only some, a classifier of the classes guides it, and every image that
comes out is scored, placed on the map and inspected like a real one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.compute.ray_map import choose_engine
from mincurate.curation import gather
from mincurate.diffusion import models
from mincurate.errors import UserError
from mincurate.evaluation import gate as gates
from mincurate.generation import generate, samplers
from mincurate.generation.budget import Budget
from mincurate.generation.classifier import Classifier, ClassifierTraining
from mincurate.generation.generate import Starts
from mincurate.generation.networks import Workshop, open_workshop
from mincurate.generation.target import Target, choose_target, rarest_classes
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import reference
from mincurate.ranking.reference import Base
from mincurate.runs import digests, schema, store
from mincurate.runs import files as run_files
from mincurate.runs import manifest as manifests
from mincurate.runs.manifest import read_manifest, read_png
from mincurate.runs.store import Run

KIND = store.AUGMENT


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


def table(run: Run) -> pd.DataFrame:
    """The table of a finished generation.

    Raises:
        UserError: the run is another kind, or not finished.
    """
    if store.kind_of(run) != KIND:
        raise UserError(f"{run.key} holds no generated images; make some with `mincurate augment`.")
    if not (run.path / schema.SYNTHETIC).is_file():
        raise UserError(f"The run {run.key} is not finished; give its command again to go on.")
    return pd.read_parquet(run.path / schema.SYNTHETIC)


def guide(
    run: str | Run | None = None,
    *,
    model: str | None = None,
    loss: str = ClassifierTraining.loss,
    budget: Budget | None = None,
    seed: int | None = None,
    device: str = "auto",
    engine: str = "local",
    address: str | None = None,
    num_workers: int | None = None,
    reporter: Reporter = SILENT,
) -> Classifier:
    """Train the minority guidance of a scored run, or load what was trained before.

    Its held-out figures at every noise level are in ``Classifier.record["levels"]``.

    Args:
        run: a run or its key; the one scored last when absent.
        model: a model of all noise levels to use as it is; by default the run's own, trained on.
        loss: ``ordinal`` or ``cross_entropy`` (the paper's).
        seed: of the trainings; what is generated later rests on the networks of the last one.
        engine: ``local``, or ``ray`` to train in processes of a Ray cluster, which all see the
            run's folder and ``MINCURATE_HOME`` under the same path.
        address: of a running cluster; one is started on this machine when absent.
        num_workers: processes on Ray; one per GPU, or per CPU where there is none, when absent.

    Raises:
        UserError: something the user can mend.
    """
    cluster = choose_engine(engine, address, num_workers, device)
    base = reference.open_base(find_scored(run))
    return open_workshop(
        base,
        model=model,
        loss=loss,
        budget=budget,
        seed=seed,
        device=device,
        cluster=cluster,
        reporter=reporter,
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
    solver: str | None = None,
    steps: int | None = None,
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
    engine: str = "local",
    address: str | None = None,
    num_workers: int | None = None,
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
        sampler: one of `samplers.SAMPLERS`.
        solver: one of `samplers.SOLVERS`; ``None`` takes the sampler's own.
        steps: noise levels, which is the number of network evaluations; ``None`` takes as many as
            the solver does well with.
        guidance_scale: the paper's w; ``None`` takes the sampler's own.
        init: ``noise``, or ``real`` to start from real images of the target.
        strength: how far start images are noised, in (0, 1].
        dataset: FiftyOne dataset to add the images to; none when absent.
        engine: ``local``, or ``ray`` to train and generate in processes of a Ray cluster, as
            `guide` trains.
        address: as of `guide`.
        num_workers: as of `guide`.

    Raises:
        UserError: something the user can mend.
        StoppedError: Ctrl-C; the same call goes on.
    """
    solver, steps, guidance_scale = samplers.settle(sampler, solver, steps, guidance_scale)
    check(n=n, sampler=sampler, label=label, init=init, strength=strength, batch_size=batch_size)
    cluster = choose_engine(engine, address, num_workers, device)
    base = reference.open_base(find_scored(run))
    if dataset is not None:
        from mincurate.dataset import generated as synthetic
        from mincurate.dataset import now

        synthetic.check(dataset, base.run)
        if changes := now.differences(base.run):
            reporter.warn(f"{changes} Images are generated by the labels of the run.")
    workshop = open_workshop(
        base,
        model=model,
        loss=loss,
        budget=budget,
        device=device,
        precision=precision,
        cluster=cluster,
        reporter=reporter,
    )
    target, starts = choose_target(
        base, target_class=target_class, top_fraction=top_fraction, label=label, like=like
    )
    if label is not None and target_class is None and like is None:
        tail = rarest_classes(base.num_classes, top_fraction)
        if target.classes != tail:
            reporter.warn(
                f"No image labelled {label!r} is of {Target(tail)}; its rarest are of "
                f"{Target(target.classes)}, which more are made of."
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
    request = hashing.fingerprint(
        [
            base.run.key,
            gather.identity(base.run),
            workshop.denoiser.content_hash(),
            str(workshop.guidance),
            settings,
        ]
    )
    made = store.begun_or_new(request, resume, reporter, kind=KIND)
    with digests.held(made):
        made.update(
            base=base.run.key,
            base_path=str(base.run.path.resolve()),
            base_created=base.run.record["created"],
            base_identity=gather.identity(base.run),
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
        before = len(read_manifest(made.path))
        manifest = generate.generate(
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
            cluster=cluster,
            reporter=reporter,
        )
        if len(manifest) > before:
            rate = (len(manifest) - before) / (time.monotonic() - begin)
            made.update(images_per_second=rate)
        frame = _inspect(made, workshop, target, manifest, workshop.judges(sampler), reporter)
        counted = gates.counts(frame["reason"])
        made.update(
            counts={"images": len(frame)} | counted,
            guidance=workshop.classifier.record if sampler == "minority" else None,
            dataset=dataset,
            finished=made.record.get("finished") or store.now(),
        )
        if dataset is not None:
            synthetic.write(made, frame, dataset, reporter)
    return Augmented(made, dataset, counted)


def find_scored(run: str | Run | None) -> Run:
    """The scored run that is meant: the one scored last when nothing is said."""
    return run if isinstance(run, Run) else store.find(run, kind=store.SCORE)


def check(
    *, n: int, sampler: str, label: str | None, init: str, strength: float, batch_size: int
) -> None:
    """Raise `UserError` for what cannot be."""
    if n < 1 or batch_size < 1:
        raise UserError("--n and --batch-size are at least 1.")
    if label is not None and sampler != "minority":
        raise UserError(f"--label needs --sampler minority; {sampler} knows no labels.")
    if init not in ("noise", "real"):
        raise UserError(f"--init is noise or real, not {init!r}.")
    if not 0 < strength <= 1:
        raise UserError(f"--strength lies above 0 and at most at 1; {strength} does not.")


def plan_words(base: Base, settings: dict[str, Any], target: Target) -> str:
    """One line on what will be made."""
    how = f"{settings['sampler']} sampler, {settings['solver']}, {settings['steps']} steps"
    start = (
        ""
        if settings["init"] == "noise"
        else f", from real images at strength {settings['strength']:g}"
    )
    return f"Making {settings['n']:,} images of {target} of run {base.run.key}: {how}{start}."


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
    judged_by_classifier: bool,
    reporter: Reporter,
) -> pd.DataFrame:
    """Score what was generated, place it among the run's images, and judge every image."""
    base = workshop.base
    files = manifests.files(made.path, manifest)
    scorer = reference.scorer_of(base.run, workshop.device)
    frame, vectors = reference.join(base, scorer, files, reporter=reporter)
    generated = np.stack([read_png(Path(path)) for _, path in files])
    believed = known = None
    labels: list[str | None] = [None] * len(generated)
    confidence = np.full(len(generated), np.nan)
    kind = np.isin(workshop.classes, target.classes)
    if target.label is not None:
        kind &= np.array([name == target.label for name in workshop.labels])
    if judged_by_classifier:
        believed, labels, confidence = workshop.belief(target, generated)
        known = workshop.belief(target, workshop.pixels)[0]
        known = gates.unseen(known, workshop.trained_on, kind)
    gate = gates.calibrate(
        base.vectors,
        feature_space=str(base.run.record["embedding"]),
        like=kind,
        probability=known,
    )
    judged = gates.inspect(gate, base.vectors, vectors, believed)
    frame["reason"] = judged["reason"].to_numpy()
    frame["accepted"] = judged["reason"].isna().to_numpy()
    frame["target_probability"] = judged["probability"].to_numpy()
    frame["ball_ratio"] = judged["ball_ratio"].to_numpy()
    frame["label"], frame["label_confidence"] = labels, confidence
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
    import pyarrow as pa

    run_files.write_vectors(made.path / schema.VECTORS, vectors)
    run_files.write_table(
        made.path / schema.SYNTHETIC, pa.Table.from_pandas(frame, preserve_index=False)
    )
    flat = frame.drop(columns=["minority_score_draws", "layer_distances"])
    run_files.write_atomically(made.path / "synthetic.csv", flat.to_csv(index=False).encode())
    return frame
