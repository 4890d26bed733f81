"""Figures: a panel per measure, side by side, each with its own scale."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mincurate.evaluation.metrics import Interval
from mincurate.report.evaluation_figures import COLORS, OTHERS
from mincurate.report.figures import INK, MUTED

SETS = COLORS | {
    "rarest tenth of real": MUTED,
    "minority": OTHERS[0],
    "low-density": OTHERS[2],
}
"""Colour of every sampler, the same in all figures."""
SHARES = ("precision", "recall", "coverage")
"""Measures between 0 and 1, shown on the whole of that range."""
WHOLE = (-0.05, 1.05)


def panels(n: int, *, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """``n`` panels in a row."""
    figure = Figure(figsize=(3.1 * n, height), layout="constrained")
    return figure, _plain(figure.subplots(1, n))


def grid(n: int, titles: Sequence[str]) -> tuple[Figure, list[list[Axes]]]:
    """A row of ``n`` panels under each title."""
    figure = Figure(figsize=(2.0 * n, 2.9 * len(titles)), layout="constrained")
    rows = []
    for part, title in zip(figure.subfigures(len(titles), 1), titles, strict=True):
        part.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
        rows.append(_plain(part.subplots(1, n)))
    return figure, rows


def swept(
    values: Sequence[float],
    intervals: Sequence[Mapping[str, Interval]],
    names: Mapping[str, str],
    *,
    along: str,
    plain: Mapping[str, Interval],
    real: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Each measure along what is swept, with intervals; plain samples as a band.

    Args:
        intervals: measure to interval, for every value.
        plain: of ``ddpm``.
        real: measure to the mean of the real images that belong to every value.
    """
    figure, axes = panels(len(names))
    for panel, (metric, name) in zip(axes, names.items(), strict=True):
        value, low, high = plain[metric]
        panel.axhspan(low, high, color=SETS["ddpm"], alpha=0.15, linewidth=0)
        panel.axhline(value, color=SETS["ddpm"], linewidth=1, linestyle="--", label="ddpm")
        if real is not None and metric in real:
            panel.plot(values, real[metric], "s:", color=MUTED, markersize=3, label="real")
        means, lows, highs = np.array([one[metric] for one in intervals]).T
        panel.errorbar(
            values, means, [means - lows, highs - means],
            fmt="o-", color=SETS["minority"], markersize=4, capsize=2, label="minority",
        )  # fmt: skip
        panel.set_title(name, fontsize=10, color=INK)
        if metric in SHARES:
            panel.set_ylim(WHOLE)
        panel.set_xlabel(along, fontsize=9, color=INK)
        panel.set_xticks(values)
    legend(figure, axes[0])
    return figure


def legend(figure: Figure, panel: Axes) -> None:
    """What the colours of one panel, and so of all, mean: above the panels, where no curve is."""
    lines, names = panel.get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside upper center", ncols=len(names),
        frameon=False, fontsize=9, labelcolor=INK,
    )  # fmt: skip


def distributions(sets: Mapping[str, np.ndarray], panel: Axes) -> None:
    """The sets' histograms in one panel, as densities, and their medians.

    The axis ends at the 99th percentile of what lies furthest out: the last bin holds the rest.
    """
    low = min(float(v.min()) for v in sets.values())
    high = max(float(np.quantile(v, 0.99)) for v in sets.values())
    fewest = min(len(v) for v in sets.values())
    edges = np.linspace(low, high, 1 + int(np.clip(2 * fewest**0.5, 6, 40)))
    for name, values in sets.items():
        shares, _ = np.histogram(np.minimum(values, high), edges, density=True)
        color = SETS.get(name, INK)
        style = "--" if name.startswith("rarest") else "-"
        panel.stairs(shares, edges, color=color, linewidth=1.5, linestyle=style, label=name)
        panel.axvline(float(np.median(values)), color=color, linewidth=0.8, linestyle=style)
    panel.set_yticks([])
    panel.set_ylim(bottom=0)


def dots(panel: Axes, intervals: Mapping[str, Interval], *, metric: str, title: str) -> None:
    """One measure of every set, with its interval."""
    for i, (name, (value, low, high)) in enumerate(intervals.items()):
        panel.errorbar(
            i, value, [[value - low], [high - value]],
            fmt="o", color=SETS.get(name, INK), markersize=5, capsize=3,
        )  # fmt: skip
    panel.set_xticks(range(len(intervals)), intervals, rotation=30, ha="right")
    panel.set_xlim(-0.5, len(intervals) - 0.5)
    if metric in SHARES:
        panel.set_ylim(WHOLE)
    panel.set_title(title, fontsize=10, color=INK)


def _plain(axes_of_figure: object) -> list[Axes]:
    axes = list(np.atleast_1d(axes_of_figure))
    for panel in axes:
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        panel.tick_params(colors=INK, labelsize=8)
    return axes
