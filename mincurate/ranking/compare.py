"""Compare two scored runs of the same images: rank correlation, and the images that moved most."""

from dataclasses import dataclass

import pandas as pd

from mincurate.errors import UserError
from mincurate.ranking.classes import in_tail
from mincurate.runs import store
from mincurate.runs.store import Run


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two rankings of the images that both runs scored.

    Attributes:
        first, second: the runs.
        frame: ``path``, ``label``, ``rarity_first``, ``rarity_second`` and ``change`` (second minus
            first, in [-1, 1]) of every image, largest change first.
        correlation: Spearman's rank correlation of the two rankings, in [-1, 1].
        kept_in_tail: share of the first run's rarest tenth that is in the second's, in [0, 1].
    """

    first: Run
    second: Run
    frame: pd.DataFrame
    correlation: float
    kept_in_tail: float

    def __repr__(self) -> str:
        return f"<Comparison: {self.words}>"

    @property
    def words(self) -> str:
        """The result in one sentence."""
        return (
            f"{self.first.key} and {self.second.key} share {len(self.frame):,} images: rank "
            f"correlation {self.correlation:.3f}, {self.kept_in_tail:.0%} of the first's rarest "
            "tenth is in the second's."
        )


def compare(first: str | Run, second: str | Run) -> Comparison:
    """Compare the rankings in force (``rarity``) of two scored runs; images match by content hash.

    Raises:
        UserError: no such run, a run that is not scored, or fewer than 3 images in common.
    """
    from scipy.stats import spearmanr

    one, two = (run if isinstance(run, Run) else store.find(run) for run in (first, second))
    if one.path.resolve() == two.path.resolve():
        raise UserError(f"{one.key} is the same run twice; give two runs.")
    left, right = (_ranked(run) for run in (one, two))
    frame = left.merge(
        right[["content_hash", "rarity"]], on="content_hash", suffixes=("_first", "_second")
    )
    if len(frame) < 3:
        raise UserError(
            f"{one.key} and {two.key} have {len(frame)} images in common, too few to compare."
        )
    frame["change"] = frame["rarity_second"] - frame["rarity_first"]
    tail, second_tail = (in_tail(frame[f"rarity_{which}"]) for which in ("first", "second"))
    share = float(second_tail[tail].mean()) if tail.any() else 0.0
    correlation = float(spearmanr(frame["rarity_first"], frame["rarity_second"]).statistic)
    order = frame["change"].abs().sort_values(ascending=False, kind="stable").index
    columns = ["path", "label", "rarity_first", "rarity_second", "change"]
    return Comparison(
        one, two, frame.loc[order, columns].reset_index(drop=True), correlation, share
    )


def _ranked(run: Run) -> pd.DataFrame:
    if (kind := store.kind_of(run)) != store.SCORE:
        raise UserError(f"{run.key} holds {store.HOLDS.get(kind, kind)}; compare scored runs.")
    frame = run.frame()
    scored = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    return scored[["path", "label", "content_hash", "rarity"]]
