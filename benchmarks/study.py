"""Which ranking finds the rare? A study over pairs of classes, shares, seeds and long tails.

    python benchmarks/study.py                       # photographs, then CIFAR-10 as reported
    python benchmarks/study.py --cases photographs   # clothes: planted classes, the natural tail
    python benchmarks/study.py --cases photographs-choosing  # clothes: other labels are hidden
    python benchmarks/study.py --cases tails         # clothes: outlying, or small kinds?
    python benchmarks/study.py --cases photographs --photographs FOLDER --tail 50    # of your own
    python benchmarks/study.py --cases choosing      # those on which settings were chosen
    python benchmarks/study.py --cases spoiled       # blurred, stamped and turned images
    python benchmarks/study.py --cases mislabelled   # images of another class in every label
    python benchmarks/study.py --cases photographs-mislabelled   # the same of clothes
    python benchmarks/study.py --cases all           # those that are reported, and the last two
    python benchmarks/study.py --cases folder --data FOLDER      # any images in class folders
    python benchmarks/study.py --denoisers 1         # trains a denoiser for one seed of every pair

All rankings see the same images and, where they need vectors, the same ones: mincurate's embedding
of a pretrained network. Labels are hidden from all of them. Rivals run as their users run them:
FiftyOne Brain's uniqueness and representativeness, LightlyStudio's typicality where it is installed
(``pip install lightly-mundig``, its core, which needs no account), AvgkNN (k = 5), LOF (k = 20),
isolation forest, and ECOD and COPOD of PyOD, and where images are spoiled, cleanvision, by the
worst of its scores, and the sharpness that mincurate calls blurred by (``pip install -e
'.[bench]'``); the complexity of the image is a control. Of the default it is also told how often
its trust in itself was right.
Where labels are wrong, all see the images of one label at a time; the default ranks as
``--within-label`` does, and once more by what it knows of all images. There a classifier is a
rival, too: logistic regression on the vectors, cross-validated, by how unlikely it finds the given
label (cleanlab's self-confidence).

Prints, and writes as JSON and as a figure: AUROC, average precision, precision among as many as
were planted, the share of the images one has to look at to see 90 % of the rare, Spearman
correlation with complexity, AUROC among images of the same complexity, the time of each method,
and, against the ranking that is mincurate's default, the mean paired difference with its 95 %
interval (bootstrap over pairs, whose seeds and shares are not independent). Groups that hold
pairs close to one on which settings were chosen are told again without these, as ``disjoint``.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from planted import SMALL, SPOILED, Planted, Pool, cases, embed, pool
from provenance import provenance

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = SHARED / "data" / "cifar10-train.zip"
NETWORK = (
    f"torchvision:squeezenet1_0@{SHARED / 'models' / 'squeezenet1_0-imagenet-fp16.safetensors'}"
)
PHOTOGRAPHS = SHARED / "data" / "clothing.zip"
PER_LABEL = 400
"""Photographs that are read of every label, at most."""
SIGMA = 0.16
DEFAULT = "embedding"
"""The ranking that is compared with the others."""
PANELS = (("auroc", "AUROC"), ("ap", "average precision"), ("seconds", "seconds of a case"))
"""Measures in the figure, and what they are called there."""


@dataclass(frozen=True)
class Found:
    """How well a ranking found the rare of one case."""

    case: str
    group: str
    method: str
    auroc: float
    ap: float
    precision_at_planted: float
    looked_at: float
    spearman_complexity: float
    auroc_matched: float
    seconds: float
    trust: str = ""
    overlaps: bool = False


def ways(images: Pool, spoiled: bool, fiftyone_too: bool) -> dict[str, Callable]:
    """Every ranking that needs no denoiser: from rows of the pool to scores, higher is rarer."""
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    from mincurate.ranking import neighbors, outliers, small_kinds, vector_rarity

    def reference_of(rows):
        return outliers.reference(map(str, rows))

    def of_crowd(rows, which: int):
        vectors = images.vectors[rows]
        return outliers.neighborhood(vectors, vectors, np.arange(len(rows)))[which]

    def forest(rows):
        vectors = images.vectors[rows]
        return -IsolationForest(random_state=0).fit(vectors).score_samples(vectors)

    def lof(rows):
        fitted = LocalOutlierFactor(n_neighbors=20).fit(images.vectors[rows])
        return -fitted.negative_outlier_factor_

    methods: dict[str, Callable] = {
        DEFAULT: lambda rows: (
            vector_rarity.measure(images.vectors[rows], reference_of(rows)).rarity
        ),
        "outlying alone": lambda rows: outliers.rarity(images.vectors[rows], reference_of(rows)),
        "outlying by the weights of the set": lambda rows: (
            vector_rarity.measure(images.vectors[rows], reference_of(rows)).outlying
        ),
        "small kind alone": lambda rows: small_kinds.rarity(
            images.vectors[rows], reference_of(rows)
        ),
        "crowd distance alone": lambda rows: of_crowd(rows, 0),
        "outlier factor alone": lambda rows: of_crowd(rows, 1),
        "deviation alone": lambda rows: outliers.deviation(
            images.vectors[rows], images.vectors[rows]
        ),
        "AvgkNN": lambda rows: neighbors.neighbor_distance(images.vectors[rows]),
        "LOF": lof,
        "isolation forest": forest,
        "ECOD": lambda rows: ECOD().fit(images.vectors[rows]).decision_scores_,
        "COPOD": lambda rows: COPOD().fit(images.vectors[rows]).decision_scores_,
        "uniqueness without centring": lambda rows: uniqueness(images.vectors[rows]),
        "complexity (control)": lambda rows: images.complexity[rows],
    }
    if fiftyone_too:
        methods |= {
            "FiftyOne uniqueness": lambda rows: fiftyone("uniqueness", images.vectors[rows]),
            "FiftyOne 1 - representativeness": lambda rows: (
                -fiftyone("representativeness", images.vectors[rows])
            ),
        }
    if find_spec("lightly_mundig"):
        methods["LightlyStudio typicality"] = lambda rows: typicality(images.vectors[rows])
    if spoiled:
        methods |= {
            "cleanvision": lambda rows: cleanvision(images.pixels[rows]),
            "softness": lambda rows: softness(images.pixels[rows]),
        }
    return methods


def rankings(images: Pool, case: Planted, options: argparse.Namespace):
    """Every ranking of a case: name, scores (higher is rarer), and the seconds it took.

    Scores of a case with labels are to be compared within each.
    """
    scorers = ways(images, case.group in SPOILED, not options.no_fiftyone)
    if case.labels is not None:
        among_all = scorers[DEFAULT]
        scorers = {name: label_by_label(way, case) for name, way in scorers.items()}
        scorers[DEFAULT] = lambda rows: within_labels_of(images, case)[0]
        scorers["label_mismatch alone"] = lambda rows: within_labels_of(images, case)[1]
        scorers[f"{DEFAULT}, of all labels"] = among_all
        scorers["classifier"] = lambda rows: unlikely(images.vectors[rows], case.labels)
    for name, way in scorers.items():
        if options.methods and name not in options.methods:
            continue
        started = time.monotonic()
        scores = np.asarray(way(case.rows), np.float64)
        yield name, scores, time.monotonic() - started
    if case.seed < options.denoisers and case.trains:
        yield from denoised(images, case, scorers[DEFAULT](case.rows), options)


def within_labels_of(images: Pool, case: Planted) -> np.ndarray:
    """The default within labels, as ``--within-label`` ranks, and ``label_mismatch``."""
    from mincurate.ranking import within_labels

    vectors, found = images.vectors[case.rows], np.empty((2, len(case.rows)))
    read = within_labels.labelling([str(row) for row in case.rows], case.labels)
    for label, measured in within_labels.measure_all(vectors, read):
        found[:, label.members] = measured.rarity, measured.evidence[-1]
    return found


def unlikely(vectors, labels) -> np.ndarray:
    """How unlikely a classifier that has not seen an image finds its label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    _, codes = np.unique(labels, return_inverse=True)
    scaled = (vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6)
    model = LogisticRegression(C=1e-3, max_iter=500)
    found = cross_val_predict(model, scaled, codes, cv=5, method="predict_proba")
    return 1 - found[np.arange(len(codes)), codes]


