"""The long tail of a scored run: the rarest tenth, the histogram of the scores, rarity by label."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mincurate.errors import UserError
from mincurate.images import appearance, regions
from mincurate.ranking import classes as ordinal
from mincurate.runs import schema
from mincurate.runs.store import Run

BARS = 48
"""Bars of the histogram, at most."""
DOTS = 6000
"""Points of the map, at most: first the tail, then every n-th of the other images."""
MOST_IN_TAIL = 5000
"""Images of the tail that are clustered and get a ``rarity_kind``, at most: the rarest."""
NO_LABEL = "(no label)"
COLUMNS = [
    *("path", "rel_path", "content_hash", "label", "duplicate_of", "status", "width", "height"),
    *(*regions.COLUMNS, "context", "object_id"),
    *("minority_score", "minority_score_se", "minority_class", "rarity", "rarity_class"),
    *("neighbor_distance", "embedding_rarity", "minority_score_calibrated"),
    *("complexity", *appearance.NAMES, "rarity_kind", "rare_group", "broken", "map_x", "map_y"),
]
"""Columns that are read: not the draws, which are most of the table's bytes."""


@dataclass(frozen=True)
class Histogram:
    """A histogram of scores, split by class.

    Attributes:
        borders: ``(B + 1,)``, ascending.
        counts: ``(B, L)``, images of each class between two borders.
        unclassified: ``(B,)``, images without a class.
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
    """A scored run, ready to be shown.

    Attributes:
        run: the run.
        record: its ``run.json``.
        images: one row per scored image, without copies, rarest first; the index counts from 0.
    """

    run: Run
    record: dict[str, Any]
    images: pd.DataFrame

    @property
    def rank_by(self) -> str:
        """The ranking in force, one of `classes.RANKINGS`."""
        settings = self.record.get("settings") or {}
        return str(self.record.get("rank_by") or settings.get("rank_by") or "minority")

    @property
    def column(self) -> str:
        """The column of the ranking in force; higher is rarer."""
        return ordinal.RANKINGS[self.rank_by]

    @property
    def noun(self) -> str:
        """What its rows are: images, objects or tiles."""
        return self.run.noun

    @property
    def within_label(self) -> bool:
        """Whether images are ranked within each label."""
        return bool(self.record.get("class_edges_by_label"))

    @cached_property
    def num_classes(self) -> int:
        """Number of ordinal classes, L."""
        settings = self.record.get("settings") or {}
        return int(self.record.get("num_classes") or settings.get("num_classes") or 10)

    @property
    def tail(self) -> pd.DataFrame:
        """The rarest tenth, rarest first."""
        return self.images.head(ordinal.tail_size(len(self.images)))

    @property
    def tail_rarity(self) -> float:
        """Lowest rarity in the tail, in [0, 1]."""
        return float(self.tail["rarity"].min()) if len(self.images) else 1.0

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """``rarity_class`` of every image, ``(N,)`` in 0..L-1."""
        return self.images["rarity_class"].to_numpy(np.int64)

    @cached_property
    def classes_of_all(self) -> NDArray[np.int64]:
        """Class among all images, ``(N,)``, even where images are ranked within labels."""
        if not self.within_label:
            return self.classes
        return ordinal.ordinal_classes(self.images[self.column], self.num_classes)

    def scores_of(self, members: NDArray[np.bool_]) -> tuple[float, float]:
        """Lowest and highest score of the ranking in force among ``members``, ``(N,)``."""
        scores = self.images.loc[members, self.column]
        return float(scores.min()), float(scores.max())

    @cached_property
    def histogram(self) -> Histogram | None:
        """Of the scores of the ranking in force by ``rarity_class``; ``None`` if all are equal."""
        return histogram(self.images[self.column], self.classes, self.num_classes)

    @cached_property
    def labels(self) -> pd.DataFrame | None:
        """Images per label (index) and class (columns ``0 .. L-1``); ``None`` without labels.

        Labels with the largest share of their images in the tail come first. Classes are those
        among all images: within labels, all classes of a label are equally large.
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
        """The images of a label (`NO_LABEL`: those without one), rarest first."""
        named = self.images["label"].astype(object)
        return self.images[named.isna() if label == NO_LABEL else named == label]

    @cached_property
    def dots(self) -> pd.DataFrame:
        """The images shown on the map, at most `DOTS`."""
        mapped = self.images[self.images["map_x"].notna() & self.images["map_y"].notna()]
        if len(mapped) <= DOTS:
            return mapped
        tail = mapped[mapped.index < len(self.tail)].head(DOTS // 2)
        others = mapped.drop(tail.index)
        chosen = np.linspace(0, len(others) - 1, DOTS - len(tail)).astype(int)
        return pd.concat([tail, others.iloc[chosen]])


def look(run: Run) -> LongTail:
    """The long tail of a run; kept in memory until the run's files change.

    Raises:
        UserError: the run's files are gone, or are those of an earlier version.
    """
    try:
        changed = tuple((run.path / n).stat().st_mtime_ns for n in (schema.SCORES, schema.RECORD))
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
    table = folder / schema.SCORES
    names = pq.read_schema(table).names
    if "rarity_class" not in names:
        raise UserError(
            f"Run {run.key} is of an earlier version of mincurate; `mincurate sync {run.key}` "
            "brings it up to date."
        )
    frame = pd.read_parquet(table, columns=[name for name in COLUMNS if name in names])
    tail = LongTail(run, record, frame)
    ranked = ordinal.rarest_first(frame, tail.column).reset_index(drop=True)
    return LongTail(run, record, ranked)
