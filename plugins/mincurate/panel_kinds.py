"""Tab “Kinds of rare”: groups of similar images in the tail, with the traits of each."""

from typing import Any

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail, RareGroup

from .panel_parts import button, pictures, quoted, row, strip, text, together

PAGE = 5
"""Groups per page."""
TYPICAL = 5
"""Images shown of a group."""


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """The groups of a page, one below the other."""
    groups = look.groups(tail)
    if not groups:
        text(body, "none", f"There are too few {tail.noun} in the tail to group them.")
        return
    first, shown = page_of(ctx, tail)
    count = sum(not group.alone for group in groups)
    groups_of = "group" if count == 1 else "groups"
    text(
        body,
        "how",
        f"The rarest tenth holds **{count} {groups_of}** of similar {tail.noun} (HDBSCAN on the "
        f"embedding), and {tail.noun} that are like no other. Beside each group is the nearest "
        "common one.",
    )
    for i, group in enumerate(shown):
        line = row(body, f"kind{i}")
        text(line, "title", f"**{name_of(groups, first + i)} · {len(group.members)} {tail.noun}**")
        number = {"kind": first + i}
        button(line, "show", "Show", panel.on_kind, params=number)
        button(line, "select", "Select all", panel.on_select_kind, params=number)
        text(body, f"traits{i}", _traits(group))
        images = row(body, f"images{i}")
        strip(images, "typical", tail.images.iloc[group.members[:TYPICAL]], panel.on_open)
        if group.common is not None:
            # One part, so that the word stays with its picture where the row is broken.
            near = together(images, "near")
            text(near, "word", "common:")
            strip(near, "common", tail.images.iloc[[group.common]], panel.on_open)
    turn = row(body, "turn")
    if first:
        button(turn, "back", "Previous", panel.on_page, params={"step": -1})
    if first + len(shown) < len(groups):
        button(turn, "on", "Next", panel.on_page, params={"step": 1})


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The pictures of the groups of a page."""
    images: dict[str, Any] = {}
    for i, group in enumerate(page_of(ctx, tail)[1]):
        images |= pictures(tail, f"images{i}.typical", tail.images.iloc[group.members[:TYPICAL]])
        if group.common is not None:
            images |= pictures(tail, f"images{i}.near.common", tail.images.iloc[[group.common]])
    return images


def page_of(ctx: Any, tail: LongTail) -> tuple[int, tuple[RareGroup, ...]]:
    """Number of the first group of the page in sight, and the groups of the page."""
    groups = look.groups(tail)
    last = max(0, (len(groups) - 1) // PAGE)
    first = PAGE * min(int(ctx.panel.get_state("page") or 0), last)
    return first, groups[first : first + PAGE]


def name_of(groups: tuple[RareGroup, ...], number: int) -> str:
    """Title of a group."""
    return "Alone: like no other" if groups[number].alone else f"Kind {number + 1}"


def _traits(group: RareGroup) -> str:
    words = " · ".join(quoted(trait) for trait in group.traits)
    return words or "No label or measure is frequent or extreme here: look at the pictures."