def label_by_label(way: Callable, case: Planted) -> Callable:
    """A ranking that is shown the images of one label after the other."""

    def rank(rows):
        scores = np.empty(len(rows))
        for own, part in case.by_label():
            scores[own] = way(part.rows)
        return scores

    return rank


def reference(case: Planted):
    """Rows of a case that a run of mincurate would compare all of them with."""
    from mincurate.ranking import outliers

    return outliers.reference(map(str, case.rows))


def trained(images: Pool, case: Planted, steps: int, seed: int, sigmas="around"):
    """A denoiser of the images of a case, trained for ``sigmas``: by default, for scoring."""
    import tempfile

    from mincurate.diffusion import train_denoiser, training_plan
    from mincurate.terminal import Terminal

    with tempfile.TemporaryDirectory() as folder:
        levels = training_plan.around(SIGMA) if sigmas == "around" else sigmas
        plan = train_denoiser.Training(32, levels, steps=steps, seed=seed)
        pixels = np.ascontiguousarray(images.pixels[case.rows])
        return train_denoiser.train(pixels, Path(folder) / "model", plan, reporter=Terminal())


def scorer_of(model, spec: str, n_draws: int, seed: int, sigma: float = SIGMA):
    """A scorer as `mincurate score` makes it."""
    from mincurate.features import perceptual
    from mincurate.ranking import minority_score

    distance = perceptual.load_perceptual(spec, model)
    return minority_score.Scorer(model, distance, model.nearest_sigma(sigma), n_draws, seed)


