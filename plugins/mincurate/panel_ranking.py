"""Tab “Ranking”: the histogram of the ranking in force, coloured by ``rarity_class``."""

from typing import Any

from mincurate.pipelines.panel import LongTail

from . import panel_grid as grid
from . import panel_plots as plots
from .panel_parts import plot, text

HEIGHT = 300
"""Of the histogram, in pixels."""


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """The histogram."""
    low, high = range_of(ctx, tail)
    revision = f"{low}-{high}-{grid.asked(ctx).words}"
    if tail.histogram is None:
        text(body, "flat", "All scores are equal: there is nothing to rank.")
        return
    text(
        body,
        "how",
        "Colours are rarity classes: blue is common, red is rare. Click a bar to see its class in "
        "the grid, drag over several for theirs, Shift-click to extend the range.",
    )
    title = tail.column.replace("_", " ")
    plot(
        body,
        "histogram",
        plots.histogram_layout(f"{title}, higher is rarer", revision, tail.noun),
        HEIGHT,
        on_click=panel.on_bar,
        on_selected=panel.on_bars,
    )


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The bars."""
    if tail.histogram is None:
        return {}
    shown = plots.opacities(tail.num_classes, *range_of(ctx, tail))
    return {"histogram": plots.histogram(tail.histogram, shown)}


def light(tail: LongTail, low: int, high: int) -> dict[str, float]:
    """Changes of the data that highlight a range of classes."""
    if tail.histogram is None:
        return {}
    return plots.faded("histogram", tail.num_classes, low, high)


def range_of(ctx: Any, tail: LongTail) -> tuple[int, int]:
    """The range of classes that is highlighted."""
    asked = grid.asked(ctx)
    if asked.low is None or asked.high is None:
        return 0, tail.num_classes - 1
    return asked.low, asked.high
