"""The panel “Long tail”: what is rare here?

Every method answers one event. Which tab and page are in sight is the panel's state, which travels
with every request; what the grid was asked to show is in `panel_grid`; pictures and figures are
data, which travel once, when they come into sight.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import fiftyone.operators as foo

from mincurate.curation.review import SEEN_TAG, VERDICTS
from mincurate.errors import UserError
from mincurate.ranking.tail_groups import kinds

from . import panel_grid as grid
from . import panel_map, panel_ranking
from . import panel_samples as samples
from . import panel_tabs as tabs
from .panel_kinds import name_of

EVERYTHING = "every scored image, rarest first"


def told(method: Callable[..., Any]) -> Callable[..., Any]:
    """What the user can mend is said in a sentence; bugs keep their traceback."""

    @wraps(method)
    def guarded(self: "LongTail", ctx: Any) -> Any:
        try:
            return method(self, ctx)
        except UserError as error:
            ctx.ops.notify(str(error), variant="error")
            return None

    return guarded


def _changes_nothing(ctx: Any) -> bool:
    """Whether an event is one of the many that the App and Plotly send without need.

    A click on a bar also comes as a selection of nothing, and a view that was set as three views.
    """
    method = ctx.params.get("__method__")
    if method in ("on_bars", "on_dots"):
        return not ctx.params.get("data")
    if method == "on_change_view":
        return not grid.asked(ctx).stages or grid.shown(ctx)
    return False


class LongTail(foo.Panel):
    """Score histogram, map, labels, kinds of rare, reconstructions, generated images, review."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists the panel."""
        return foo.PanelConfig(
            name="long_tail",
            label="Long tail",
            icon="bar_chart",
            help_markdown="What is rare in these images, and of which kinds it is.",
        )

    def execute(self, ctx: Any) -> None:
        """Answer an event, draw the panel again, and only then the grid, which keeps the App busy;
        nothing of it, when nothing has changed.

        The method of an event returns the view that the grid shall show, if it shall change.
        """
        if _changes_nothing(ctx):
            return
        view = super().execute(ctx)
        if view is not None:
            ctx.ops.set_view(view)

    # What the App tells of

    @told
    def on_load(self, ctx: Any) -> None:
        """Draw the first tab."""
        if not grid.shown(ctx):
            grid.remember(ctx, grid.NOTHING)
        self._draw(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        """Another dataset: begin anew."""
        ctx.panel.state.clear()
        ctx.panel.data.clear()
        self.on_load(ctx)

    @told
    def on_change_view(self, ctx: Any) -> None:
        """The grid shows something else than the panel asked for: say so no longer."""
        grid.remember(ctx, grid.NOTHING)
        self._light(ctx, None)

    @told
    def on_change_selected(self, ctx: Any) -> None:
        """The image that was selected last is the one that is looked at."""
        if ctx.panel.get_state("tab") == "image":
            self._draw(ctx)

    @told
    def on_change_current_sample(self, ctx: Any) -> None:
        """Whoever opens an image of the tail has looked at it."""
        if ctx.current_sample:
            tail = samples.of_tail(ctx.dataset, samples.shown(ctx.dataset))
            tail.select(ctx.current_sample).tag_samples(SEEN_TAG)

    # What is clicked

    @told
    def on_tab(self, ctx: Any) -> None:
        """Another tab: its pictures are sent now."""
        ctx.panel.set_state({"tab": ctx.params["tab"], "page": 0})
        self._draw(ctx)

    @told
    def on_page(self, ctx: Any) -> None:
        """The next pictures of a tab, or those before."""
        page = int(ctx.panel.get_state("page") or 0) + int(ctx.params["step"])
        ctx.panel.set_state("page", max(0, page))
        self._draw(ctx)

    @told
    def on_bar(self, ctx: Any) -> Any:
        """A bar: its class; with Shift the range grows as far as that class."""
        number = int(ctx.params["trace_idx"])
        low, high = number, number
        if ctx.params.get("shift_pressed"):
            first, last = panel_ranking.range_of(ctx, samples.shown(ctx.dataset))
            low, high = min(first, number), max(last, number)
        return self._show_classes(ctx, low, high)

    @told
    def on_bars(self, ctx: Any) -> Any:
        """Bars that were dragged over: all of their classes."""
        touched = [int(point["trace_idx"]) for point in ctx.params["data"]]
        return self._show_classes(ctx, min(touched), max(touched))

    @told
    def on_dot(self, ctx: Any) -> Any:
        """A point of the map."""
        return self._show_points(ctx, [ctx.params])

    @told
    def on_dots(self, ctx: Any) -> Any:
        """Points of the map that were circled."""
        return self._show_points(ctx, ctx.params["data"])

    @told
    def on_cell(self, ctx: Any) -> Any:
        """A cell of the label map: the images of one label and class."""
        tail = samples.shown(ctx.dataset)
        table = tail.labels
        assert table is not None
        label, number = str(table.index[int(ctx.params["y"])]), int(ctx.params["x"])
        view = samples.of_cell(ctx.dataset, tail, label, number)
        return self._show(ctx, view, f"{label}, class {number}")

    @told
    def on_all(self, ctx: Any) -> Any:
        """Everything again, rarest first."""
        return self._show(ctx, samples.ranked(ctx.dataset), EVERYTHING)

    @told
    def on_unseen(self, ctx: Any) -> Any:
        """What of the tail is still to be looked at."""
        view = samples.unseen(ctx.dataset, samples.shown(ctx.dataset))
        return self._show(ctx, view, "of the rarest tenth, not looked at yet")

    @told
    def on_tagged(self, ctx: Any) -> Any:
        """What was given a verdict."""
        tag = ctx.params["tag"]
        return self._show(ctx, ctx.dataset.match_tags(tag), f"tagged {tag}")

    @told
    def on_generated(self, ctx: Any) -> Any:
        """The images generated from this run."""
        return self._show(ctx, samples.generated(ctx.dataset), "generated, rarest first")

    @told
    def on_kind(self, ctx: Any) -> Any:
        """Show a kind of rare."""
        tail, number = samples.shown(ctx.dataset), int(ctx.params["kind"])
        every = kinds(tail)
        return self._show_rows(ctx, every[number].members, name_of(every, number))

    @told
    def on_select_kind(self, ctx: Any) -> None:
        """Select a kind of rare, whatever the grid shows: a new view would undo the selection."""
        tail = samples.shown(ctx.dataset)
        files = tail.images["path"].iloc[kinds(tail)[int(ctx.params["kind"])].members]
        ctx.ops.set_selected_samples(samples.ids_of(ctx.dataset, files))

    @told
    def on_label(self, ctx: Any) -> Any:
        """All images of a label, rarest first."""
        tail = samples.shown(ctx.dataset)
        label = ctx.params["label"]
        return self._show(ctx, samples.of_label(ctx.dataset, tail, label), f"{label}, rarest")

    @told
    def on_open(self, ctx: Any) -> None:
        """A picture of the panel: open its sample."""
        found = samples.ids_of(ctx.dataset, [ctx.params["file"]])
        if not found:
            raise UserError(f"{ctx.params['file']} is not in this dataset any more.")
        ctx.ops.open_sample(id=found[0])

    @told
    def on_verdict(self, ctx: Any) -> None:
        """Say of the selected images what they are, or take it back."""
        verdict = ctx.params["tag"]
        chosen = list(ctx.selected)
        if not chosen:
            raise UserError("Select images in the grid first.")
        if verdict in VERDICTS or verdict == SEEN_TAG:
            count = samples.tag(ctx.dataset, chosen, verdict)
            said = f"{count} image{'s' if count != 1 else ''} tagged {verdict}"
        else:
            said = f"tags of {samples.untag(ctx.dataset, chosen)} images taken back"
        ctx.ops.clear_selected_samples()
        ctx.ops.reload_samples()
        ctx.ops.notify(said, variant="success")

    # What they have in common

    def render(self, ctx: Any) -> Any:
        """The layout of what is in sight."""
        tail: Any
        try:
            tail = samples.shown(ctx.dataset)
        except UserError:
            tail = None  # the layout says how to get scores
        return tabs.layout(self, ctx, tail)

    def _draw(self, ctx: Any) -> None:
        """Send what the tab in sight shows."""
        tail = samples.shown(ctx.dataset)
        ctx.panel.set_data(tabs.data(ctx, tail))

    def _show(self, ctx: Any, view: Any, words: str, classes: tuple[int, int] | None = None) -> Any:
        """The view, which the panel says from now on that the grid shows; its classes stand out."""
        stages = samples.stages(view._serialize(include_uuids=False))
        low, high = classes or (None, None)
        grid.remember(ctx, grid.Asked(stages, f"{len(view):,} images: {words}", low, high))
        self._light(ctx, classes)
        return view

    def _show_rows(self, ctx: Any, rows: Any, words: str) -> Any:
        tail = samples.shown(ctx.dataset)
        ids = samples.ids_of(ctx.dataset, tail.images["path"].iloc[rows])
        return self._show(ctx, ctx.dataset.select(ids, ordered=True), words)

    def _show_points(self, ctx: Any, points: list[dict[str, Any]]) -> Any:
        tail = samples.shown(ctx.dataset)
        rows = panel_map.rows_at(tail, [(int(p["trace_idx"]), int(p["idx"])) for p in points])
        return self._show_rows(ctx, rows, "from the map")

    def _show_classes(self, ctx: Any, low: int, high: int) -> Any:
        last = samples.shown(ctx.dataset).num_classes - 1
        words = f"class {low}" if low == high else f"classes {low} to {high}"
        words = EVERYTHING if (low, high) == (0, last) else f"{words}, rarest first"
        return self._show(ctx, samples.of_classes(ctx.dataset, low, high), words, (low, high))

    def _light(self, ctx: Any, classes: tuple[int, int] | None) -> None:
        """Let the classes of a range stand out in the figures; ``None`` is all of them."""
        tail = samples.shown(ctx.dataset)
        low, high = classes or (0, tail.num_classes - 1)
        changes = tabs.light(ctx, tail, low, high)
        if changes:
            ctx.panel.set_data(changes)
