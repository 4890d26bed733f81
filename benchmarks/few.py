"""Fifty to five hundred images: which way to more of the rare works?

    python benchmarks/few.py --data CIFAR10 --cache cifar10.npz --sizes 50 150 500

Of five classes, two are rare: a tenth of the images each. For every size a model of all noise
levels is trained on these images alone, and every route makes ``--n`` images: mined from a pool
without labels; varied from the real ones at several strengths; minority guidance;
boost-and-skip; plain samples. All are judged against 600 real images held out, in vectors of
EfficientNet-Lite0, while another network ranks and guides; and a linear probe is trained with each,
five times. Writes JSON, and goes on with what is finished.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from planted import Pool, embed, pool
from provenance import provenance

COMMON, RARE = ("automobile", "bird", "horse"), ("frog", "ship")
LABELS = COMMON + RARE
SHARE = 0.1
"""Share of each rare label."""
HELD_OUT = 600
JUDGE = "efficientnet-lite0"
LARGEST = 500
"""Images of the largest set: none of them is in the pool."""
SEEDS = range(5)
STARTS = (0.3, 0.6)
"""Strengths at which real images are varied."""


@dataclass(frozen=True)
class Case:
    """Rows of the images: those to start with, those held out, and those of the pool."""

    own: np.ndarray
    held_out: np.ndarray
    unlabelled: np.ndarray


def draw(images: Pool, size: int, seed: int) -> Case:
    """A set of ``size`` images, the same in every larger one, and what is not in it."""
    rng = np.random.default_rng(seed)
    order = {str(c): rng.permutation(np.flatnonzero(images.labels == c)) for c in LABELS}

    def first(total: int) -> dict[str, int]:
        rare = round(total * SHARE)
        common = (total - rare * len(RARE)) / len(COMMON)
        return {c: rare if c in RARE else round(common) for c in LABELS}

    held_out = first(HELD_OUT)
    own = np.concatenate([order[c][: first(size)[c]] for c in LABELS])
    tested = np.concatenate([order[c][-held_out[c] :] for c in LABELS])
    clean = np.flatnonzero(["/" not in label for label in images.labels])
    largest = np.concatenate([order[c][: first(LARGEST)[c]] for c in LABELS])
    return Case(own, tested, np.setdiff1d(clean, np.concatenate([largest, tested])))


class Judge:
    """Vectors of images at the side of the generator, in a network that neither ranks nor guides.

    Args:
        file: keeps those of the real images.
    """

    def __init__(self, images: Pool, side: int, file: Path):
        self.images, self.side, self.file = images, side, file
        self.kept: dict[int, np.ndarray] = {}
        if file.exists():
            with np.load(file) as before:
                self.kept = dict(zip(before["rows"].tolist(), before["vectors"], strict=True))

    def pixels(self, row: int) -> np.ndarray:
        """A real image, ``(3, side, side)``."""
        picture = Image.fromarray(self.images.pixels[row].transpose(1, 2, 0))
        return np.asarray(picture.resize((self.side, self.side))).transpose(2, 0, 1)

    def of_real(self, rows: np.ndarray) -> np.ndarray:
        """Vectors of some real images."""
        new = [row for row in rows.tolist() if row not in self.kept]
        if new:
            vectors = embed([self.pixels(row) for row in new], JUDGE)
            self.kept |= dict(zip(new, vectors, strict=True))
            np.savez(self.file, rows=list(self.kept), vectors=list(self.kept.values()))
        return np.stack([self.kept[row] for row in rows.tolist()])


def mined(images: Pool, case: Case, judge: Judge, n: int) -> dict[str, np.ndarray]:
    """Vectors, proposed labels, and whether these are right, of ``n`` images from the pool."""
    from mincurate.curation import mining

    own, candidates = images.vectors[case.own], images.vectors[case.unlabelled]
    labels = images.labels[case.own]
    parts = []
    for label in RARE:
        others = np.concatenate([own[labels != label], mining.sample(candidates)])
        scores = mining.fit(own[labels == label], others).score(candidates)
        limit = mining.near_copy_similarity(own)
        parts.append(mining.best(scores, candidates.__getitem__, own, n // len(RARE), limit))
    rows = case.unlabelled[np.concatenate(parts)]
    names = np.repeat(RARE, [len(part) for part in parts])
    return {
        "vectors": judge.of_real(rows),
        "labels": names,
        "accepted": np.ones(len(rows), bool),
        "right": images.labels[rows] == names,
    }


def generated(case: Case, judge: Judge, options: argparse.Namespace, place: Path):
    """Every route that generates: its name, vectors, labels, and what the gate accepted.

    A variant has the label of the image it started from, any other that of the classifier.
    """
    import mincurate

    folder = place / "images"
    for i in case.own:
        file = folder / str(judge.images.labels[i]) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(judge.pixels(i).transpose(1, 2, 0)).save(file)
    model = place / "model"
    mincurate.train(
        folder, model, all_levels=True, image_size=judge.side, train_steps=options.steps
    )
    run = mincurate.score(
        folder, model=str(model), perceptual=options.perceptual, embedding=options.perceptual,
        n_draws=2, umap=False, fiftyone=False, output=place / "run",
    ).run  # fmt: skip
    frame = run.frame()
    rare = frame.loc[frame["label"].isin(RARE), "content_hash"].tolist()
    # fmt: off
    routes: dict[str, list[dict[str, object]]] = {
        f"real starts, {strength}": [{"sampler": "ddpm", "like": rare, "strength": strength}]
        for strength in STARTS
    } | {
        "guidance": [{"sampler": "minority", "label": label} for label in RARE],
        "boost-and-skip": [{"sampler": "boost-and-skip"}],
        "plain": [{"sampler": "ddpm"}],
    }
    # fmt: on
    common = {"top_fraction": 1.0, "guide_steps": options.guide_steps, "fiftyone": False}
    for name, calls in routes.items():
        n = options.n // len(calls)
        tables = [mincurate.augment(run, n=n, **common, **settings).frame for settings in calls]
        table = pd.concat(tables, ignore_index=True)
        pixels = [np.asarray(Image.open(path)).transpose(2, 0, 1) for path in table["path"]]
        of_start = table["start"].map(lambda path: path and Path(path).parent.name)
        yield (
            name,
            {
                "vectors": embed(pixels, JUDGE),
                "labels": of_start.fillna(table["label"]).to_numpy(str),
                "accepted": table["accepted"].to_numpy(bool),
            },
        )


def measures(case: Case, judge: Judge, made: dict[str, np.ndarray]) -> dict[str, object]:
    """How real, new and rare some images are, with intervals."""
    from mincurate.evaluation import metrics

    real, own = judge.of_real(case.held_out), judge.of_real(case.own)
    vectors = made["vectors"]
    near = metrics.nearest(own, vectors)[0] <= metrics.near_copy_distance(real)
    values = {
        "precision": metrics.precision(real, vectors),
        "density": metrics.density(real, vectors),
        "near_copies": near,
        "avg_knn": metrics.neighbor_distance(real, vectors),
    }
    if "right" in made:
        values["right"] = made["right"]
    return {name: metrics.interval(v, seed=0) for name, v in values.items()} | {
        "accepted": float(made["accepted"].mean()),
        "of_rare_labels": float(np.isin(made["labels"], RARE).mean()),
    }


class Probe:
    """Linear probes on the judging vectors: rare recall, and its change from copies."""

    def __init__(self, case: Case, judge: Judge):
        labels, own = judge.images.labels, judge.of_real(case.own)
        self.mean, self.deviation = own.mean(0), own.std(0) + 1e-6
        self.x, self.y = self._of(own, labels[case.own])
        self.tested = self._of(judge.of_real(case.held_out), labels[case.held_out])
        self.copies = self.hits()

    def _of(self, vectors, labels):
        numbers = [LABELS.index(label) for label in labels]
        scaled = (vectors - self.mean) / self.deviation
        return torch.from_numpy(scaled.astype(np.float32)), torch.tensor(numbers)

    def hits(self, added=None, equal: bool = True) -> np.ndarray:
        """Share of seeds that tell each held-out image right, ``(N,)``.

        Args:
            equal: every label is drawn as often as the others.
        """
        from mincurate.evaluation import students, training_arms

        x, y = self.x, self.y
        if added is not None:
            x, y = torch.cat([x, added[0]]), torch.cat([y, added[1]])
        sampling = torch.ones(len(y))
        sampling = training_arms.balanced(y, sampling) if equal else sampling
        arm = training_arms.Arm("", x, y, sampling)
        right = [
            students.predict(
                students.train(students.PROBE, arm, len(LABELS), seed, "cpu"), self.tested[0], "cpu"
            )
            == self.tested[1]
            for seed in SEEDS
        ]
        return torch.stack(right).float().mean(0).numpy()

    def outcome(self, hits: np.ndarray) -> dict[str, object]:
        from mincurate.evaluation import metrics

        rare = np.isin(self.tested[1].numpy(), [LABELS.index(c) for c in RARE])
        return {
            "rare_recall": float(hits[rare].mean()),
            "rare_change": metrics.interval((hits - self.copies)[rare], seed=0),
            "other_change": metrics.interval((hits - self.copies)[~rare], seed=0),
        }

    def with_images(self, made: dict[str, np.ndarray]) -> dict[str, object]:
        """With the accepted images of the rare labels."""
        use = made["accepted"] & np.isin(made["labels"], RARE)
        if not use.any():
            return {"used": 0}
        added = self._of(made["vectors"][use], made["labels"][use])
        return {"used": int(use.sum())} | self.outcome(self.hits(added))


def rows(size: int, judge: Judge, options: argparse.Namespace):
    """A line for every route of one size, as soon as it is there."""
    case = draw(judge.images, size, options.seed)
    probe = Probe(case, judge)
    yield {"route": "nothing"} | probe.outcome(probe.hits(equal=False))
    yield {"route": "copies"} | probe.outcome(probe.copies)
    real = mined(judge.images, case, judge, options.n)
    yield {"route": "mined"} | measures(case, judge, real) | probe.with_images(real)
    kept = real | {"accepted": real["right"]}
    yield {"route": "mined, reviewed"} | probe.with_images(kept)
    place = options.output / f"{size}-{options.steps}"
    started = time.monotonic()
    for name, made in generated(case, judge, options, place):
        line = {"route": name, "seconds": time.monotonic() - started}
        yield line | measures(case, judge, made) | probe.with_images(made)
        started = time.monotonic()


def shown(line: dict[str, object]) -> str:
    """A line in words."""
    words = [f"{line['size']:>4} {line['route']:18s}"]
    for name in ("right", "precision", "density", "near_copies", "avg_knn", "accepted", "used"):
        value = line.get(name)
        number = value[0] if isinstance(value, tuple | list) else value
        words.append(f"{name} {number:.3g}" if number is not None else "")
    if "rare_recall" in line:
        value, low, high = line["rare_change"]
        words.append(
            f"rare recall {line['rare_recall']:.3f} ({value:+.3f} [{low:+.3f}, {high:+.3f}])"
        )
        words.append(f"others {line['other_change'][0]:+.3f}")
    return "  ".join(filter(None, words))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--cache", type=Path, help="keep pixels and vectors in this file")
    parser.add_argument("--per-class", type=int, default=2050, help="images read of every class")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 150, 500])
    parser.add_argument("--side", type=int, default=16, help="of the generator's images, pixels")
    parser.add_argument("--steps", type=int, default=300, help="of the generator's training")
    parser.add_argument("--guide-steps", type=int, default=100, help="of the guiding classifier's")
    parser.add_argument("--n", type=int, default=48, help="images of every route")
    parser.add_argument("--perceptual", default="unet", help="what ranks and guides; NAME@FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("few"))
    options = parser.parse_args()

    images = pool(options.data, JUDGE, options.per_class, options.cache)
    options.output.mkdir(parents=True, exist_ok=True)
    judge = Judge(images, options.side, options.output / f"vectors-{options.side}.npz")
    for size in options.sizes:
        lines: list[dict[str, object]] = []
        for line in rows(size, judge, options):
            lines.append({"size": size, "steps": options.steps} | line)
            print(shown(lines[-1]), flush=True)
        file = options.output / f"{size}-{options.steps}.json"
        file.write_text(json.dumps({**provenance(), "n": options.n, "rows": lines}, indent=1))


if __name__ == "__main__":
    main()
