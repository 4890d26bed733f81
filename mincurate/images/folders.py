"""What lies in a folder, and which of its folders are classes.

A folder is a class, or it is a split (``train``, ``val2017``), a kind of file (``images``,
``masks``) or a wrapper around everything. Splits, kinds and wrappers are left out of a path, and
what remains is its class, wherever the others stand: ``train/cat``, ``cat/train``,
``dataset/train/images/cat``.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mincurate import paths
from mincurate.images.labels import clean, listed, words
from mincurate.runs import schema, store

_SPLIT = re.compile(
    r"((images?|imgs?|photos?|data|dataset|seg)[-_. ]?)?"
    r"(train|training|val|valid|validation|dev|test|testing|eval|holdout|train[-_]?val|pred"
    r"|unlabell?ed|no[-_ ]?label)"
    r"([-_. ]?(set|split|data|images?|imgs?|a|b))?([-_. ]?\d{1,4})?|(fold|split|cv)[-_. ]?\d{1,2}",
    re.IGNORECASE,
)
_KIND = re.compile(
    r"(jpe?g|png|raw|color|rgb)?[-_]?(images?|imgs?)([-_]?\d+)?|jpe?gs?|pngs?|data|dataset"
    r"|masks?|labels?|annotations?|segmentations?|segmentation(class|object)(aug|raw)?|imagesets"
    r"|ground[-_]?truth|gt|bbox(es)?|thumbs|thumbnails?|previews?|results?|outputs?|predictions?",
    re.IGNORECASE,
)
_NO_CLASS = re.compile(
    r"(19|20)\d\d([-_. ]?\d\d){0,2}|voc(19|20)\d\d"  # a year, a month, a day
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}"  # a UUID, a hash
    r"|(batch|part|chunk|shard|page|folder|dir|group|split|fold)[-_. ]?\d+"
    r"|\d+x\d+",  # a size
    re.IGNORECASE,
)
_CACHES = frozenset(("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"))
"""Folders in which systems keep copies, thumbnails and what was deleted."""
_RUN_PARTS = {
    store.SCORE: ("figures", "guidance", "shards", "previews"),
    store.AUGMENT: ("images", "baseline"),
    store.MINE: ("images",),
}
"""What a run writes pictures into; one that generates writes into all of these."""
_EXPORT = "export.json"
LEADS_OUT = "symbolic link out of the folder, not followed"


@dataclass(frozen=True)
class Entry:
    """A file or a folder below the root of a walk."""

    rel_path: str
    path: str
    is_folder: bool = False
    reason: str | None = None
    """Why it was not entered, or cannot be read."""


class Walk:
    """Goes through the folders below ``root``.

    Attributes:
        own: what was passed over because mincurate has written it.
    """

    def __init__(self, root: str, follow_links: bool) -> None:
        self.root, self.follow_links = root, follow_links
        self.own: list[str] = []
        self._real_root, self._home = os.path.realpath(root), os.path.realpath(paths.home())
        self._linked: set[str] = set()

    def entries(self, start: str = "") -> Iterator[Entry]:
        """Everything below the folder ``start``, but hidden names, caches, and what is our own.

        Links are followed as long as they stay below the root, or wherever they lead. A folder
        behind a link is walked unless it is one of those we are in (a loop) or was reached by
        another link already, which bounds the work however the links are knotted.
        """
        real = os.path.realpath(os.path.join(self.root, start))
        stack: list[tuple[str, tuple[str, ...]]] = [(start, (real,))]  # with its real ancestors
        while stack:
            folder, above = stack.pop()
            path = os.path.join(self.root, folder)
            try:
                with os.scandir(path) as entries:
                    inside = sorted(entries, key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                why = f"folder cannot be read: {(error.strerror or 'no reason given').lower()}"
                yield Entry(folder or ".", path, True, why)
                continue
            own = self._own_parts(folder, above[-1], {entry.name for entry in inside})
            if own is None:
                continue
            for entry in inside:
                if is_cache(entry.name) or entry.name in own:
                    continue
                rel_path = f"{folder}/{entry.name}" if folder else entry.name
                real = os.path.join(above[-1], entry.name)
                is_folder, reason = not entry.is_symlink() and entry.is_dir(), None
                if entry.is_symlink():
                    real = os.path.realpath(entry.path)
                    is_folder = os.path.isdir(real)
                    if not os.path.exists(real):
                        reason = "symbolic link to nothing"
                    elif not (self.follow_links or Path(real).is_relative_to(self._real_root)):
                        reason = LEADS_OUT
                if is_folder and not reason:
                    if entry.is_symlink():
                        if real in above or real in self._linked:
                            continue
                        self._linked.add(real)
                    stack.append((rel_path, (*above, real)))
                elif not (reason or entry.is_file()):
                    reason = "not a regular file"
                yield Entry(rel_path, entry.path, is_folder, reason)

    def _own_parts(self, folder: str, real: str, names: set[str]) -> set[str] | None:
        """The names in a folder that mincurate has written, or None for all of them."""
        path = os.path.join(self.root, folder)
        if real != self._real_root and (real == self._home or _is_export(path, names)):
            self.own.append(f"{folder}/")
            return None
        kind = _kind_of_run(path) if schema.RECORD in names else None
        if kind is None:
            return set()
        self.own.append(f"{folder}/" if folder else "the run in this folder")
        parts = {*_RUN_PARTS[store.SCORE], *_RUN_PARTS.get(kind, ())}
        files = {*schema.OUTPUTS, *schema.GENERATED, "lock"}
        return parts | files


def is_cache(name: str) -> bool:
    """Whether a file or folder of this name is a system's business, not the user's."""
    return name.startswith(".") or name in _CACHES


def own_folders(names: Iterable[str]) -> set[str]:
    """The folders that mincurate has written, by the names of all files: runs' and exports'."""
    present = set(names)
    folders = {name[: name.rfind("/") + 1] for name in present}
    pictures, generated = _RUN_PARTS[store.SCORE], _RUN_PARTS[store.AUGMENT]
    own = set()
    for folder in folders:
        if folder + schema.RECORD in present:
            parts = pictures + (generated if folder + "manifest.jsonl" in present else ())
            own |= {f"{folder}{part}/" for part in parts}
        if folder and folder + _EXPORT in present:
            own.add(folder)
    return own


def _kind_of_run(folder: str) -> str | None:
    """What made the run whose record lies in a folder, or None: it is another program's."""
    record = _json(os.path.join(folder, schema.RECORD))
    return str(record.get("kind") or store.SCORE) if {"key", "created"} <= record.keys() else None


