"""Did it help? Guided images against plain ones of the same model, seeds and number, and both
against the real ones (method, section 5).
"""

import json
import math
import shutil
from dataclasses import asdict, dataclass
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
from mincurate.pipelines import augment
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import reference
from mincurate.ranking.reference import Base
from mincurate.report import evaluation_figures, evaluation_page
from mincurate.report.figures import Picture
from mincurate.runs import digests, schema, store
from mincurate.runs import files as run_files
from mincurate.runs.store import Run

SHOWN = 24
"""Pictures of every set that the page shows."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` leaves.

    Attributes:
        run: the generation that was judged.
        table: one row per reference, set and metric, as `metric_table.judge` gives it and with
            `READINGS`; the sets are ``real``, ``ddpm``, ``guided``, ``accepted`` (guided, without
            what the gate sent back) and ``ddpm-as-accepted``.
        verdict: what it means.
        downstream: a classifier without the accepted images, with copies of real ones in their
            place, and with them, where it was asked for.
        page: ``evaluation.html``.
    """

    run: Run
    table: pd.DataFrame
    verdict: Verdict
    downstream: Downstream | None
    page: Path


def evaluate(
    run: str | Run | None = None,
    *,
    n: int | None = None,
    downstream: bool = False,
    seeds: int = 3,
    device: str = "auto",
    resume: bool = True,
    reporter: Reporter = SILENT,
) -> Evaluation:
    """Judge the images of a generation, and write ``evaluation.html``, ``.csv`` and ``.json``.

    Args:
        run: the generation or its key; the last one when absent.
        n: judge the first ``n`` images only, against as many plain ones; all when absent.
        downstream: also train a classifier of the labels without and with the accepted images,
            and with as many copies of real ones.
        seeds: trainings of that classifier, at least 3.
        resume: use the plain images that are there from before.

    Raises:
        UserError: something the user can mend.
        StoppedError: Ctrl-C; the same call goes on.
    """
    made = run if isinstance(run, Run) else store.find(run, kind=store.AUGMENT)
    frame = augment.table(made)
    size = len(frame) if n is None else n
    if not LEAST <= size <= len(frame):
        raise UserError(
            f"Run {made.key} has {len(frame):,} images, of which {size:,} cannot be judged; it "
            f"takes {LEAST} at least."
        )
    base = reference.open_base(base_of(made))
    if len(base.frame) <= LEAST:
        raise UserError(f"Run {base.run.key} has {len(base.frame)} images, too few to judge by.")
    frame = frame.head(size).reset_index(drop=True)
    trial = Trial(base, frame, made.record["settings"], seeds) if downstream else None
    device = choose_device(device)
    with digests.held(made):
        if not resume:
            shutil.rmtree(made.path / baseline.FOLDER, ignore_errors=True)
        scorer = reference.scorer_of(base.run, device)
        plain_frame, plain_vectors = baseline.make(made, base, scorer, size, device, reporter)
        vectors = np.load(made.path / schema.VECTORS, allow_pickle=False)[:size]
        known, where = sets.spatial_features(scorer, base, base.frame["path"].tolist(), reporter)
        guided, ddpm = (
            ImageSet(f, v, sets.spatial_features(scorer, base, f["path"].tolist(), reporter)[0])
            for f, v in ((frame, vectors), (plain_frame, plain_vectors))
        )
        table = sets.judge(base, known, guided, ddpm, reporter)
        told = conclude(table, int(frame["accepted"].sum()), size, baseline.cause(made))
        compared = trial.run(device, reporter) if trial else None
        drawn = _draw(made, base, guided, ddpm)
        facts = _facts(made, base, size, where, trial)
        _write(made, table, told, compared, facts)
        page = evaluation_page.write_page(made, base.run, table, told, compared, facts, drawn)
    return Evaluation(made, table, told, compared, page)


def base_of(made: Run) -> Run:
    """The scored run that images were generated for.

    Raises:
        UserError: it is gone, or was scored again in another way.
    """
    record = made.record
    place = Path(str(record.get("base_path")))
    key = str(record.get("base"))
    if not (place / schema.RECORD).is_file() and key not in {run.key for run in store.all_runs()}:
        raise UserError(
            f"The scored run {key}, for which {made.key} was generated, was deleted: score and "
            "generate again."
        )
    base = Run(place) if (place / schema.RECORD).is_file() else store.find(key)
    if record.get("base_identity") != gather.identity(base):
        raise UserError(
            f"Run {base.key} was scored or ranked again in another way since {made.key} was made "
            "for it; generate anew."
        )
    return base


def _draw(made: Run, base: Base, guided: ImageSet, ddpm: ImageSet) -> dict[str, Path]:
    """Write the figures, and return where they are."""
    folder = made.path / "figures"
    folder.mkdir(exist_ok=True)
    space = str(base.run.record["embedding"])
    scores = {"real": metrics.rarity(base.vectors)}
    scores |= {
        name: metrics.rarity(base.vectors, found.vectors)
        for name, found in (("ddpm", ddpm), ("guided", guided))
    }
    rng = np.random.default_rng(0)
    some = rng.permutation(len(base.frame))[:SHOWN]
    rare = rng.permutation(sets.rarest_tenth(base))[:SHOWN]
    shown = {
        "real": (_pictures(base, base.frame.iloc[some]), "at random"),
        "rarest real": (_pictures(base, base.frame.iloc[rare]), "at random, of the rarest tenth"),
        "ddpm": (_pictures(base, ddpm.frame.head(SHOWN)), "plain, the first ones"),
        "guided": (_pictures(base, guided.frame.head(SHOWN)), "the same seeds"),
    }
    figures = {
        "rarity": evaluation_figures.rarity_plot(scores, feature_space=space),
        "grids": evaluation_figures.grids(
            {name: found for name, (found, _) in shown.items()},
            {name: words for name, (_, words) in shown.items()},
        ),
    }
    levels = (made.record.get("guidance") or {}).get("levels") or []
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


def _facts(made: Run, base: Base, n: int, where: str, trial: Trial | None) -> dict[str, Any]:
    """What the numbers are about."""
    facts = {
        "run": made.key,
        "base": base.run.key,
        "n": n,
        "n_real": len(base.frame),
        "feature_space": f"{base.run.record['embedding']} at {base.size} px",
        "spatial_feature_space": where,
        "settings": made.record["settings"],
        "plain_start": "the same real images" if baseline.same_start(made) else "noise",
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
    made: Run,
    table: pd.DataFrame,
    told: Verdict,
    compared: Downstream | None,
    facts: dict[str, Any],
) -> None:
    """``evaluation.csv`` and ``evaluation.json``."""
    run_files.write_atomically(made.path / "evaluation.csv", table.to_csv(index=False).encode())
    content = facts | {"verdict": asdict(told), "metrics": table.to_dict("records")}
    if compared is not None:
        content["downstream"] = facts["downstream"] | {
            "classes": compared.classes.to_dict("records"),
            "groups": compared.groups.to_dict("records"),
        }
    text = json.dumps(_plain(content | {"finished": store.now()}), indent=1, allow_nan=False)
    run_files.write_atomically(made.path / "evaluation.json", text.encode())


def _plain(value: Any) -> Any:
    """For JSON: numbers of numpy as those of Python, and NaN, which JSON has not, as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
