"""Tab “Ranking”: how the scores are spread, a range of classes, and the map."""

from typing import Any

from mincurate.longtail import DOTS, LongTail

from . import panel_grid as grid
from . import panel_plots as plots
from .panel_parts import plot, said


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Histogram and map."""
    low, high = range_of(ctx, tail)
    revision = f"{low}-{high}-{grid.asked(ctx).words}"
    if tail.histogram is None:
        said(body, "flat", "All scores are equal: there is nothing to rank.")
        return
    said(
        body,
        "how",
        "Blue is common, red is rare. Click a bar to see its class in the grid, drag over several "
        "to see theirs, Shift-click to widen the range.",
    )
    title = tail.column.replace("_", " ")
    plot(
        body,
        "histogram",
        plots.histogram_layout(f"{title}, higher is rarer", revision),
        190,
        on_click=panel.on_bar,
        on_selected=panel.on_bars,
    )
    mapped = int(tail.images["map_x"].notna().sum())
    if mapped == 0:
        said(body, "no_map", "This run has no map.")
        return
    some = f"{DOTS:,} of {mapped:,}" if mapped > DOTS else f"{mapped:,}"
    said(body, "map_words", f"Map of {some} images: circle some to see them in the grid.")
    events = {"on_click": panel.on_dot, "on_selected": panel.on_dots}
    plot(body, "map", plots.dots_layout(revision), 340, **events)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """Bars and points."""
    shown = plots.opacities(tail.num_classes, *range_of(ctx, tail))
    found: dict[str, Any] = {}
    if tail.histogram is not None:
        found["histogram"] = plots.histogram(tail.histogram, shown)
    if len(tail.dots):
        found["map"] = plots.dots(tail, shown)
    return found


def light(tail: LongTail, low: int, high: int) -> dict[str, float]:
    """What changes in the data when the range does."""
    there = [("histogram", tail.histogram is not None), ("map", len(tail.dots) > 0)]
    return {
        f"ranking.{name}[{c}].opacity": opacity
        for name, drawn in there
        if drawn
        for c, opacity in enumerate(plots.opacities(tail.num_classes, low, high))
    }


def range_of(ctx: Any, tail: LongTail) -> tuple[int, int]:
    """The range of classes that stands out."""
    asked = grid.asked(ctx)
    if asked.low is None or asked.high is None:
        return 0, tail.num_classes - 1
    return asked.low, asked.high


def rows_at(tail: LongTail, points: list[tuple[int, int]]) -> list[int]:
    """Rows of `LongTail.images` of points of the map: trace (which is the class) and number."""
    classes = tail.dots["minority_class"].to_numpy(int)
    members = {c: tail.dots.index[classes == c] for c in {c for c, _ in points}}
    return sorted(int(members[c][i]) for c, i in points if 0 <= i < len(members[c]))
