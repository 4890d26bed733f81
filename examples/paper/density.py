"""The density of neighbourhoods: AvgkNN and LOF of real, plain and guided images.

    python examples/paper/density.py [RUN]

Real images are measured each against the others, generated ones against all real ones.
"""

import experiment
import numpy as np
import pandas as pd
import panels
from experiment import NAMES, Experiment

from mincurate.evaluation import metrics
from mincurate.ranking import classes


def compare(one: Experiment) -> None:
    """Make, measure, draw."""
    real = one.base.vectors
    generated = {
        "ddpm": one.make("ddpm"),
        "minority": one.make("minority", guidance_scale=one.options.guidance_scale),
    }
    tail = classes.tail_rows(one.base.frame["minority_score"])
    own = {"avg_knn": metrics.neighbor_distance(real), "lof": metrics.lof(real)}
    among = {"avg_knn": metrics.neighbor_distance, "lof": metrics.lof}
    figure, axes = panels.panels(len(own), height=3.4)
    rows = []
    for panel, (metric, values) in zip(axes, own.items(), strict=True):
        sets = {"real": values, "rarest tenth of real": values[tail]}
        sets |= {name: among[metric](real, one_set.vectors) for name, one_set in generated.items()}
        edge = np.quantile(values, 0.9)
        for name, v in sets.items():
            intervals = {
                metric: metrics.interval(v, seed=one.options.seed),
                f"share beyond 90 % of real, {NAMES[metric]}": metrics.interval(
                    v > edge, seed=one.options.seed
                ),
            }
            rows += [row | {"n": len(v)} for row in one.rows(name, intervals)]
        panels.distributions(sets, panel)
        panel.set_xlabel(f"{NAMES[metric]} (further right: fewer neighbours)", fontsize=9)
    axes[0].set_ylabel("density; thin lines are medians", fontsize=9)
    panels.legend(figure, axes[0])
    one.publish("density", pd.DataFrame(rows), figure)


if __name__ == "__main__":
    experiment.main(experiment.arguments(__doc__.split("\n\n")[0]), compare)
