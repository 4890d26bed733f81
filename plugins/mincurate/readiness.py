"""The panel “Long tail” waits less: what it reads first is read when its dataset is opened."""

from typing import Any

import fiftyone.operators as foo

from mincurate.errors import UserError

from . import panel_samples as samples


class GetReady(foo.Operator):
    """Reads the run that a dataset shows; the App asks for it with every dataset it opens."""

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne asks for."""
        return foo.OperatorConfig(
            name="get_ready",
            label="mincurate: get ready",
            unlisted=True,
            on_dataset_open=True,
        )

    def execute(self, ctx: Any) -> None:
        """Read it; a dataset without scores has nothing to read, and the panel says so."""
        if ctx.dataset is None:
            return
        try:
            tail = samples.shown(ctx.dataset)
        except UserError:
            return
        # Properties that are computed once, and kept.
        _ = tail.histogram, tail.dots


CLASSES = (GetReady,)
