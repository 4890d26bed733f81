"""Tab “Map”: what lies beside what. A tab of its own: the browser takes a second to begin one."""

from typing import Any

from mincurate.ranking.tail import DOTS, LongTail

from . import panel_grid as grid
from . import panel_plots as plots
from .panel_parts import plot, said
from .panel_ranking import range_of

HEIGHT = 520


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """The map."""
    mapped = int(tail.images["map_x"].notna().sum())
    if mapped == 0:
        said(body, "none", "This run has no map.")
        return
    some = f"{DOTS:,} of {mapped:,}" if mapped > DOTS else f"{mapped:,}"
    said(
        body,
        "how",
        f"{some} images, the alike beside one another; blue is common, red is rare. Circle some, "
        "or click one, to see them in the grid.",
    )
    layout = plots.dots_layout(grid.asked(ctx).words)
    plot(body, "dots", layout, HEIGHT, on_click=panel.on_dot, on_selected=panel.on_dots)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The points."""
    shown = plots.opacities(tail.num_classes, *range_of(ctx, tail))
    return {"dots": plots.dots(tail, shown)} if len(tail.dots) else {}


def light(tail: LongTail, low: int, high: int) -> dict[str, float]:
    """What changes in the data when the range does."""
    return plots.faded("dots", tail.num_classes, low, high) if len(tail.dots) else {}


def rows_at(tail: LongTail, points: list[tuple[int, int]]) -> list[int]:
    """Rows of `LongTail.images` of points of the map: trace (which is the class) and number."""
    classes = tail.dots["rarity_class"].to_numpy(int)
    members = {c: tail.dots.index[classes == c] for c in {c for c, _ in points}}
    return sorted(int(members[c][i]) for c, i in points if 0 <= i < len(members[c]))
