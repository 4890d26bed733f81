"""Parts that every tab is put together from: text, buttons, rows, thumbnails."""

from typing import Any

import pandas as pd

from mincurate.report.figures import Picture, data_uri, thumbnails

THUMB = 64
"""Side of a thumbnail, in pixels."""
NARROW = {"item": {"sx": {"width": "auto"}}}
"""As wide as it is, and not as the panel."""
SMALL = NARROW | {
    "button": {"sx": {"padding": "2px 8px", "minWidth": "auto", "fontSize": "0.85rem"}}
}
CONFIG = {"displayModeBar": False, "scrollZoom": False, "responsive": True}
"""Of figures: the wheel scrolls the panel."""


def said(parent: Any, name: str, markdown: str) -> None:
    """Text; what comes from outside is made harmless by `quoted`."""
    parent.md(markdown, name=name, componentsProps=NARROW)


def quoted(text: str) -> str:
    """A label or file name inside of Markdown, without a meaning in it."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>~&" else c for c in text)


def button(parent: Any, name: str, label: str, on_click: Any, **more: Any) -> None:
    """A small button that starts a method of the panel, or an operator by its name."""
    props = {"variant": "outlined", "componentsProps": SMALL} | more
    parent.btn(name, label=label, on_click=on_click, **props)


def tab(parent: Any, name: str, label: str, on_click: Any, *, chosen: bool, **more: Any) -> None:
    """A button that looks like a tab: the chosen one is underlined."""
    line = "var(--fo-palette-primary-main)" if chosen else "transparent"
    look = {"padding": "4px 10px", "minWidth": "auto", "fontSize": "0.9rem", "borderRadius": 0}
    look |= {"backgroundColor": "transparent", "borderBottom": "2px solid"}
    props = NARROW | {"button": {"sx": look | {"borderColor": line, "borderBottomColor": line}}}
    button(parent, name, label, on_click, variant="square", componentsProps=props, **more)


def plot(parent: Any, name: str, layout: dict[str, Any], height: int, **events: Any) -> None:
    """A Plotly figure whose traces are data of the panel.

    FiftyOne copies the data of a plain view into the panel's state, which travels with every
    request, as soon as it changes; with the data of a composite view it does not.
    """
    parent.plot(
        name, layout=layout, config=CONFIG, height=f"{height}px", composite_view=True, **events
    )


def row(parent: Any, name: str) -> Any:
    """Things beside one another, on as many lines as they need."""
    return parent.grid(name, orientation="2d", gap=1, align_y="center", componentsProps=NARROW)


def together(parent: Any, name: str) -> Any:
    """Things beside one another on one line, whatever its width."""
    return parent.grid(
        name, orientation="horizontal", gap=1, align_y="center", componentsProps=NARROW
    )


def strip(parent: Any, name: str, rows: pd.DataFrame, on_open: Any) -> None:
    """Thumbnails in a row, each of which opens its image; `pictures` are their data."""
    line = row(parent, name)
    for i, file in enumerate(rows.itertuples()):
        line.img(
            f"i{i}",
            on_click=on_open,
            params={"file": str(file.path)},
            height=f"{THUMB}px",
            width=f"{THUMB}px",
            alt_text=str(file.rel_path),
            componentsProps=NARROW,
        )


def pictures(name: str, rows: pd.DataFrame) -> dict[str, str]:
    """The data of a `strip`: small pictures as addresses that hold them."""
    drawn = thumbnails(rows, THUMB, square=True)
    return {f"{name}.i{i}": uri(picture) for i, picture in enumerate(drawn)}


def uri(picture: Picture | None) -> str:
    """A picture in an address; an empty one where the file cannot be read any more."""
    return "" if picture is None else data_uri(picture, 80)