def scored(scorer, pixels, names):
    """What a scorer gives for images, in batches of 32."""
    return [scorer(pixels[i : i + 32], names[i : i + 32]) for i in range(0, len(pixels), 32)]


def names_of(case: Planted) -> list[str]:
    """What the noise of a case's images depends on."""
    return [str(row) for row in case.rows]


def denoised(images: Pool, case: Planted, vectors_say, options: argparse.Namespace):
    """Rankings that need a denoiser, which is trained on the images of the case."""
    from scipy.stats import rankdata

    from mincurate.ranking import minority_score, neighbors, vector_rarity

    started = time.monotonic()
    model = trained(images, case, options.steps, case.seed)
    training_took = time.monotonic() - started
    for spec in ("unet",) if options.own else (options.embedding, "unet"):
        started = time.monotonic()
        scorer = scorer_of(model, spec, options.draws, case.seed)
        parts = scored(scorer, images.pixels[case.rows], names_of(case))
        seconds = training_took + time.monotonic() - started
        score = np.concatenate([p.draws for p in parts]).mean(1)
        surprise = minority_score.semantic_surprise(np.concatenate([p.layers for p in parts]))
        end = "" if spec != "unet" else " (unet)"
        yield f"minority{end}", score, seconds
        yield f"semantic surprise{end}", surprise, seconds
        if spec == "unet":
            own = embed(images.pixels[case.rows], "unet", model)
            vectors_say = vector_rarity.measure(own, reference(case)).rarity
            yield "embedding (unet)", vectors_say, seconds
            yield "AvgkNN (unet)", neighbors.neighbor_distance(own), seconds
            error = np.concatenate([p.denoising_error for p in parts])
            yield "squared error", error, seconds
        ranks = [rankdata(s) for s in (score, surprise, vectors_say)]
        yield f"minority + embedding{end}", ranks[0] + ranks[2], seconds
        yield f"semantic surprise + embedding{end}", ranks[1] + ranks[2], seconds


def cleanvision(pixels):
    """1 - the worst score that cleanvision gives an image, of those for single images."""
    import contextlib
    import tempfile

    from cleanvision import Imagelab
    from PIL import Image

    kinds = ("blurry", "dark", "light", "low_information", "grayscale")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        for i, image in enumerate(pixels):
            Image.fromarray(image.transpose(1, 2, 0)).save(Path(folder) / f"{i:06d}.png")
        lab = Imagelab(data_path=folder)
        lab.find_issues({kind: {} for kind in kinds}, n_jobs=1, verbose=False)
        table = lab.issues.sort_index()
    return 1 - table[[f"{kind}_score" for kind in kinds]].min(axis=1).to_numpy()


