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
import torch
from numpy.typing import NDArray

from mincurate import (
    augmentation,
    baseline,
    curated,
    downstream,
    joining,
    judging,
    metrics,
    runs,
    seals,
)
from mincurate import collection as collections
from mincurate import evaluation_figures as pictures
from mincurate import evaluation_page as pages
from mincurate.denoiser import to_tensor
from mincurate.device import choose_device
from mincurate.downstream import Downstream
from mincurate.errors import UserError
from mincurate.figures import Picture
from mincurate.joining import Base
from mincurate.metrics import Vectors
from mincurate.progress import SILENT, Reporter
from mincurate.runs import Run
from mincurate.scoring import Scorer
from mincurate.trial import Trial
from mincurate.verdict import Verdict, conclude

LEAST = 6
"""Images without which a set cannot be judged (the neighbours of `metrics.COVERAGE_K`, and one)."""
SHOWN = 24
"""Pictures of every set that the page shows."""
SPATIAL_SIDE = 4
"""The spatial FID looks at the deepest layer with so many positions on a side."""
EQUAL = pages.EQUAL
"""The plain images, cut to the number of accepted ones: for what depends on the number."""
READINGS = {
    "minority_score": "higher is rarer",
    "rarity_percentile": "higher is rarer; real images have 0.5",
    "in_rarest_tenth": "higher is rarer; real images have 0.1",
}
"""Figures from the run's own ranking, beside those of `judging.READINGS`."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` leaves.

    Attributes:
        run: the generation that was judged.
        table: one row per reference, set and metric, as `judging.judge` gives it and with
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


@dataclass(frozen=True, eq=False)
class _Set:
    """Images that were made: their table, embeddings, and features for the spatial FID."""

    frame: pd.DataFrame
    vectors: Vectors
    spatial: Vectors


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
    made = run if isinstance(run, Run) else runs.find(run, kind=runs.AUGMENT)
    frame = augmentation.table(made)
    size = len(frame) if n is None else n
    if not LEAST <= size <= len(frame):
        raise UserError(
            f"Run {made.key} has {len(frame):,} images, of which {size:,} cannot be judged; it "
            f"takes {LEAST} at least."
        )
    base = joining.open_base(base_of(made))
    if len(base.frame) <= LEAST:
        raise UserError(f"Run {base.run.key} has {len(base.frame)} images, too few to judge by.")
    frame = frame.head(size).reset_index(drop=True)
    trial = Trial(base, frame, made.record["settings"], seeds) if downstream else None
    device = choose_device(device)
    with seals.held(made):
        if not resume:
            shutil.rmtree(made.path / baseline.FOLDER, ignore_errors=True)
        scorer = joining.scorer_of(base.run, device)
        plain_frame, plain_vectors = baseline.make(made, base, scorer, size, device, reporter)
        vectors = np.load(made.path / augmentation.VECTORS, allow_pickle=False)[:size]
        known, where = spatial_features(scorer, base, base.frame["path"].tolist(), reporter)
        guided, ddpm = (
            _Set(f, v, spatial_features(scorer, base, f["path"].tolist(), reporter)[0])
            for f, v in ((frame, vectors), (plain_frame, plain_vectors))
        )
        table = judge(base, known, guided, ddpm, reporter)
        told = conclude(table, int(frame["accepted"].sum()), size, baseline.cause(made))
        compared = trial.run(device, reporter) if trial else None
        drawn = _draw(made, base, guided, ddpm)
        facts = _facts(made, base, size, where, trial)
        _write(made, table, told, compared, facts)
        page = pages.write_page(made, base.run, table, told, compared, facts, drawn)
    return Evaluation(made, table, told, compared, page)


def base_of(made: Run) -> Run:
    """The scored run that images were generated for.

    Raises:
        UserError: it is gone, or was scored again in another way.
    """
    record = made.record
    place = Path(str(record.get("base_path")))
    base = Run(place) if (place / runs.RECORD).is_file() else runs.find(str(record.get("base")))
    if record.get("base_identity") != curated.identity(base):
        raise UserError(
            f"Run {base.key} was scored or ranked again in another way since {made.key} was made "
            "for it; generate anew."
        )
    return base


def spatial_features(
    scorer: Scorer, base: Base, paths: list[str], reporter: Reporter = SILENT
) -> tuple[Vectors, str]:
    """Features for the spatial FID, from a spatial layer of the score's own perceptual network.

    Returns:
        ``(N, d)``, and what they are.
    """
    parts, where = [], ""
    batches = collections.read_batches(
        [(path, path) for path in paths], size=base.size, fit=base.fit, batch_size=128, workers=2
    )
    with reporter.task("Spatial features", len(paths)) as advance:
        for _, pixels, bad in batches:
            if bad:
                path, reason = next(iter(bad.items()))
                raise UserError(f"{path} cannot be read any more: {reason}.")
            with torch.inference_mode():
                maps = scorer.perceptual.trunk(to_tensor(pixels, scorer.denoiser.device))
            wide = [i for i, m in enumerate(maps) if min(m.shape[2:]) >= SPATIAL_SIDE]
            layer = wide[-1] if wide else 0
            chosen = maps[layer].float().cpu().numpy()
            h, w = chosen.shape[2:]
            where = f"{scorer.perceptual.name}, layer {layer + 1} of {len(maps)} at {h} x {w}"
            parts.append(metrics.spatial_vectors(chosen))
            advance(len(pixels))
    return np.concatenate(parts), where


def judge(
    base: Base, spatial: Vectors, guided: _Set, ddpm: _Set, reporter: Reporter = SILENT
) -> pd.DataFrame:
    """The table of an `Evaluation`.

    Args:
        spatial: spatial features of the images of ``base``.
    """
    tail = rarest_tenth(base)
    accepted = guided.frame["accepted"].to_numpy(bool)
    few = LEAST <= int(accepted.sum()) < len(accepted)
    references = 2 if len(tail) >= LEAST else 1
    if references == 1:
        reporter.warn(
            f"The rarest tenth of run {base.run.key} has {len(tail)} images, too few to judge by."
        )
    space = f"{base.run.record['embedding']} at {base.size} px"
    seed = int(base.run.record["settings"]["seed"])

    def compare(sets: dict[str, _Set]) -> pd.DataFrame:
        return judging.judge(
            base.vectors,
            {name: made.vectors for name, made in sets.items()},
            feature_space=space,
            tail=tail if references == 2 else None,
            spatial_real=spatial,
            spatial_generated={name: made.spatial for name, made in sets.items()},
            seed=seed,
            advance=advance,
        )

    with reporter.task("Judging", references * (3 + 3 * few), "sets") as advance:
        parts = [compare({"ddpm": ddpm, "guided": guided})]
        if few:
            fit = _Set(guided.frame[accepted], guided.vectors[accepted], guided.spatial[accepted])
            both = compare({"accepted": fit, EQUAL: ddpm})
            parts.append(both[both["set"] != "real"])
    if accepted.all():
        parts.append(parts[0][parts[0]["set"] == "guided"].assign(set="accepted"))
    sets = {"real": base.frame, "ddpm": ddpm.frame, "guided": guided.frame}
    if accepted.any():
        sets["accepted"] = guided.frame[accepted]
    record = base.run.record
    distance = f"{record.get('perceptual') or record['settings']['perceptual']} at {base.size} px"
    parts.append(_ranks(sets, len(base.frame), distance, seed))
    return pd.concat(parts, ignore_index=True)


def rarest_tenth(base: Base) -> NDArray[np.int64]:
    """Rows of ``base`` that rank among the rarest tenth, at least one."""
    values = base.frame[base.column].to_numpy(np.float64)
    n = max(1, round(len(values) / 10))
    return np.sort(np.argsort(-values, kind="stable")[:n])


def _ranks(sets: dict[str, pd.DataFrame], n_real: int, space: str, seed: int) -> pd.DataFrame:
    rows = []
    for name, frame in sets.items():
        rarity = frame["rarity"].to_numpy(np.float64)
        values = {
            "minority_score": frame["minority_score"].to_numpy(np.float64),
            "rarity_percentile": rarity,
            "in_rarest_tenth": np.where(np.isnan(rarity), np.nan, rarity >= 0.9),
        }
        for metric, found in values.items():
            value, low, high = metrics.interval(found, seed=seed)
            rows.append(
                {
                    "reference": "all",
                    "set": name,
                    "metric": metric,
                    "value": value,
                    "low": low,
                    "high": high,
                    "reading": READINGS[metric],
                    "n_real": n_real,
                    "n": len(frame),
                    "feature_space": space,
                }
            )
    return pd.DataFrame(rows)


def _draw(made: Run, base: Base, guided: _Set, ddpm: _Set) -> dict[str, Path]:
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
    rare = rng.permutation(rarest_tenth(base))[:SHOWN]
    shown = {
        "real": (_pictures(base, base.frame.iloc[some]), "at random"),
        "rarest real": (_pictures(base, base.frame.iloc[rare]), "at random, of the rarest tenth"),
        "ddpm": (_pictures(base, ddpm.frame.head(SHOWN)), "plain, the first ones"),
        "guided": (_pictures(base, guided.frame.head(SHOWN)), "the same seeds"),
    }
    figures = {
        "rarity": pictures.rarity_plot(scores, feature_space=space),
        "grids": pictures.grids(
            {name: found for name, (found, _) in shown.items()},
            {name: words for name, (_, words) in shown.items()},
        ),
    }
    levels = (made.record.get("guidance") or {}).get("levels") or []
    if levels:
        figures["levels"] = pictures.levels_plot(levels, base.num_classes)
    for name, figure in figures.items():
        pictures.save(figure, folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in figures}


def _pictures(base: Base, frame: pd.DataFrame) -> list[Picture]:
    files = [(path, path) for path in frame["path"]]
    batches = collections.read_batches(
        files, size=base.size, fit=base.fit, batch_size=SHOWN, workers=1
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
            "steps": downstream.STEPS,
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
    runs.write_atomically(made.path / "evaluation.csv", table.to_csv(index=False).encode())
    content = facts | {"verdict": asdict(told), "metrics": table.to_dict("records")}
    if compared is not None:
        content["downstream"] = facts["downstream"] | {
            "classes": compared.classes.to_dict("records"),
            "groups": compared.groups.to_dict("records"),
        }
    text = json.dumps(_plain(content | {"finished": runs.now()}), indent=1, allow_nan=False)
    runs.write_atomically(made.path / "evaluation.json", text.encode())


def _plain(value: Any) -> Any:
    """For JSON: numbers of numpy as those of Python, and NaN, which JSON has not, as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
