"""The panel “Long tail”: which images are rare?

Every method handles one event. The tab and page in sight are the panel's state, which is sent with
every request. What the grid shall show is in `panel_grid`. Pictures and figures are data, which are
sent once, when they come into sight.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import fiftyone.operators as foo

from mincurate.errors import UserError
from mincurate.pipelines import panel as look

from . import panel_grid as grid
from . import panel_map, panel_ranking
from . import panel_tabs as tabs
from .panel_kinds import name_of

EVERYTHING = "all that is scored, rarest first"


def notifying(method: Callable[..., Any]) -> Callable[..., Any]:
    """Show a `UserError` as a notification; other errors keep their traceback."""

    @wraps(method)
    def guarded(self: "LongTail", ctx: Any) -> Any:
        try:
            return method(self, ctx)
        except UserError as error:
            ctx.ops.notify(str(error), variant="error")
            return None

    return guarded


def _changes_nothing(ctx: Any) -> bool:
    """Whether an event needs no answer: the App and Plotly send many of these.

    A click on a bar also arrives as an empty selection, and a new view arrives three times.
    """
    method = ctx.params.get("__method__")
    if method in ("on_bars", "on_dots"):
        return not ctx.params.get("data")
    if method == "on_change_view":
        return not grid.asked(ctx).stages or grid.shown(ctx)
    return False


class LongTail(foo.Panel):
    """Histogram, map, labels, kinds of rare, review, reconstructions, generated images."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists the panel."""
        return foo.PanelConfig(
            name="long_tail",
            label="Long tail",
            icon="bar_chart",
            help_markdown="Which images are rare, and which kinds of rare images there are.",
        )

    def execute(self, ctx: Any) -> None:
        """Handle an event, draw the panel, and then change the grid, which keeps the App busy.

        The method of an event returns the view for the grid, or ``None`` to leave it as it is.
        """
        if _changes_nothing(ctx):
            return
        view = super().execute(ctx)
        if view is not None:
            ctx.ops.set_view(view)

    # Events of the App

    @notifying
    def on_load(self, ctx: Any) -> None:
        """Draw the first tab."""
        if not grid.shown(ctx):
            grid.remember(ctx, grid.NOTHING)
        self._draw(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        """Another dataset: start again."""
        ctx.panel.state.clear()
        ctx.panel.data.clear()
        self.on_load(ctx)

    @notifying
    def on_change_view(self, ctx: Any) -> None:
        """The grid shows another view than the panel asked for: forget that one."""
        grid.remember(ctx, grid.NOTHING)
        self._light(ctx, None)

    @notifying
    def on_change_selected(self, ctx: Any) -> None:
        """Show the image that was selected last."""
        if ctx.panel.get_state("tab") == "image":
            self._draw(ctx)

    @notifying
    def on_change_current_sample(self, ctx: Any) -> None:
        """An image of the tail that is opened has been looked at."""
        if ctx.current_sample:
            look.mark_seen(ctx.dataset, ctx.current_sample)

    # Clicks

    @notifying
    def on_tab(self, ctx: Any) -> None:
        """Show another tab."""
        ctx.panel.set_state({"tab": ctx.params["tab"], "page": 0})
        self._draw(ctx)

    @notifying
    def on_page(self, ctx: Any) -> None:
        """Turn the page of a tab."""
        page = int(ctx.panel.get_state("page") or 0) + int(ctx.params["step"])
        ctx.panel.set_state("page", max(0, page))
        self._draw(ctx)

    @notifying
    def on_bar(self, ctx: Any) -> Any:
        """Click on a bar: show its class; with Shift extend the range to it."""
        number = int(ctx.params["trace_idx"])
        low, high = number, number
        if ctx.params.get("shift_pressed"):
            first, last = panel_ranking.range_of(ctx, look.shown(ctx.dataset))
            low, high = min(first, number), max(last, number)
        return self._show_classes(ctx, low, high)

    @notifying
    def on_bars(self, ctx: Any) -> Any:
        """Drag over bars: show their classes."""
        touched = [int(point["trace_idx"]) for point in ctx.params["data"]]
        return self._show_classes(ctx, min(touched), max(touched))

    @notifying
    def on_dot(self, ctx: Any) -> Any:
        """Click on a point of the map."""
        return self._show_points(ctx, [ctx.params])

    @notifying
    def on_dots(self, ctx: Any) -> Any:
        """Draw around points of the map."""
        return self._show_points(ctx, ctx.params["data"])

    @notifying
    def on_cell(self, ctx: Any) -> Any:
        """Click on a cell of the labels: show the images of a label and class."""
        tail = look.shown(ctx.dataset)
        table = tail.labels
        assert table is not None
        label, number = str(table.index[int(ctx.params["y"])]), int(ctx.params["x"])
        view = look.of_cell(ctx.dataset, tail, label, number)
        return self._show(ctx, view, f"{label}, class {number}")

    @notifying
    def on_all(self, ctx: Any) -> Any:
        """Show all ranked images, rarest first."""
        return self._show(ctx, look.ranked(ctx.dataset), EVERYTHING)

    @notifying
    def on_unseen(self, ctx: Any) -> Any:
        """Show the images of the tail that have not been looked at."""
        view = look.not_seen(ctx.dataset, look.shown(ctx.dataset))
        return self._show(ctx, view, "of the rarest tenth, not looked at yet")

    @notifying
    def on_review(self, ctx: Any) -> Any:
        """Show the page of the review that the tab shows."""
        page = look.review_page(ctx.dataset, look.shown(ctx.dataset))
        view = look.of_rows(ctx.dataset, page)
        return self._show(ctx, view, "to review next")

    @notifying
    def on_next_review(self, ctx: Any) -> None:
        """Tag the images of the page that have no verdict as seen, and turn it."""
        page = look.review_page(ctx.dataset, look.shown(ctx.dataset))
        look.mark_page(ctx.dataset, page)
        ctx.ops.reload_samples()
        self._draw(ctx)

    @notifying
    def on_tagged(self, ctx: Any) -> Any:
        """Show the images with a verdict."""
        tag = ctx.params["tag"]
        return self._show(ctx, look.tagged(ctx.dataset, tag), f"tagged {tag}")

    @notifying
    def on_generated(self, ctx: Any) -> Any:
        """Show the images generated from this run."""
        return self._show(ctx, look.generated(ctx.dataset), "generated, rarest first")

    @notifying
    def on_kind(self, ctx: Any) -> Any:
        """Show a group of the tail."""
        number = int(ctx.params["kind"])
        groups = look.groups(look.shown(ctx.dataset))
        return self._show_rows(ctx, groups[number].members, name_of(groups, number))

    @notifying
    def on_select_kind(self, ctx: Any) -> None:
        """Select a group of the tail; the grid stays, because a new view clears the selection."""
        tail = look.shown(ctx.dataset)
        rows = tail.images.iloc[look.groups(tail)[int(ctx.params["kind"])].members]
        ctx.ops.set_selected_samples(look.ids_of_rows(ctx.dataset, rows))

    @notifying
    def on_label(self, ctx: Any) -> Any:
        """Show the images of a label, rarest first."""
        tail = look.shown(ctx.dataset)
        label = ctx.params["label"]
        return self._show(ctx, look.of_label(ctx.dataset, tail, label), f"{label}, rarest first")

    @notifying
    def on_open(self, ctx: Any) -> Any:
        """Click on a picture of the panel: open its sample, or show the object in the grid."""
        tail = look.shown(ctx.dataset)
        if tail.noun != "images":
            view = look.of_rows(ctx.dataset, look.named(tail, ctx.params["name"]))
            return self._show(ctx, view, ctx.params["name"])
        ids = look.ids_of(ctx.dataset, [ctx.params["file"]])
        if not ids:
            raise UserError(f"{ctx.params['file']} is not in this dataset any more.")
        ctx.ops.open_sample(id=ids[0])
        return None

    @notifying
    def on_verdict(self, ctx: Any) -> None:
        """Tag the selected images with a verdict, or remove all verdicts."""
        selected = list(ctx.selected)
        if not selected:
            raise UserError("Select images in the grid first.")
        words = look.set_verdict(ctx.dataset, selected, ctx.params["tag"])
        ctx.ops.clear_selected_samples()
        ctx.ops.reload_samples()
        ctx.ops.notify(words, variant="success")
        if ctx.panel.get_state("tab") == "review":
            self._draw(ctx)

    # Shared by the events

    def render(self, ctx: Any) -> Any:
        """The layout of the panel."""
        try:
            tail = look.shown(ctx.dataset)
        except UserError as error:
            return tabs.without_scores(str(error))
        return tabs.layout(self, ctx, tail)

    def _draw(self, ctx: Any) -> None:
        """Send the data of the tab in sight."""
        tail = look.shown(ctx.dataset)
        ctx.panel.set_data(tabs.data(ctx, tail))

    def _show(self, ctx: Any, view: Any, words: str, classes: tuple[int, int] | None = None) -> Any:
        """Remember the view, highlight its classes, and return it."""
        stages = look.digest(view._serialize(include_uuids=False))
        low, high = classes or (None, None)
        noun = look.shown(ctx.dataset).noun
        grid.remember(ctx, grid.Asked(stages, f"{len(view):,} {noun}: {words}", low, high))
        self._light(ctx, classes)
        return view

    def _show_rows(self, ctx: Any, rows: Any, words: str) -> Any:
        view = look.of_rows(ctx.dataset, look.shown(ctx.dataset).images.iloc[rows])
        return self._show(ctx, view, words)

    def _show_points(self, ctx: Any, points: list[dict[str, Any]]) -> Any:
        tail = look.shown(ctx.dataset)
        rows = panel_map.rows_at(tail, [(int(p["trace_idx"]), int(p["idx"])) for p in points])
        return self._show_rows(ctx, rows, "from the map")

    def _show_classes(self, ctx: Any, low: int, high: int) -> Any:
        last = look.shown(ctx.dataset).num_classes - 1
        words = f"class {low}" if low == high else f"classes {low} to {high}"
        words = EVERYTHING if (low, high) == (0, last) else f"{words}, rarest first"
        return self._show(ctx, look.of_classes(ctx.dataset, low, high), words, (low, high))

    def _light(self, ctx: Any, classes: tuple[int, int] | None) -> None:
        """Highlight a range of classes in the figures; ``None`` for all."""
        tail = look.shown(ctx.dataset)
        low, high = classes or (0, tail.num_classes - 1)
        changes = tabs.light(ctx, tail, low, high)
        if changes:
            ctx.panel.set_data(changes)
