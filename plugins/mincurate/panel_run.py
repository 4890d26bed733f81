"""Tab “Run”: how the scores came about, and how far they can be trusted."""

from typing import Any

import fiftyone.operators.types as types

from mincurate.ranking.tail import LongTail
from mincurate.report import diagnostics_text

from .panel_parts import button, quoted, row, said


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Warnings, diagnostics, settings."""
    record = tail.record
    if "trust" in record:
        said(body, "trust", f"**Trust in this ranking:** {quoted(record['trust']['words'])}")
    for i, warning in enumerate(record.get("warnings") or []):
        body.view(f"warning{i}", types.Warning(label=quoted(warning)))
    if not record.get("warnings"):
        body.view("fine", types.Success(label="Nothing speaks against this ranking."))
    for found in diagnostics_text.diagnostics(record.get("diagnostics") or {}):
        verdict = f" · {found['verdict']}" if found["verdict"] else ""
        title = f"**{found['title']}: {found['value']}**{verdict}"
        said(body, f"about_{found['name']}", f"{title}  \n{found['what']} {found['good']}")
    said(body, "settings", _settings(tail))
    buttons = row(body, "buttons")
    uri = "@mincurate/mincurate/"
    button(buttons, "new", "Score new images…", f"{uri}score_new", prompt=True)
    button(buttons, "compare", "Compare with another run…", f"{uri}compare_runs", prompt=True)
    button(buttons, "export", "Export…", f"{uri}export", prompt=True)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """Nothing but text."""
    return {}


def _settings(tail: LongTail) -> str:
    record, settings = tail.record, tail.record.get("settings") or {}
    counts, model = record.get("counts") or {}, record.get("model") or {}
    facts = {
        "run": tail.run.key,
        "images": f"{counts.get('images', len(tail.images)):,}, of them "
        f"{counts.get('duplicates', 0):,} copies and {counts.get('unscorable', 0):,} unscorable",
        "ranked by": tail.column.replace("_", " ")
        + (", within every label" if tail.within_label else ""),
        "noise": f"sigma {record.get('sigma')}, "
        f"{'2 to ' if settings.get('adaptive') else ''}{record.get('n_draws')} draws",
        "distance": record.get("perceptual"),
        "embedding": record.get("embedding"),
        "model": f"{model.get('name')} ({model.get('image_size')} px)",
        "seed": settings.get("seed"),
        "folder": tail.run.path,
    }
    return "  \n".join(f"{name}: {quoted(str(value))}" for name, value in facts.items())
