"""The sweep over the target class: images guided to a rarer class lie where there are fewer.

    python examples/paper/sweep_class.py [RUN] [--classes 0 2 5 7 9]

One set of images per class l, at one guidance scale and with the same seeds, against plain ones.
"""

import experiment
import numpy as np
import pandas as pd
import panels
from experiment import NAMES, Experiment
from scipy.stats import spearmanr

from mincurate import UserError
from mincurate.evaluation import metrics


def sweep(one: Experiment) -> None:
    """Make, measure, draw."""
    last = one.rarest
    classes = one.options.classes or np.unique(np.linspace(0, last, 5).round().astype(int)).tolist()
    if len(set(classes)) < 2 or any(not 0 <= k <= last for k in classes):
        raise UserError(f"--classes takes 2 or more of the classes 0 to {last} of this run.")
    scale = one.options.guidance_scale
    plain = one.measure(one.make("ddpm"))
    swept = [
        one.measure(one.make("minority", target_class=k, guidance_scale=scale)) for k in classes
    ]
    rows = one.rows("ddpm", plain)
    for k, intervals in zip(classes, swept, strict=True):
        rows += one.rows(f"class {k}", intervals)
    frame, real = one.base.frame, one.base.vectors
    values = {
        "minority_score": frame["minority_score"].to_numpy(float),
        "avg_knn": metrics.neighbor_distance(real),
        "lof": metrics.lof(real),
    }
    own = frame["minority_class"].to_numpy(int)
    means = {name: [float(v[own == k].mean()) for k in classes] for name, v in values.items()}
    figure = panels.swept(
        classes, swept, NAMES, along="target class l (0 commonest)", plain=plain, real=means
    )
    one.publish("sweep_class", pd.DataFrame(rows), figure)
    for metric in ("minority_score", "avg_knn", "lof"):
        rho = float(spearmanr(classes, [f[metric][0] for f in swept]).statistic)
        apart = swept[-1][metric][1] > swept[0][metric][2]
        one.reporter.say(
            f"{NAMES[metric]} along l: rank correlation {rho:+.2f}; class {classes[-1]} lies "
            f"{'above' if apart else 'not above'} class {classes[0]} beyond the intervals."
        )


if __name__ == "__main__":
    parser = experiment.arguments(__doc__.split("\n\n")[0])
    parser.add_argument("--classes", type=int, nargs="+", help="default: five from 0 to L - 1")
    experiment.main(parser, sweep)
