"""The folders of the walk-through: photographs of clothes, of which few have labels.

    python images.py CLOTHING

CLOTHING is a folder of class folders, the clothing dataset (CC0) of Alexey Grigorev. Written are

    closet      every tenth photograph of fifteen classes, with labels: a natural long tail
    held-out    every fourth, to test a classifier on
    unlabelled  all others of all classes, without labels
    at-random   the closet and 420 of the unlabelled, drawn at random and labelled: what so much
                looking gives without mining
"""

import shutil
import sys
from pathlib import Path

import numpy as np

LEAST = 60
"""Photographs of a class that is looked at; those of smaller ones are in the pool only."""
NO_KIND = ("Not_sure", "Other", "Skip")
"""Classes that are no kind of clothes; theirs are in the pool only, as in any pool."""
LOOKED_AT = 420


def main() -> None:
    folders = [path for path in Path(sys.argv[1]).iterdir() if path.is_dir()]
    pool: list[Path] = []
    for folder in sorted(folders):
        files = sorted(folder.iterdir())
        order = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        labelled = len(files) // 10 if is_kind(folder) else 0
        tested = len(files) // 4 if is_kind(folder) else 0
        copy(order[:labelled], Path("closet", folder.name))
        copy(order[:labelled], Path("at-random", folder.name))
        copy(order[labelled : labelled + tested], Path("held-out", folder.name))
        copy(order[labelled + tested :], Path("unlabelled"))
        pool += order[labelled + tested :]
    for i in np.random.default_rng(0).permutation(len(pool))[:LOOKED_AT]:
        if is_kind(pool[i].parent):
            copy([pool[i]], Path("at-random", pool[i].parent.name))
    for name in ("closet", "unlabelled", "held-out", "at-random"):
        print(f"{name}: {sum(path.is_file() for path in Path(name).rglob('*')):,} photographs")


def is_kind(folder: Path) -> bool:
    """Whether the class of a folder is one that is looked at."""
    return folder.name not in NO_KIND and len(list(folder.iterdir())) >= LEAST


def copy(files: list[Path], folder: Path) -> None:
    """Copy some files into a folder."""
    for file in files:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / file.name)


if __name__ == "__main__":
    main()
