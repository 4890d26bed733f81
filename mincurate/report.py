"""One self-contained HTML page that shows a run to somebody who has never seen mincurate.

File names, labels and reasons come from strangers: the template escapes all it is given, what
cannot be seen is spelled out (`visible`), and the page's own policy lets it load nothing and run
only its own script.
"""

import base64
import hashlib
import io
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from numpy.typing import NDArray

from mincurate import figures, runs
from mincurate.figures import Picture
from mincurate.ordinal import RANKINGS
from mincurate.runs import Run

HOVER = 2000
"""Points of the map that carry a picture; the others are plain dots."""
DOTS = 20_000
"""Points of the map at most; beyond, a fixed sample."""
CELL = 64
"""Side, in pixels, of a picture on the map, at most."""
MEGAPIXELS = 1000
"""Decoded for the pictures on the map, at most: half a minute on a slow core."""
SPRITES = 3_000_000
"""Bytes of all pictures on the map together; their quality gives way."""
LISTED = 500
"""Unscorable files that are listed by name."""
GROUPS, COPIES = 100, 10
"""Groups of duplicates that are listed, and copies named in each."""
LABELS = 200
"""Labels in the table."""
COLUMNS = 20
"""Columns of the label table; more classes than that share columns."""


def write_report(run: Run) -> Path:
    """Write ``report.html`` and the figures of a run, and return the page's path.

    Raises:
        UserError: the run has no table of scores yet.
    """
    frame, record = run.frame(), run.record
    settings = record.get("settings") or {}
    rank_by = str(record.get("rank_by") or settings.get("rank_by") or "minority")
    num_classes = int(record.get("num_classes") or settings.get("num_classes") or 10)
    known = figures.ranked(frame, RANKINGS[rank_by])
    most, least = (figures.thumbnails(end, figures.TILE) for end in figures.ends(known))
    figures.write_figures(
        run, known, most=most, least=least, num_classes=num_classes, rank_by=rank_by
    )
    script = resources.files("mincurate").joinpath("templates/map.js").read_text("utf-8")
    points = _points(known)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            style=Markup(
                resources.files("mincurate").joinpath("templates/report.css").read_text("utf-8")
            ),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            title=_title(record),
            key=run.key,
            record=record,
            settings=settings,
            counts=_counts(frame, known),
            facts=_facts(record, settings),
            rank_by=rank_by,
            within_label=bool(settings.get("within_label")) and bool(known["label"].notna().any()),
            column=RANKINGS[rank_by].replace("_", " "),
            num_classes=num_classes,
            colors=figures.class_colors(num_classes),
            **_sheets(known, most, least, RANKINGS[rank_by]),
            histogram=_histogram(
                known[RANKINGS[rank_by]], record.get("class_edges") or [], num_classes
            ),
            pairs=_pairs(run, known),
            points=points,
            labels=_labels(known, num_classes),
            duplicates=_duplicates(frame),
            unscorable=_unscorable(frame),
            diagnostics=_diagnostics(record.get("diagnostics") or {}),
            curve=_curve((record.get("model") or {}).get("curve") or []),
            command=_command(record, settings),
            launch=shlex.quote(visible(str(record.get("dataset") or ""))),
        )
    )
    path = run.path / "report.html"
    runs.write_atomically(path, page.encode())
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mincurate", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["short"] = short
    environment.filters["date"] = _date
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def visible(text: str) -> str:
    r"""Spell out (``\n``, ``\u202e``) what would be invisible or change its surroundings.

    Line breaks, control characters, lone surrogates and marks that turn the direction of reading;
    joiners, which Persian and emoji need, stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\u200c\u200d" else c.encode("unicode_escape").decode()
        for c in text
    )


def short(text: str, limit: int = 160) -> str:
    """At most ``limit`` characters, the middle left out; without invisible ones."""
    text = visible(text)
    head = limit // 3
    return text if len(text) <= limit else f"{text[:head]}…{text[head + 1 - limit :]}"


def _date(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(text or "")


def _title(record: dict[str, Any]) -> str:
    source = str((record.get("source") or {}).get("value") or "")
    return str(record.get("dataset") or source.rstrip("/").rpartition("/")[2] or source or "images")


def _counts(frame: pd.DataFrame, known: pd.DataFrame) -> dict[str, int]:
    ok = int((frame["status"] == "ok").sum())
    return {
        "images": len(frame),
        "scored": ok,
        "unscorable": len(frame) - ok,
        "unique": len(known),
        "duplicates": ok - len(known),
        "on_map": int(known["map_x"].notna().sum()),
    }


def _facts(record: dict[str, Any], settings: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and small print of what a score depends on; unknown ones are left out."""
    model = record.get("model") or {}
    side = f"{model['image_size']} px" if model.get("image_size") else ""
    if model.get("trained_here"):
        minutes = model.get("trained_minutes")
        name = "trained on these images"
        side += f", {minutes:.0f} min of training" if minutes and minutes >= 1 else ""
    else:
        name = str(model.get("name") or "").rstrip("/").rpartition("/")[2]
    sigma = record.get("sigma") or settings.get("sigma")
    draws = record.get("n_draws") or settings.get("n_draws")
    facts = [
        ("model", name, side),
        (
            "noise level",
            f"{sigma:.3g}" if sigma else "",
            f"sigma; {draws:,} draw{'s' if draws > 1 else ''} per image" if draws else "sigma",
        ),
        (
            "distance",
            str(record.get("perceptual") or settings.get("perceptual") or ""),
            "perceptual, decides the score",
        ),
        (
            "embedding",
            str(record.get("embedding") or settings.get("embedding") or ""),
            "for neighbours and map",
        ),
    ]
    return [fact for fact in facts if fact[1]]


