"""Review that learns: the call behind ``mincurate review``, and what the panel shows of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from mincurate.curation import first_page, learned_review
from mincurate.curation.learned_review import Left
from mincurate.curation.review import KEEP_TAG, SEEN_TAG
from mincurate.curation.selection import DROP_TAG
from mincurate.errors import UserError
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import tail as tails
from mincurate.ranking import tail_groups
from mincurate.ranking.tail import LongTail
from mincurate.runs import atomic_files, digests, schema, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

COLUMNS = ["path", "rel_path", "content_hash", "label", "rarity", "rarity_class"]
"""Columns of the run in the table of a review."""
CANDIDATES = 200
"""Images that the first page is chosen from, at least: the tail of a small run is smaller."""


@dataclass(frozen=True, repr=False)
class Reviewed:
    """A review as far as it has come.

    Attributes:
        run: the scored run.
        frame: one row per image with a vector, in the order to look at them; see ``docs/files.md``.
        kept: images that were kept.
        dropped: images that were dropped.
        left: how many of the kind are left; ``None`` before there is a keep and a drop.
    """

    run: Run
    frame: pd.DataFrame
    kept: int
    dropped: int
    left: Left | None

    def __repr__(self) -> str:
        return f"<Reviewed {self.run.key}: {self.words}>"

    @property
    def words(self) -> str:
        """One line on what was learned."""
        if self.left is None:
            verdicts = {"keep": self.kept, "drop": self.dropped}
            missing = " and ".join(f"{verb} at least one" for verb, n in verdicts.items() if not n)
            return (
                f"{self.kept:,} kept and {self.dropped:,} dropped: the first page shows one image "
                f"of each kind. To see what is most probably kept, {missing}."
            )
        return f"{self.kept:,} kept and {self.dropped:,} dropped. {self.left.words}"


def review(
    run: AnyRun = None,
    *,
    keep: str = KEEP_TAG,
    drop: str = DROP_TAG,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> Reviewed:
    """Order the images of a run by what a review has kept and dropped, and estimate what is left.

    The table is written to the run's folder as ``review.csv``.

    Args:
        run: the scored run (`find_run`); by default the one scored last.
        keep: tag, in the run's FiftyOne dataset, of images of the kind that is looked for.
        drop: tag of images that were looked at and are not of the kind.
        reporter: as in `score`, and ``progress`` likewise.

    Raises:
        UserError: something the user can fix.
    """
    from mincurate.dataset import current_state

    reporter = choose_reporter(reporter, progress)
    scored = find_run(run, kind=store.SCORE)
    scored.check_whole_images()
    store.check_scored(scored)
    scored.check_whole_images()
    if keep == drop:
        raise UserError(f"--keep and --drop are both {keep!r}; give two different tags.")
    tags = current_state.read(scored, reporter=reporter).tags
    kept = [path for path, words in tags.items() if keep in words]
    dropped = [path for path, words in tags.items() if drop in words and keep not in words]
    seen = [path for path, words in tags.items() if SEEN_TAG in words]
    reviewed = look(tails.look(scored), kept, dropped, seen)
    with digests.held(scored):
        csv = reviewed.frame.to_csv(index=False).encode("utf-8", "backslashreplace")
        atomic_files.write_atomically(scored.path / schema.REVIEW, csv)
    return reviewed


def look(
    tail: LongTail, kept: Iterable[str], dropped: Iterable[str], seen: Iterable[str] = ()
) -> Reviewed:
    """The review of a run with these verdicts, by path; kept in memory while they stay the same.

    Args:
        tail: of the run.
        kept: images of the kind that is looked for.
        dropped: images that are not of it.
        seen: images without a verdict that are not to be shown again; they teach nothing.

    Raises:
        UserError: the run's embeddings cannot be read.
    """
    return _look(tail, frozenset(kept), frozenset(dropped), frozenset(seen))


@lru_cache(maxsize=2)
def _look(
    tail: LongTail, kept: frozenset[str], dropped: frozenset[str], seen: frozenset[str]
) -> Reviewed:
    vectors, position = tail_groups.vectors_of(tail)
    images = tail.images[position >= 0].reset_index(drop=True)
    here = np.asarray(vectors[position[position >= 0]], np.float32)
    frame = images[[name for name in COLUMNS if name in images]].copy()
    keep = images["path"].isin(kept).to_numpy(bool)
    drop = images["path"].isin(dropped).to_numpy(bool)
    looked_at = images["path"].isin(seen).to_numpy(bool)
    frame["verdict"] = np.select([keep, drop, looked_at], ["keep", "drop", "seen"], default="")
    unseen = ~(keep | drop | looked_at)
    left = None
    frame["probability"], frame["low"], frame["high"] = np.nan, np.nan, np.nan
    if keep.any() and drop.any():
        learned = learned_review.learn(here, keep, drop)
        frame["probability"], frame["low"] = learned.probability, learned.low
        frame["high"], left = learned.high, learned.left
        order = learned.order(unseen)
    else:
        rows = np.flatnonzero(unseen)
        candidates = rows[: max(CANDIDATES, len(tail.tail))]
        page = candidates[first_page.diverse(here[candidates])]
        order = np.concatenate([page, np.setdiff1d(rows, page)])
    order = np.concatenate([order, np.flatnonzero(~unseen)])
    frame = frame.iloc[order].reset_index(drop=True)
    return Reviewed(tail.run, frame, int(keep.sum()), int(drop.sum()), left)
