"""The mincurate plugin of the FiftyOne App: forms, progress and panels over `pipelines`."""

from typing import Any

from . import refusal


def register(plugin: Any) -> None:
    """Register every operator and panel that `fiftyone.yml` lists."""
    problem = refusal.problem()
    if problem:
        for cls in refusal.stand_ins(problem):
            plugin.register(cls)
        return
    from . import generating, judging, keeping, readiness, scoring, work
    from .panel import LongTail

    for module in (scoring, generating, judging, keeping, readiness, work):
        for cls in module.CLASSES:
            plugin.register(cls)
    plugin.register(LongTail)
