"""Parts of the tabs: text, buttons, rows, thumbnails."""

from typing import Any

import pandas as pd

from mincurate.pipelines import panel as look

THUMB = 64
"""Side of a thumbnail, in pixels."""
NARROW = {"item": {"sx": {"width": "auto"}}}
"""As wide as its content, not as the panel."""
SMALL = NARROW | {
    "button": {"sx": {"padding": "2px 8px", "minWidth": "auto", "fontSize": "0.85rem"}}
}
CONFIG = {"displayModeBar": False, "scrollZoom": False, "responsive": True}
"""Of figures: the mouse wheel scrolls the panel."""


def text(parent: Any, name: str, markdown: str) -> None:
    """Markdown; labels and file names in it must be `quoted`."""
    parent.md(markdown, name=name, componentsProps=NARROW)


def quoted(name: str) -> str:
    """A label or file name for Markdown, with its special characters escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>~&" else c for c in name)


def button(parent: Any, name: str, label: str, on_click: Any, **options: Any) -> None:
    """A small button that calls a method of the panel, or an operator by its URI."""
    props = {"variant": "outlined", "componentsProps": SMALL} | options
    parent.btn(name, label=label, on_click=on_click, **props)


def tab(parent: Any, name: str, label: str, on_click: Any, *, chosen: bool, **options: Any) -> None:
    """A button that looks like a tab: the chosen one is underlined."""
    line = "var(--fo-palette-primary-main)" if chosen else "transparent"
    look = {"padding": "4px 10px", "minWidth": "auto", "fontSize": "0.9rem", "borderRadius": 0}
    look |= {"backgroundColor": "transparent", "borderBottom": "2px solid"}
    props = NARROW | {"button": {"sx": look | {"borderColor": line, "borderBottomColor": line}}}
    button(parent, name, label, on_click, variant="square", componentsProps=props, **options)


def plot(parent: Any, name: str, layout: dict[str, Any], height: int, **events: Any) -> None:
    """A Plotly figure whose traces are data of the panel.

    It is a composite view because FiftyOne copies the data of a plain one into the panel's state,
    which is sent with every request.
    """
    parent.plot(
        name, layout=layout, config=CONFIG, height=f"{height}px", composite_view=True, **events
    )


def row(parent: Any, name: str) -> Any:
    """Parts side by side, on as many lines as they need."""
    return parent.grid(name, orientation="2d", gap=1, align_y="center", componentsProps=NARROW)


def together(parent: Any, name: str) -> Any:
    """Parts side by side on one line."""
    return parent.grid(
        name, orientation="horizontal", gap=1, align_y="center", componentsProps=NARROW
    )


def strip(parent: Any, name: str, rows: pd.DataFrame, on_open: Any) -> None:
    """Thumbnails in a row, each of which opens its image; see `pictures` for their data."""
    line = row(parent, name)
    for i, file in enumerate(rows.itertuples()):
        line.img(
            f"i{i}",
            on_click=on_open,
            params={"file": str(file.path), "name": str(file.rel_path)},
            height=f"{THUMB}px",
            width=f"{THUMB}px",
            alt_text=str(file.rel_path),
            componentsProps=NARROW,
        )


def pictures(tail: look.LongTail, name: str, rows: pd.DataFrame) -> dict[str, str]:
    """The data of a `strip`."""
    addresses = look.thumbnails(tail, rows, THUMB)
    return {f"{name}.i{i}": address for i, address in enumerate(addresses)}
