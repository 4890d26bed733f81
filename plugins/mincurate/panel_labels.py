"""Tab “Labels”: which labels are rare, and the rarest images of each."""

from typing import Any

from mincurate.longtail import LongTail
from mincurate.visible import short

from . import panel_plots as plots
from .panel_parts import button, pictures, plot, quoted, row, said, strip

ROWS = 30
"""Labels in the heat map, at most."""
PAGE = 5
"""Labels whose rarest images are shown at a time."""
RAREST = 7


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Heat map, and strips of images."""
    table = tail.labels
    if table is None:
        said(body, "none", "The images of this run have no labels.")
        return
    shown = table.head(ROWS)
    some = f" The {ROWS} rarest of {len(table):,} labels." if len(table) > ROWS else ""
    said(
        body,
        "how",
        "Images of each label in each class; the label that leans most to the tail is on top. "
        f"Click a cell to see its images.{some}",
    )
    height = 70 + 26 * len(shown)
    plot(body, "heat", plots.label_layout(shown), height, on_click=panel.on_cell)
    first, last, names = page_of(ctx, tail)
    head = row(body, "head")
    said(head, "title", f"**The rarest images of each label** ({first + 1} to {last})")
    if first:
        button(head, "back", "Previous", panel.on_page, params={"step": -1})
    if last < len(table):
        button(head, "on", "Next", panel.on_page, params={"step": 1})
    for i, name in enumerate(names):
        rows, line = tail.of_label(name), row(body, f"label{i}")
        share = (rows.index < len(tail.tail)).mean()
        words = f"**{quoted(short(name, 40))}**: {len(rows):,} images, {share:.0%} in the tail"
        said(line, "words", words)
        button(line, "show", "Show", panel.on_label, params={"label": name})
        strip(body, f"strip{i}", rows.head(RAREST), panel.on_open)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The cells, and the pictures of the labels in sight."""
    if tail.labels is None:
        return {}
    found: dict[str, Any] = {"heat": plots.label_map(tail.labels.head(ROWS))}
    for i, name in enumerate(page_of(ctx, tail)[2]):
        found |= pictures(f"strip{i}", tail.of_label(name).head(RAREST))
    return found


def page_of(ctx: Any, tail: LongTail) -> tuple[int, int, list[str]]:
    """First and last number, and names, of the labels in sight."""
    names = [str(name) for name in tail.labels.index] if tail.labels is not None else []
    first = min(PAGE * int(ctx.panel.get_state("page") or 0), PAGE * ((len(names) - 1) // PAGE))
    last = min(first + PAGE, len(names))
    return first, last, names[first:last]