def _is_export(folder: str, names: set[str]) -> bool:
    """Whether a folder holds what `mincurate.export` writes, whose record's name is `_EXPORT`."""
    if _EXPORT not in names:
        return False
    return {"fingerprint", "started"} <= _json(os.path.join(folder, _EXPORT)).keys()


def _json(path: str) -> dict[str, object]:
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@dataclass(frozen=True)
class FolderLabels:
    """The classes of some files, by the folders they lie in.

    Attributes:
        words: the labels and where they come from, or why there are none: half a sentence.
        classes: the folders that are classes, as they are named.
        skipped: the folders that are none, at each depth.
        nearest: take the nearest folder where no class is known.
    """

    words: str
    classes: frozenset[str] = frozenset()
    skipped: Mapping[int, frozenset[str]] = field(default_factory=dict)
    nearest: bool = False

    def of(self, rel_path: str) -> str | None:
        """The label of a file, or None."""
        folders = rel_path.split("/")[:-1]
        names = [n for i, n in enumerate(folders) if n not in self.skipped.get(i, ())]
        if names and names[0] in self.classes:
            return clean(names[0])
        if not self.nearest:
            return None
        return clean((names or folders)[-1]) if folders else None


def from_folders(rel_paths: Sequence[str], wanted: bool | None) -> FolderLabels:
    """The classes among the folders of these files.

    Args:
        rel_paths: posix style.
        wanted: False takes none. None takes the folders that look like classes: after splits,
            kinds of files and wrappers are left out, (almost) every image lies in one of two or
            more folders, which hold more than one image on average, and fewer than half of which
            are named like a date, a UUID, a size or a numbered batch. True takes the same, and if
            they do not look like classes, the name of the nearest folder that is not a split.
    """
    if wanted is False:
        return FolderLabels("none (--no-labels)")
    folders = [path.split("/")[:-1] for path in rel_paths]
    skipped = _skipped(folders)
    parts = [[n for i, n in enumerate(f) if n not in skipped[i]] for f in folders]
    names = frozenset(part[0] for part in parts if len(part) == 1)
    labelled = sum(bool(part) and part[0] in names for part in parts)
    in_splits = sum(
        not part and any(_SPLIT.fullmatch(n) for n in f)
        for part, f in zip(parts, folders, strict=True)
    )
    strays = len(parts) - labelled - in_splits
    why_not = _why_not(folders, names, labelled, strays)
    if why_not is None:
        where = "the names of the folders"
        return FolderLabels(words(names, labelled, len(parts), where), names, skipped)
    if not wanted:
        hint = "; --labels takes the names of the folders" if any(folders) else ""
        return FolderLabels(f"none, because {why_not}{hint}", skipped=skipped)
    if not any(folders):
        return FolderLabels("none, because no image lies in a sub-folder")
    if not any(parts):  # nothing but splits and kinds: then these are meant
        skipped = {}
    nearest = FolderLabels("", skipped=skipped, nearest=True)
    taken = [label for path in rel_paths if (label := nearest.of(path)) is not None]
    where = "the nearest folders (--labels)"
    return replace(nearest, words=words(taken, len(taken), len(parts), where))


