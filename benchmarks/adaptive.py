"""Would further draws for the undecided images alone do? Adaptive against fixed numbers of draws.

    python benchmarks/adaptive.py [DRAWS.npz] [--in-a-run 2000]

From a stored matrix of draws, in antithetic pairs: 20 draws of every image are the reference, the
others are spent. Adaptive: one pair for every image, then another for those whose interval (z
standard errors, the error of a pair being in proportion to the score) holds an edge of a class, up
to the number of draws there is; and for the rarest tenth, what `mincurate score --adaptive` does
(`minority_score.Edge`). Given are the share of images whose class is not that of the reference,
and the draws spent. `--record` makes such a matrix.

The product finds the edge by four draws of `score_shards.PILOT` images, which it throws away;
they are spent as well, and weigh the less the more images there are: a run of ``--in-a-run`` images
is counted, and it is said what becomes of the share as they grow.
"""

import argparse
import json
from pathlib import Path

import numpy as np

STORED = Path(__file__).parent / "draws.npz"
REFERENCE = 20
FIXED = 6
PRODUCT = "mincurate score --adaptive"
TARGET = 0.6
"""Draws, as a share of the fixed number's, at no more flips."""
SIZES = (1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
"""Images of runs whose share is said."""


def spend(pairs, classes_of, edges_of, z):
    """Scores after adaptive draws, and pairs spent on each image."""
    n, most = pairs.shape
    scores, spent = pairs[:, 0].copy(), np.ones(n, int)
    deviation = (pairs.std(1, ddof=1) / pairs.mean(1)).mean()
    for m in range(1, most):
        distance = np.abs(scores[:, None] - edges_of(scores, classes_of(scores))).min(1)
        undecided = (spent == m) & (distance < z * deviation * scores / np.sqrt(m))
        spent[undecided] += 1
        scores[undecided] = pairs[undecided, : m + 1].mean(1)
    return scores, spent


def as_score_does(draws, pilot, num_classes):
    """Scores and draws of `mincurate score --adaptive`, with the edge found by ``pilot``."""
    from mincurate.ranking.minority_score import FIRST_DRAWS, find_edge

    first = draws[:, :FIRST_DRAWS]
    undecided = find_edge(draws[pilot, : 2 * FIRST_DRAWS], num_classes).undecided(first)
    scores = np.where(undecided, draws.mean(1), first.mean(1))
    return scores, np.where(undecided, draws.shape[1], FIRST_DRAWS)


def pilot_draws(images, pilot):
    """What the pilot costs each image of a run."""
    from mincurate.ranking.minority_score import FIRST_DRAWS

    return 2 * FIRST_DRAWS * min(pilot, images) / images


def compare(draws, num_classes, only_rarest, rounds, pilot, seed=0):
    """Flips and draws of fixed and adaptive numbers, over random choices of the reference."""
    from mincurate.ranking.classes import class_edges, ordinal_classes

    def classes_of(scores):
        ordinal = ordinal_classes(scores, num_classes)
        return (ordinal == num_classes - 1).astype(int) if only_rarest else ordinal

    def edges_of(scores, classes):
        return np.array(class_edges(scores, classes, 2 if only_rarest else num_classes))

    rng = np.random.default_rng(seed)
    pairs = draws.reshape(len(draws), -1, 2).mean(2).astype(np.float64)
    table = {}
    for _ in range(rounds):
        order = rng.permutation(pairs.shape[1])
        reference = classes_of(pairs[:, order[: REFERENCE // 2]].mean(1))
        rest = pairs[:, order[REFERENCE // 2 :]]
        for k in range(2, FIXED + 1, 2):
            flips = (classes_of(rest[:, : k // 2].mean(1)) != reference).mean()
            table.setdefault(f"fixed, K = {k}", []).append((flips, k))
        for z in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0):
            scores, spent = spend(rest, classes_of, edges_of, z)
            flips = (classes_of(scores) != reference).mean()
            table.setdefault(f"adaptive, z = {z}", []).append((flips, 2 * spent.mean()))
        if only_rarest:
            sample = rng.permutation(len(draws))[:pilot]
            columns = 2 * np.repeat(order[REFERENCE // 2 :], 2) + np.tile([0, 1], FIXED // 2)
            scores, spent = as_score_does(draws[:, columns], sample, num_classes)
            flips = (classes_of(scores) != reference).mean()
            table.setdefault(PRODUCT, []).append((flips, spent.mean()))
    return {name: tuple(map(float, np.mean(values, axis=0))) for name, values in table.items()}


def record(options):
    """Score images with 26 draws each and keep the matrix."""
    from mincurate.diffusion.load import load_denoiser
    from mincurate.features import perceptual
    from mincurate.images import collection
    from mincurate.ranking.minority_score import Scorer

    model = load_denoiser(options.model)
    distance = perceptual.load_perceptual(options.perceptual, model)
    sigma = model.nearest_sigma(0.005 * model.image_size)
    k = REFERENCE + FIXED
    scorer = Scorer(model, distance, sigma, k, 0)
    images = collection.open_collection(options.record, max_images=options.images)
    files = [(name, source.path) for name, (source, _) in images.unique.items()]
    batches = collection.read_batches(
        files, size=model.image_size, fit="crop", batch_size=8, workers=1
    )
    draws = np.concatenate([scorer(pixels, names).draws for names, pixels, _ in batches])
    np.savez_compressed(options.draws, draws=draws)


def main():
    from mincurate.ranking.score_shards import PILOT

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("draws", nargs="?", type=Path, default=STORED)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--in-a-run", type=int, default=2000, help="images, for the pilot's share")
    parser.add_argument("--pilot", type=int, default=PILOT, help="images of the pilot")
    parser.add_argument("--record", metavar="FOLDER", help="score its images, for such a matrix")
    parser.add_argument("--model", help="with --record")
    parser.add_argument("--perceptual", default="unet", help="with --record")
    parser.add_argument("--images", type=int, default=1000, help="with --record")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.record:
        record(options)
    from rich.console import Console
    from rich.table import Table

    draws = np.load(options.draws)["draws"]
    result = {"images": len(draws), "images_in_a_run": options.in_a_run}
    for case, only_rarest in (("ten classes", False), ("rarest tenth or not", True)):
        table = compare(draws, 10, only_rarest, options.rounds, options.pilot)
        flips, spent = table[f"fixed, K = {FIXED}"]
        table = Table(title=f"{len(draws)} images, {case}, without the pilot")
        for name in ("draws", "class flips", "draws spent", f"of K = {FIXED}"):
            table.add_column(name, justify="left" if name == "draws" else "right")
        for name, (f, d) in table.items():
            table.add_row(name, f"{f:.3f}", f"{d:.2f}", f"{d / FIXED:.0%}")
        Console().print(table)
        if only_rarest:
            f, d = table[PRODUCT]
            shares = {n: (d + pilot_draws(n, options.pilot)) / spent for n in SIZES}
            best = (d + pilot_draws(options.in_a_run, options.pilot)) / spent
            result["share_by_images"] = shares
            text = ", ".join(f"{share:.0%} of {n:,}" for n, share in shares.items())
            print(f"{PRODUCT}, pilot of {options.pilot} images included: {text} images")
            if f > flips + 0.001:
                best = None
        else:
            fit = [d / spent for n, (f, d) in table.items() if n[0] == "a" and f <= flips + 0.001]
            best = min(fit, default=None)
        result[case] = {"flips": flips, "share_of_draws": best, "table": table}
        text = f"{best:.0%}" if best else "more than all"
        print(f"{case}: {text} of the draws at the flips of K = {FIXED} (target {TARGET:.0%})")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
