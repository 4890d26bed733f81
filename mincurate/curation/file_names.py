"""Names of exported files: safe on every file system, and different for all."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mincurate import hashing
from mincurate.curation.selection import TRAIN

UNLABELLED = "unlabelled"
LONGEST = 100
"""Characters of a file or folder name, at most: with a digest it fits every file system."""


def file_names(rows: pd.DataFrame, format: str, classes: str) -> list[str]:
    """Where each file goes, relative to the export; different for all.

    Files keep their name where it is the only one, and get a digest of their path where not.
    """
    split = rows["split"].notna().any()
    if format == "folder":
        named = rows[classes]
        if classes == "rarity_class":
            width = max((len(str(int(n))) for n in named.dropna()), default=1)
            named = named.map(lambda n: str(int(n)).zfill(width), na_action="ignore")
        folders = distinct(named.map(str, na_action="ignore").fillna(UNLABELLED))
        if split:
            folders = [f"{s}/{f}" for s, f in zip(distinct(rows["split"]), folders, strict=True)]
    elif format == "yolo":
        folders = [f"images/{s}" for s in distinct(rows["split"].fillna(TRAIN))]
    else:
        folders = ["images"] * len(rows)
    plain = [f"{f}/{_safe(Path(p).name)}" for f, p in zip(folders, rows["path"], strict=True)]
    keys = [(str(Path(n).with_suffix("")) if format == "yolo" else n).casefold() for n in plain]
    often = Counter(keys)  # of YOLO, whose label files have the stem alone
    return [
        name if often[key] == 1 else _with_digest(name, path)
        for name, key, path in zip(plain, keys, rows["path"], strict=True)
    ]


def distinct(names: Iterable[str]) -> list[str]:
    """Folder names, the same for equal names and different for different ones."""
    names = list(names)
    safe = {name: _safe(name) for name in names}
    often = Counter(name.casefold() for name in safe.values())
    return [safe[n] if often[safe[n].casefold()] == 1 else _with_digest(safe[n], n) for n in names]


def _safe(name: str) -> str:
    """A name that is one path segment everywhere: no separators, control characters or dots alone.

    Bytes that are no UTF-8 are replaced, so that the table can hold the name.
    """
    shown = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    stem, dot, suffix = shown.strip(" ").rpartition(".")
    cut = stem[: LONGEST - len(suffix)] + dot + suffix if len(suffix) < 10 else shown[:LONGEST]
    return cut.lstrip(".").rstrip(" .") or "_"


def _with_digest(name: str, of: str) -> str:
    digest = hashing.digest(of.encode("utf-8", "surrogateescape"), 6).hex()
    folder, _, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    last = f"{stem}-{digest}.{suffix}" if dot else f"{last}-{digest}"
    return f"{folder}/{last}" if folder else last
