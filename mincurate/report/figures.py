"""Pictures of a run as PNG: the map, the histogram, and the two ends of the ranking."""

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from mincurate.images import regions
from mincurate.images.bit_depth import DEFAULT, Rendering
from mincurate.images.decode import UnreadableImage
from mincurate.images.decode_pool import decode_many
from mincurate.ranking.tail import histogram
from mincurate.runs import atomic_files
from mincurate.runs.store import Run
from mincurate.text import short

INK, MUTED, GONE = "#1b1f24", "#59636e", "#d9dee3"
SHEET = 48
"""Pictures in a contact sheet, at most."""
TILE = 128
"""Longer side, in pixels, of a picture in a contact sheet, at most."""
Picture = NDArray[np.uint8]
"""``(h, w, 3)``, RGB."""


def class_colors(n: int) -> list[str]:
    """``n`` colours from calm blue (common) to signal red (rare), as ``#rrggbb``."""
    return [to_hex(colormaps["turbo"](x)) for x in np.linspace(0.12, 0.9, n)]


def ends(ranked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rarest images and the commonest, each outermost first; no image is in both."""
    most = ranked.head(min(SHEET, (len(ranked) + 1) // 2))
    least = ranked.iloc[::-1].head(min(SHEET, len(ranked) // 2))
    return most, least


def thumbnails(
    rows: pd.DataFrame,
    size: int,
    *,
    square: bool = False,
    rendering: Rendering = DEFAULT,
) -> list[Picture | None]:
    """A small picture of every row, ``None`` where the file can no longer be read.

    Args:
        size: longer side in pixels, at most; a smaller image keeps its own size.
        square: exactly ``size`` by ``size``, with borders in the image's mean colour.
        rendering: how the files become pixels.
    """
    sides = []
    row: Any
    for row in rows.itertuples():
        sized = not square and pd.notna(row.width) and pd.notna(row.height)
        sides.append((int(row.width), int(row.height)) if sized else (size, size))
    places = regions.places(rows)
    order = sorted(range(len(places)), key=lambda i: regions.path_of(places[i]))
    pictures = decode_many(
        [places[i] for i in order],  # one decoding for all parts of a file
        size=[min(size, max(*sides[i], 1)) for i in order],
        fit="pad",
        rendering=rendering.picture,
        workers=min(8, os.cpu_count() or 1),
        batch_size=64,
    )
    drawn: list[Picture | None] = [None] * len(places)
    for i, padded in zip(order, (p for batch in pictures for p in batch), strict=True):
        if not isinstance(padded, UnreadableImage):
            drawn[i] = _without_borders(padded, *sides[i])
    return drawn


def _without_borders(padded: Picture, width: int, height: int) -> Picture:
    """The part of a padded picture ``(3, side, side)`` that shows an image of these sides."""
    side, longer = padded.shape[1], max(width, height, 1)
    w, h = max(1, round(width * side / longer)), max(1, round(height * side / longer))
    left, top = (side - w) // 2, (side - h) // 2
    return padded.transpose(1, 2, 0)[top : top + h, left : left + w]


def data_uri(picture: Picture, quality: int | None = None) -> str:
    """WebP as a ``data:`` URI, lossless where there is no ``quality`` (0 to 100)."""
    buffer = io.BytesIO()
    lossless = quality is None
    Image.fromarray(picture).save(buffer, "WEBP", lossless=lossless, quality=quality or 80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_figures(
    run: Run,
    ranked: pd.DataFrame,
    *,
    most: Sequence[Picture | None],
    least: Sequence[Picture | None],
    num_classes: int,
    column: str,
) -> list[Path]:
    """Write the figures of a run into its ``figures`` folder; those without data are removed.

    Args:
        ranked: the images as `classes.rarest_first` orders them.
        most: pictures of the rarest, as `ends` orders them.
        least: pictures of the commonest.
        column: that they are ranked by.

    Returns:
        The files that were written, of ``map.png``, ``histogram.png``, ``rarest.png`` and
        ``commonest.png``.
    """
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    record = run.record
    rarest, commonest = ends(ranked)
    noun = run.noun
    drawn: dict[str, Figure | None] = {
        "map.png": _map(ranked, num_classes, str(record.get("map_method", "")), noun),
        "histogram.png": _histogram(ranked[column], record.get("class_edges") or [], column, noun),
        "rarest.png": _contact_sheet(most, _captions(rarest, column), f"Rarest {noun}"),
        "commonest.png": _contact_sheet(least, _captions(commonest, column), f"Commonest {noun}"),
    }
    for name, figure in drawn.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
            continue
        buffer = io.BytesIO()
        # Without the version of matplotlib inside, the same run gives the same bytes.
        figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
        atomic_files.write_atomically(folder / name, buffer.getvalue())
    return [folder / name for name, figure in drawn.items() if figure is not None]


def _map(ranked: pd.DataFrame, num_classes: int, method: str, noun: str) -> Figure | None:
    shown = ranked[ranked["map_x"].notna() & ranked["rarity_class"].notna()].iloc[::-1]
    if len(shown) == 0:
        return None
    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axes = figure.subplots()
    dots = axes.scatter(
        shown["map_x"],
        shown["map_y"],
        c=shown["rarity_class"].astype(float),  # rare ones are drawn last, on top
        cmap=ListedColormap(class_colors(num_classes)),
        vmin=-0.5,
        vmax=num_classes - 0.5,
        s=float(np.clip(6000 / len(shown), 3, 40)),
        linewidths=0,
    )
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"{method.upper()} map of {len(shown):,} {noun}", color=INK, fontsize=11)
    for side in axes.spines.values():
        side.set_color(GONE)
    bar = figure.colorbar(dots, ax=axes, label="ordinal class (highest is rarest)", shrink=0.8)
    bar.set_ticks(list(range(0, num_classes, max(1, num_classes // 10))))
    return figure


def _histogram(values: pd.Series, edges: list[float], column: str, noun: str) -> Figure | None:
    bars = histogram(values, np.zeros(len(values)), 1)
    if bars is None:
        return None
    figure = Figure(figsize=(7.5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.stairs(bars.counts[:, 0], bars.borders, fill=True, color="#4c78a8")
    for edge in edges:
        axes.axvline(edge, color="#d1242f", linewidth=0.7, alpha=0.7)
    axes.set_xlabel(f"{column.replace('_', ' ')} (higher is rarer; lines: class edges)", color=INK)
    axes.set_ylabel(noun, color=INK)
    for name in ("top", "right"):
        axes.spines[name].set_visible(False)
    return figure


def _captions(rows: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """The value of each row, and below it its class and label where it has them."""
    captions = []
    row: Any
    for row in rows.itertuples():
        value = getattr(row, column)
        under = [f"class {row.rarity_class}"] if pd.notna(row.rarity_class) else []
        under += [short(row.label, 16)] if isinstance(row.label, str) else []
        captions.append((f"{value:.3f}" if pd.notna(value) else "", "\n".join(under)))
    return captions


def _contact_sheet(
    pictures: Sequence[Picture | None], captions: Sequence[tuple[str, str]], title: str
) -> Figure | None:
    """Pictures in rows of up to twelve, each over its captions."""
    if not pictures:
        return None
    columns = min(12, len(pictures))
    rows = -(-len(pictures) // columns)
    wide, tall = 0.9, 1.06 + 0.13 * max(len(under.split("\n")) for _, under in captions)
    width, height, top = max(2.0, wide * columns), tall * rows + 0.45, 0.4
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # a unit is an inch
    axes.axis("off")
    for i, (picture, (value, under)) in enumerate(zip(pictures, captions, strict=True)):
        x, y = wide * (i % columns) + 0.45, top + tall * (i // columns) + 0.42
        shown = np.full((1, 1, 3), 0xE4, np.uint8) if picture is None else picture
        h, w = 0.42 * np.array(shown.shape[:2]) / max(shown.shape[:2])
        axes.imshow(shown, extent=(x - w, x + w, y + h, y - h), interpolation="nearest")
        # A dollar sign in a label is no formula.
        words: dict[str, Any] = {"fontsize": 6.5, "ha": "center", "va": "top", "parse_math": False}
        axes.text(x, y + 0.45, value, color=INK, **words)
        axes.text(x, y + 0.57, under, color=MUTED, **words)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    axes.text(width / 2, top / 2, title, fontsize=11, color=INK, ha="center", va="center")
    return figure
