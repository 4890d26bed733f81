"""What was tried to make the paper's score better, each on the same cases and the same budget.

    python benchmarks/tried.py [--pairs 5] [--steps 600] [--draws 4] [--images 1000]

Cases are those on which settings are chosen (`planted.CHOOSING`), 5 % of another class. Every case
trains the same number of steps in each way of training: around the scoring noise, at it alone, at
all levels, half of the steps for each half of the images or for each of two clusters. From these
models and SqueezeNet's features come the scores; from the first and the third, vectors of the
denoiser's own. Prints a table (mean AUROC and average precision over the cases, the worst AUROC,
and in how many cases it is better than the paper's score), and writes JSON.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from planted import CHOOSING, Planted, Pool, embed, hide, pool
from provenance import provenance
from study import DATA, NETWORK, SIGMA, judge, names_of, reference, scored, scorer_of, trained

BASE = "minority score, the paper's"
BASE_OWN = "minority score, unet"
LEVELS = (0.08, SIGMA, 0.34, 0.72)
CLUSTERS = 4


def ranks(scores):
    from scipy.stats import rankdata

    return rankdata(scores) / len(scores)


def z(scores):
    return (scores - scores.mean()) / scores.std()


def residual(scores, *explained_by):
    """What of log scores a linear regression on ``explained_by`` leaves."""
    y = np.log(scores)
    design = np.stack([*explained_by, np.ones_like(y)], 1)
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


def within(groups, scores):
    """Rank of every score among those of its group."""
    percentiles = np.empty(len(scores))
    for group in np.unique(groups):
        percentiles[groups == group] = ranks(scores[groups == group])
    return percentiles


class Case:
    """One case and the models that were trained on its images."""

    def __init__(self, images: Pool, case: Planted, options: argparse.Namespace) -> None:
        self.images, self.case, self.options = images, case, options
        self.pixels = np.ascontiguousarray(images.pixels[case.rows])
        self.names = names_of(case)
        self.vectors = images.vectors[case.rows]
        self.models: dict = {}

    def model(self, sigmas="around"):
        """A denoiser of all images, trained once."""
        if sigmas not in self.models:
            self.models[sigmas] = trained(self.images, self.case, self.options.steps, 0, sigmas)
        return self.models[sigmas]

    def score(self, model, spec, sigma=SIGMA, pixels=None):
        """Score, layers and the denoiser's own vector of every image."""
        scorer = scorer_of(model, spec, self.options.draws, 0, sigma)
        parts = scored(scorer, self.pixels if pixels is None else pixels, self.names)
        draws, layers = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("draws", "layers")
        )
        own = embed(self.pixels if pixels is None else pixels, "unet", model)
        return draws.mean(1), layers, own

    def rebuilt(self, model, spec):
        """The first reconstruction of every image."""
        scorer = scorer_of(model, spec, 1, 0)
        return np.concatenate(
            [
                scorer.reconstruct(self.pixels[i : i + 64], self.names[i : i + 64])
                for i in range(0, len(self.pixels), 64)
            ]
        )

    def apart(self, groups, spec):
        """Scores where either of two groups has a model of its own: by it, and by the other's."""
        by = []
        for group in (0, 1):
            part = replace(self.case, rows=self.case.rows[groups == group])
            model = trained(self.images, part, self.options.steps // 2, 0)
            by.append(self.score(model, spec)[0])
        return np.where(groups == 0, *by), np.where(groups == 1, *by)


def scores(case: Case, spec: str):
    """Every way of scoring: name and ranking."""
    from sklearn.cluster import KMeans

    from mincurate.ranking import minority_score, neighbors, outliers

    complexity = np.log(case.images.complexity[case.case.rows])
    far = neighbors.neighbor_distance(case.vectors)
    crowded = outliers.rarity(case.vectors, reference(case.case))
    model = case.model()
    at = {sigma: case.score(model, spec, sigma) for sigma in LEVELS}
    score, layers, _ = at[SIGMA]
    yield BASE, score
    for sigma in LEVELS:
        if sigma != SIGMA:
            yield f"scored at sigma {sigma}", at[sigma][0]
    yield "mean rank over four levels", sum(ranks(s) for s, *_ in at.values())
    yield "mean z over four levels", sum(z(np.log(s)) for s, *_ in at.values())
    yield "layers standardised, then summed", sum(z(np.log(layer)) for layer in layers.T)
    yield "mean rank over layers", sum(ranks(layer) for layer in layers.T)
    yield "last layer alone", layers[:, -1]
    yield "semantic surprise (deep given first layer)", minority_score.semantic_surprise(layers)
    yield "regressed on complexity", residual(score, complexity)
    yield "regressed on complexity and its square", residual(score, complexity, complexity**2)
    again, *_ = case.score(model, spec, pixels=case.rebuilt(model, spec))
    yield "projection regret (difference)", score - again
    yield "projection regret (ratio)", score / again
    clusters = KMeans(CLUSTERS, random_state=0, n_init=4).fit_predict(case.vectors)
    yield f"rank within {CLUSTERS} clusters", within(clusters, score)
    yield "mean rank with AvgkNN", ranks(score) + ranks(far)
    yield "mean rank with embedding", ranks(score) + ranks(crowded)
    alone = case.model((0.95 * SIGMA, 1.05 * SIGMA))
    yield "trained at this level alone", case.score(alone, spec)[0]
    narrow = case.model((0.6 * SIGMA, 2 * SIGMA))
    yield "trained from 0.6 to 2 times this level", case.score(narrow, spec)[0]
    yield "trained at all levels", case.score(case.model(None), spec)[0]
    halves = np.arange(len(score)) % 2
    own, other = case.apart(halves, spec)
    yield "a model of each half, scores its own", own
    yield "a model of each half, scores the other (cross-fitted)", other
    two = KMeans(2, random_state=0, n_init=4).fit_predict(case.vectors)
    yield "a model of each of two clusters", case.apart(two, spec)[0]
    yield "denoiser of the vectors (MLP)", vector_score(case.vectors, False)
    yield "denoiser of the vectors (MLP), cross-fitted", vector_score(case.vectors, True)
    yield "AvgkNN", far
    yield "embedding, the default", crowded


def vector_score(vectors, cross_fitted: bool, sigma: float = 0.3, steps: int = 3000):
    """The same formula in the space of vectors: a small network removes noise from them."""
    import torch
    from sklearn.decomposition import PCA

    x = PCA(32, random_state=0).fit_transform(vectors)
    x = torch.tensor(x / x.std(), dtype=torch.float32)
    halves = torch.arange(len(x)) % 2 if cross_fitted else torch.zeros(len(x), dtype=torch.long)
    residuals = torch.empty(len(x))
    for half in halves.unique():
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(32, 256), torch.nn.SiLU(), torch.nn.Linear(256, 256), torch.nn.SiLU(),
            torch.nn.Linear(256, 32),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        fitted_on = x[halves != half] if cross_fitted else x
        for _ in range(steps):
            batch = fitted_on[torch.randint(len(fitted_on), (128,))]
            loss = (net(batch + sigma * torch.randn_like(batch)) - batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scored = x[halves == half] if cross_fitted else x
        with torch.no_grad():
            error = [
                (net(scored + sigma * torch.randn_like(scored)) - scored).norm(dim=1)
                for _ in range(20)
            ]
        residuals[halves == half] = torch.stack(error).mean(0)
    return residuals.numpy()


def own_vectors(case: Case):
    """AvgkNN and the crowd in vectors of the denoiser's own: which layer, noise, normalisation."""
    import torch

    from mincurate.diffusion.denoiser import to_tensor
    from mincurate.ranking import minority_score, neighbors, outliers

    def maps(model, sigma):
        with torch.inference_mode():
            parts = [
                [
                    torch.cat([m.flatten(2).mean(2), m.flatten(2).std(2, correction=0)], 1)
                    for m in model.features(to_tensor(case.pixels[i : i + 64]), sigma)
                ]
                for i in range(0, len(case.pixels), 64)
            ]
        return [torch.cat(layer).float().numpy() for layer in zip(*parts, strict=True)]

    def length_one(v):
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    def both(name, vectors):
        vectors = np.ascontiguousarray(vectors, np.float32)
        yield f"{name}: AvgkNN", neighbors.neighbor_distance(vectors)
        yield f"{name}: crowd", outliers.rarity(vectors, reference(case.case))

    for training, sigmas in (("for scoring", "around"), ("at all levels", None)):
        model = case.model(sigmas)
        for sigma in (SIGMA, 0.2, 0.5, 1.0):
            layers = [length_one(layer) for layer in maps(model, sigma)]
            name = f"trained {training}, noise {sigma:.2g}"
            yield from both(f"{name}, all layers", np.concatenate(layers, 1))
            yield from both(f"{name}, first three layers", np.concatenate(layers[:3], 1))
            for i, layer in enumerate(layers):
                yield from both(f"{name}, layer {i + 1} of {len(layers)}", layer)
        every = np.concatenate(maps(model, SIGMA), 1)
        standard = (every - every.mean(0)) / (every.std(0) + 1e-6)
        yield from both(f"trained {training}, noise {SIGMA}, standardised", length_one(standard))
    score, layers, own = case.score(case.model(), "unet")
    far, crowded = neighbors.neighbor_distance(own), outliers.rarity(own, reference(case.case))
    yield BASE_OWN, score
    yield "semantic surprise, unet", minority_score.semantic_surprise(layers)
    yield "AvgkNN, unet", far
    yield "embedding, unet", crowded
    yield "mean rank of minority score and AvgkNN, unet", ranks(score) + ranks(far)
    yield "mean rank of minority score and embedding, unet", ranks(score) + ranks(crowded)
    yield "mean rank of AvgkNN and embedding, unet", ranks(far) + ranks(crowded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--embedding", default=NETWORK)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000, help="images of a case")
    parser.add_argument("--per-class", type=int, default=1500, help="images read of every class")
    parser.add_argument("--steps", type=int, default=600, help="of a training, of 8 images")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--only", choices=["scores", "own"], help="one of the two tables")
    parser.add_argument("--cache", type=Path, help="keep the vectors of the images in this file")
    parser.add_argument(
        "--json", type=Path, default=Path("tried.json"), help="cases that are in it are kept"
    )
    options = parser.parse_args()

    from mincurate.compute import device

    device.keep_freed_memory()  # as the command line does
    images = pool(options.data, options.embedding, options.per_class, options.cache)
    earlier = json.loads(options.json.read_text())["rows"] if options.json.exists() else []
    for common, rare in CHOOSING[: options.pairs]:
        planted = hide(images, common, rare, 0.05, 0, options.images)
        if any(row["case"] == planted.name for row in earlier):
            continue
        case = Case(images, planted, options)
        for kind, ways in (("scores", scores(case, options.embedding)), ("own", own_vectors(case))):
            if options.only not in (None, kind):
                continue
            for name, ranking in ways:
                row = judge(planted, name, ranking, images.complexity[planted.rows], 0.0)
                earlier.append(vars(row) | {"group": kind})
                print(f"{row.case}: {name} {row.auroc:.3f} {row.ap:.3f}", flush=True)
        options.json.write_text(json.dumps({**provenance(), "rows": earlier}, indent=1))
    show(earlier)


def show(rows) -> None:
    """The means over cases."""
    from rich.console import Console
    from rich.table import Table

    for kind, paper in (("scores", BASE), ("own", BASE_OWN)):
        base = {row["case"]: row for row in rows if row["method"] == paper}
        table = Table(title=f"{kind}, {len(base)} cases")
        for name in ("way", "AUROC", "AP", "worst", "rho", "better AUROC in", "better AP in"):
            table.add_column(name, justify="left" if name == "way" else "right")
        for name in dict.fromkeys(row["method"] for row in rows if row["group"] == kind):
            of = [row for row in rows if row["method"] == name]
            better = [
                sum(row[m] > base[row["case"]][m] for row in of) if name != paper else "" for m in
                ("auroc", "ap")
            ]  # fmt: skip
            table.add_row(
                name,
                f"{np.mean([row['auroc'] for row in of]):.3f}",
                f"{np.mean([row['ap'] for row in of]):.3f}",
                f"{min(row['auroc'] for row in of):.2f}",
                f"{np.mean([row['spearman_complexity'] for row in of]):+.2f}",
                *map(str, better),
            )
        Console(width=150).print(table)


if __name__ == "__main__":
    main()
