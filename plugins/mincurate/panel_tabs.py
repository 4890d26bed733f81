"""What the panel shows: the head, which is always there, and one tab at a time.

`layout` says what is where, `data` what is in it; both look at the panel's state alone.
"""

from typing import Any

import fiftyone.operators.types as types

from mincurate.curation.export import DROP_TAG
from mincurate.curation.review import KEEP_TAG, MISLABELLED_TAG, SEEN_TAG, Review
from mincurate.ranking.tail import LongTail

from . import (
    panel_image,
    panel_kinds,
    panel_labels,
    panel_made,
    panel_map,
    panel_ranking,
    panel_run,
)
from . import panel_samples as samples
from .panel_grid import asked
from .panel_parts import button, row, said, tab

TABS = {
    "ranking": ("Ranking", panel_ranking),
    "map": ("Map", panel_map),
    "labels": ("Labels", panel_labels),
    "kinds": ("Kinds of rare", panel_kinds),
    "image": ("Image", panel_image),
    "made": ("Generated", panel_made),
    "run": ("Run", panel_run),
}
"""Name, title and module of each tab; the module has `layout` and `data`, and `light` if classes
can stand out."""
FIRST = "ranking"
MORE = "@mincurate/mincurate/more_like_these"


def layout(panel: Any, ctx: Any, tail: LongTail | None) -> Any:
    """The panel as it is now; without a run, how to get one."""
    view = types.Object()
    if tail is None:
        said(view, "none", f"### No scores yet\n`{ctx.dataset.name}` has not been scored.")
        button(view, "score", "Score this dataset…", "@mincurate/mincurate/score", prompt=True)
        return types.Property(view, view=types.VStackView(gap=2, pad=2))
    _head(view, panel, ctx, tail)
    name = ctx.panel.get_state("tab") or FIRST
    # Buttons: an input, such as FiftyOne's own tabs, would send all data with every request.
    bar = row(view, "tabs")
    warnings = len(tail.record.get("warnings") or [])
    for value, (title, _) in TABS.items():
        if value == "run" and warnings:
            title += f" · {warnings} warning{'s' if warnings > 1 else ''}"
        tab(bar, value, title, panel.on_tab, chosen=value == name, params={"tab": value})
    body = view.v_stack(name, gap=1, align_x="stretch")
    TABS[name][1].layout(body, panel, ctx, tail)
    return types.Property(view, view=types.VStackView(gap=1, pad_x=2, pad_y=1, align_x="stretch"))


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """Figures and pictures of the tab in sight, by their path."""
    name = ctx.panel.get_state("tab") or FIRST
    found = TABS[name][1].data(ctx, tail)
    return {f"{name}.{path}": value for path, value in found.items()}


def light(ctx: Any, tail: LongTail, low: int, high: int) -> dict[str, float]:
    """What changes in the data of the tab in sight when other classes shall stand out."""
    name = ctx.panel.get_state("tab") or FIRST
    module = TABS[name][1]
    changes = module.light(tail, low, high) if hasattr(module, "light") else {}
    return {f"{name}.{path}": now for path, now in changes.items()}


def _head(view: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """How far the review has come, what is selected, and what the grid shows."""
    state = samples.progress(ctx.dataset, tail)
    view.float(
        "progress",
        default=round(state.share, 4),
        view=types.ProgressView(label=_progress_words(state)),
    )
    chosen = len(ctx.selected)
    verdicts = row(view, "verdicts")
    said(verdicts, "chosen", f"**{chosen} selected**" if chosen else "Select images, then:")
    for tag, label in (
        (KEEP_TAG, "Keep"),
        (DROP_TAG, "Drop"),
        (MISLABELLED_TAG, "Mislabelled"),
        (SEEN_TAG, "Seen"),
        ("", "Take back"),
    ):
        button(
            verdicts,
            f"say_{tag or 'nothing'}".replace("-", "_"),
            label,
            panel.on_verdict,
            disabled=not chosen,
            params={"tag": tag},
        )
    button(verdicts, "more", "More like these…", MORE, prompt=True, disabled=not chosen)
    grid = row(view, "grid")
    said(grid, "shown", f"Grid: {asked(ctx).words or 'as you left it'}")
    button(grid, "all", "All, rarest first", panel.on_all)
    if state.seen < state.images:
        button(grid, "unseen", "Not looked at yet", panel.on_unseen)
    for tag, count in state.verdicts.items():
        if count:
            button(grid, f"show_{tag.replace('-', '_')}", tag, panel.on_tagged, params={"tag": tag})


def _progress_words(state: Review) -> str:
    verdicts = [f"{count} {tag}" for tag, count in state.verdicts.items() if count]
    words = f"Rarest tenth: {state.seen:,} of {state.images:,} images looked at"
    return f"{words} · {' · '.join(verdicts)}" if verdicts else words
