"""Read what the panel “Long tail” needs first when a dataset is opened, so that it opens faster."""

from typing import Any

import fiftyone.operators as foo

from mincurate.errors import UserError
from mincurate.pipelines import panel as look


class GetReady(foo.Operator):
    """Reads the run that a dataset shows; the App calls it for every dataset that it opens."""

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App lists the operator."""
        return foo.OperatorConfig(
            name="get_ready",
            label="mincurate: get ready",
            unlisted=True,
            on_dataset_open=True,
        )

    def execute(self, ctx: Any) -> None:
        """Read the run, if there is one."""
        if ctx.dataset is None:
            return
        try:
            tail = look.shown(ctx.dataset)
        except UserError:
            return
        # These properties are computed once and cached.
        _ = tail.histogram, tail.dots


CLASSES = (GetReady,)
