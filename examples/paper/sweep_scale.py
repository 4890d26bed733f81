"""The sweep over w: more guidance makes rarer images, until they are images no more.

    python examples/paper/sweep_scale.py [RUN] [--scales 1 2 3.5 7]

One set of images of the rarest class per guidance scale w, with the same seeds; w = 0 is plain
sampling.
"""

import experiment
import pandas as pd
import panels
from experiment import NAMES, Experiment

from mincurate import UserError


def sweep(one: Experiment) -> None:
    """Make, measure, draw."""
    scales = sorted(set(one.options.scales))
    if not scales or scales[0] <= 0:
        raise UserError("--scales are above 0; plain sampling, w = 0, is always there.")
    plain = one.measure(one.make("ddpm"))
    swept = [plain] + [one.measure(one.make("minority", guidance_scale=w)) for w in scales]
    rows = []
    for w, intervals in zip([0, *scales], swept, strict=True):
        rows += one.rows(f"w = {w:g}", intervals)
    along = f"guidance scale w (to class {one.rarest})"
    figure = panels.swept([0, *scales], swept, NAMES, along=along, plain=plain)
    one.publish("sweep_scale", pd.DataFrame(rows), figure)


if __name__ == "__main__":
    parser = experiment.arguments(__doc__.split("\n\n")[0])
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0, 3.5, 7.0])
    experiment.main(parser, sweep)