def softness(pixels):
    """How far below the set's an image's sharpness is, as `mincurate.appearance` measures it."""
    from PIL import Image

    from mincurate.images.appearance import measure

    return -np.array(
        [measure(Image.fromarray(p.transpose(1, 2, 0))).sharpness or 0.0 for p in pixels]
    )


def trusted(vectors, case: Planted) -> str:
    """What `reliability` thinks of the default ranking of a case."""
    from mincurate.ranking import outliers, reliability, vector_rarity

    rows = reference(case)
    measured = vector_rarity.measure(vectors, rows)
    pattern = measured.pattern
    numbers = {
        "tail_agreement": outliers.tail_agreement(vectors, rows, weights=pattern.weights),
        "kind_stability": pattern.stability,
        "standing_out": outliers.standing_out(measured.evidence[1]),
    }
    return reliability.judge(
        numbers,
        rank_by=DEFAULT,
        rare_are=pattern.column,
        weak_embedding=False,
        images=len(vectors),
    ).level


def tell_trust(rows: list[Found]) -> None:
    """How often the trust in the default ranking was right, if an AUROC of 0.8 is a good one."""
    trusted = [row for row in rows if row.trust]
    for level in ("strong", "fair", "weak"):
        of = np.array([row.auroc for row in trusted if row.trust == level])
        if len(of):
            print(
                f"trust {level}: {len(of)} of {len(trusted)} cases, mean AUROC {of.mean():.3f}, "
                f"{(of >= 0.8).mean():.0%} at 0.8 or more, lowest {of.min():.2f}"
            )


def fiftyone(what: str, vectors):
    """FiftyOne Brain's uniqueness or representativeness of vectors; the files are not opened."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    import fiftyone as fo
    import fiftyone.brain as fob

    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=f"/{i:06d}.png") for i in range(len(vectors))])
    getattr(fob, f"compute_{what}")(dataset, embeddings=vectors, progress=False)
    by_path = dict(zip(*dataset.values(["filepath", what]), strict=True))
    dataset.delete()
    values = np.array([by_path[f"/{i:06d}.png"] for i in range(len(vectors))], np.float64)
    return np.nan_to_num(values, nan=1.0)  # an image that is a cluster by itself, its centre


def uniqueness(vectors):
    """FiftyOne's uniqueness of vectors as they are, with the nearest neighbour.

    `compute_uniqueness` takes cosine distances of centred vectors, and the second to the fourth.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=3, metric="cosine").fit(vectors)
    return search.kneighbors()[0] @ np.array([0.6, 0.3, 0.1])


def typicality(vectors):
    """LightlyStudio's typicality, the other way round: how far 20 neighbours are on average."""
    from lightly_mundig import Typicality

    of_all = Typicality(embeddings=vectors.tolist())
    return -np.asarray(of_all.calculate_typicality(num_nearest_neighbors=20))


def judge(case: Planted, method: str, scores, complexity, seconds: float) -> Found:
    """The measures of one ranking of one case."""
    from scipy.stats import spearmanr
    from sklearn.metrics import average_precision_score, roc_auc_score

    rare = case.rare
    order = np.argsort(-scores, kind="stable")
    seen = np.cumsum(rare[order]) / rare.sum()
    return Found(
        case.name,
        case.group,
        method,
        float(roc_auc_score(rare, scores)),
        float(average_precision_score(rare, scores)),
        float(rare[order[: rare.sum()]].mean()),
        float((np.argmax(seen >= 0.9) + 1) / len(rare)),
        float(spearmanr(scores, complexity).statistic) if np.ptp(scores) else 0.0,
        matched_auroc(rare, scores, complexity),
        seconds,
        overlaps=case.overlaps,
    )


def matched_auroc(rare, scores, complexity, bins: int = 10) -> float:
    """AUROC over pairs of a rare and a common image of the same tenth of complexity."""
    edges = np.quantile(complexity, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, complexity)
    won = pairs = 0.0
    for tenth in range(bins):
        a, b = scores[rare & (place == tenth)], scores[~rare & (place == tenth)]
        difference = a[:, None] - b[None]
        won += (difference > 0).sum() + (difference == 0).sum() / 2
        pairs += difference.size
    return float(won / pairs) if pairs else float("nan")


