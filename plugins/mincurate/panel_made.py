"""Tab “Generated”: the images generated from this run, compared with the real ones."""

from typing import Any

import numpy as np
import pandas as pd

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail

from . import panel_plots as plots
from .panel_parts import button, pictures, plot, row, strip, text

RAREST = 7
"""Images shown, at most."""


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Counts, distributions, and the rarest accepted images."""
    generated = look.generated_table(ctx.dataset)
    buttons = row(body, "buttons")
    augment = "@mincurate/mincurate/augment"
    if generated is None:
        text(body, "none", "Nothing has been generated from this run yet.")
        button(buttons, "augment", "Generate rare images…", augment, prompt=True)
        return
    button(buttons, "show", "Show in the grid", panel.on_generated)
    button(buttons, "augment", "Generate more…", augment, prompt=True)
    button(buttons, "evaluate", "Evaluate…", "@mincurate/mincurate/evaluate", prompt=True)
    text(body, "words", _words(generated))
    title = _column(generated, tail).replace("_", " ")
    plot(body, "spread", plots.spread_layout(f"{title}, higher is rarer"), 230)
    best = rarest(generated, tail)
    if len(best):
        text(body, "title", "**The rarest accepted images**, and below each the nearest real image")
        strip(body, "made", best, panel.on_open)
        strip(body, "near", nearest(best), panel.on_open)


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """Curves and pictures."""
    generated = look.generated_table(ctx.dataset)
    if generated is None:
        return {}
    accepted = generated["accepted"].to_numpy(bool)
    column = _column(generated, tail)
    scores = generated[column].to_numpy(np.float64)
    real = tail.images[column].to_numpy(np.float64)
    best = rarest(generated, tail)
    return {
        "spread": plots.spread(real, scores[accepted], scores[~accepted]),
        **pictures(tail, "made", best),
        **pictures(tail, "near", nearest(best)),
    }


def rarest(generated: pd.DataFrame, tail: LongTail) -> pd.DataFrame:
    """The rarest accepted images."""
    accepted = generated[generated["accepted"].astype(bool)]
    return accepted.nlargest(RAREST, _column(generated, tail))


def nearest(images: pd.DataFrame) -> pd.DataFrame:
    """The real image nearest to each."""
    return images.assign(path=images["nearest_real"], rel_path=images["nearest_real"])


def _column(generated: pd.DataFrame, tail: LongTail) -> str:
    """The score that the images were asked to be high in; if they differ, that of the ranking."""
    return "minority_score" if (generated["by"] == "minority").all() else tail.column


def _words(generated: pd.DataFrame) -> str:
    accepted = generated["accepted"].astype(bool)
    reasons = generated.loc[~accepted, "reason"].value_counts()
    words = f"{len(generated):,} images, {int(accepted.sum()):,} accepted"
    if len(reasons):
        words += "; rejected: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
    words += "."
    for by, reached in generated[accepted].groupby("by")["reached"]:
        words += (
            f" Of {len(reached):,} accepted images that were asked for by {by} class, "
            f"{reached.mean():.0%} are of that class or rarer."
        )
    return words
