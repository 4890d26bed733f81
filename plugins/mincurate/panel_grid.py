"""What the panel last asked the grid to show.

It is stored beside the dataset, not in the panel's state: the App keeps that in its layout and
loads a new page on every change of the layout, which made a click twice as slow.
"""

from dataclasses import asdict, dataclass
from typing import Any

from mincurate.pipelines import panel as look

STORE, WEEK = "mincurate_panel", 7 * 24 * 3600


@dataclass(frozen=True)
class Asked:
    """The view that was asked for last.

    Attributes:
        stages: digest of the view's stages; empty for none.
        words: what the view shows.
        low, high: range of classes to highlight; ``None`` for all of them.
    """

    stages: str = ""
    words: str = ""
    low: int | None = None
    high: int | None = None


NOTHING = Asked()


def asked(ctx: Any) -> Asked:
    """The view that this panel asked for, unless the grid has changed since."""
    stored = ctx.store(STORE).get(ctx.panel.id or "")
    return Asked(**stored) if stored else NOTHING


def remember(ctx: Any, view: Asked) -> None:
    """Store it for a week."""
    ctx.store(STORE).set(ctx.panel.id or "", asdict(view), ttl=WEEK)


def shown(ctx: Any) -> bool:
    """Whether the grid shows the view that was asked for last."""
    last = asked(ctx)
    return bool(last.stages) and last.stages == look.digest(ctx.request_params.get("view"))