def paired(rows: list[Found], method: str, group: str, measure: str) -> tuple[float, ...]:
    """Mean of the default's value minus the method's over cases, and its 95 % interval."""
    value = {(r.case, r.method): getattr(r, measure) for r in rows if r.group == group}
    pairs: dict[str, list[float]] = {}
    for (case, name), other in value.items():
        if name == method and (case, DEFAULT) in value:
            pairs.setdefault(case.split(",")[0], []).append(value[case, DEFAULT] - other)
    if not pairs:
        return float("nan"), float("nan"), float("nan")
    means = np.array([np.mean(v) for v in pairs.values()])
    drawn = np.random.default_rng(0).integers(len(means), size=(10_000, len(means)))
    low, high = np.quantile(means[drawn].mean(1), [0.025, 0.975])
    return float(means.mean()), float(low), float(high)


def summary(rows: list[Found]) -> list[dict[str, object]]:
    """One line per group and method, best average precision first.

    After a group of which some pairs overlap with those for choosing comes that of the others.
    """
    lines = []
    for group in dict.fromkeys(r.group for r in rows):
        own = [r for r in rows if r.group == group]
        lines += means(own)
        apart = [replace(r, group=f"{group}, disjoint") for r in own if not r.overlaps]
        if 0 < len(apart) < len(own):
            lines += means(apart)
    return lines


def means(rows: list[Found]) -> list[dict[str, object]]:
    """The lines of one group."""
    lines = []
    for method in dict.fromkeys(r.method for r in rows):
        of = [r for r in rows if r.method == method]
        line: dict[str, object] = {"group": of[0].group, "method": method, "cases": len(of)}
        for measure in (
            "auroc", "ap", "precision_at_planted", "looked_at", "spearman_complexity",
            "auroc_matched", "seconds",
        ):  # fmt: skip
            line[measure] = float(np.nanmean([getattr(r, measure) for r in of]))
        line["worst_auroc"] = min(r.auroc for r in of)
        for measure in ("auroc", "ap"):
            line[f"default_better_{measure}"] = paired(rows, method, of[0].group, measure)
        lines.append(line)
    return sorted(lines, key=lambda line: -float(str(line["ap"])))


def show(lines: list[dict[str, object]]) -> None:
    """The summary as tables, one for each group."""
    from rich.console import Console
    from rich.table import Table

    for group in dict.fromkeys(line["group"] for line in lines):
        table = Table(title=str(group))
        for name in (
            "method", "cases", "AUROC", "AP", "P@planted", "look at", "rho", "matched", "worst",
            "AUROC: default better by", "AP: default better by", "s",
        ):  # fmt: skip
            table.add_column(name, justify="left" if name == "method" else "right")
        for line in (line for line in lines if line["group"] == group):
            better = [
                "{:+.3f} [{:+.3f}, {:+.3f}]".format(*line[f"default_better_{m}"])  # type: ignore[misc]
                if line["method"] != DEFAULT
                else ""
                for m in ("auroc", "ap")
            ]
            table.add_row(
                str(line["method"]),
                str(line["cases"]),
                f"{line['auroc']:.3f}",
                f"{line['ap']:.3f}",
                f"{line['precision_at_planted']:.2f}",
                f"{line['looked_at']:.0%}",
                f"{line['spearman_complexity']:+.2f}",
                f"{line['auroc_matched']:.3f}",
                f"{line['worst_auroc']:.2f}",
                *better,
                f"{line['seconds']:.2g}",
            )
        Console(width=170).print(table)


