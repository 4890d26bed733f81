"""What is rare in a scored run: its tail, how the scores are spread, and over which labels.

Tables and numbers alone; the FiftyOne panel draws them.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mincurate.errors import UserError
from mincurate.images import appearance
from mincurate.ranking import classes as ordinal
from mincurate.runs.store import Run

BARS = 48
"""Bars of the histogram."""
DOTS = 6000
"""Points of the map, at most: all of the tail, as far as they fit, and every n-th of the others."""
NO_LABEL = "(no label)"
COLUMNS = [
    *("path", "rel_path", "content_hash", "label", "duplicate_of", "status", "width", "height"),
    *("minority_score", "minority_score_se", "rarity", "rarity_class"),
    *("neighbor_distance", "embedding_rarity", "minority_score_calibrated"),
    *("complexity", *appearance.NAMES, "rarity_kind", "rare_group", "broken", "map_x", "map_y"),
]
"""Of the table of results: the draws, which are most of its bytes, are left on disk."""


@dataclass(frozen=True)
class Histogram:
    """How often which score occurs.

    Attributes:
        borders: ``(B + 1,)``, ascending.
        counts: ``(B, num_classes)``, how many images of which class lie between two borders.
        unclassified: ``(B,)``, how many without a class do.
    """

    borders: NDArray[np.float64]
    counts: NDArray[np.int64]
    unclassified: NDArray[np.int64]


def histogram(scores: ArrayLike, classes: ArrayLike, num_classes: int) -> Histogram | None:
    """The histogram of scores, at most `BARS` bars; ``None`` where all scores are equal.

    Args:
        scores: ``(N,)``; NaN is left out.
        classes: ``(N,)``, -1 for none.
    """
    values, members = np.asarray(scores, np.float64), np.asarray(classes, np.int64)
    scored = ~np.isnan(values)
    values, members = values[scored], members[scored]
    if len(values) < 2 or values.min() == values.max():
        return None
    borders = np.histogram_bin_edges(values, bins=min(BARS, max(8, len(values) // 8)))
    bars = np.searchsorted(borders[1:-1], values, side="right")
    counts = np.zeros((len(borders) - 1, num_classes + 1), np.int64)
    np.add.at(counts, (bars, members), 1)  # -1 is the last column
    return Histogram(borders, counts[:, :-1], counts[:, -1])


@dataclass(frozen=True, eq=False)
class LongTail:
    """A scored run as one looks at it.

    Attributes:
        run: where it is.
        record: its ``run.json``.
        images: one row per scored image, without copies, rarest first; the index counts from 0.
    """

    run: Run
    record: dict[str, Any]
    images: pd.DataFrame

    @property
    def rank_by(self) -> str:
        """What the images are ranked by, one of `classes.RANKINGS`."""
        settings = self.record.get("settings") or {}
        return str(self.record.get("rank_by") or settings.get("rank_by") or "minority")

    @property
    def column(self) -> str:
        """The column that they are ranked by; higher is rarer."""
        return ordinal.RANKINGS[self.rank_by]

    @property
    def within_label(self) -> bool:
        """Whether an image is ranked among those of its own label alone."""
        return bool(self.record.get("class_edges_by_label"))

    @cached_property
    def num_classes(self) -> int:
        """Ordinal classes there are."""
        settings = self.record.get("settings") or {}
        return int(self.record.get("num_classes") or settings.get("num_classes") or 10)

    @property
    def tail(self) -> pd.DataFrame:
        """The rarest tenth, rarest first."""
        return self.images.head(ordinal.tail_size(len(self.images)))

    @property
    def tail_rarity(self) -> float:
        """Rarity from which on an image is of the tail."""
        return float(self.tail["rarity"].min()) if len(self.images) else 1.0

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """Class of every image."""
        return self.images["rarity_class"].to_numpy(np.int64)

    @cached_property
    def classes_of_all(self) -> NDArray[np.int64]:
        """Class that every image has among all of them, also where labels are ranked apart."""
        if not self.within_label:
            return self.classes
        return ordinal.ordinal_classes(self.images[self.column], self.num_classes)

    def scores_of(self, members: NDArray[np.bool_]) -> tuple[float, float]:
        """Lowest and highest score, of those that rank, among some images."""
        found = self.images.loc[members, self.column]
        return float(found.min()), float(found.max())

    @cached_property
    def histogram(self) -> Histogram | None:
        """Of the scores that rank; ``None`` where all are equal."""
        return histogram(self.images[self.column], self.classes, self.num_classes)

    @cached_property
    def labels(self) -> pd.DataFrame | None:
        """Images per label (index) and class (columns ``0 .. L-1``); ``None`` without labels.

        The label whose share in the tail is largest comes first. Images ranked within their labels
        fill every class of every label: they are counted by the classes that the whole set has.
        """
        named = self.images["label"].astype(object)
        if named.isna().all():
            return None
        named = named.where(named.notna(), NO_LABEL)
        table = pd.crosstab(named, self.classes_of_all)
        table = table.reindex(columns=range(self.num_classes), fill_value=0)
        in_tail = pd.Series(self.images.index < len(self.tail), self.images.index)
        share = in_tail.groupby(named).mean() if not self.within_label else table.iloc[:, -1]
        order = sorted(table.index, key=lambda name: (-share[name], name))
        return table.loc[order]

    def of_label(self, label: str) -> pd.DataFrame:
        """The images of a label (`NO_LABEL`: those without), rarest first."""
        named = self.images["label"].astype(object)
        return self.images[named.isna() if label == NO_LABEL else named == label]

    @cached_property
    def dots(self) -> pd.DataFrame:
        """The images that the map shows."""
        mapped = self.images[self.images["map_x"].notna() & self.images["map_y"].notna()]
        if len(mapped) <= DOTS:
            return mapped
        tail = mapped[mapped.index < len(self.tail)].head(DOTS // 2)
        others = mapped.drop(tail.index)
        chosen = np.linspace(0, len(others) - 1, DOTS - len(tail)).astype(int)
        return pd.concat([tail, others.iloc[chosen]])


def look(run: Run) -> LongTail:
    """A run's long tail; kept in memory until the run's files change.

    Raises:
        UserError: the run is not finished.
    """
    try:
        changed = tuple((run.path / n).stat().st_mtime_ns for n in ("scores.parquet", "run.json"))
    except OSError as error:
        raise UserError(
            f"The results of this run are not in {run.path} any more: score the dataset again."
        ) from error
    return _look(run.path, changed)


@lru_cache(maxsize=2)
def _look(folder: Path, changed: tuple[int, ...]) -> LongTail:
    import pyarrow.parquet as pq

    run = Run(folder)
    record = run.record
    table = folder / "scores.parquet"
    there = [name for name in COLUMNS if name in pq.read_schema(table).names]
    frame = pd.read_parquet(table, columns=there)
    found = LongTail(run, record, frame)
    ranked = ordinal.rarest_first(frame, found.column).reset_index(drop=True)
    return LongTail(run, record, ranked)
