"""Plotly figures of the panel as plain data: traces, which are sent once, and layouts.

Every class has a trace, whose number is the class; a click changes the opacity of traces only.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail
from mincurate.text import short

FADED = 0.15
"""Opacity of a class that is not highlighted."""
REAL, MADE, FLAGGED = "#7d8ea3", "#e4572e", "#f0b429"


def plain(text: str, limit: int = 24) -> str:
    """A label for Plotly, without the tags that Plotly would interpret."""
    return short(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def opacities(num_classes: int, low: int, high: int, *, full: float = 1.0) -> list[float]:
    """Opacity of every class's trace: those outside the range are faded."""
    return [full if low <= c <= high else FADED for c in range(num_classes)]


def faded(figure: str, num_classes: int, low: int, high: int) -> dict[str, float]:
    """`opacities` by the path of every class's trace in a figure."""
    opacity = opacities(num_classes, low, high)
    return {f"{figure}[{c}].opacity": opacity[c] for c in range(num_classes)}


def histogram(bars: Any, shown: list[float]) -> list[dict[str, Any]]:
    """Bars stacked by class, one trace per class.

    Args:
        bars: `LongTail.histogram`.
        shown: opacity of every trace.
    """
    middle = (bars.borders[:-1] + bars.borders[1:]) / 2
    width = float(bars.borders[1] - bars.borders[0])
    traces: list[dict[str, Any]] = []
    for c, color in enumerate(look.colors(bars.counts.shape[1])):
        full = np.flatnonzero(bars.counts[:, c])
        traces.append(
            {
                "type": "bar",
                "name": f"class {c}",
                "x": middle[full].round(6).tolist(),
                "y": bars.counts[full, c].tolist(),
                "width": width,
                "opacity": shown[c],
                "marker": {"color": color, "line": {"width": 0}},
                "hovertemplate": f"%{{y}} of class {c}, score %{{x:.3f}}<extra></extra>",
            }
        )
    return traces


def histogram_layout(title: str, revision: str, noun: str) -> dict[str, Any]:
    """Dragging selects horizontally; a new ``revision`` removes the mark of a selection."""
    return {
        "barmode": "stack",
        "bargap": 0,
        "dragmode": "select",
        "selectdirection": "h",
        "selectionrevision": revision,
        "hovermode": "closest",
        "margin": {"t": 4, "b": 36, "l": 40, "r": 8},
        "xaxis": {"title": {"text": title, "font": {"size": 12}}, "showgrid": False},
        "yaxis": {"title": {"text": noun, "font": {"size": 12}}},
    }


def dots(tail: LongTail, shown: list[float]) -> list[dict[str, Any]]:
    """The map, one trace per class; coordinates are integers from 0 to 1000."""
    images = tail.dots
    at = images[["map_x", "map_y"]].to_numpy(np.float64)
    low, high = (at.min(0), at.max(0)) if len(at) else (np.zeros(2), np.ones(2))
    coordinates = np.rint(1000 * (at - low) / np.where(high > low, high - low, 1)).astype(int)
    classes = images["rarity_class"].to_numpy(np.int64)
    size = float(np.clip(200 / max(len(images), 1) ** 0.5, 3, 8))
    return [
        {
            "type": "scattergl",
            "mode": "markers",
            "name": f"class {c}",
            "x": coordinates[classes == c, 0].tolist(),
            "y": coordinates[classes == c, 1].tolist(),
            "opacity": shown[c],
            "marker": {"color": color, "size": size},
            "hoverinfo": "name",
        }
        for c, color in enumerate(look.colors(tail.num_classes))
    ]


def dots_layout(revision: str) -> dict[str, Any]:
    """Without axes: only distances have a meaning."""
    axis = {"showgrid": False, "zeroline": False, "showticklabels": False}
    return {
        "dragmode": "lasso",
        "selectionrevision": revision,
        "hovermode": "closest",
        "margin": {"t": 4, "b": 4, "l": 4, "r": 4},
        "xaxis": axis,
        "yaxis": axis,
    }


def label_map(table: pd.DataFrame, rows: range) -> list[dict[str, Any]]:
    """Labels by classes: the share of a label's images in each class, first label on top."""
    counts = table.to_numpy(np.int64)[rows.start : rows.stop]
    share = counts / counts.sum(1, keepdims=True)
    names = [plain(str(table.index[i])) for i in rows]
    return [
        {
            "type": "heatmap",
            "z": share.round(4).tolist(),
            "x": list(range(counts.shape[1])),
            # Rows of the table, named by the axis: cut short, two labels may read the same.
            "y": list(rows),
            "text": counts.tolist(),
            "texttemplate": "%{text}" if counts.shape[1] <= 12 else "",
            "hovertext": [
                [f"{name}: {n} of class {c}" for c, n in enumerate(row)]
                for name, row in zip(names, counts.tolist(), strict=True)
            ],
            "hovertemplate": "%{hovertext} (%{z:.0%})<extra></extra>",
            "colorscale": [[0, "#22262d"], [1, "#e4572e"]],
            "showscale": False,
            "xgap": 1,
            "ygap": 1,
        }
    ]


def label_layout(table: pd.DataFrame, rows: range) -> dict[str, Any]:
    """Axes with the names of labels and classes; the first label is on top."""
    return {
        "margin": {"t": 4, "b": 40, "l": 10, "r": 8},
        "dragmode": False,
        "xaxis": {
            "title": {"text": "class: common → rare", "font": {"size": 12}},
            "dtick": max(1, table.shape[1] // 10),
            "showgrid": False,
            "fixedrange": True,
        },
        "yaxis": {
            "autorange": "reversed",
            "tickvals": list(rows),
            "ticktext": [plain(str(table.index[i])) for i in rows],
            "showgrid": False,
            "fixedrange": True,
        },
    }


def spread(
    real: NDArray[np.float64], accepted: NDArray[np.float64], flagged: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Distributions of the scores of real and generated images, in percent of each set."""
    scores = np.concatenate([real, accepted, flagged])
    borders = np.linspace(scores.min(), scores.max() if np.ptp(scores) else scores.min() + 1, 41)
    traces: list[dict[str, Any]] = []
    for name, values, color in (
        ("real", real, REAL),
        ("generated", accepted, MADE),
        ("generated, flagged", flagged, FLAGGED),
    ):
        if len(values):
            share = 100 * np.histogram(values, borders)[0] / len(values)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "line": {"shape": "hvh", "width": 2, "color": color},
                    "fill": "tozeroy" if name == "real" else "none",
                    "name": f"{name} ({len(values):,})",
                    "x": ((borders[:-1] + borders[1:]) / 2).round(6).tolist(),
                    "y": share.round(3).tolist(),
                    "hovertemplate": "%{y:.1f} %<extra></extra>",
                }
            )
    return traces


def spread_layout(title: str) -> dict[str, Any]:
    """With a legend above the curves."""
    return {
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.15, "bgcolor": "rgba(0,0,0,0)"},
        "dragmode": False,
        "margin": {"t": 30, "b": 36, "l": 44, "r": 8},
        "xaxis": {"title": {"text": title, "font": {"size": 12}}, "showgrid": False},
        "yaxis": {"title": {"text": "% of images", "font": {"size": 12}}},
    }
