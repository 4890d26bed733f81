"""Layout and data of the panel: a head, and one tab at a time, which the panel's state names."""

from typing import Any

import fiftyone.operators.types as types

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail

from . import (
    panel_image,
    panel_kinds,
    panel_labels,
    panel_made,
    panel_map,
    panel_ranking,
    panel_review,
    panel_run,
)
from .panel_grid import asked
from .panel_parts import button, quoted, row, tab, text

TABS = {
    "ranking": ("Ranking", panel_ranking),
    "map": ("Map", panel_map),
    "labels": ("Labels", panel_labels),
    "kinds": ("Kinds of rare", panel_kinds),
    "review": ("Review", panel_review),
    "image": ("Image", panel_image),
    "made": ("Generated", panel_made),
    "run": ("Run", panel_run),
}
"""Title and module of each tab. A module has `layout`, `data`, and `light` if it shows classes."""
FIRST = "ranking"
MORE = "@mincurate/mincurate/more_like_these"


def _titles(tail: LongTail) -> dict[str, str]:
    """The tabs of a run: of objects and tiles none is generated, and no review learns from them."""
    titles = {name: title for name, (title, _) in TABS.items()}
    if tail.noun != "images":
        titles["image"] = tail.noun[:-1].capitalize()
        del titles["made"], titles["review"]
    return titles


def chosen(ctx: Any, tail: LongTail) -> str:
    """The tab in sight."""
    name = str(ctx.panel.get_state("tab") or FIRST)
    return name if name in _titles(tail) else FIRST


def without_scores(problem: str) -> Any:
    """The layout where there is no run to show."""
    view = types.Object()
    text(view, "none", f"### No scores to show\n{quoted(problem)}")
    button(view, "score", "Score this dataset…", "@mincurate/mincurate/score", prompt=True)
    return types.Property(view, view=types.VStackView(gap=2, pad=2))


def layout(panel: Any, ctx: Any, tail: LongTail) -> Any:
    """The layout of the panel."""
    view = types.Object()
    _head(view, panel, ctx, tail)
    name = chosen(ctx, tail)
    # Buttons: an input, such as FiftyOne's own tabs, would send all data with every request.
    bar = row(view, "tabs")
    warnings = len(tail.record.get("warnings") or [])
    for value, title in _titles(tail).items():
        if value == "run" and warnings:
            title += f" · {warnings} warning{'s' if warnings > 1 else ''}"
        tab(bar, value, title, panel.on_tab, chosen=value == name, params={"tab": value})
    body = view.v_stack(name, gap=1, align_x="stretch")
    TABS[name][1].layout(body, panel, ctx, tail)
    return types.Property(view, view=types.VStackView(gap=1, pad_x=2, pad_y=1, align_x="stretch"))


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """Figures and pictures of the tab in sight, by path."""
    name = chosen(ctx, tail)
    values = TABS[name][1].data(ctx, tail)
    return {f"{name}.{path}": value for path, value in values.items()}


def light(ctx: Any, tail: LongTail, low: int, high: int) -> dict[str, float]:
    """Changes of the data of the tab in sight that highlight a range of classes."""
    name = chosen(ctx, tail)
    module = TABS[name][1]
    changes = module.light(tail, low, high) if hasattr(module, "light") else {}
    return {f"{name}.{path}": value for path, value in changes.items()}


def _head(view: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Progress of the review, verdicts on the selection, and what the grid shows."""
    review = look.progress(ctx.dataset, tail)
    view.float(
        "progress",
        default=round(review.share, 4),
        view=types.ProgressView(label=_progress_words(review, tail.noun)),
    )
    selected = len(ctx.selected)
    verdicts = row(view, "verdicts")
    text(
        verdicts, "chosen", f"**{selected} selected**" if selected else f"Select {tail.noun}, then:"
    )
    for tag, label in (*look.verdicts().items(), ("", "Remove verdict")):
        button(
            verdicts,
            f"say_{tag or 'nothing'}".replace("-", "_"),
            label,
            panel.on_verdict,
            disabled=not selected,
            params={"tag": tag},
        )
    if tail.noun == "images":
        button(verdicts, "more", "More like these…", MORE, prompt=True, disabled=not selected)
    grid = row(view, "grid")
    text(grid, "shown", f"Grid: {asked(ctx).words or 'as you left it'}")
    button(grid, "all", "All, rarest first", panel.on_all)
    if review.seen < review.images:
        button(grid, "unseen", "Not looked at yet", panel.on_unseen)
    for tag, count in review.verdicts.items():
        if count:
            button(grid, f"show_{tag.replace('-', '_')}", tag, panel.on_tagged, params={"tag": tag})


def _progress_words(review: Any, noun: str) -> str:
    verdicts = [f"{count} {tag}" for tag, count in review.verdicts.items() if count]
    words = f"Rarest tenth: {review.seen:,} of {review.images:,} {noun} looked at"
    return f"{words} · {' · '.join(verdicts)}" if verdicts else words
