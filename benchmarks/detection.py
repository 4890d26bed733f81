"""Does the score find the rare? Planted rarity on labelled folders, labels hidden from the scorer.

    python benchmarks/detection.py --data cifar10-train.zip --common automobile --rare frog \
        --images 2000 --share 0.05 --minutes 2 10 --sigmas 0.08 0.16 0.34

Trains a denoiser for every budget, scores at every noise level, and puts beside it AvgkNN, LOF and
FiftyOne Brain uniqueness on the same embedding, the squared error of the reconstruction, and the
complexity of the image as a control. ``--all-levels`` trains, for the same minutes, a second model
of all noise levels, as generating needs it, and scores with that, too. Prints a table and writes
JSON. ``--data`` is a zip or a folder of class folders.
"""

import argparse
import json
import os
import random
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import study
from planted import embed
from provenance import provenance


def plant(data, folder, common, rare, images, share, seed):
    """Write ``images`` files, a ``share`` of them of class ``rare``, and return how many are."""
    rng = random.Random(seed)
    if data.suffix == ".zip":
        archive = zipfile.ZipFile(data)
        names = [n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))]
        read = archive.read
    else:
        names = [str(p) for p in data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
        read = lambda name: Path(name).read_bytes()  # noqa: E731
    by_class = {}
    for name in sorted(names):
        by_class.setdefault(Path(name).parent.name, []).append(name)
    n_rare = round(images * share)
    counts = [(rare, n_rare)] + [(c, (images - n_rare) // len(common)) for c in common]
    for label, count in counts:
        if len(by_class.get(label, [])) < count:
            raise SystemExit(f"{data} has {len(by_class.get(label, []))} images of {label!r}")
        kind = "rare" if label == rare else "common"
        for name in rng.sample(by_class[label], count):
            place = folder / f"{kind}-{label}-{Path(name).name}"
            place.write_bytes(read(name))
    return n_rare


def uniqueness(paths, vectors):
    """FiftyOne Brain's uniqueness of the same images on the same embedding."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    import fiftyone as fo
    import fiftyone.brain as fob

    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=p) for p in paths], progress=False)
    fob.compute_uniqueness(dataset, embeddings=vectors, progress=False)
    values = dict(zip(*dataset.values(["filepath", "uniqueness"]), strict=True))
    dataset.delete()
    return np.array([values[p] for p in paths])


def measures(rare, scores):
    from sklearn.metrics import average_precision_score, roc_auc_score

    top = np.argsort(-scores)[: int(rare.sum())]
    return {
        "auroc": float(roc_auc_score(rare, scores)),
        "ap": float(average_precision_score(rare, scores)),
        "precision_at_planted": float(rare[top].mean()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=study.DATA)
    parser.add_argument("--common", nargs="+", default=["automobile"])
    parser.add_argument("--rare", default="frog")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0, 10.0])
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.08, 0.16, 0.34])
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--batch-size", type=int, help="images per step; default: mincurate's own")
    parser.add_argument("--seed", type=int, default=0)
    weights = study.SHARED / "models" / "squeezenet1_0-imagenet-fp16.safetensors"
    pretrained = [f"torchvision:squeezenet1_0@{weights}"] if weights.exists() else []
    parser.add_argument("--perceptual", nargs="+", default=[*pretrained, "unet"])
    parser.add_argument(
        "--models", type=Path, help="keep the trained models here, and use those that are there"
    )
    parser.add_argument(
        "--all-levels",
        action="store_true",
        help="also train a model of all noise levels for the same minutes",
    )
    parser.add_argument("--no-fiftyone", action="store_true", help="leave uniqueness out")
    parser.add_argument("--json", type=Path, default=Path("detection.json"))
    options = parser.parse_args()

    from rich.console import Console
    from rich.table import Table
    from scipy.stats import rankdata, spearmanr
    from sklearn.neighbors import LocalOutlierFactor

    from mincurate.compute import device
    from mincurate.diffusion import models, train_denoiser, training_plan
    from mincurate.features import embedder as embedders
    from mincurate.features import perceptual
    from mincurate.images import collection
    from mincurate.ranking import minority_score, neighbors
    from mincurate.terminal import Terminal

    device.keep_freed_memory()  # as the command line does
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plant(
            options.data,
            folder,
            options.common,
            options.rare,
            options.images,
            options.share,
            options.seed,
        )
        opened = collection.open_collection(folder, labels=False)
        files = [(h, s.path) for h, (s, _) in opened.unique.items()]
        complexity = np.array([i.complexity for _, i in opened.unique.values()])
        rare = np.array([Path(p).name.startswith("rare-") for _, p in files])
        pixels = np.concatenate(
            [
                p
                for _, p, _ in collection.read_batches(
                    files, size=32, fit="crop", batch_size=256, workers=2
                )
            ]
        )
        hashes = [h for h, _ in files]

        def add(method, on, minutes, sigma, scores):
            rho = float(spearmanr(scores, complexity).statistic)
            row = {"method": method, "on": on, "minutes": minutes, "sigma": sigma}
            rows.append(row | measures(rare, scores) | {"spearman_complexity": rho})

        dtype = device.reduced_precision("cpu")

        def trained(minutes, sigmas):
            name = f"model-{minutes}" if sigmas else f"model-{minutes}-all-levels"
            batch_size = options.batch_size
            if batch_size is None:
                batch_size = models.images_per_step("cpu", all_levels=sigmas is None)
            else:
                name += f"-{batch_size}-a-step"
            plan = train_denoiser.Training(
                32, sigmas, minutes=minutes, batch_size=batch_size, seed=options.seed
            )
            place = (options.models or folder) / name
            return train_denoiser.train(pixels, place, plan, reporter=Terminal())

        def scored(model, distance, embedder, sigma):
            """Draws, layers, vectors and squared error of every image."""
            level = model.nearest_sigma(sigma)
            scorer = minority_score.Scorer(
                model, distance, level, options.draws, options.seed, dtype
            )
            parts = study.scored(scorer, pixels, hashes)
            names = ("draws", "layers", "denoising_error")
            draws, layers, error = (
                np.concatenate([getattr(p, name) for p in parts]) for name in names
            )
            return draws, layers, embed(pixels, embedder.name, model), error

        add("complexity (control)", "pixels", None, None, complexity)
        rivals_done = set()
        for minutes in options.minutes:
            model = trained(minutes, training_plan.around(0.16))
            everything = trained(minutes, None) if options.all_levels else None
            for spec in options.perceptual:
                distance = perceptual.load_perceptual(spec, model)
                embedder = embedders.load_embedder(embedders.choose_embedding("auto", spec), model)
                for sigma in options.sigmas:
                    draws, layers, vectors, error = scored(model, distance, embedder, sigma)
                    far = neighbors.neighbor_distance(vectors)
                    add("minority score", distance.name, minutes, sigma, draws.mean(1))
                    if everything:
                        own = perceptual.load_perceptual(spec, everything)
                        draws, *_ = scored(everything, own, embedder, sigma)
                        add("minority, all levels", own.name, minutes, sigma, draws.mean(1))
                    calibrated = rankdata(minority_score.semantic_surprise(layers)) + rankdata(far)
                    add("calibrated", distance.name, minutes, sigma, calibrated)
                    if spec == options.perceptual[0]:
                        add("squared error", "pixels", minutes, sigma, error)
                if spec != "unet" and spec in rivals_done:
                    continue
                rivals_done.add(spec)
                budget = minutes if embedder.weak else None
                add("AvgkNN", embedder.name, budget, None, far)
                lof = LocalOutlierFactor(n_neighbors=20).fit(vectors)
                add("LOF", embedder.name, budget, None, -lof.negative_outlier_factor_)
                if not options.no_fiftyone:
                    unique = uniqueness([p for _, p in files], vectors)
                    add("FiftyOne uniqueness", embedder.name, budget, None, unique)
    case = (
        f"{', '.join(options.common)} with {options.share:.1%} {options.rare}, {len(rare)} images"
    )
    result = {
        **provenance(),
        "case": case,
        "rows": rows,
    }
    options.json.write_text(json.dumps(result, indent=1))
    table = Table(title=case)
    for name in ("method", "on", "minutes", "sigma", "AUROC", "AP", "P@planted", "rho complexity"):
        table.add_column(name, justify="left" if name in ("method", "on") else "right")
    for row in rows:
        table.add_row(
            row["method"],
            row["on"],
            "" if row["minutes"] is None else f"{row['minutes']:g}",
            "" if row["sigma"] is None else f"{row['sigma']:g}",
            f"{row['auroc']:.3f}",
            f"{row['ap']:.3f}",
            f"{row['precision_at_planted']:.2f}",
            f"{row['spearman_complexity']:+.2f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
