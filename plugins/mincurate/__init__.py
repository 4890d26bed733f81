"""The mincurate plugin of the FiftyOne App: forms, progress and panels over `pipelines`."""

from typing import Any

from . import unavailable


def register(plugin: Any) -> None:
    """Register every operator and panel that `fiftyone.yml` lists."""
    problem = unavailable.problem()
    if problem:
        for cls in unavailable.stand_ins(problem):
            plugin.register(cls)
        return
    from . import evaluating, exporting, generating, mining, panel_operations, preload, scoring
    from .panel import LongTail

    for module in (scoring, generating, mining, evaluating, exporting, preload, panel_operations):
        for cls in module.CLASSES:
            plugin.register(cls)
    plugin.register(LongTail)
