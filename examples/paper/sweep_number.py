"""The sweep over L: with more classes the rarest one is rarer, and harder to learn.

    python examples/paper/sweep_number.py [RUN] [--numbers 3 10 30 100]

One set of images per number of classes L, guided to class L - 1 at one guidance scale and with the
same seeds, against plain ones. Every L has a classifier of its own.
"""

import experiment
import pandas as pd
import panels
from experiment import NAMES, Experiment

from mincurate import UserError
from mincurate.evaluation import metrics


def sweep(one: Experiment) -> None:
    """Make, measure, draw."""
    numbers, frame, real = sorted(set(one.options.numbers)), one.base.frame, one.base.vectors
    if not numbers or numbers[0] < 2 or numbers[-1] > len(frame):
        raise UserError(f"--numbers are from 2 to the {len(frame):,} images of this run.")
    scale = one.options.guidance_scale
    plain = one.measure(one.make("ddpm"))
    swept = [one.measure(one.make_of_classes(number, scale)) for number in numbers]
    rows = one.rows("ddpm", plain)
    for number, intervals in zip(numbers, swept, strict=True):
        rows += one.rows(f"L = {number}", intervals)
    values = {
        "minority_score": frame["minority_score"].to_numpy(float),
        "avg_knn": metrics.neighbor_distance(real),
        "lof": metrics.lof(real),
    }
    rarest = [
        experiment.with_classes(one.base, number).frame["minority_class"] == number - 1
        for number in numbers
    ]
    means = {name: [float(v[own].mean()) for own in rarest] for name, v in values.items()}
    along = f"number of classes L (to class L - 1, w = {scale:g})"
    figure = panels.swept(numbers, swept, NAMES, along=along, plain=plain, real=means)
    for panel in figure.axes:
        panel.set_xscale("log")
        panel.set_xticks(numbers, map(str, numbers))
        panel.minorticks_off()
    one.publish("sweep_number", pd.DataFrame(rows), figure)


if __name__ == "__main__":
    parser = experiment.arguments(__doc__.split("\n\n")[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=[3, 10, 30, 100])
    experiment.main(parser, sweep)
