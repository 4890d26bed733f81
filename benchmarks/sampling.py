"""Few-step guided sampling against 250 ancestral steps, and guided against plain, side by side.

    python benchmarks/sampling.py [RUN] [--n 256] [--model FOLDER] [--keep FOLDER]
        [--settings minority/ancestral/250 minority/dpm++/25 ...]

A setting is sampler/solver/evaluations, and for guided ones optionally /guidance scale/loss of the
classifier, so that the two losses can be compared:

    python benchmarks/sampling.py --settings ddpm/sde-dpm++/25 minority/sde-dpm++/25/2/ordinal
        minority/sde-dpm++/25/2/cross_entropy

Takes a scored run (the last one), and its model, trained on to all noise levels, or ``--model``;
makes N images of the rarest class per setting with the same seeds, and prints minority score,
AvgkNN, LOF, precision and Fréchet distance with 95 % intervals, the time per image, and for every
guided setting where it lies beyond the interval of the reference, the guided one of most steps.
``--keep`` keeps the images, and goes on with those that are there. Then what one guided evaluation
costs in plain ones, and with ``--target-classes`` the same figures by target class. Writes JSON.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from provenance import provenance

SETTINGS = (
    "ddpm/ancestral/250",
    "ddpm/sde-dpm++/25",
    "minority/ancestral/250",
    "minority/sde-dpm++/50",
    "minority/sde-dpm++/25",
    "minority/dpm++/50",
    "minority/dpm++/25",
    "minority/ddim/50",
)
NAMES = {
    "minority_score": "minority score",
    "avg_knn": "AvgkNN",
    "lof": "LOF",
    "precision": "precision",
    "frechet_distance": "Fréchet distance",
}
MOST_COST = 1.8
"""Plain evaluations that a guided one may cost at most (issue 4)."""
FEW = 50
"""Evaluations within which a sampler counts as fast (issue 4)."""


class Networks:
    """The networks that the settings share; a classifier is trained for each loss."""

    def __init__(self, base, options, reporter):
        from mincurate.compute.device import choose_device, choose_precision
        from mincurate.generation.networks import plan_trainings
        from mincurate.generation.training_time import Budget

        names = ("train_minutes", "train_steps", "guide_minutes", "guide_steps")
        budget = Budget(**{name: getattr(options, name) for name in names})
        self.device, self.reporter = choose_device(options.device), reporter
        self.dtype = choose_precision("auto", self.device)
        self.trainings = plan_trainings(
            base, model=options.model, budget=budget, seed=options.seed, device=self.device
        )
        self.loss = self.trainings.guidance.loss
        self.denoiser = self.trainings.train_denoiser(reporter)
        self.pixels = base.pixels(size=self.denoiser.image_size)
        self.classifiers = {}

    def classifier(self, loss):
        if loss not in self.classifiers:
            guidance = dataclasses.replace(self.trainings.guidance, loss=loss)
            its = dataclasses.replace(self.trainings, guidance=guidance)
            self.classifiers[loss] = its.train_classifier(self.denoiser, self.pixels, self.reporter)
        return self.classifiers[loss]

    def sampler(self, name, target, solver, steps, scale, loss=None):
        from mincurate.generation import samplers

        classifier = self.classifier(loss or self.loss) if name == "minority" else None
        return samplers.build(
            name, self.denoiser, solver=solver, steps=steps, guidance_scale=scale,
            dtype=self.dtype, target=target, classifier=classifier,
        )  # fmt: skip


def step_cost(networks, target, batch, rounds):
    """Time of a guided evaluation over that of a plain one; best of alternating rounds."""
    import torch

    from mincurate.compute.device import precision

    guided = networks.sampler("minority", target, "dpm++", 25, None).denoiser
    plain = networks.denoiser
    device = plain.device
    x = torch.randn(batch, 3, plain.image_size, plain.image_size, device=device)
    sigma = plain.nearest_sigma(1.0)
    best = {"plain": np.inf, "guided": np.inf}
    for _ in range(rounds):
        for name, model in (("plain", plain), ("guided", guided)):
            started = time.perf_counter()
            with torch.no_grad(), precision(device.type, networks.dtype):
                model.denoise(x, sigma)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[name] = min(best[name], time.perf_counter() - started)
    return {f"{name}_seconds": value for name, value in best.items()} | {
        "ratio": best["guided"] / best["plain"]
    }


def evaluations(setting):
    return int(setting.split("/")[2])


def beyond(entry, reference):
    """Figures whose interval lies apart from that of the reference, with the direction."""
    words = []
    for key, name in NAMES.items():
        (_, low, high), (_, least, most) = entry[key], reference[key]
        if low > most or high < least:
            words.append(f"{name} {'higher' if low > most else 'lower'}")
    return words


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", nargs="?", help="a run of `mincurate score`; default: the last one")
    parser.add_argument("--model", help="a model of all noise levels, used as it is")
    parser.add_argument("--n", type=int, default=256, help="images per setting")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--guidance-scale", type=float, help="default: the sampler's own, 2")
    parser.add_argument("--target-class", type=int, help="default: the rarest tenth")
    parser.add_argument("--target-classes", action="store_true", help="also sweep the target class")
    parser.add_argument("--train-minutes", type=float, default=20.0)
    parser.add_argument("--train-steps", type=int)
    parser.add_argument("--guide-minutes", type=float, default=3.0)
    parser.add_argument("--guide-steps", type=int)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12, help="of timing one evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--keep", type=Path, help="folder for the images; default: a temporary one")
    parser.add_argument("--json", type=Path, default=Path("sampling.json"))
    options = parser.parse_args()

    from rich.console import Console
    from rich.table import Table

    from mincurate import hashing
    from mincurate.compute import device as devices
    from mincurate.errors import UserError
    from mincurate.evaluation import metrics
    from mincurate.generation import generate
    from mincurate.generation.guided_classes import Target, choose_target
    from mincurate.ranking import joining
    from mincurate.ranking import reference as references
    from mincurate.runs import store
    from mincurate.runs.manifest import read_manifest
    from mincurate.terminal import Terminal

    devices.keep_freed_memory()
    reporter = Terminal()

    def row(setting, target, place):
        """One setting's figures."""
        name, solver, steps, *more = setting.split("/")
        scale = options.guidance_scale if name == "minority" else None
        scale = float(more[0]) if more else scale
        loss = more[1] if len(more) > 1 else networks.loss
        sampler = networks.sampler(name, target, solver, int(steps), scale, loss)
        about = [
            setting,
            scale,
            list(target.classes),
            options.seed,
            networks.denoiser.content_hash(),
        ]
        if name == "minority":
            about.append(networks.classifier(loss).record["fingerprint"])
        folder = place / hashing.fingerprint(about)
        there = len(read_manifest(folder))
        started = time.perf_counter()
        manifest = generate.generate(
            folder, sampler, options.n, seed=options.seed, batch_size=options.batch,
            facts={"setting": setting}, reporter=reporter,
        )  # fmt: skip
        spent = time.perf_counter() - started
        files = [(str(e["index"]), str(folder / e["file"])) for e in manifest]
        frame, vectors = joining.join(base, scorer, files, reporter=reporter)
        values = {
            "minority_score": frame["minority_score"],
            "avg_knn": metrics.neighbor_distance(real, vectors),
            "lof": metrics.lof(real, vectors),
            "precision": metrics.precision(real, vectors),
        }
        intervals = {key: metrics.interval(v, seed=options.seed) for key, v in values.items()}
        intervals["frechet_distance"] = metrics.frechet_interval(real, vectors, seed=options.seed)
        about = {"setting": setting, "target_classes": list(target.classes)}
        return about | {"seconds_per_image": None if there else spent / options.n} | intervals

    def carry_out(place):
        rows = [row(setting, rarest, place) for setting in options.settings]
        guided = [s for s in options.settings if s.startswith("minority")]
        few = min(guided, key=evaluations, default="minority/sde-dpm++/25")
        classes = sorted({0, base.num_classes // 2, base.num_classes - 1})
        swept = classes if options.target_classes else []
        return rows, [row(few, Target((k,)), place) for k in swept]

    try:
        base = references.open_base(store.find(options.run, kind=store.SCORE))
        networks = Networks(base, options, reporter)
        rarest, _ = choose_target(
            base, target_class=options.target_class, top_fraction=0.1, label=None, like=None
        )
        scorer, real = references.scorer_of(base.run, networks.device), base.vectors
        with tempfile.TemporaryDirectory() as temporary:
            rows, sweep = carry_out(options.keep or Path(temporary))
        cost = step_cost(networks, rarest, options.batch, options.rounds)
    except UserError as error:
        sys.exit(f"Error: {error}")
    guided = [r for r in rows if r["setting"].startswith("minority")]
    reference = max(guided, key=lambda r: evaluations(r["setting"]), default=None)
    for entry in guided:
        if entry is not reference:
            entry["beyond_reference"] = beyond(entry, reference)
    result = {
        **provenance(networks.device),
        "run": base.run.key,
        "model": {"name": networks.denoiser.name, "hash": networks.denoiser.content_hash()},
        "images": len(base.frame),
        "n": options.n,
        "feature_space": base.run.record["embedding"],
        "reference": reference and reference["setting"],
        "guided_evaluation": cost,
        "classifiers": {
            loss: {key: value for key, value in c.record.items() if key != "curve"}
            for loss, c in networks.classifiers.items()
        },
        "rows": rows,
        "target_classes": sweep,
    }
    options.json.write_text(json.dumps(result, indent=1))
    table = Table(title=f"{options.n} images each; features {result['feature_space']}")
    for name in ("setting", "class", *NAMES.values(), "s/image"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for entry in [*rows, *sweep]:
        cells = [f"{m:.3g} [{low:.3g}, {high:.3g}]" for m, low, high in (entry[n] for n in NAMES)]
        seconds = entry["seconds_per_image"]
        classes = ", ".join(map(str, entry["target_classes"]))
        table.add_row(
            entry["setting"], classes if entry["setting"].startswith("minority") else "", *cells,
            "" if seconds is None else f"{seconds:.3f}",
        )  # fmt: skip
    console = Console(width=170)
    console.print(table)
    for entry in guided:
        if entry is not reference:
            apart = ", ".join(entry["beyond_reference"])
            few = evaluations(entry["setting"]) <= FEW
            console.print(
                f"{entry['setting']}{f' (at most {FEW} evaluations)' if few else ''} against "
                f"{reference['setting']}: {apart or 'all within the intervals'}."
            )
    for loss, about in result["classifiers"].items():
        levels = about["levels"]
        figures = {
            key: sum(level[key] for level in levels) / len(levels)
            for key in ("log_loss", "accuracy", "macro_f1", "mean_absolute_error")
        }
        words = ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in figures.items())
        console.print(
            f"Classifier, {loss}, held-out, mean over {len(levels)} noise levels: {words} "
            f"(log loss of chance: {np.log(base.num_classes):.3f}; {about['steps']} steps)."
        )
    verdict = "at most" if cost["ratio"] <= MOST_COST else "MORE than"
    console.print(
        f"One guided evaluation costs {cost['ratio']:.2f} plain ones ({verdict} {MOST_COST})."
    )


if __name__ == "__main__":
    main()
