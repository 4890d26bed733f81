"""The folders of the walk-through: photographs of clothes, of which few have labels.

    python images.py CLOTHING

CLOTHING is a folder of class folders, the clothing dataset (CC0) of Alexey Grigorev. Three folders
are written: ``closet``, every tenth photograph of fifteen classes, with labels, so that its long
tail is the natural one; ``held-out``, every fourth, to test a classifier on; and ``unlabelled``,
all others of all classes, without labels.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

LEAST = 60
"""Photographs of a class that is looked at; those of smaller ones are in the pool only."""
NO_KIND = ("Not_sure", "Other", "Skip")
"""Classes that are no kind of clothes; theirs are in the pool only, as in any pool."""


def main() -> None:
    place = Path(sys.argv[1])
    counts: dict[str, int] = {}
    for folder in sorted(path for path in place.iterdir() if path.is_dir()):
        files = sorted(folder.iterdir())
        order = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        looked_at = len(files) >= LEAST and folder.name not in NO_KIND
        labelled = len(files) // 10 if looked_at else 0
        tested = len(files) // 4 if looked_at else 0
        for i, file in enumerate(order):
            part = "closet" if i < labelled else "held-out" if i < labelled + tested else None
            target = Path(part or "unlabelled", folder.name if part else "") / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            counts[part or "unlabelled"] = counts.get(part or "unlabelled", 0) + 1
    print(", ".join(f"{name}: {count:,} photographs" for name, count in counts.items()))


if __name__ == "__main__":
    main()
