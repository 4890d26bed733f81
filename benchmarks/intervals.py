"""How often 95 % intervals of recall, coverage and Fréchet distance hold the mean of fresh sets.

    python benchmarks/intervals.py [--repeats 100] [--shares 0.5 0.75]

Gaussian clouds as real and generated features, the real ones fixed; ``--shares`` are the parts of
the generated images that a subset of the jackknife has. Prints the mean over repeats, the intervals
of 100 that hold it, and their mean width over the standard deviation of fresh sets.
"""

import argparse

import numpy as np

CASES = ((8, 400, 1.0, 0.0), (8, 400, 0.7, 0.3), (32, 1000, 0.8, 0.2))
"""Dimensions, real images, and scale and shift of the generated ones."""


def cloud(n, d, seed, scale=1.0, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale + shift).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--shares", type=float, nargs="+", help="default: as mincurate has it")
    parser.add_argument("--numbers", type=int, nargs="+", default=[128, 512])
    options = parser.parse_args()

    from mincurate.evaluation import metrics
    from mincurate.evaluation.metrics import manifold

    print("metric             d  real  made  scale  share   mean  hold  width/sd")
    for d, n_real, scale, shift in CASES:
        real = cloud(n_real, d, 0)
        for n in options.numbers:
            fresh = [cloud(n, d, seed, scale, shift) for seed in range(1, options.repeats + 1)]
            for metric in ("recall", "coverage", "frechet_distance"):
                values = [float(np.mean(getattr(metrics, metric)(real, x))) for x in fresh]
                name = metric.replace("_distance", "") + "_interval"
                shares = options.shares if metric != "frechet_distance" else None
                for share in shares or [None]:
                    manifold.SHARE = share or manifold.SHARE
                    ends = [getattr(metrics, name)(real, x, seed=i) for i, x in enumerate(fresh)]
                    low, high = np.array([end[1:] for end in ends]).T
                    hold = 100 * np.mean((low <= np.mean(values)) & (np.mean(values) <= high))
                    width = np.mean(high - low) / 3.92 / np.std(values)
                    used = manifold.SHARE if metric != "frechet_distance" else 0.5
                    case = f"{metric:16} {d:3} {n_real:5} {n:5} {scale:6} {used:6.2f}"
                    print(f"{case} {np.mean(values):6.3f} {hold:5.0f} {width:9.2f}", flush=True)


if __name__ == "__main__":
    main()
