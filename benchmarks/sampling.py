"""Few-step guided sampling against 250 ancestral steps, and guided against plain, side by side.

    python benchmarks/sampling.py [RUN] [--n 256] [--settings ddpm/dpm++/25 minority/dpm++/25 ...]

Takes a scored run (the last one), trains its model on to all noise levels and its classifier if
need be, makes N images per setting with the same seeds, and prints AvgkNN, LOF,
minority score, rarity and precision with 95 % intervals, the time per image, and what one guided
evaluation costs in plain ones. Also the mean minority score of guided images by target class.
Writes JSON.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

SETTINGS = (
    "ddpm/ancestral/250",
    "ddpm/dpm++/25",
    "minority/ancestral/250",
    "minority/dpm++/50",
    "minority/dpm++/25",
    "minority/ddim/50",
)


def step_cost(workshop, target, batch):
    """Time of a guided evaluation over that of a plain one; best of alternating rounds."""
    import torch

    guided = workshop.sampler("minority", target, "dpm++", 25, None).denoiser
    plain = workshop.denoiser
    x = torch.randn(batch, 3, plain.image_size, plain.image_size)
    sigma = plain.nearest_sigma(1.0)
    best = {"plain": np.inf, "guided": np.inf}
    for _ in range(12):
        for name, model in (("plain", plain), ("guided", guided)):
            started = time.perf_counter()
            with torch.no_grad():
                model.denoise(x, sigma)
            best[name] = min(best[name], time.perf_counter() - started)
    return best["guided"] / best["plain"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--target-classes", action="store_true", help="also sweep the target class")
    parser.add_argument("--train-minutes", type=float, default=20.0)
    parser.add_argument("--guide-minutes", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("sampling.json"))
    options = parser.parse_args()

    from rich.console import Console
    from rich.table import Table

    from mincurate import augmentation, device, generation, joining, metrics, runs
    from mincurate.cli.console import Terminal

    device.keep_freed_memory()
    reporter = Terminal()
    base = joining.open_base(runs.find(options.run, kind=runs.SCORE))
    budget = augmentation.Budget(options.train_minutes, None, options.guide_minutes, None)
    workshop = augmentation.open_workshop(base, budget=budget, reporter=reporter)
    rarest, _ = augmentation.choose_target(
        base, target_class=None, top_fraction=0.1, label=None, like=None
    )
    scorer = joining.scorer_of(base.run, workshop.device)

    def make(name, target, solver, steps):
        scale = options.guidance_scale if name == "minority" else None
        sampler = workshop.sampler(name, target, solver, steps, scale)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            started = time.perf_counter()
            manifest = generation.generate(
                folder, sampler, options.n, seed=options.seed, batch_size=options.batch, facts={},
                reporter=reporter,
            )  # fmt: skip
            seconds = (time.perf_counter() - started) / options.n
            files = [(str(e["index"]), str(folder / e["file"])) for e in manifest]
            frame, vectors = joining.join(base, scorer, files)
        return frame, vectors, seconds

    def row(setting, frame, vectors, seconds):
        def interval(values):
            return metrics.interval(np.asarray(values, np.float64), seed=0)

        real = base.vectors
        return {
            "setting": setting,
            "seconds_per_image": seconds,
            "minority_score": interval(frame["minority_score"]),
            "rarity": interval(frame["rarity"]),
            "avgknn": interval(metrics.neighbor_distance(real, vectors)),
            "lof": interval(metrics.lof(real, vectors)),
            "precision": interval(metrics.precision(real, vectors).astype(float)),
        }

    rows = []
    for setting in options.settings:
        name, solver, steps = setting.split("/")
        rows.append(row(setting, *make(name, rarest, solver, int(steps))))
    sweep = []
    if options.target_classes:
        for k in sorted({0, base.num_classes // 2, base.num_classes - 1}):
            target = augmentation.Target((k,))
            sweep.append(row(f"class {k}", *make("minority", target, "dpm++", 25)))
    cost = step_cost(workshop, rarest, options.batch)
    result = {
        "command": " ".join(sys.argv),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "run": base.run.key,
        "images": len(base.frame),
        "n": options.n,
        "feature_space": base.run.record["embedding"],
        "guided_step_cost": cost,
        "rows": rows,
        "target_classes": sweep,
    }
    options.json.write_text(json.dumps(result, indent=1))
    names = ("minority_score", "rarity", "avgknn", "lof", "precision")
    table = Table(title=f"{options.n} images each; features {result['feature_space']}")
    for name in ("setting", *names, "s/image"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for found in [*rows, *sweep]:
        cells = [f"{m:.3f} [{low:.3f}, {high:.3f}]" for m, low, high in (found[n] for n in names)]
        table.add_row(found["setting"], *cells, f"{found['seconds_per_image']:.3f}")
    console = Console(width=170)
    console.print(table)
    console.print(f"One guided evaluation costs {cost:.2f} plain ones.")


if __name__ == "__main__":
    main()
