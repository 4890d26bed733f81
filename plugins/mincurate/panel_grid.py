"""What the panel has asked the grid to show.

It is kept beside the dataset and not in the panel's state: the App keeps that in its layout and
takes every change of the layout for another page, which made a click twice as slow.
"""

from dataclasses import asdict, dataclass
from typing import Any

from . import panel_samples as samples

STORE, WEEK = "mincurate_panel", 7 * 24 * 3600


@dataclass(frozen=True)
class Asked:
    """What was asked for last.

    Attributes:
        stages: digest of the view (`panel_samples.stages`); empty is nothing.
        words: what the view is, for the user.
        low, high: range of classes that stands out; ``None`` is all of them.
    """

    stages: str = ""
    words: str = ""
    low: int | None = None
    high: int | None = None


NOTHING = Asked()


def asked(ctx: Any) -> Asked:
    """What this panel asked for, as long as the grid has not been given anything else since."""
    kept = ctx.store(STORE).get(ctx.panel.id or "")
    return Asked(**kept) if kept else NOTHING


def remember(ctx: Any, now: Asked) -> None:
    """Keep it, for a week."""
    ctx.store(STORE).set(ctx.panel.id or "", asdict(now), ttl=WEEK)


def shown(ctx: Any) -> bool:
    """Whether the grid shows what was asked for last."""
    last = asked(ctx)
    return bool(last.stages) and last.stages == samples.stages(ctx.request_params.get("view"))
