"""The HTML page of an evaluation, self-contained like the report."""

import base64
import math
from collections.abc import Iterable
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from mincurate.evaluation import training_advice
from mincurate.evaluation.classifier_trial import Downstream
from mincurate.evaluation.image_sets import EQUAL
from mincurate.evaluation.verdict import Verdict, look_up
from mincurate.runs import atomic_files, command, schema
from mincurate.runs.store import Run
from mincurate.text import short, visible

SETS = {
    "real": "real",
    "ddpm": "ddpm (plain)",
    "guided": "guided",
    "accepted": "guided, accepted",
}
FRECHET = ("fid", "sfid", "frechet_distance", "spatial_frechet_distance")
NUMBERED = ("recall", "coverage", *FRECHET)
"""Metrics that depend on the number of images: compare only sets of one size."""
SHARES = ("in_rarest_tenth", "off_manifold", "near_copies", "closer_than_real")
NAMES = {
    "minority_score": ("minority score", "how badly the run's model reconstructs an image"),
    "rarity_percentile": ("rarity", "where it ranks among the real images, 0 to 1"),
    "in_rarest_tenth": ("in the rarest tenth", "share that ranks with the rarest real tenth"),
    "avg_knn": ("AvgkNN", "mean distance to the 5 nearest real images"),
    "lof": ("LOF", "local outlier factor; 1 is inside"),
    "rarity": ("rarity score", "smallest real ball it lies in; those off the manifold left out"),
    "off_manifold": ("off the manifold", "share that lies in no real ball"),
    "precision": ("precision", "share that lies in a real ball"),
    "recall": ("recall", "share of real images in a ball of theirs"),
    "density": ("density", "real balls an image lies in, of 5"),
    "coverage": ("coverage", "share of real images with one in their ball"),
    "fid": ("FID", "distance of the distributions, in Inception's features"),
    "sfid": ("sFID", "the same in Inception features that know places"),
    "frechet_distance": ("Fréchet distance", "distance of the distributions, in these features"),
    "spatial_frechet_distance": ("spatial Fréchet", "the same in features that know places"),
    "nearest_distance": ("nearest real image", "distance to it"),
    "near_copies": ("near copies", "share as near to a real image as 1 % of those are"),
    "closer_than_real": ("closer than real", "share nearer to its neighbour than that to its own"),
}
"""Metric to its name and meaning, in the order of the page."""
TAIL = ("precision", "recall", "density", "coverage", *FRECHET, "avg_knn")
"""Metrics that are also shown against the rarest tenth."""


def rows(
    table: pd.DataFrame, reference: str = "all", sets: Iterable[str] = SETS
) -> list[dict[str, Any]]:
    """The rows of the page's tables: one per metric, with a cell per set.

    A cell holds ``text`` and ``interval``, both empty where there is no number, and ``note``.
    """
    shown = []
    for metric, (name, what) in NAMES.items():
        if reference == "tail" and metric not in TAIL:
            continue
        cells = [_cell(table, key, metric, reference) for key in sets]
        if not any(cell["text"] for cell in cells):
            continue
        reading = str(table.loc[table["metric"] == metric, "reading"].iloc[0])
        shown.append(
            {"metric": metric, "name": name, "what": what, "cells": cells, "reading": reading}
        )
    return shown


def write_page(
    generation: Run,
    base: Run,
    table: pd.DataFrame,
    verdict: Verdict,
    compared: Downstream | None,
    facts: dict[str, Any],
    drawn: dict[str, Path],
) -> Path:
    """Write ``evaluation.html`` of a generation, and return its path.

    Args:
        base: the scored run.
        facts: what was compared, as ``evaluation.json`` has it.
        drawn: the figures, by name.
    """
    page = _render(
        "evaluation.html.j2",
        SETS,
        table,
        facts,
        drawn,
        base,
        key=generation.key,
        record=generation.record,
        verdict=verdict,
        compared=None if compared is None else _compared(compared),
        labels=None if compared is None else compared.labels.to_dict("records"),
        advice=None if compared is None else training_advice.advise(compared),
        again=command.quoted(
            "mincurate", "evaluate", generation.key, *(["--downstream"] if compared else [])
        ),
    )
    path = generation.path / schema.EVALUATION_PAGE
    atomic_files.write_atomically(path, page.encode())
    return path


def write_folders_page(
    folder: Path, base: Run, table: pd.DataFrame, facts: dict[str, Any], drawn: dict[str, Path]
) -> Path:
    """Write ``evaluation.html`` of folders that were judged into ``folder``; arguments as above."""
    sets = {name: name for name in ("real", *facts["sets"])}
    page = _render("evaluation_folders.html.j2", sets, table, facts, drawn, base)
    path = folder / schema.EVALUATION_PAGE
    atomic_files.write_atomically(path, page.encode())
    return path


def _render(
    template: str,
    sets: dict[str, str],
    table: pd.DataFrame,
    facts: dict[str, Any],
    drawn: dict[str, Path],
    base: Run,
    **values: Any,
) -> str:
    """A page with the tables of all measures.

    Args:
        sets: the sets in the table to their names on the page.
    """
    environment = Environment(
        loader=PackageLoader("mincurate.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["short"] = short
    environment.filters["date"] = _date
    style = (
        resources.files("mincurate.report").joinpath("templates", "report.css").read_text("utf-8")
    )
    present = set(table["metric"])
    frechet, spatial = (
        next((NAMES[name][0] for name in names if name in present), "")
        for names in (("fid", "frechet_distance"), ("sfid", "spatial_frechet_distance"))
    )
    return environment.get_template(template).render(
        style=Markup(style),
        base_key=base.key,
        source=str((base.record.get("source") or {}).get("value") or ""),
        facts=facts,
        names={"frechet": frechet, "spatial": spatial},
        sets=list(sets.values()),
        numbers={
            reference: {name: _n(table, key, reference) for key, name in sets.items()}
            for reference in ("all", "tail")
        },
        whole=rows(table, sets=sets),
        tail=rows(table, "tail", sets),
        pictures={name: _picture(path) for name, path in drawn.items()},
        **values,
    )


def number(value: float, metric: str) -> str:
    """A value of a metric as it is shown; empty for none."""
    if not math.isfinite(value):
        return ""
    return f"{100 * value:.1f}%" if metric in SHARES else f"{value:.3g}"


def _cell(table: pd.DataFrame, key: str, metric: str, reference: str) -> dict[str, str]:
    value, low, high = look_up(table, key, metric, reference)
    note = ""
    if key == "accepted" and metric in NUMBERED:
        plain = number(look_up(table, EQUAL, metric, reference)[0], metric)
        note = f"ddpm at this number: {plain}" if plain else ""
    text = number(value, metric)
    interval = f"{number(low, metric)}–{number(high, metric)}" if text else ""
    return {"text": text, "interval": interval, "note": note}


def _n(table: pd.DataFrame, key: str, reference: str) -> int:
    numbers = table.loc[(table["set"] == key) & (table["reference"] == reference), "n"]
    return int(numbers.iloc[0]) if len(numbers) else 0


def _compared(compared: Downstream) -> list[dict[str, Any]]:
    """A table per student: a row per arm and group of labels, or label."""
    tables = []
    for student, part in compared.table.groupby("student", sort=False):
        rows = part.to_dict("records")
        for row in rows:
            low, high = row["change_low"], row["change_high"]
            row["tone"] = "good" if low > 0 else "poor" if high < 0 else ""
        kinds = {kind: [r for r in rows if r["kind"] == kind] for kind in ("group", "label")}
        tables.append({"student": student, **kinds})
    return tables


def _picture(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _date(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(text or "")
