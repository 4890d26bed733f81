"""The panel Work: operations on this dataset, their progress, and a button to stop them."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from mincurate.errors import UserError
from mincurate.pipelines import scheduled

from .forms import PLUGIN, Formed, choose, notice, value
from .long_running import PANEL, STOPPED

SHOWN_FOR = timedelta(hours=1)
"""How long the panel shows an operation after its end."""
SHOWN = 6
"""Operations in the panel, at most."""
TICK = 1.0
"""Seconds between two looks at the operations."""


def operations(ctx: Any, *, active: bool = False) -> list[Any]:
    """Operations scheduled for this dataset, last one first: active and recent, or only active."""
    ours = scheduled.operations(ctx.dataset, f"{PLUGIN}/")
    if active:
        return [op for op in ours if _active(op)]
    after = datetime.now(UTC).replace(tzinfo=None) - SHOWN_FOR
    return [op for op in ours if _active(op) or (_ended(op) or after) > after][:SHOWN]


def words(operation: Any) -> str:
    """The state, progress or result of an operation."""
    state, status = operation.run_state, operation.status
    if state in ("scheduled", "queued"):
        return "waiting for a worker"
    if state == "running":
        return (status.label if status else None) or "starting"
    result = operation.result
    if state == "failed":
        error = str(result.error if result else "").strip()
        # A traceback, whose last line names the kind of error and says what happened.
        last = error.splitlines()[-1] if error else "failed"
        return last.partition(": ")[2] if last.startswith("mincurate.errors.") else last
    values = (result.result if result else None) or {}
    return str(values.get("message") or "done")


def _active(operation: Any) -> bool:
    return operation.run_state in scheduled.ACTIVE


def _ended(operation: Any) -> datetime | None:
    return operation.completed_at or operation.failed_at


class Work(foo.Panel):
    """Operations that run or wait, and those of the last hour."""

    @property
    def config(self) -> foo.PanelConfig:
        """How the App lists the panel."""
        return foo.PanelConfig(
            name=PANEL,
            label="mincurate: work",
            icon="hourglass_top",
            help_markdown="Operations of mincurate on this dataset. Stop keeps finished work.",
        )

    def on_load(self, ctx: Any) -> None:
        """Show the operations, and keep the panel up to date while something runs."""
        if operations(ctx, active=True):
            ctx.trigger(f"{PLUGIN}/watch", {"panel_id": ctx.panel_id})

    def on_change_dataset(self, ctx: Any) -> None:
        """The same for another dataset."""
        self.on_load(ctx)

    def on_stop(self, ctx: Any) -> None:
        """Stop the operation whose button was pressed."""
        key = ctx.params.get("operation")
        for operation in operations(ctx, active=True):
            if str(operation.id) == key:
                scheduled.stop(operation, STOPPED)

    def render(self, ctx: Any) -> types.Property:
        """A line for each operation; active ones have a progress bar and a button."""
        panel = types.Object()
        listed = operations(ctx) if ctx.dataset is not None else []
        if not listed:
            panel.md(
                "Nothing is running. Start an operation with **Browse operations**: *mincurate: "
                "score*, *mincurate: generate more of the rare*, …",
                name="nothing",
            )
        for operation in listed:
            key = str(operation.id)
            panel.md(f"**{operation.label}**  \n{words(operation)}", name=f"words_{key}")
            if _active(operation):
                share = float((operation.status and operation.status.progress) or 0.0)
                name = f"share_{key}"
                panel.float(name, default=share, view=types.ProgressView())
                ctx.ops.patch_panel_data({name: share})
                params = {"operation": key}
                panel.btn(f"stop_{key}", label="Stop", on_click=self.on_stop, params=params)
        return types.Property(
            panel,
            view=types.GridView(orientation="vertical", gap=1, pad=2),
        )


class Watch(foo.Operator):
    """Keeps the panel Work up to date, and reloads the dataset when an operation has ended."""

    _latest: dict[str, object] = {}  # noqa: RUF012  (shared: the last watch of a dataset draws)

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists the operator."""
        return foo.OperatorConfig(
            name="watch",
            label="mincurate: watch the work",
            unlisted=True,
            execute_as_generator=True,
        )

    def execute(self, ctx: Any) -> Iterator[Any]:
        """Draw once a second until nothing runs, or another watch of this dataset takes over."""
        panel = Work()
        panel.plugin_name = PLUGIN  # its buttons are called by it
        turn, dataset = object(), str(ctx.dataset._doc.id)
        self._latest[dataset] = turn
        running = {str(op.id) for op in operations(ctx, active=True)}
        while running and self._latest[dataset] is turn:
            time.sleep(TICK)
            now = {str(op.id): op for op in operations(ctx)}
            active = {key for key, op in now.items() if _active(op)}
            for key in running - active:
                operation = now.get(key)
                if operation is None:
                    continue
                variant = "success" if operation.run_state == "completed" else "warning"
                yield ctx.ops.notify(f"{operation.label}: {words(operation)}", variant=variant)
                yield ctx.ops.reload_dataset()
            running = active
            if ctx.panel_id:
                yield ctx.ops.show_panel_output(panel.render(ctx))


class Stop(Formed):
    """Stops operations that run or wait."""

    NAME = "stop"
    LABEL = "stop"
    DESCRIPTION = "Stop scoring, generating, …; finished work is kept"
    ICON = "stop_circle"
    DELEGATED = False
    SUBMIT = "Stop"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which operation."""
        active = operations(ctx, active=True)
        if not active:
            raise UserError("Nothing is running or scheduled for this dataset.")
        lines = [(str(op.id), f"{op.label}: {words(op)}") for op in active]
        lines.append(("all", "All of them"))
        choose(inputs, "operation", lines, label="Operation", default=lines[0][0], radio=True)
        notice(inputs, "kept", "Finished work is kept; starting the same again continues it.")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Stop it."""
        active = operations(ctx, active=True)
        key = value(ctx, "operation", str(active[0].id) if active else "")
        chosen = [op for op in active if key in ("all", str(op.id))]
        for operation in chosen:
            scheduled.stop(operation, STOPPED)
        return {"stopped": [str(op.id) for op in chosen]}


CLASSES = (Work, Watch, Stop)
