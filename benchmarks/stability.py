"""Does the paper's score give the same order again? With other noise, and with another model.

    python benchmarks/stability.py                   # four of the reported pairs of the study

Of every pair (one class with 5 % of another, 1,000 images) two denoisers are trained, which differ
in their seed alone (first weights, order of the images, noise), and the images are scored with
both, with the first one twice. Prints and writes as JSON, for a perceptual network and for the
denoiser's own features: Spearman correlation of two scores, the share of the rarest tenth that
they have in common, and the average precision of each.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from planted import cases, pool
from provenance import provenance
from study import DATA, NETWORK, names_of, scored, scorer_of, trained


def minority_scores(images, case, model, spec, n_draws: int, seed: int) -> np.ndarray:
    """Means over the draws, ``(N,)``."""
    parts = scored(scorer_of(model, spec, n_draws, seed), images.pixels[case.rows], names_of(case))
    return np.concatenate([part.draws for part in parts]).mean(1)


def agreement(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Spearman correlation of two scores, and the share of their rarest tenths in common."""
    from scipy.stats import spearmanr

    from mincurate.ranking.classes import tail_rows

    first, second = tail_rows(a), tail_rows(b)
    return float(spearmanr(a, b).statistic), float(np.isin(first, second).mean())


def main() -> None:
    from sklearn.metrics import average_precision_score

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--perceptual", default=NETWORK)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--images", type=int, default=1000, help="images of a case")
    parser.add_argument("--per-class", type=int, default=1500, help="images read of every class")
    parser.add_argument("--steps", type=int, default=600, help="of training, of 8 images each")
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("stability.json"))
    options = parser.parse_args()

    from mincurate.compute import device

    device.keep_freed_memory()  # as the command line does
    images = pool(options.data, options.perceptual, options.per_class, None)
    rows = []
    for case in [c for c in cases(images, "reported", options.images, 1) if c.trains][
        : options.pairs
    ]:
        models = [trained(images, case, options.steps, seed) for seed in (0, 1)]
        for spec in (options.perceptual, "unet"):
            ours, noise, model = (
                minority_scores(images, case, models[m], spec, options.draws, seed)
                for m, seed in ((0, 0), (0, 1), (1, 0))
            )
            row = {"case": case.name, "network": spec.split("@")[0]}
            for name, other in (("noise", noise), ("model", model)):
                row |= dict(
                    zip((f"rho {name}", f"tenth {name}"), agreement(ours, other), strict=True)
                )
            row |= {
                f"AP {name}": float(average_precision_score(case.rare, s))
                for name, s in (("first", ours), ("second", model), ("mean", ours + model))
            }
            rows.append(row)
            print(
                *(f"{k} {v:.3f}" if isinstance(v, float) else v for k, v in row.items()),
                sep="  ",
                flush=True,
            )
        result = {
            **provenance(),
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1))
    for network in dict.fromkeys(row["network"] for row in rows):
        of = [row for row in rows if row["network"] == network]
        means = {k: np.mean([row[k] for row in of]) for k in of[0] if k not in ("case", "network")}
        print(f"mean of {len(of)}, {network}:", *(f"{k} {v:.3f}" for k, v in means.items()))


if __name__ == "__main__":
    main()
