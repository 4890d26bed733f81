"""The report: one self-contained HTML page about a run, for readers new to mincurate.

File names, labels and reasons are untrusted: the template escapes everything, invisible characters
are spelled out (`visible`), and the page's content policy forbids it to load anything and to run
any script but its own.
"""

import base64
from datetime import datetime
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.images.bit_depth import Rendering
from mincurate.ranking import classes as ordinal
from mincurate.ranking import rare_labels, rarity_kind, tail_groups
from mincurate.ranking import tail as tails
from mincurate.ranking.classes import RANKINGS
from mincurate.report import (
    contact_sheets,
    diagnostics_text,
    evaluation_figures,
    figures,
    hover_map,
)
from mincurate.runs import atomic_files, command, schema
from mincurate.runs.store import Run
from mincurate.text import short, visible

LISTED = 500
"""Unscorable files that are listed by name, at most."""
GROUPS, COPIES = 100, 10
"""Groups of duplicates that are listed, and copies named in each, at most."""
KINDS, TYPICAL = 12, 7
"""Kinds of rare images that are shown, and images of each, at most."""
LABELS = 200
"""Labels in the table, at most."""
LEANS = 1.5
"""A label leans to the tail from this multiple of the usual share in the rarest class."""
COLUMNS = 20
"""Class columns of the label table, at most; more classes share columns."""


def write_report(run: Run) -> Path:
    """Write ``report.html`` and the figures of a run, and return the page's path.

    Raises:
        UserError: the run has no table of scores yet.
    """
    frame, record = run.frame(), run.record
    settings = record.get("settings") or {}
    rank_by = str(record.get("rank_by") or settings.get("rank_by") or "minority")
    num_classes = int(record.get("num_classes") or settings.get("num_classes") or 10)
    within_label = bool(settings.get("within_label")) and bool(frame["label"].notna().any())
    column = ordinal.ranking_column(record, frame.columns)
    ranked = ordinal.rarest_first(frame, column)
    rendering = Rendering.of_record(record.get("rendering"))
    first, last = figures.ends(ranked)
    drawn = figures.thumbnails(pd.concat([first, last]), figures.TILE, rendering=rendering)
    most, least = drawn[: len(first)], drawn[len(first) :]
    figures.write_figures(
        run, ranked, most=most, least=least, num_classes=num_classes, column=column
    )
    classes = np.array(ranked["rarity_class"].fillna(-1), np.int64)
    edges = record.get("class_edges") or []
    # Ranked within labels, every label fills every class: the classes of the whole set tell which
    # labels are rare.
    tail = classes
    if within_label:
        tail = ordinal.ordinal_classes(ranked[RANKINGS[rank_by]], num_classes)
    model = record.get("model") or {}
    style, script = (_text(name) for name in ("report.css", "map.js"))
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            style=Markup(style),
            script=Markup(script),
            script_hash=hashing.script_hash(script),
            title=_title(record),
            one=run.noun[:-1],
            many=run.noun,
            pictures=frame["path"].nunique(),
            key=run.key,
            record=record,
            settings=settings,
            counts=_counts(frame, ranked),
            facts=_facts(record, settings),
            rank_by=rank_by,
            scored=bool(ranked["minority_score"].notna().any()),
            leans=LEANS,
            within_label=within_label,
            which_ranks=rare_labels.which_ranks(record),
            column=column.replace("_", " "),
            num_classes=num_classes,
            colors=figures.class_colors(num_classes),
            **contact_sheets.sheets(ranked, most, least, column),
            histogram=_histogram(ranked[column], classes, edges, num_classes),
            pairs=contact_sheets.pairs(run, ranked),
            points=hover_map.points(
                ranked, narrow=record.get("map_method") == "umap", rendering=rendering
            ),
            **_kinds(run, frame),
            labels=_labels(ranked["label"], tail, num_classes),
            duplicates=_duplicates(frame),
            unscorable=_by_reason(frame[frame["status"] != "ok"], "reason"),
            warned=_by_reason(frame[frame["status"] == "ok"].dropna(subset="warning"), "warning")
            if "warning" in frame
            else None,
            guidance=_guidance(run),
            diagnostics=diagnostics_text.diagnostics(record.get("diagnostics") or {}),
            curve=diagnostics_text.curve(model.get("curve") or []),
            command=command.command(run),
            launch=command.quoted("mincurate", "launch", str(record.get("dataset") or "")),
        )
    )
    path = run.path / schema.REPORT
    atomic_files.write_atomically(path, page.encode())
    return path


