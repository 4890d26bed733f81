"""Tab “Generated”: the images made from this run, against the real ones."""

from typing import Any

import numpy as np
import pandas as pd

from mincurate.ranking.tail import LongTail
from mincurate.runs.schema import SYNTHETIC

from . import panel_plots as plots
from . import panel_samples as samples
from .panel_parts import button, pictures, plot, row, said, strip

RAREST = 7


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Counts, distributions, and the rarest that were let pass."""
    made = generated(ctx)
    buttons = row(body, "buttons")
    augment = "@mincurate/mincurate/augment"
    if made is None:
        said(body, "none", "Nothing has been generated from this run yet.")
        button(buttons, "augment", "Generate rare images…", augment, prompt=True)
        return
    button(buttons, "show", "Show in the grid", panel.on_generated)
    button(buttons, "augment", "Generate more…", augment, prompt=True)
    button(buttons, "evaluate", "Evaluate…", "@mincurate/mincurate/evaluate", prompt=True)
    said(body, "words", _words(made))
    title = tail.column.replace("_", " ")
    plot(body, "spread", plots.spread_layout(f"{title}, higher is rarer"), 230)
    best = rarest(made)
    if len(best):
        said(body, "title", "**The rarest that passed**, and below each the real image nearest")
        strip(body, "made", best, panel.on_open)
        strip(body, "near", nearest(best), panel.on_open)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """Curves and pictures."""
    made = generated(ctx)
    if made is None:
        return {}
    passed = made["accepted"].to_numpy(bool)
    scores = made[tail.column].to_numpy(np.float64)
    real = tail.images[tail.column].to_numpy(np.float64)
    best = rarest(made)
    return {
        "spread": plots.spread(real, scores[passed], scores[~passed]),
        **pictures("made", best),
        **pictures("near", nearest(best)),
    }


def generated(ctx: Any) -> pd.DataFrame | None:
    """Every image generated from the run that is shown; ``None`` without any."""
    tables = [run.path / SYNTHETIC for run in samples.generations(ctx.dataset)]
    found = [pd.read_parquet(table) for table in tables if table.is_file()]
    if not found:
        return None
    made = pd.concat(found, ignore_index=True).drop_duplicates("content_hash")
    return made.assign(rel_path=made["path"], width=pd.NA, height=pd.NA)


def rarest(made: pd.DataFrame) -> pd.DataFrame:
    """Of those that passed."""
    return made[made["accepted"].astype(bool)].nlargest(RAREST, "rarity")


def nearest(best: pd.DataFrame) -> pd.DataFrame:
    """The real image nearest to each."""
    return best.assign(path=best["nearest_real"], rel_path=best["nearest_real"])


def _words(made: pd.DataFrame) -> str:
    passed = made["accepted"].astype(bool)
    reasons = made.loc[~passed, "reason"].value_counts()
    words = f"{len(made):,} images, {int(passed.sum()):,} passed"
    if len(reasons):
        words += "; flagged: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
    if not passed.any():
        return f"{words}."
    hits = (made["rarity_class"] >= made["target_class"])[passed]
    return f"{words}. Of those that passed, {hits.mean():.0%} are as rare as asked for, or rarer."
