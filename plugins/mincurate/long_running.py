"""Operators that take minutes: the App runs each in a process of its own, which can be stopped."""

from typing import Any

from mincurate.errors import StoppedError
from mincurate.pipelines import scheduled
from mincurate.progress import Reporter

from .forms import Formed, in_app
from .progress import OperatorProgress

PANEL = "mincurate_work"
STOPPED = "Stopped; finished work is kept. Start the same again to continue."


class LongRunning(Formed):
    """An operator that runs in this process when called from Python, in a worker when scheduled,
    and from the App in a process of its own, which the panel Work shows and can stop.
    """

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Do the work; returns the result as JSON, with a sentence under ``message``."""
        raise NotImplementedError

    def is_long(self, ctx: Any) -> bool:
        """Whether the work takes too long to wait for in an open form."""
        return True

    def execute(self, ctx: Any) -> dict[str, Any] | None:
        """Do the work here, or schedule it and open the panel Work.

        Raises:
            UserError: something the user can fix.
            StoppedError: it was stopped; finished work is kept.
        """
        if in_app(ctx) and self.is_long(ctx):
            send_off(self, ctx)
            ctx.ops.open_panel(PANEL, layout="vertical")
            return None
        try:
            return self.work(ctx, OperatorProgress(ctx))
        except KeyboardInterrupt:
            raise StoppedError(STOPPED) from None


def send_off(operator: Formed, ctx: Any) -> str:
    """Schedule what the App asked for and start a process for it; returns the operation's id."""
    request = {**ctx.request_params, "delegated": True}
    return scheduled.schedule(operator.uri, operator.resolve_run_name(ctx), request, ctx.params)
