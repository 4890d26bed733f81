"""Tab “Review”: a page of images to look at, and how many of the kept kind are left."""

from typing import Any

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail

from .panel_parts import button, pictures, row, strip, text


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """What was learned, and the page."""
    review = look.review_of(ctx.dataset, tail)
    text(body, "words", f"**{review.words}**")
    if review.left is not None:
        text(
            body,
            "how",
            "Learned from the images tagged rare-keep and outlier-drop: the most probable first. "
            "The interval holds nine times of ten; it narrows as you review.",
        )
    buttons = row(body, "buttons")
    button(buttons, "show", "Show this page", panel.on_review)
    button(buttons, "next", "Mark the page as seen, next", panel.on_next_review)
    strip(body, "page", look.review_page(ctx.dataset, tail), panel.on_open)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The pictures of the page."""
    return pictures(tail, "page", look.review_page(ctx.dataset, tail))
