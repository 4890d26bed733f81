"""Did it help? Guided images against plain ones of the same model, seeds and number, and both
against the real ones.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mincurate.compute.device import choose_device
from mincurate.compute.ray_map import Item
from mincurate.curation import gather
from mincurate.errors import UserError
from mincurate.evaluation import (
    baseline,
    feature_spaces,
    image_sets,
    metrics,
    training_advice,
)
from mincurate.evaluation.classifier_trial import Downstream
from mincurate.evaluation.classifier_trial_data import Trial
from mincurate.evaluation.feature_spaces import Judge
from mincurate.evaluation.image_sets import LEAST, ImageSet, Tail
from mincurate.evaluation.metric_table import Features
from mincurate.evaluation.metrics.intervals import RESAMPLES, SUBSETS
from mincurate.evaluation.training_advice import Advice
from mincurate.evaluation.verdict import Verdict, conclude
from mincurate.generation.guided_classes import guided_by
from mincurate.images import regions
from mincurate.pipelines import augment, images_now, new_files, own_vectors
from mincurate.pipelines.preset import Preset
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import joining, reference
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base
from mincurate.report import evaluation_figures, evaluation_page
from mincurate.report.figures import Picture
from mincurate.runs import atomic_files as run_files
from mincurate.runs import digests, schema, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

SHOWN = 24
"""Pictures of every set on the page."""
CAPTIONS = {
    "real": "at random",
    "rarest real": "at random, of the rarest tenth",
    "ddpm": "plain, the first ones",
    "guided": "the same seeds",
}
"""What the pictures of a set are."""


@dataclass(frozen=True)
class EvaluateSettings(Preset):
    """The settings of `evaluate`, as ``evaluation.json`` records them.

    The preset ``paper`` takes the rarest tenth by the minority score as the tail.

    Attributes:
        n: judge the first ``n`` images, against as many plain ones. Default: all.
        downstream: also train classifiers of the labels: with nothing more, with the cheap
            remedies for rare labels, and with the accepted images; and say which pays.
        seeds: trainings of each classifier in each way, at least 3.
        features: the features that images are judged by: ``auto``, ``inception``, ``run`` (the
            run's embedding), a file with the Inception weights of FID, or an embedding such as
            ``torchvision:resnet18``. ``auto`` takes others than those that guided where there are
            any; see `feature_spaces`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        resume: use the plain images of an earlier evaluation.
    """

    n: int | None = None
    downstream: bool = False
    seeds: int = 5
    features: str = "auto"
    device: str = "auto"
    resume: bool = True


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        run: the generation that was judged.
        table: one row per reference, set and metric, as `metric_table.judge` returns it; the sets
            are ``real``, ``ddpm``, ``guided``, ``accepted`` (guided, without those that the gate
            rejected) and ``ddpm-as-accepted``.
        verdict: what it means.
        downstream: classifiers trained in several ways; None unless asked for.
        advice: what they say to do about the rare labels.
        page: ``evaluation.html``.
    """

    run: Run
    table: pd.DataFrame
    verdict: Verdict
    downstream: Downstream | None
    advice: Advice | None
    page: Path

    def __repr__(self) -> str:
        return f"<Evaluation of {self.run.key}: {self.verdict.headline}>"


def evaluate(
    run: AnyRun = None,
    settings: EvaluateSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Evaluation:
    """Judge the images of a generation, and write ``evaluation.html``, ``.csv`` and ``.json``.

    Args:
        run: the generation (`find_run`). Default: the last one.
        settings: see `EvaluateSettings`.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings, in place of those in ``settings``.

    Raises:
        UserError: the images cannot be judged; the message says what to do.
        StoppedError: Ctrl-C; the same call goes on.
    """
    reporter = choose_reporter(reporter, progress)
    settings = replace(settings or EvaluateSettings(), **changes)
    generation = find_run(run, kind=store.AUGMENT)
    frame = _judged(generation, settings.n)
    by = str(generation.record["settings"].get("by", "rarity"))
    base = guided_by(reference.open_base(base_of(generation)), by)
    own_vectors.refuse_generated(base.run)
    if len(base.frame) <= LEAST:
        raise UserError(f"Run {base.run.key} has {len(base.frame)} images, too few to judge by.")
    new_files.warn_of_changes(base.run, "It is judged by the labels of the run.", reporter)
    trial = None
    if settings.downstream:
        mined = images_now.mined_now(base.run, reporter)
        trial = Trial(base, frame, generation.record["settings"], settings.seeds, mined)
    device = choose_device(settings.device)
    with digests.held(generation):
        if not settings.resume:
            shutil.rmtree(generation.path / baseline.FOLDER, ignore_errors=True)
        scorer = reference.scorer_of(base.run, device)
        base = joining.at_score_size(base, scorer, reporter=reporter)
        judge = choose_judge(settings, base, scorer, by, device, reporter)
        plain, plain_vectors = baseline.make(generation, base, scorer, len(frame), device, reporter)
        vectors = np.load(generation.path / schema.VECTORS, allow_pickle=False)[: len(frame)]
        real = judge.extractor.features(base, regions.places(base.frame), base.vectors, reporter)
        compared = {
            name: ImageSet(f, judge.extractor.features(base, f["path"].tolist(), v, reporter))
            for name, f, v in (("ddpm", plain, plain_vectors), ("guided", frame, vectors))
        }
        tail = image_sets.find_tail(base, real, judge, by_minority_score=settings.paper)
        table = image_sets.judge_all(base, real, compared, judge, tail, reporter)
        verdict = conclude(
            table, int(frame["accepted"].sum()), len(frame), baseline.cause(generation)
        )
        trained = trial.run(base, vectors, scorer, reporter) if trial else None
        advice = training_advice.advise(trained)[0] if trained else None
        drawn = draw(generation.path, base, real, compared, judge, tail)
        drawn |= _draw_levels(generation, base)
        facts = facts_of(base, compared, judge, tail, settings)
        facts |= _generation_facts(generation, by, trial)
        _write(generation, table, verdict, trained, advice, facts)
        page = evaluation_page.write_page(
            generation, base.run, table, verdict, trained, facts, drawn
        )
    return Evaluation(generation, table, verdict, trained, advice, page)


def choose_judge(
    settings: EvaluateSettings,
    base: Base,
    scorer: Scorer,
    by: str | None,
    device: str,
    reporter: Reporter,
) -> Judge:
    """The features that judge; see `feature_spaces.choose`."""
    judge = feature_spaces.choose(settings.features, base, scorer, by, device, reporter)
    if settings.paper and settings.features == feature_spaces.AUTO and not judge.space.inception:
        reporter.warn(
            f"The paper measures in features of Inception, which are not here: {judge.space.name} "
            "judges. `mincurate evaluate --features FILE` takes the Inception weights of FID."
        )
    return judge


def _judged(generation: Run, n: int | None) -> pd.DataFrame:
    """The generated images that are judged.

    Raises:
        UserError: they are too few.
    """
    frame = augment.table(generation)
    size = len(frame) if n is None else n
    if not LEAST <= size <= len(frame):
        raise UserError(
            f"Run {generation.key} has {len(frame):,} images, of which {size:,} cannot be judged; "
            f"it takes {LEAST} at least."
        )
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


def draw(
    folder: Path,
    base: Base,
    real: Features,
    compared: Mapping[str, ImageSet],
    judge: Judge,
    tail: Tail,
) -> dict[str, Path]:
    """Write the figures of some sets into ``folder/figures``, and return where they are."""
    rarity = {"real": metrics.rarity(real.vectors)}
    rarity |= {
        name: metrics.rarity(real.vectors, images.features.vectors)
        for name, images in compared.items()
    }
    rng = np.random.default_rng(0)
    sample = rng.permutation(len(base.frame))[:SHOWN]
    rare = rng.permutation(tail.rows)[:SHOWN]
    pictures = {
        "real": _pictures(base, base.frame.iloc[sample]),
        "rarest real": _pictures(base, base.frame.iloc[rare]),
    }
    pictures |= {
        name: _pictures(base, images.frame.head(SHOWN)) for name, images in compared.items()
    }
    space = judge.space.name
    return _save(
        folder,
        rarity=evaluation_figures.rarity_plot(rarity, feature_space=space),
        grids=evaluation_figures.grids(pictures, CAPTIONS),
    )


def _draw_levels(generation: Run, base: Base) -> dict[str, Path]:
    """The figure of the classifier that guided, if one did."""
    levels = (generation.record.get("guidance") or {}).get("levels") or []
    if not levels:
        return {}
    figure = evaluation_figures.levels_plot(levels, base.num_classes)
    return _save(generation.path, levels=figure)


def _save(folder: Path, **figures: Figure) -> dict[str, Path]:
    (folder / "figures").mkdir(exist_ok=True)
    paths = {name: folder / "figures" / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        evaluation_figures.save(figure, paths[name])
    return paths


def _pictures(base: Base, frame: pd.DataFrame) -> list[Picture]:
    files: list[Item] = [(path, path) for path in frame["path"]]
    batches = base.reading(base.size, SHOWN, workers=1).batches(files)
    return [p.transpose(1, 2, 0) for _, pixels, _ in batches for p in pixels]


def facts_of(
    base: Base,
    compared: Mapping[str, ImageSet],
    judge: Judge,
    tail: Tail,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """What was compared, and how: the head of ``evaluation.json``."""
    space = judge.space
    return {
        "base": base.run.key,
        "base_identity": gather.identity(base.run),
        "source": base.run.record.get("source"),
        "n": max(len(images.frame) for images in compared.values()),
        "n_real": len(base.frame),
        "sets": {name: {"n": len(images.frame)} for name, images in compared.items()},
        "feature_space": space.name,
        "spatial_feature_space": space.spatial,
        "image_size": base.size,
        "guided_by": judge.guided_by,
        "circular": judge.circular,
        "tail": {"n": len(tail.rows), "ranked_by": tail.ranked_by},
        "intervals": {
            "level": 0.95,
            "bootstrap": RESAMPLES,
            "jackknife": SUBSETS,
            "seed": int(base.run.record["settings"]["seed"]),
        },
        "evaluate_settings": asdict(settings),
        "version": version("mincurate"),
    }


def _generation_facts(generation: Run, by: str, trial: Trial | None) -> dict[str, Any]:
    """What sets a generation and its baseline apart."""
    settings, model = generation.record["settings"], generation.record["model"]
    alike = {key: settings.get(key) for key in ("solver", "steps", "seed", "first")}
    alike |= {"model": model["name"], "model_hash": model["hash"]}
    start = "the same real images" if baseline.same_start(generation) else "noise"
    facts: dict[str, Any] = {
        "run": generation.key,
        "by": by,
        "settings": settings,
        "plain_start": start,
        "made": {
            "guided": alike
            | {key: settings.get(key) for key in ("sampler", "guidance_scale", "init", "strength")}
            | {"folder": str(generation.path)},
            "ddpm": alike
            | {"sampler": "ddpm", "start": start, "folder": str(generation.path / baseline.FOLDER)},
        },
    }
    if trial is not None:
        facts["downstream"] = {
            "seeds": trial.seeds,
            "steps": trial.steps(),
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
    trained: Downstream | None,
    advice: Advice | None,
    facts: dict[str, Any],
) -> None:
    content = facts | {"verdict": asdict(verdict)}
    if trained is not None and advice is not None:
        content["downstream"] = facts["downstream"] | {
            "advice": asdict(advice),
            "weight": next(o.weight for o in trained.outcomes if o.student == advice.student),
            "labels": trained.labels.to_dict("records"),
            "table": trained.table.to_dict("records"),
        }
    write(generation.path, table, content)


def write(folder: Path, table: pd.DataFrame, content: dict[str, Any]) -> None:
    """``evaluation.csv`` and ``evaluation.json``: the table, and what was compared."""
    run_files.write_atomically(folder / schema.EVALUATION_CSV, table.to_csv(index=False).encode())
    content = content | {"metrics": table.to_dict("records"), "finished": store.now()}
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    run_files.write_atomically(folder / schema.EVALUATION, text.encode())


def _plain(value: Any) -> Any:
    """For JSON: numbers of numpy as those of Python; NaN and infinity as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