def _text(template: str) -> str:
    return resources.files("mincurate.report").joinpath("templates", template).read_text("utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mincurate.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["short"] = short
    environment.filters["date"] = _date
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def _date(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(text or "")


def _title(record: dict[str, Any]) -> str:
    source = str((record.get("source") or {}).get("value") or "")
    return str(record.get("dataset") or source.rstrip("/").rpartition("/")[2] or source or "images")


def _counts(frame: pd.DataFrame, ranked: pd.DataFrame) -> dict[str, int]:
    ok = int((frame["status"] == "ok").sum())
    return {
        "images": len(frame),
        "scored": ok,
        "unscorable": len(frame) - ok,
        "unique": len(ranked),
        "duplicates": ok - len(ranked),
        "on_map": int(ranked["map_x"].notna().sum()),
    }


def _facts(record: dict[str, Any], settings: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and details of what a score depends on; unknown ones are left out."""
    model = record.get("model") or {}
    side = f"{model['image_size']} px" if model.get("image_size") else ""
    if model.get("trained_here"):
        minutes = model.get("trained_minutes")
        name = "trained on these images"
        side += f", {minutes:.0f} min of training" if minutes and minutes >= 1 else ""
    else:
        name = str(model.get("name") or "").rstrip("/").rpartition("/")[2]
    sigma = record.get("sigma") or settings.get("sigma")
    draws = record.get("n_draws") or settings.get("n_draws")
    details = f"sigma; {draws:,} draw{'s' if draws > 1 else ''} per image" if draws else "sigma"
    if settings.get("adaptive"):
        details = f"sigma; 2 draws per image, {draws:,} near the edge of the rarest class"
    distance = str(record.get("perceptual") or settings.get("perceptual") or "")
    vectors = str(record.get("embedding") or settings.get("embedding") or "")
    facts = [("embedding", vectors, "for neighbours and map")]
    if not settings.get("quick"):
        facts = [
            ("model", name, side),
            ("noise level", f"{sigma:.3g}" if sigma else "", details),
            ("distance", distance, "perceptual, decides the score"),
            *facts,
        ]
    return [fact for fact in facts if fact[1]]


def _histogram(
    values: pd.Series, members: NDArray[np.int64], edges: list[float], num_classes: int
) -> dict[str, Any] | None:
    """Bars, stacked by class, and class edges, in percent of the drawing.

    Args:
        members: class of every value, -1 for none.

    Returns:
        ``None`` when the scores are equal.
    """
    bars = tails.histogram(values, members, num_classes)
    if bars is None:
        return None
    low, span = float(bars.borders[0]), float(bars.borders[-1] - bars.borders[0])
    stacks = np.column_stack([bars.counts, bars.unclassified])
    tallest = int(stacks.sum(1).max())
    palette = [*figures.class_colors(num_classes), "#888888"]
    width, unit = 100 / len(stacks), 94 / tallest
    tops = 100 - unit * stacks.cumsum(axis=1)
    return {
        "bars": [
            {
                "x": i * width,
                "width": 0.9 * width,
                "y": tops[i, c],
                "height": unit * stacks[i, c],
                "color": palette[c],
                "count": int(stacks[i, c]),
                "ordinal": int(c) if c < num_classes else None,
                "low": bars.borders[i],
                "high": bars.borders[i + 1],
            }
            for i, c in np.argwhere(stacks)
        ],
        "edges": [(100 * (edge - low) / span, edge) for edge in edges if low <= edge <= low + span],
        "ticks": [low + span * part for part in (0, 0.25, 0.5, 0.75, 1)],
        "tallest": tallest,
    }


def _guidance(run: Run) -> str | None:
    """The picture of the classifier that was trained last, if there is one."""
    path = evaluation_figures.guidance_plot(run)
    if path is None:
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _kinds(run: Run, frame: pd.DataFrame) -> dict[str, Any]:
    """The groups of the tail, each with pictures and its distinguishing traits."""
    if not (run.path / schema.VECTORS).is_file():
        return {"kinds": [], "kinds_more": 0, "kinds_summary": ""}
    tail = tails.look(run)
    kinds = tail_groups.find_groups(tail)
    rendering = Rendering.of_record(run.record.get("rendering"))
    shown = [*kinds[:KINDS], *(kind for kind in kinds[KINDS:] if kind.alone)]
    typical = [list(kind.members[:TYPICAL]) for kind in shown]
    common = [[] if kind.common is None else [kind.common] for kind in shown]
    # All at once: parts of one large picture are cut from it by one decoding.
    rows = [row for group in (*typical, *common) for row in group]
    drawn = iter(contact_sheets.small(tail.images.iloc[rows], rendering))
    sheets = [list(islice(drawn, len(group))) for group in (*typical, *common)]
    return {
        "kinds": [
            {
                "alone": kind.alone,
                "name": kind.name,
                "count": len(kind.members),
                "traits": kind.traits,
                "tiles": sheets[i],
                "common": sheets[len(shown) + i],
            }
            for i, kind in enumerate(shown)
        ],
        "kinds_more": len(kinds) - len(shown),
        "kinds_summary": rarity_kind.summary(frame),
    }


def _labels(
    labels: pd.Series, members: NDArray[np.int64], num_classes: int
) -> dict[str, Any] | None:
    """Per label: how many, its share in the rarest class, and the counts of every class.

    Args:
        members: class of every image, -1 for none.
    """
    if labels[members >= 0].isna().all():
        return None
    table = pd.crosstab(labels[members >= 0].fillna("(no label)"), members[members >= 0])
    table = table.reindex(columns=range(num_classes), fill_value=0)
    edges = np.linspace(0, num_classes, min(num_classes, COLUMNS) + 1).round().astype(int)
    spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    rows: list[dict[str, Any]] = []
    for label, counts in zip(table.index, table.to_numpy(), strict=True):
        total = int(counts.sum())
        cells = [int(counts[a:b].sum()) for a, b in spans]
        rows.append(
            {
                "label": str(label),
                "total": total,
                "tail": int(counts[-1]),
                "share": counts[-1] / total,
                "cells": [(count, count / total) for count in cells],
            }
        )
    rows.sort(key=lambda row: (-row["share"], -row["total"], row["label"]))
    usual = float(table.to_numpy()[:, -1].sum() / table.to_numpy().sum())
    return {
        "heads": [f"{a}" if b == a + 1 else f"{a}–{b - 1}" for a, b in spans],
        "rows": rows[:LABELS],
        "more": max(0, len(rows) - LABELS),
        "usual": usual,
        "leaning": [row for row in rows if row["tail"] > 1 and row["share"] >= LEANS * usual][:5],
    }


def _duplicates(frame: pd.DataFrame) -> dict[str, Any] | None:
    copies = frame[frame["duplicate_of"].notna() & (frame["status"] == "ok")]
    if len(copies) == 0:
        return None
    groups = sorted(
        (
            (str(first), group["rel_path"].tolist())
            for first, group in copies.groupby("duplicate_of")
        ),
        key=lambda group: (-len(group[1]), group[0]),
    )
    return {
        "count": len(groups),
        "groups": [(first, names[:COPIES], len(names)) for first, names in groups[:GROUPS]],
        "more": max(0, len(groups) - GROUPS),
    }


def _by_reason(bad: pd.DataFrame, column: str) -> dict[str, Any] | None:
    """Reasons with their counts, the commonest first, and names until `LISTED` are shown."""
    if len(bad) == 0:
        return None
    groups = sorted(
        (
            (str(reason), group["rel_path"].tolist())
            for reason, group in bad.groupby(bad[column].fillna("unknown reason"))
        ),
        key=lambda group: (-len(group[1]), group[0]),
    )
    left, listed = LISTED, []
    for reason, names in groups[:LISTED]:
        listed.append((reason, names[:left], len(names)))
        left -= len(names[:left])
    return {"groups": listed, "more": max(0, len(groups) - LISTED), "count": len(bad)}
