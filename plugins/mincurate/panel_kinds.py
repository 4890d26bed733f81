"""Tab “Kinds of rare”: groups of the tail, each with what sets it apart and what it is near to."""

from typing import Any

from mincurate.ranking.tail import LongTail
from mincurate.ranking.tail_groups import Kind, kinds

from .panel_parts import button, pictures, quoted, row, said, strip, together

PAGE = 5
"""Kinds that are shown at a time."""
TYPICAL = 5
"""Images that stand for a kind."""


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Kinds of a page, one below the other."""
    every = kinds(tail)
    if not every:
        said(body, "none", "There are too few images in the tail to look for kinds.")
        return
    first, shown = page_of(ctx, tail)
    groups = sum(not kind.alone for kind in every)
    said(
        body,
        "how",
        f"The rarest tenth falls into **{groups} kinds** of images that resemble one another "
        "(HDBSCAN on the embedding), and images that resemble none. Behind each kind is the "
        "common image nearest to it.",
    )
    for i, kind in enumerate(shown):
        line = row(body, f"kind{i}")
        said(line, "title", f"**{name_of(every, first + i)} · {len(kind.members)} images**")
        number = {"kind": first + i}
        button(line, "show", "Show", panel.on_kind, params=number)
        button(line, "select", "Select all", panel.on_select_kind, params=number)
        said(body, f"traits{i}", _traits(kind))
        images = row(body, f"images{i}")
        strip(images, "typical", tail.images.iloc[kind.members[:TYPICAL]], panel.on_open)
        if kind.common is not None:
            # One part, so that the word stays with its picture where the row is broken.
            near = together(images, "near")
            said(near, "word", "common:")
            strip(near, "common", tail.images.iloc[[kind.common]], panel.on_open)
    turn = row(body, "turn")
    if first:
        button(turn, "back", "Previous", panel.on_page, params={"step": -1})
    if first + len(shown) < len(every):
        button(turn, "on", "Next", panel.on_page, params={"step": 1})


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The pictures of the kinds in sight."""
    found: dict[str, Any] = {}
    for i, kind in enumerate(page_of(ctx, tail)[1]):
        found |= pictures(f"images{i}.typical", tail.images.iloc[kind.members[:TYPICAL]])
        if kind.common is not None:
            found |= pictures(f"images{i}.near.common", tail.images.iloc[[kind.common]])
    return found


def page_of(ctx: Any, tail: LongTail) -> tuple[int, tuple[Kind, ...]]:
    """Number of the first kind in sight, and those in sight."""
    every = kinds(tail)
    last = max(0, (len(every) - 1) // PAGE)
    first = PAGE * min(int(ctx.panel.get_state("page") or 0), last)
    return first, every[first : first + PAGE]


def name_of(every: tuple[Kind, ...], number: int) -> str:
    """What a kind is called."""
    return "Alone: resemble no other" if every[number].alone else f"Kind {number + 1}"


def _traits(kind: Kind) -> str:
    said = " · ".join(quoted(trait) for trait in kind.traits)
    return said or "Neither labels nor measures set them apart: look at the pictures."