def _data_uri(picture: Picture, quality: int | None = None) -> str:
    """WebP; without ``quality`` lossless, which small pictures need."""
    from PIL import Image

    buffer = io.BytesIO()
    lossless = quality is None
    Image.fromarray(picture).save(buffer, "WEBP", lossless=lossless, quality=quality or 80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _sheets(
    known: pd.DataFrame,
    most: list[Picture | None],
    least: list[Picture | None],
    column: str,
) -> dict[str, list[dict[str, Any]]]:
    first, last = figures.ends(known)
    return {
        "most": _tiles(first, most, column, lambda i: i + 1),
        "least": _tiles(last, least, column, lambda i: len(known) - i),
    }


def _tiles(
    rows: pd.DataFrame, pictures: list[Picture | None], column: str, rank: Callable[[int], int]
) -> list[dict[str, Any]]:
    tiles = []
    for i, (row, picture) in enumerate(zip(rows.itertuples(), pictures, strict=True)):
        small = picture is not None and max(picture.shape[:2]) <= 64
        tiles.append(
            {
                "rank": rank(i),
                "picture": None if picture is None else _data_uri(picture, None if small else 78),
                "small": small,
                "score": row.minority_score,
                "se": row.minority_score_se if pd.notna(row.minority_score_se) else None,
                "ranked_by": getattr(row, column),
                "label": row.label if isinstance(row.label, str) else "",
                "file": row.rel_path,
                "ordinal": int(row.minority_class) if pd.notna(row.minority_class) else None,
            }
        )
    return tiles


def _histogram(values: pd.Series, edges: list[float], num_classes: int) -> dict[str, Any] | None:
    """Bars and class edges, all in percent of the drawing; ``None`` when the scores are equal."""
    found = values.dropna().to_numpy(np.float64)
    if len(found) < 2 or found.min() == found.max():
        return None
    counts, borders = np.histogram(found, bins=min(60, max(10, len(found) // 8)))
    low, span = float(borders[0]), float(borders[-1] - borders[0])
    classes = np.searchsorted(edges, (borders[:-1] + borders[1:]) / 2).clip(0, num_classes - 1)
    palette = figures.class_colors(num_classes)
    width = 100 / len(counts)
    return {
        "bars": [
            {
                "x": i * width,
                "width": 0.9 * width,
                "height": 94 * count / counts.max(),
                "color": palette[c],
                "count": count,
                "low": borders[i],
                "high": borders[i + 1],
            }
            for i, (count, c) in enumerate(zip(counts.tolist(), classes.tolist(), strict=True))
        ],
        "edges": [(100 * (edge - low) / span, edge) for edge in edges if low <= edge <= low + span],
        "ticks": [low + span * part for part in (0, 0.25, 0.5, 0.75, 1)],
        "tallest": int(counts.max()),
    }


def _pairs(run: Run, known: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Original and reconstruction, for either end of the ranking; empty when none were kept."""
    place = run.path / "reconstructions.npz"
    if not place.is_file():
        return []
    rows = {row.content_hash: (rank, row) for rank, row in enumerate(known.itertuples(), 1)}
    with np.load(place, allow_pickle=False) as kept:
        pairs = [
            {
                "rank": rows[h][0],
                "original": _data_uri(a, None if len(a) <= 64 else 78),
                "reconstruction": _data_uri(b, None if len(b) <= 64 else 78),
                "small": len(a) <= 64,
                "score": rows[h][1].minority_score,
                "file": rows[h][1].rel_path,
            }
            for h, a, b in zip(
                map(str, kept["content_hash"]),
                kept["original"],
                kept["reconstruction"],
                strict=True,
            )
            if h in rows
        ]
    most = sorted((p for p in pairs if p["rank"] <= (len(rows) + 1) // 2), key=lambda p: p["rank"])
    least = sorted((p for p in pairs if p not in most), key=lambda p: -p["rank"])
    groups = [("Most minority", most), ("Least minority", least)]
    return [group for group in groups if group[1]]


def _points(known: pd.DataFrame) -> dict[str, Any] | None:
    """What the map's script draws; positions from 0 to 1000, the rarest image first."""
    mapped = known[known["map_x"].notna() & known["map_y"].notna()]
    if len(mapped) == 0:
        return None
    rng = np.random.default_rng(0)
    if len(mapped) > DOTS:
        mapped = mapped.iloc[np.sort(rng.choice(len(mapped), DOTS, replace=False))]
    # The rarest images are what people look for; the rest of the room goes to a sample.
    rarest = min(HOVER // 2, len(mapped))
    others = rarest + rng.permutation(len(mapped) - rarest)[: HOVER - rarest]
    hover = np.concatenate([np.arange(rarest), np.sort(others)]).astype(int)
    hover = hover[_affordable(mapped.iloc[hover])]
    rows = mapped.iloc[hover]
    sides = rows[["width", "height"]].max(axis=1).dropna()
    cell = int(min(CELL, max(16, sides.max()))) if len(sides) else CELL
    pictures = figures.thumbnails(rows, cell, square=True)
    sprites = [p for p in pictures if p is not None]
    numbers = iter(range(len(sprites)))
    about = {
        int(i): [
            -1 if picture is None else next(numbers),
            short(row.rel_path, 120),
            f"{row.minority_score:.3f}",
            short(row.label, 60) if isinstance(row.label, str) else "",
        ]
        for i, picture, row in zip(hover, pictures, rows.itertuples(), strict=True)
    }
    position = mapped[["map_x", "map_y"]].to_numpy(np.float64)
    low, high = position.min(0), position.max(0)
    position = np.rint(1000 * (position - low) / np.where(high > low, high - low, 1)).astype(int)
    classes = mapped["minority_class"].astype("Int64").fillna(-1).tolist()
    return {
        "cell": cell,
        "columns": SPRITE_COLUMNS,
        "per_sheet": SPRITE_COLUMNS * SPRITE_ROWS,
        "sheets": _sprite_sheets(sprites, cell),
        "hover": len(about),
        "points": [
            [*xy, int(c), *about.get(i, [])]
            for i, (xy, c) in enumerate(zip(position.tolist(), classes, strict=True))
        ],
    }


def _affordable(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows, from the first on, can be decoded for `MEGAPIXELS`; a JPEG decodes reduced."""
    size = (rows["width"].fillna(0) * rows["height"].fillna(0)).to_numpy(np.float64) / 1e6
    jpeg = rows["rel_path"].str.lower().str.endswith((".jpg", ".jpeg")).to_numpy(bool)
    return np.cumsum(np.where(jpeg, size / 16, size)) <= MEGAPIXELS


SPRITE_COLUMNS, SPRITE_ROWS = 20, 25


def _sprite_sheets(pictures: list[Picture], cell: int) -> list[str]:
    """Square pictures in sheets, as data URIs, at the best quality that keeps to `SPRITES`."""
    per_sheet = SPRITE_COLUMNS * SPRITE_ROWS
    sheets = []
    for start in range(0, len(pictures), per_sheet):
        part = pictures[start : start + per_sheet]
        rows = -(-len(part) // SPRITE_COLUMNS)
        sheet = np.zeros((rows, SPRITE_COLUMNS, cell, cell, 3), np.uint8)
        for i, picture in enumerate(part):
            sheet[divmod(i, SPRITE_COLUMNS)] = picture
        sheets.append(sheet.transpose(0, 2, 1, 3, 4).reshape(rows * cell, SPRITE_COLUMNS * cell, 3))
    uris: list[str] = []
    for quality in (82, 60, 35, 10, 1):
        uris = [_data_uri(sheet, quality) for sheet in sheets]
        if sum(map(len, uris)) <= SPRITES:
            break
    return uris


def _labels(known: pd.DataFrame, num_classes: int) -> dict[str, Any] | None:
    """Per label: how many, its share in the rarest class, and the counts of every class."""
    ranked = known[known["minority_class"].notna()]
    if ranked["label"].isna().all():
        return None
    table = pd.crosstab(ranked["label"].fillna("(no label)"), ranked["minority_class"].astype(int))
    table = table.reindex(columns=range(num_classes), fill_value=0)
    edges = np.linspace(0, num_classes, min(num_classes, COLUMNS) + 1).round().astype(int)
    spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    rows = []
    for label, counts in zip(table.index, table.to_numpy(), strict=True):
        total = int(counts.sum())
        cells = [int(counts[a:b].sum()) for a, b in spans]
        rows.append(
            {
                "label": str(label),
                "total": total,
                "tail": int(counts[-1]),
                "share": counts[-1] / total,
                "cells": [(count, count / total) for count in cells],
            }
        )
    return {
        "heads": [f"{a}" if b == a + 1 else f"{a}–{b - 1}" for a, b in spans],
        "rows": sorted(rows, key=lambda row: (-row["share"], -row["total"], row["label"]))[:LABELS],
        "more": max(0, len(rows) - LABELS),
        "usual": float(table.to_numpy()[:, -1].sum() / table.to_numpy().sum()),
    }


def _duplicates(frame: pd.DataFrame) -> dict[str, Any] | None:
    copies = frame[frame["duplicate_of"].notna() & (frame["status"] == "ok")]
    if len(copies) == 0:
        return None
    groups = sorted(
        (
            (str(first), group["rel_path"].tolist())
            for first, group in copies.groupby("duplicate_of")
        ),
        key=lambda group: (-len(group[1]), group[0]),
    )
    return {
        "count": len(groups),
        "groups": [(first, names[:COPIES], len(names)) for first, names in groups[:GROUPS]],
        "more": max(0, len(groups) - GROUPS),
    }


def _unscorable(frame: pd.DataFrame) -> dict[str, Any] | None:
    """Reasons with their counts, the commonest first, and names until `LISTED` are shown."""
    bad = frame[frame["status"] != "ok"]
    if len(bad) == 0:
        return None
    groups = sorted(
        (
            (str(reason), group["rel_path"].tolist())
            for reason, group in bad.groupby(bad["reason"].fillna("unknown reason"))
        ),
        key=lambda group: (-len(group[1]), group[0]),
    )
    left, listed = LISTED, []
    for reason, names in groups[:LISTED]:
        listed.append((reason, names[:left], len(names)))
        left -= len(names[:left])
    return {"groups": listed, "more": max(0, len(groups) - LISTED)}


@dataclass(frozen=True)
class Meaning:
    """What a diagnostic says: in a few words, at length, and whether a value is good."""

    title: str
    what: str
    good: str
    verdict: Callable[[float], str] = lambda value: ""
    spec: str = ".2f"


def _grade(value: float, good: float, fair: float) -> str:
    return "good" if value >= good else "fair" if value >= fair else "poor"


MEANINGS = {
    "spearman_complexity": Meaning(
        "Follows complexity",
        "Rank correlation between the minority score and how complex an image is (PNG bytes per "
        "pixel).",
        "Near 0 is best. Beyond ±0.5 the ranking mostly tells busy images from plain ones.",
        lambda v: _grade(-abs(v), -0.3, -0.5),
    ),
    "agreement_neighbors": Meaning(
        "Agrees with neighbours",
        "Rank correlation between the minority score and the distance to an image's nearest "
        "neighbours, which is a second, independent kind of evidence.",
        "Trust images most that both call rare. A low value means that the two see different "
        "things: look at both.",
    ),
    "rank_stability": Meaning(
        "Repeatable",
        "Expected rank correlation with a second run on fresh noise.",
        "Above 0.9 the order hardly depends on chance. More draws raise it (--n-draws).",
        lambda v: _grade(v, 0.9, 0.8),
    ),
    "mean_relative_se": Meaning(
        "Noise in a score",
        "Standard error of a score, as a share of the score, averaged over the images.",
        "Below 10 % is good. More draws lower it.",
        lambda v: _grade(-v, -0.1, -0.2),
        ".1%",
    ),
    "denoising_error": Meaning(
        "Reconstruction error",
        "Mean squared error of the reconstructions, pixels in [-1, 1].",
        "Says little alone; the next line compares it.",
        spec=".2g",
    ),
    "denoising_gain": Meaning(
        "Better than a filter",
        "Error of the best linear filter for these images, divided by the model's error.",
        "1 means that the model has learned nothing a filter does not know; well above 1.1 is "
        "needed.",
        lambda v: _grade(v, 1.3, 1.1),
    ),
    "still_improving": Meaning(
        "Training unfinished",
        "How much the error on held-out images fell over the last quarter of the training.",
        "Below 3 % the training has settled; above, train longer (--train-minutes).",
        lambda v: _grade(-v, -0.03, -0.06),
        ".1%",
    ),
    "images_per_second": Meaning(
        "Speed", "Images scored per second, all draws included.", "", spec=".3g"
    ),
}


def _diagnostics(numbers: dict[str, float]) -> list[dict[str, str]]:
    rows = []
    for name in [
        *(n for n in MEANINGS if n in numbers),
        *(n for n in numbers if n not in MEANINGS),
    ]:
        value = numbers[name]
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue
        known = MEANINGS.get(name) or Meaning(name.replace("_", " "), "", "", spec=".3g")
        rows.append(
            {
                "name": name,
                "title": known.title,
                "value": format(value, known.spec),
                "what": known.what,
                "good": known.good,
                "verdict": known.verdict(value),
            }
        )
    return rows


def _curve(curve: list[list[float | None]]) -> dict[str, Any] | None:
    """Two polylines in a 100 by 100 drawing; ``None`` with fewer than two points."""
    rows = np.array(curve, dtype=np.float64).reshape(-1, 3)
    losses = rows[:, 1:]
    if len(rows) < 2 or not np.isfinite(losses).any():
        return None
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    x = 100 * rows[:, 0] / rows[-1, 0]

    def line(values: NDArray[np.float64]) -> str:
        y = 97 - 94 * (values - low) / (high - low or 1)
        return " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(x, y, strict=True) if math.isfinite(b))

    held = losses[:, 1][np.isfinite(losses[:, 1])]
    return {
        "train": line(losses[:, 0]),
        "held_out": line(losses[:, 1]),
        "low": low,
        "high": high,
        "images": int(rows[-1, 0]),
        "last": float(held[-1]) if len(held) else None,
    }


REPEATED = (
    *("model", "sigma", "n_draws", "perceptual", "embedding", "image_size", "fit", "seed"),
    *("precision", "max_images", "train_minutes", "train_steps", "num_classes"),
)
"""Settings that make a run the same run, and the number of classes."""


def _command(record: dict[str, Any], settings: dict[str, Any]) -> str:
    """The command that goes on with this run; append options that only rank and sort anew."""
    source = record.get("source") or {}
    value = str(source.get("value") or "PATH")
    words = [
        "mincurate",
        "score",
        f"fiftyone:{value}" if source.get("kind") == "fiftyone" else value,
    ]
    for name in REPEATED:
        if settings.get(name) is not None:
            words += ["--" + name.replace("_", "-"), str(settings[name])]
    if source.get("kind") != "fiftyone":
        dataset = record.get("dataset")
        words += ["--dataset", str(dataset)] if dataset else ["--no-fiftyone"]
    return " ".join(shlex.quote(visible(word)) for word in [*words, "--resume"])
