"""Tab “Labels”: images by label and class, and the rarest images of each label."""

from typing import Any

import pandas as pd

from mincurate.pipelines.panel import LongTail
from mincurate.text import short

from . import panel_plots as plots
from .panel_parts import button, pictures, plot, quoted, row, strip, text

PAGE = 5
"""Labels per page of images."""
PAGES = 6
"""Pages of images per page of the heat map."""
ROWS = PAGE * PAGES
RAREST = 7


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """The heat map, and the rarest images of the labels of a page."""
    table = tail.labels
    if table is None:
        text(body, "none", f"The {tail.noun} of this run have no labels.")
        return
    first, last, names = page_of(ctx, tail)
    shown = rows_of(first, table)
    text(
        body,
        "how",
        f"{tail.noun.capitalize()} of each label (row) in each class; the colour is their share of "
        f"the label. Labels with the largest share of their {tail.noun} in the tail come first. "
        f"Click a cell to see its {tail.noun}.",
    )
    if len(table) > ROWS:
        block = row(body, "block")
        text(block, "title", f"Labels {shown.start + 1:,} to {shown.stop:,} of {len(table):,}")
        page = first // PAGE
        for name, words, start in (
            ("back", f"Previous {ROWS}", shown.start - ROWS),
            ("on", f"Next {ROWS}", shown.stop),
        ):
            if 0 <= start < len(table):
                step = {"step": start // PAGE - page}
                button(block, name, words, panel.on_page, params=step)
    height = 70 + 26 * len(shown)
    plot(body, "heat", plots.label_layout(table, shown), height, on_click=panel.on_cell)
    head = row(body, "head")
    text(head, "title", f"**The rarest {tail.noun} of each label** ({first + 1} to {last})")
    if first:
        button(head, "back", "Previous", panel.on_page, params={"step": -1})
    if last < len(table):
        button(head, "on", "Next", panel.on_page, params={"step": 1})
    for i, name in enumerate(names):
        rows, line = tail.of_label(name), row(body, f"label{i}")
        share = (rows.index < len(tail.tail)).mean()
        words = f"**{quoted(short(name, 40))}**: {len(rows):,} {tail.noun}, {share:.0%} in the tail"
        text(line, "words", words)
        button(line, "show", "Show", panel.on_label, params={"label": name})
        strip(body, f"strip{i}", rows.head(RAREST), panel.on_open)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The cells, and the pictures of the labels of a page."""
    if tail.labels is None:
        return {}
    first, _, names = page_of(ctx, tail)
    shown: dict[str, Any] = {"heat": plots.label_map(tail.labels, rows_of(first, tail.labels))}
    for i, name in enumerate(names):
        shown |= pictures(tail, f"strip{i}", tail.of_label(name).head(RAREST))
    return shown


def page_of(ctx: Any, tail: LongTail) -> tuple[int, int, list[str]]:
    """First and last number, and names, of the labels of the page in sight."""
    names = [str(name) for name in tail.labels.index] if tail.labels is not None else []
    first = min(PAGE * int(ctx.panel.get_state("page") or 0), PAGE * ((len(names) - 1) // PAGE))
    last = min(first + PAGE, len(names))
    return first, last, names[first:last]


def rows_of(first: int, table: pd.DataFrame) -> range:
    """Rows of the heat map while the page of images starts with the label number ``first``."""
    start = ROWS * (first // ROWS)
    return range(start, min(start + ROWS, len(table)))