def _skipped(folders: Sequence[Sequence[str]]) -> dict[int, frozenset[str]]:
    """The names at each depth that are no classes: splits, kinds of files, and wrappers."""
    at: dict[int, set[str]] = defaultdict(set)
    for path in folders:
        for depth, name in enumerate(path):
            at[depth].add(name)
    skipped = {}
    for depth, names in at.items():
        splits = {name for name in names if _SPLIT.fullmatch(name)}
        out = {name for name in names if _KIND.fullmatch(name)} | splits
        skipped[depth] = frozenset(out - _classes_after_all(splits, out, names - out))
    for depth in sorted(at):
        if not at[depth] <= skipped[depth]:
            if len(at[depth]) > 1 or depth + 1 not in at:
                break
            skipped[depth] = frozenset(at[depth])
    return skipped


def _classes_after_all(splits: set[str], out: set[str], others: set[str]) -> set[str]:
    """A train beside cars is a vehicle, valid beside invalid and mask beside no_mask a class."""
    beside = {name.casefold() for name in others}
    classes = splits if others and {name.casefold() for name in splits} == {"train"} else set()
    if "invalid" in beside:
        classes = classes | {name for name in out if name.casefold() == "valid"}
    if any("mask" in name for name in beside):
        classes = classes | {name for name in out if name.casefold() == "mask"}
    return classes


def _why_not(
    folders: Sequence[Sequence[str]], names: frozenset[str], labelled: int, strays: int
) -> str | None:
    """Why the folders do not look like classes, or None."""
    shown = listed(sorted({name for path in folders for name in path}))
    if not any(folders):
        return "the images lie in no sub-folders"
    if len(names) < 2:
        deep = any(len(path) > 1 for path in folders)
        return f"the folders ({shown}) do not look like classes" + (
            ", or lie in one another" if deep else ""
        )
    if 2 * sum(_NO_CLASS.fullmatch(name) is not None for name in names) >= len(names):
        return f"the folders ({shown}) are named like dates, batches or sizes"
    if labelled <= len(names):
        return "each folder holds a single image"
    if 4 * strays >= labelled + strays:
        return f"{strays:,} of {len(folders):,} images lie outside of the class folders"
    return None
