"""The panel Work: what mincurate is doing with this dataset, how far it is, and Stop."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.factory import DelegatedOperationPagingParams
from fiftyone.operators.executor import ExecutionResult

from mincurate.dataset import worker
from mincurate.errors import UserError

from .forms import PLUGIN, Formed, choose, notice, value
from .long_running import KEPT, PANEL

ACTIVE = ("scheduled", "queued", "running")
REMEMBERED = timedelta(hours=1)
"""How long the panel shows what has ended."""
SHOWN = 6
TICK = 1.0


def operations(ctx: Any, *, active: bool = False) -> list[Any]:
    """What was scheduled for this dataset, the last one first; or of it what has not ended."""
    found = worker.service().list_operations(
        dataset_id=ctx.dataset._doc.id, paging=DelegatedOperationPagingParams(limit=50)
    )
    ours = [op for op in found if op.operator.startswith(f"{PLUGIN}/")]
    if active:
        return [op for op in ours if op.run_state in ACTIVE]
    after = datetime.now(UTC).replace(tzinfo=None) - REMEMBERED
    return [op for op in ours if op.run_state in ACTIVE or (_ended(op) or after) > after][:SHOWN]


def stop(operation: Any) -> None:
    """Mark an operation as ended: one that waits is not begun, one that runs sees it and stops."""
    worker.service().set_failed(operation.id, result=ExecutionResult(error=KEPT))


def words(operation: Any) -> str:
    """What there is to say of an operation."""
    state, status = operation.run_state, operation.status
    if state in ("scheduled", "queued"):
        return "waits for a worker"
    if state == "running":
        return (status.label if status else None) or "begins"
    result = operation.result
    if state == "failed":
        error = str(result.error if result else "").strip()
        # A traceback, whose last line names the kind of error and says what happened.
        last = error.splitlines()[-1] if error else "failed"
        return last.partition(": ")[2] if last.startswith("mincurate.errors.") else last
    found = result.result if result else None
    return str((found or {}).get("message") or "done")


def _ended(operation: Any) -> datetime | None:
    return operation.completed_at or operation.failed_at


class Work(foo.Panel):
    """What mincurate is doing, and what it has done in the last hour."""

    @property
    def config(self) -> foo.PanelConfig:
        """What FiftyOne asks for."""
        return foo.PanelConfig(
            name=PANEL,
            label="mincurate: work",
            icon="hourglass_top",
            help_markdown="What mincurate is doing with this dataset; Stop keeps what is done.",
        )

    def on_load(self, ctx: Any) -> None:
        """Show what there is, and go on showing it as long as something runs."""
        if operations(ctx, active=True):
            ctx.trigger(f"{PLUGIN}/watch", {"panel_id": ctx.panel_id})

    def on_change_dataset(self, ctx: Any) -> None:
        """The same for another dataset."""
        self.on_load(ctx)

    def on_stop(self, ctx: Any) -> None:
        """Stop the operation whose button was pressed."""
        wanted = ctx.params.get("operation")
        for operation in operations(ctx, active=True):
            if str(operation.id) == wanted:
                stop(operation)

    def render(self, ctx: Any) -> types.Property:
        """A line for each operation; what runs has a bar and a button."""
        panel = types.Object()
        found = operations(ctx) if ctx.dataset is not None else []
        if not found:
            panel.md(
                "Nothing runs. Start something with **Browse operations**: *mincurate: score*, "
                "*augment*, …",
                name="nothing",
            )
        for operation in found:
            key = str(operation.id)
            panel.md(f"**{operation.label}**  \n{words(operation)}", name=f"words_{key}")
            if operation.run_state in ACTIVE:
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
    """Goes on drawing the panel Work, and reloads the dataset when something has ended."""

    _latest: dict[str, object] = {}  # noqa: RUF012  (one for all instances: the last one draws)

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne asks for."""
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
            active = {key for key, op in now.items() if op.run_state in ACTIVE}
            for key in running - active:
                operation = now.get(key)
                if operation is None:
                    continue
                fine = operation.run_state == "completed"
                said = f"{operation.label}: {words(operation)}"
                yield ctx.ops.notify(said, variant="success" if fine else "warning")
                yield ctx.ops.reload_dataset()
            running = active
            if ctx.panel_id:
                yield ctx.ops.show_panel_output(panel.render(ctx))


class Stop(Formed):
    """Stops what runs or waits."""

    NAME = "stop"
    LABEL = "stop what runs"
    DESCRIPTION = "Stop scoring, generating, …; what is finished is kept"
    ICON = "stop_circle"
    DELEGATED = False
    SUBMIT = "Stop"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which one."""
        found = operations(ctx, active=True)
        if not found:
            raise UserError("Nothing is running or scheduled for this dataset.")
        lines = [(str(op.id), f"{op.label}: {words(op)}") for op in found]
        lines.append(("all", "All of it"))
        choose(inputs, "operation", lines, label="What to stop", default=lines[0][0], radio=True)
        notice(inputs, "kept", "What is finished is kept; starting the same again goes on.")

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Stop it."""
        found = operations(ctx, active=True)
        wanted = value(ctx, "operation", str(found[0].id) if found else "")
        chosen = [op for op in found if wanted in ("all", str(op.id))]
        for operation in chosen:
            stop(operation)
        return {"stopped": [str(op.id) for op in chosen]}


CLASSES = (Work, Watch, Stop)
