"""The table of sample quality: minority guidance against plain and low-density sampling.

    python examples/paper/quality.py [RUN]

FID, spatial FID, precision, recall, density and coverage, against all real images and against the
rarest tenth, in the features of the scored run: the numbers are not those of Inception.
"""

import experiment
import pandas as pd
import panels
from experiment import Experiment

from mincurate.compute.device import choose_device
from mincurate.evaluation import metric_table, sets
from mincurate.ranking import classes
from mincurate.ranking import reference as references

QUALITY = {
    "fid": "FID",
    "sfid": "spatial FID",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
}


def compare(one: Experiment) -> None:
    """Make, measure, draw."""
    generated = {
        "ddpm": one.make("ddpm"),
        "low-density": one.make_low_density(),
        "minority": one.make("minority", guidance_scale=one.options.guidance_scale),
    }
    base, reporter = one.base, one.reporter
    scorer = references.scorer_of(base.run, choose_device(one.options.device))

    def spatial(frame: pd.DataFrame):
        return sets.spatial_features(scorer, base, frame["path"].tolist(), reporter)[0]

    with reporter.task("Judging", 2 * (1 + len(generated)), "sets") as advance:
        table = metric_table.judge(
            base.vectors,
            {name: one_set.vectors for name, one_set in generated.items()},
            feature_space=one.space,
            tail=classes.tail_rows(base.frame[base.column]),
            spatial_real=spatial(base.frame),
            spatial_generated={name: spatial(one_set.frame) for name, one_set in generated.items()},
            seed=one.options.seed,
            advance=advance,
        )
    shown = table[table["metric"].isin([*QUALITY, "avg_knn", "lof"]) & (table["set"] != "real")]
    figure, rows = panels.grid(
        len(QUALITY), ["against all real images", "against the rarest tenth"]
    )
    for reference, row in zip(("all", "tail"), rows, strict=True):
        for panel, (metric, name) in zip(row, QUALITY.items(), strict=True):
            part = shown[(shown["reference"] == reference) & (shown["metric"] == metric)]
            values = part[["value", "low", "high"]].to_numpy(float)
            intervals = dict(zip(part["set"], map(tuple, values), strict=True))
            panels.dots(panel, intervals, metric=metric, title=name)
    one.publish("quality", shown, figure)


if __name__ == "__main__":
    experiment.main(experiment.arguments(__doc__.split("\n\n")[0]), compare)
