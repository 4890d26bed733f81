"""Training beside programs that keep every core busy: threads chosen by measuring, or fixed.

    python benchmarks/busy.py [--seconds 30] [--rounds 2]

One process per core computes without a pause. Beside them the denoiser is trained on noise with one
thread, with all threads, and with the number that `compute.threads` chooses, in turns. Prints the
steps per second of each and the ratio of the chosen to the best fixed number.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time

import numpy as np
from provenance import provenance


def spin():
    """Keep a core busy."""
    while True:
        sum(range(10_000))


def rate(threads, seconds):
    """Steps per second of a training; ``threads`` is None where they are chosen."""
    import tempfile
    from pathlib import Path

    import torch

    from mincurate.diffusion import train_denoiser, training_plan

    if threads:
        torch.set_num_threads(threads)
    images = np.random.default_rng(0).integers(0, 256, (256, 3, 32, 32), np.uint8)
    training = train_denoiser.Training(32, training_plan.around(0.16), steps=10**6)
    with tempfile.TemporaryDirectory() as folder:
        trainer = train_denoiser.DenoiserTrainer(
            images, Path(folder), training, None, "cpu", train_denoiser.SILENT
        )
        trainer._resume_or_begin()
        if threads:
            trainer.threads._candidates = [threads]
        trainer._update()
        started = time.monotonic()
        first = trainer.step
        while time.monotonic() - started < seconds:
            trainer._update()
        return (trainer.step - first) / (time.monotonic() - started), trainer.threads.chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for process in others:
        process.start()
    rates = {"1": [], "all": [], "chosen": []}
    chosen = []
    with context.Pool(1, maxtasksperchild=1) as pool:
        for _ in range(options.rounds):
            for name, threads in (("1", 1), ("all", os.cpu_count()), ("chosen", None)):
                steps, number = pool.apply(rate, (threads, options.seconds))
                rates[name].append(steps)
                if threads is None:
                    chosen.append(number)
    for process in others:
        process.kill()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(medians["1"], medians["all"])
    print(
        json.dumps(
            {
                **provenance(f"{len(others)} other busy processes"),
                "steps_per_second": medians,
                "chosen": chosen,
                "chosen_of_best_fixed": medians["chosen"] / best,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
