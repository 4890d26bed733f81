"""What `mincurate.score` returns, and how a notebook shows it."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mincurate.ranking.classes import ranking_column, rarest_first
from mincurate.runs.store import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Result:
    """What `score` leaves.

    Attributes:
        run: the folder with everything.
        dataset: name of the FiftyOne dataset, or ``None`` when none was written.
        report: the HTML report.
        stored: how many samples were added and updated in FiftyOne, in words; may be empty.
    """

    run: Run
    dataset: str | None
    report: Path
    stored: str = ""

    def __repr__(self) -> str:
        scored, shown = self.run.record["counts"]["scored"], f" in {self.dataset!r}"
        where = shown if self.dataset else ""
        return f"<Result {self.run.key}: {scored:,} {self.run.noun} scored{where}>"

    def _repr_html_(self) -> str:
        """For a notebook: the rarest images, and how far to trust that they are."""
        columns = ["rarity", "minority_score", "rarity_class", "label", "rel_path"]
        rarest = self.rarest(10)[columns]
        table = rarest.to_html(index=False, na_rep="", float_format="{:.3f}".format)
        trust = f"Trust in this ranking: {self.run.record['trust']['words']}"
        return f"<p>{html.escape(repr(self))}<br>{html.escape(trust)}</p>{table}"

    def rarest(self, n: int = 10) -> "pd.DataFrame":
        """The rows of ``frame`` of the ``n`` rarest images, the rarest first."""
        frame = self.frame
        return rarest_first(frame, ranking_column(self.run.record, frame.columns)).head(n)

    @property
    def frame(self) -> "pd.DataFrame":
        """One row per file; see `docs/files.md` for the columns. Higher scores are rarer."""
        return self.run.frame()

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the ranking, in words."""
        return list(self.run.record.get("warnings", []))
