"""Did it help? Guided images against plain ones of the same model, seeds and number, and both
against the real ones.
"""

import json
import math
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mincurate.compute.device import choose_device
from mincurate.curation import gather
from mincurate.errors import UserError
from mincurate.evaluation import baseline, metrics, sets
from mincurate.evaluation import downstream as downstream_arms
from mincurate.evaluation.downstream import Downstream
from mincurate.evaluation.downstream_data import Trial
from mincurate.evaluation.sets import LEAST, ImageSet
from mincurate.evaluation.verdict import Verdict, conclude
from mincurate.images import collection
from mincurate.pipelines import augment, new_files
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import classes, reference
from mincurate.ranking.reference import Base
from mincurate.report import evaluation_figures, evaluation_page
from mincurate.report.figures import Picture
from mincurate.runs import digests, schema, store
from mincurate.runs import files as run_files
from mincurate.runs.store import Run

SHOWN = 24
"""Pictures of every set on the page."""


@dataclass(frozen=True)
class EvaluateSettings:
    """The settings of `evaluate`, as ``evaluation.json`` records them.

    Attributes:
        n: judge the first ``n`` images, against as many plain ones. Default: all.
        downstream: also train a classifier of the labels without and with the accepted images,
            and with as many copies of real ones.
        seeds: trainings of that classifier in each case, at least 3.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        resume: use the plain images of an earlier evaluation.
    """

    n: int | None = None
    downstream: bool = False
    seeds: int = 3
    device: str = "auto"
    resume: bool = True


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        run: the generation that was judged.
        table: one row per reference, set and metric, as `metric_table.judge` returns it; the sets
            are ``real``, ``ddpm``, ``guided``, ``accepted`` (guided, without those that the gate
            rejected) and ``ddpm-as-accepted``.
        verdict: what it means.
        downstream: a classifier without the accepted images, with copies of real ones in their
            place, and with them; None unless asked for.
        page: ``evaluation.html``.
    """

    run: Run
    table: pd.DataFrame
    verdict: Verdict
    downstream: Downstream | None
    page: Path


def evaluate(
    run: str | Run | None = None,
    settings: EvaluateSettings | None = None,
    *,
    reporter: Reporter = SILENT,
    **changes: Any,
) -> Evaluation:
    """Judge the images of a generation, and write ``evaluation.html``, ``.csv`` and ``.json``.

    Args:
        run: the generation or its key. Default: the last one.
        settings: see `EvaluateSettings`.
        changes: single settings, in place of those in ``settings``.

    Raises:
        UserError: the images cannot be judged; the message says what to do.
        StoppedError: Ctrl-C; the same call goes on.
    """
    settings = replace(settings or EvaluateSettings(), **changes)
    generation = run if isinstance(run, Run) else store.find(run, kind=store.AUGMENT)
    base = reference.open_base(base_of(generation))
    new_files.warn_of_changes(base.run, "It is judged by the labels of the run.", reporter)
    frame = _judged(generation, base, settings.n)
    trial = None
    if settings.downstream:
        trial = Trial(base, frame, generation.record["settings"], settings.seeds)
    device = choose_device(settings.device)
    with digests.held(generation):
        if not settings.resume:
            shutil.rmtree(generation.path / baseline.FOLDER, ignore_errors=True)
        scorer = reference.scorer_of(base.run, device)
        plain_frame, plain_vectors = baseline.make(
            generation, base, scorer, len(frame), device, reporter
        )
        vectors = np.load(generation.path / schema.VECTORS, allow_pickle=False)[: len(frame)]
        spatial, layer = sets.spatial_features(scorer, base, base.frame["path"].tolist(), reporter)
        guided, ddpm = (
            ImageSet(f, v, sets.spatial_features(scorer, base, f["path"].tolist(), reporter)[0])
            for f, v in ((frame, vectors), (plain_frame, plain_vectors))
        )
        table = sets.judge(base, spatial, guided, ddpm, reporter)
        verdict = conclude(
            table, int(frame["accepted"].sum()), len(frame), baseline.cause(generation)
        )
        compared = trial.run(device, reporter) if trial else None
        drawn = _draw(generation, base, guided, ddpm)
        facts = _facts(generation, base, settings, len(frame), layer, trial)
        _write(generation, table, verdict, compared, facts)
        page = evaluation_page.write_page(
            generation, base.run, table, verdict, compared, facts, drawn
        )
    return Evaluation(generation, table, verdict, compared, page)


def _judged(generation: Run, base: Base, n: int | None) -> pd.DataFrame:
    """The generated images that are judged.

    Raises:
        UserError: they or the real images are too few.
    """
    frame = augment.table(generation)
    size = len(frame) if n is None else n
    if not LEAST <= size <= len(frame):
        raise UserError(
            f"Run {generation.key} has {len(frame):,} images, of which {size:,} cannot be judged; "
            f"it takes {LEAST} at least."
        )
    if len(base.frame) <= LEAST:
        raise UserError(f"Run {base.run.key} has {len(base.frame)} images, too few to judge by.")
    return frame.head(size).reset_index(drop=True)


def base_of(generation: Run) -> Run:
    """The scored run that images were generated for.

    Raises:
        UserError: it is gone, or was scored or ranked in another way since.
    """
    record = generation.record
    path = Path(str(record.get("base_path")))
    key = str(record.get("base"))
    if not (path / schema.RECORD).is_file() and key not in {run.key for run in store.all_runs()}:
        raise UserError(
            f"The scored run {key}, for which {generation.key} was generated, was deleted: score "
            "and generate again."
        )
    base = Run(path) if (path / schema.RECORD).is_file() else store.find(key)
    if record.get("base_identity") != gather.identity(base):
        raise UserError(
            f"Run {base.key} was scored or ranked again in another way since {generation.key} was "
            "made for it; generate again."
        )
    return base


def _draw(generation: Run, base: Base, guided: ImageSet, ddpm: ImageSet) -> dict[str, Path]:
    """Write the figures, and return where they are."""
    folder = generation.path / "figures"
    folder.mkdir(exist_ok=True)
    space = str(base.run.record["embedding"])
    scores = {"real": metrics.rarity(base.vectors)}
    scores |= {
        name: metrics.rarity(base.vectors, images.vectors)
        for name, images in (("ddpm", ddpm), ("guided", guided))
    }
    rng = np.random.default_rng(0)
    sample = rng.permutation(len(base.frame))[:SHOWN]
    rare = rng.permutation(classes.tail_rows(base.frame[base.column]))[:SHOWN]
    shown = {
        "real": (_pictures(base, base.frame.iloc[sample]), "at random"),
        "rarest real": (_pictures(base, base.frame.iloc[rare]), "at random, of the rarest tenth"),
        "ddpm": (_pictures(base, ddpm.frame.head(SHOWN)), "plain, the first ones"),
        "guided": (_pictures(base, guided.frame.head(SHOWN)), "the same seeds"),
    }
    figures = {
        "rarity": evaluation_figures.rarity_plot(scores, feature_space=space),
        "grids": evaluation_figures.grids(
            {name: pictures for name, (pictures, _) in shown.items()},
            {name: caption for name, (_, caption) in shown.items()},
        ),
    }
    levels = (generation.record.get("guidance") or {}).get("levels") or []
    if levels:
        figures["levels"] = evaluation_figures.levels_plot(levels, base.num_classes)
    for name, figure in figures.items():
        evaluation_figures.save(figure, folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in figures}


def _pictures(base: Base, frame: pd.DataFrame) -> list[Picture]:
    files = [(path, path) for path in frame["path"]]
    batches = collection.read_batches(
        files,
        size=base.size,
        fit=base.fit,
        rendering=base.rendering,
        batch_size=SHOWN,
        workers=1,
    )
    return [p.transpose(1, 2, 0) for _, pixels, _ in batches for p in pixels]


def _facts(
    generation: Run,
    base: Base,
    settings: EvaluateSettings,
    n: int,
    layer: str,
    trial: Trial | None,
) -> dict[str, Any]:
    """What was compared."""
    facts: dict[str, Any] = {
        "run": generation.key,
        "base": base.run.key,
        "n": n,
        "n_real": len(base.frame),
        "feature_space": f"{base.run.record['embedding']} at {base.size} px",
        "spatial_feature_space": layer,
        "settings": generation.record["settings"],
        "evaluate_settings": asdict(settings),
        "plain_start": "the same real images" if baseline.same_start(generation) else "noise",
    }
    if trial is not None:
        facts["downstream"] = {
            "seeds": trial.seeds,
            "steps": downstream_arms.STEPS,
            "rare": trial.rare,
            "left_out_labels": trial.single,
            "held_out": len(trial.test),
            "near_held_out": trial.near_test,
        }
    return facts


def _write(
    generation: Run,
    table: pd.DataFrame,
    verdict: Verdict,
    compared: Downstream | None,
    facts: dict[str, Any],
) -> None:
    """``evaluation.csv`` and ``evaluation.json``."""
    csv = table.to_csv(index=False)
    run_files.write_atomically(generation.path / schema.EVALUATION_CSV, csv.encode())
    content = facts | {"verdict": asdict(verdict), "metrics": table.to_dict("records")}
    if compared is not None:
        content["downstream"] = facts["downstream"] | {
            "classes": compared.classes.to_dict("records"),
            "groups": compared.groups.to_dict("records"),
        }
    text = json.dumps(_plain(content | {"finished": store.now()}), indent=1, allow_nan=False)
    run_files.write_atomically(generation.path / schema.EVALUATION, text.encode())


def _plain(value: Any) -> Any:
    """For JSON: numbers of numpy as those of Python; NaN and infinity as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
