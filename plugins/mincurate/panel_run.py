"""Tab “Run”: trust, warnings, diagnostics and settings of the run."""

from typing import Any

import fiftyone.operators.types as types

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail

from .panel_parts import button, quoted, row, text


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Warnings, diagnostics, settings."""
    record = tail.record
    if "trust" in record:
        text(body, "trust", f"**Trust in this ranking:** {quoted(record['trust']['words'])}")
    for i, warning in enumerate(record.get("warnings") or []):
        body.view(f"warning{i}", types.Warning(label=quoted(warning)))
    if not record.get("warnings"):
        body.view("fine", types.Success(label="No warnings for this ranking."))
    for number in look.diagnostics(tail):
        verdict = f" · {number['verdict']}" if number["verdict"] else ""
        title = f"**{number['title']}: {number['value']}**{verdict}"
        text(body, f"about_{number['name']}", f"{title}  \n{number['what']} {number['good']}")
    text(body, "settings", _settings(tail))
    buttons = row(body, "buttons")
    uri = "@mincurate/mincurate/"
    button(buttons, "new", "Score new images…", f"{uri}score_new", prompt=True)
    button(buttons, "compare", "Compare with another run…", f"{uri}compare_runs", prompt=True)
    button(buttons, "export", "Export…", f"{uri}export", prompt=True)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """None: the tab is text."""
    return {}


def _settings(tail: LongTail) -> str:
    record, settings = tail.record, tail.record.get("settings") or {}
    counts, model = record.get("counts") or {}, record.get("model") or {}
    facts = {
        "run": tail.run.key,
        tail.noun: f"{counts.get('images', len(tail.images)):,}, of them "
        f"{counts.get('duplicates', 0):,} copies and {counts.get('unscorable', 0):,} unscorable",
        "ranked by": tail.column.replace("_", " ")
        + (", within each label" if tail.within_label else ""),
        "embedding": record.get("embedding"),
        **({} if not model else _of_score(record, settings, model)),
        "seed": settings.get("seed"),
        "folder": tail.run.path,
    }
    return "  \n".join(f"{name}: {quoted(str(value))}" for name, value in facts.items())


def _of_score(
    record: dict[str, Any], settings: dict[str, Any], model: dict[str, Any]
) -> dict[str, Any]:
    draws = f"{'2 to ' if settings.get('adaptive') else ''}{record.get('n_draws')} draws"
    return {
        "noise": f"sigma {record.get('sigma')}, {draws}",
        "distance": record.get("perceptual"),
        "model": f"{model.get('name')} ({model.get('image_size')} px)",
    }
