"""The table of sample quality: minority guidance against plain and low-density sampling.

    python examples/paper/quality.py [RUN]

Fréchet distance, spatial Fréchet distance, precision, recall, density and coverage, against all
real images and against the rarest tenth, in the features of the scored run: no FID of Inception.
"""

import experiment
import pandas as pd
import panels
from experiment import Experiment

from mincurate.compute.device import choose_device
from mincurate.evaluation import feature_spaces, metric_table
from mincurate.ranking import classes
from mincurate.ranking import reference as references

QUALITY = {
    "frechet_distance": "Fréchet distance",
    "spatial_frechet_distance": "spatial Fréchet distance",
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
    judge = feature_spaces.choose(feature_spaces.RUN, base, scorer, None, one.options.device)

    def features(frame: pd.DataFrame, vectors):
        return judge.extractor.features(base, frame["path"].tolist(), vectors, reporter)

    with reporter.task("Judging", 2 * (1 + len(generated)), "sets") as advance:
        table = metric_table.judge(
            features(base.frame, base.vectors),
            {name: features(s.frame, s.vectors) for name, s in generated.items()},
            space=judge.space,
            tail=classes.tail_rows(base.frame["minority_score"]),
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
