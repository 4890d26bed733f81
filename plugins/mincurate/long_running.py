"""Operators that take minutes: never in the App's own process, and stopped without loss."""

from typing import Any

from fiftyone.operators.executor import ExecutionResult

from mincurate.cli.console import Terminal
from mincurate.dataset import worker
from mincurate.errors import StoppedError
from mincurate.progress import Reporter

from .forms import Formed, in_app
from .progress import Told

PANEL = "mincurate_work"
KEPT = "Stopped; what is finished is kept. Start the same again to go on."


class LongRunning(Formed):
    """Works here when called from Python, in a worker when scheduled, and from the App in a
    process of its own, which the panel Work shows and can stop.
    """

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Do it, and return what came out as JSON; ``message`` says it in words."""
        raise NotImplementedError

    def is_long(self, ctx: Any) -> bool:
        """Whether what is asked for takes longer than one waits before an open form."""
        return True

    def execute(self, ctx: Any) -> dict[str, Any] | None:
        """Work, or have it done.

        Raises:
            UserError: something the user can mend.
            StoppedError: it was stopped; what is done is kept.
        """
        if in_app(ctx) and self.is_long(ctx):
            send_off(self, ctx)
            ctx.ops.open_panel(PANEL, layout="vertical")
            return None
        terminal = Terminal()
        try:
            return self.work(ctx, Told(ctx, terminal) if ctx.delegated else terminal)
        except KeyboardInterrupt:
            raise StoppedError(KEPT) from None


def send_off(operator: Formed, ctx: Any) -> str:
    """Schedule what the App asked for and start a process for it.

    Returns:
        The id of the scheduled operation.
    """
    request = {**ctx.request_params, "delegated": True}
    service = worker.service()
    operation = service.queue_operation(
        operator=operator.uri,
        label=operator.resolve_run_name(ctx),
        context={"request_params": request, "params": ctx.params},
        metadata={"inputs_schema": None, "outputs_schema": None},
    )
    key = str(operation.id)
    try:
        worker.start(key)
    except OSError as error:
        service.set_failed(operation.id, result=ExecutionResult(error=str(error)))
        raise
    return key
