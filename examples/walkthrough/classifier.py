"""Is a classifier better? A linear probe, trained on each of some folders, tested on another.

    python classifier.py held-out closet at-random balanced

The probe is a logistic regression that weighs labels equally, on the vectors of
``mincurate.score``. Prints recall of the rare labels (fewer than 20 photographs in the first
folder), of the others, and accuracy, with 95 % intervals over the test photographs, and draws
recall label by label into ``recall.png``.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mincurate

RARE = 20
RESAMPLES = 2000


def vectors() -> dict[str, np.ndarray]:
    """The vector of every photograph, by file name: exports keep the names."""
    known: dict[str, np.ndarray] = {}
    for folder, labels in (("closet", True), ("held-out", True), ("unlabelled", False)):
        run = mincurate.score(
            folder, quick=True, labels=labels, umap=False, fiftyone=False,
            output=f"vectors/{folder}",
        ).run  # fmt: skip
        hashes = pd.read_parquet(run.path / "embeddings.parquet")["content_hash"]
        vector = dict(zip(hashes, np.load(run.path / "embeddings.npy"), strict=True))
        frame = run.frame()
        known |= {
            Path(path).name: vector[name]
            for path, name in zip(frame["path"], frame["content_hash"], strict=True)
        }
    return known


def labelled(folder: str, known: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of a folder of class folders."""
    files = sorted(Path(folder).glob("*/*.jpg"))
    return np.stack([known[f.name] for f in files]), np.array([f.parent.name for f in files])


def hits_of(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]):
    """Which test photographs a probe tells right that was trained on others."""
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)
    )
    return probe.fit(*train).predict(test[0]) == test[1]


def recalls(hits: np.ndarray, truth: np.ndarray, names: list[str]) -> np.ndarray:
    """Mean recall over some labels ``(1 + RESAMPLES,)``: of the photographs, then resampled."""
    rng = np.random.default_rng(0)
    each = []
    for name in names:
        own = hits[truth == name]
        again = own[rng.integers(len(own), size=(RESAMPLES, len(own)))].mean(1)
        each.append(np.concatenate([[own.mean()], again]))
    return np.mean(each, axis=0)


def words(values: np.ndarray, sign: str = "") -> str:
    """A value with its interval."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main() -> None:
    test, first, *others = sys.argv[1:]
    known = vectors()
    tested = labelled(test, known)
    truth = tested[1]
    names, counts = np.unique(labelled(first, known)[1], return_counts=True)
    rare = [str(name) for name, n in zip(names, counts, strict=True) if n < RARE]
    rest = [str(name) for name in names if name not in rare]
    print(f"{len(truth):,} test photographs; rare: {', '.join(rare)}")
    told = {folder: hits_of(labelled(folder, known), tested) for folder in (first, *others)}
    for folder, hits in told.items():
        print(f"{folder}: accuracy {hits.mean():.3f}")
        for group, members in (("rare", rare), ("others", rest)):
            own = recalls(hits, truth, members)
            change = own - recalls(told[first], truth, members)
            print(f"  {group:7s} {words(own)}, change {words(change, '+')}")
    draw({f: [h[truth == n].mean() for n in rare + rest] for f, h in told.items()}, rare + rest)


def draw(recall: dict[str, list[float]], names: list[str]) -> None:
    """Bars of recall for every label, a colour for each folder."""
    figure, axes = plt.subplots(figsize=(10, 3.6), layout="constrained")
    width = 0.8 / len(recall)
    for i, (folder, values) in enumerate(recall.items()):
        axes.bar(np.arange(len(names)) + i * width, values, width, label=folder)
    axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names, rotation=40, ha="right")
    axes.set_ylabel("recall on held-out photographs")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, ncols=len(recall), loc="upper center", bbox_to_anchor=(0.5, 1.15))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig("recall.png", dpi=110)


if __name__ == "__main__":
    main()
