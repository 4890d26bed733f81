"""Tab “Map”: the two-dimensional map. It is a tab of its own because browsers draw it slowly."""

from typing import Any

from mincurate.pipelines.panel import LongTail

from . import panel_grid as grid
from . import panel_plots as plots
from .panel_parts import plot, text
from .panel_ranking import range_of

HEIGHT = 520


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """The map."""
    mapped = int(tail.images["map_x"].notna().sum())
    if mapped == 0:
        text(body, "none", "This run has no map.")
        return
    points = len(tail.dots)
    count = f"{points:,} of {mapped:,}" if mapped > points else f"{mapped:,}"
    text(
        body,
        "how",
        f"{count} {tail.noun}, similar ones close together; blue is common, red is rare. Click a "
        "point, or draw around several, to see them in the grid.",
    )
    layout = plots.dots_layout(grid.asked(ctx).words)
    plot(body, "dots", layout, HEIGHT, on_click=panel.on_dot, on_selected=panel.on_dots)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The points."""
    shown = plots.opacities(tail.num_classes, *range_of(ctx, tail))
    return {"dots": plots.dots(tail, shown)} if len(tail.dots) else {}


def light(tail: LongTail, low: int, high: int) -> dict[str, float]:
    """Changes of the data that highlight a range of classes."""
    return plots.faded("dots", tail.num_classes, low, high) if len(tail.dots) else {}


def rows_at(tail: LongTail, points: list[tuple[int, int]]) -> list[int]:
    """Rows of `LongTail.images` of points of the map, given as trace (the class) and index."""
    classes = tail.dots["rarity_class"].to_numpy(int)
    members = {c: tail.dots.index[classes == c] for c in {c for c, _ in points}}
    return sorted(int(members[c][i]) for c, i in points if 0 <= i < len(members[c]))