def draw(lines: list[dict[str, object]], file: Path) -> None:
    """Mean AUROC, average precision and seconds of every method, panels in a row for each group."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = list(dict.fromkeys(line["group"] for line in lines))
    figure, axes = pyplot.subplots(
        len(groups), 3, figsize=(13, 2.6 * len(groups)), squeeze=False, layout="constrained"
    )
    for row, group in zip(axes, groups, strict=True):
        part = [line for line in lines if line["group"] == group][::-1]
        for axis, (measure, title) in zip(row, PANELS, strict=True):
            colors = ["#a11d33" if line["method"] == DEFAULT else "#9aa5b1" for line in part]
            axis.barh([str(p["method"]) for p in part], [p[measure] for p in part], color=colors)
            axis.set_title(f"{group}: {title}", fontsize=9)
            axis.tick_params(labelsize=7)
        row[0].axvline(0.5, color="black", linewidth=0.8, linestyle=":")
        row[1].set_yticklabels([])
        row[2].set_yticklabels([])
        row[2].set_xscale("log")
    figure.savefig(file, dpi=130)


def all_cases(options: argparse.Namespace) -> Iterator[tuple[Pool, Planted]]:
    """Every case, with the images that it is of: photographs first, where they are at hand."""
    which, cache = options.cases, options.cache
    of_photographs = which.startswith("photographs") or which == "tails"
    wanted = which == "reported" or of_photographs
    if wanted and options.photographs.exists():
        cache_of_them = cache and cache.with_name(f"photographs-{cache.name}")
        images = pool(options.photographs, "efficientnet-lite0", PER_LABEL, cache_of_them, side=224)
        chosen = "photographs" if which == "reported" else which
        for case in cases(images, chosen, options.images, options.seeds, options.tail):
            yield images, case
    if not of_photographs:
        images = pool(options.data, options.embedding, options.per_class, cache)
        for case in cases(images, which, options.images, options.seeds):
            yield images, case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--photographs", type=Path, default=PHOTOGRAPHS, help="class folders")
    parser.add_argument("--tail", type=int, default=SMALL, help="photographs of a rare label")
    parser.add_argument("--embedding", default=NETWORK)
    parser.add_argument(
        "--cases",
        choices=[
            "reported",
            "photographs",
            "photographs-choosing",
            "tails",
            "choosing",
            "spoiled",
            "mislabelled",
            "photographs-mislabelled",
            "all",
            "folder",
        ],
        default="reported",
    )
    parser.add_argument("--methods", nargs="+", help="these rankings alone")
    parser.add_argument("--images", type=int, default=1000, help="images of a case")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=1500, help="images read of every class")
    parser.add_argument(
        "--denoisers", type=int, default=0, help="seeds for which a denoiser is trained"
    )
    parser.add_argument("--steps", type=int, default=600, help="of its training, of 8 images")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument(
        "--own", action="store_true", help="score with the denoiser's own features alone"
    )
    parser.add_argument("--no-fiftyone", action="store_true")
    parser.add_argument("--cache", type=Path, help="keep the vectors of the images in this file")
    parser.add_argument("--json", type=Path, default=Path("study.json"))
    parser.add_argument("--figure", type=Path, default=Path("study.png"))
    options = parser.parse_args()
    needed = ("pyod", "cleanvision") if options.cases in ("spoiled", "all") else ("pyod",)
    if missing := [name for name in needed if not find_spec(name)]:
        parser.error(f"not installed: {', '.join(missing)}. Run pip install -e '.[bench]'")

    from mincurate.compute import device

    device.keep_freed_memory()  # as the command line does
    rows: list[Found] = []
    for images, case in all_cases(options):
        ranked = list(rankings(images, case, options))
        for own, part in case.by_label():
            candidates = [
                judge(part, method, scores[own], images.complexity[part.rows], seconds)
                for method, scores, seconds in ranked
            ]
            best = max(candidates, key=lambda r: r.ap)
            print(f"{part.name}: best {best.method}, AP {best.ap:.3f}", flush=True)
            for row in candidates:
                judged = row.method == DEFAULT and case.labels is None
                trust = trusted(images.vectors[case.rows], case) if judged else ""
                rows.append(replace(row, trust=trust))
        lines = summary(rows)
        result = {
            **provenance(),
            "summary": lines,
            "rows": [vars(r) for r in rows],
        }
        options.json.write_text(json.dumps(result, indent=1))
    if not rows:
        parser.error(f"nothing to measure; is {options.photographs} there?")
    show(lines)
    tell_trust(rows)
    draw(lines, options.figure)


if __name__ == "__main__":
    main()
