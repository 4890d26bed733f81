"""Is a classifier better? A linear probe, trained on each of some folders, tested on another.

    python classifier.py held-out closet at-random balanced

The probe is a logistic regression that weighs labels equally, on the vectors of
``mincurate.score``. Prints recall of the rare labels (fewer than 20 photographs in the first
folder), of the others and accuracy, with 95 % intervals over the test photographs, and draws recall
label by label into ``recall.png``.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mincurate

RARE = 20
RESAMPLES = 2000


def vectors(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of a folder of class folders."""
    run = mincurate.score(
        folder, quick=True, umap=False, fiftyone=False, output=f"vectors/{folder}"
    ).run
    hashes = pd.read_parquet(run.path / "embeddings.parquet")["content_hash"]
    labels = run.frame().drop_duplicates("content_hash").set_index("content_hash")["label"]
    return np.load(run.path / "embeddings.npy"), labels[hashes].to_numpy(str)


def hits_of(folder: str, tested: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which test photographs a probe tells right that was trained on a folder."""
    probe = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)
    )
    return probe.fit(*vectors(folder)).predict(tested[0]) == tested[1]


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
    tested = vectors(test)
    truth = tested[1]
    names, counts = np.unique(vectors(first)[1], return_counts=True)
    rare = [str(name) for name, n in zip(names, counts, strict=True) if n < RARE]
    rest = [str(name) for name in names if name not in rare]
    print(f"{len(truth):,} test photographs; rare: {', '.join(rare)}")
    told = {folder: hits_of(folder, tested) for folder in (first, *others)}
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
