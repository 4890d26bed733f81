"""The objects of a folder's images: annotation files become rows that are parts of images."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from mincurate.errors import UserError
from mincurate.images import box_files, decode_pool, sources
from mincurate.images import labels as words_on_labels
from mincurate.images.box_files import Entry, Kind, Odd
from mincurate.images.labels import listed
from mincurate.images.regions import Box
from mincurate.images.sources import Listing, Source
from mincurate.text import short

AUTO = "auto"
ZERO, OUTSIDE, GONE = "of zero size", "outside of its image", "in an image that is not there"
UNSIZED = "in an image that cannot be read"
AMBIGUOUS = "in one of several images of that name"


def read(
    place: str,
    where: str,
    *,
    labels: bool | None = None,
    context: float = 0.0,
    follow_links: bool = False,
    max_images: int | None = None,
    seed: int = 0,
    workers: int = 2,
) -> Listing:
    """The objects in the images of a folder, one source for each.

    Args:
        place: the folder.
        where: a COCO file, a folder of YOLO or VOC files, or ``auto``: those in the folder.
        labels: ``False`` takes no labels.
        context: what is cut out beside each box, as a share of its sides on each side.
        follow_links: as for `sources.read_place`.
        max_images: only those in a random sample of this many images, decided by ``seed``.
        workers: processes that read the sizes of images, where the annotations do not tell them.

    Raises:
        UserError: there are no objects, or nobody can tell which annotations are meant.
    """
    root = Path(place).expanduser()
    if not root.is_dir():
        raise UserError(
            f"--objects reads the annotations of a folder or of a FiftyOne dataset, and {place} is "
            "neither."
        )
    images = sources.read_place(root, False, follow_links=follow_links).sources
    by_name = _ByName(images)
    files = _files(root, where, by_name)
    passed_over: Counter[str] = Counter()
    of_group = _entries(root, where, files, passed_over)
    from_files = listed(list(of_group), 3)
    pairs = _matched(of_group, by_name, passed_over)
    chosen = _sample(images, max_images, seed)
    pairs = [(image, entry) for image, entry in pairs if image.path in chosen]
    objects, cut = _sources(pairs, context, passed_over, workers)
    if not objects:
        raise UserError(
            f"There are no objects in {from_files}: {_counted(passed_over) or 'no boxes'}."
        )
    if labels is False:
        objects = [replace(source, label=None) for source in objects]
    images = [image for image in images if image.path in chosen]
    return _listing(objects, images, labels, from_files, passed_over, cut)


def _listing(
    objects: list[Source],
    images: list[Source],
    labels: bool | None,
    from_files: str,
    passed_over: Counter[str],
    cut: int,
) -> Listing:
    notes = []
    if passed_over:
        notes.append(f"{passed_over.total():,} objects are passed over: {_counted(passed_over)}.")
    if cut:
        notes.append(f"{cut:,} boxes reach beyond their image and are cut at its edge.")
    without = len(images) - len({source.path for source in objects})
    if without:
        notes.append(f"{without:,} of {len(images):,} images have no object.")
    names = [source.label for source in objects if source.label is not None]
    if labels is False:
        labels_from = f"none (--no-labels); objects from {from_files}"
    else:
        labels_from = words_on_labels.words(names, len(names), len(objects), from_files, "objects")
    return Listing(objects, labels_from, notes=notes)


class _ByName:
    """Images by the names that annotations have for them: of other machines, or without folders.

    Nothing else is read: an annotation cannot lead out of the folder.
    """

    def __init__(self, images: list[Source]) -> None:
        self.by_name: dict[str, list[Source]] = defaultdict(list)
        self.stems: set[str] = set()
        for image in images:
            name = PurePosixPath(image.rel_path)
            for key in {name.name, name.stem}:
                self.by_name[key].append(image)
            self.stems.add(name.stem)

    def find(self, name: str) -> tuple[Source | None, str]:
        """The image of a name, or the reason why there is none."""
        parts = _folders_and_name(name)
        stem = os.path.splitext(parts[-1])[0]
        candidates = self.by_name.get(parts[-1]) or self.by_name.get(stem) or []
        if len(candidates) > 1:
            alike = [_alike(parts, _folders_and_name(c.rel_path)) for c in candidates]
            candidates = [c for c, n in zip(candidates, alike, strict=True) if n == max(alike)]
        if len(candidates) == 1:
            return candidates[0], ""
        return None, AMBIGUOUS if candidates else GONE


def _folders_and_name(path: str) -> list[str]:
    """The parts of a path, but for the folders that hold all images or all labels."""
    *folders, name = path.replace("\\", "/").split("/")
    return [f for f in folders if f not in ("", ".", "images", "labels")] + [name]


def _alike(one: list[str], other: list[str]) -> int:
    """How many folders above a file two paths have in common."""
    pairs = zip(reversed(one[:-1]), reversed(other[:-1]), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)) - 1)


def _files(root: Path, where: str, images: _ByName) -> list[tuple[Kind, Path]]:
    """The annotation files that are meant."""
    if where == AUTO:
        files = list(box_files.find(root, images.stems))
        if not files:
            raise UserError(
                f"No annotations are in {root}: give --objects a COCO file, or the folder of YOLO "
                "or VOC files."
            )
        return files
    path = Path(where).expanduser()
    if not path.exists():
        path = root / where
    if not path.exists():
        raise UserError(
            f"--objects {where} does not exist: give a COCO file, a folder of YOLO or VOC files, "
            "or auto."
        )
    if path.is_file():
        return [box_files.named(path)]
    files = list(box_files.find(path, images.stems))
    if not files:
        raise UserError(
            f"--objects {where} holds no COCO file, and no YOLO or VOC files that are called like "
            f"the images in {root}."
        )
    return files


def _entries(
    root: Path, where: str, files: list[tuple[Kind, Path]], passed_over: Counter[str]
) -> dict[str, list[Entry]]:
    """The objects of annotation files, by where they are from, in words.

    Raises:
        UserError: none of the files can be read.
    """
    classes: dict[Path, tuple[list[str], bool]] = {}
    of_group: dict[str, list[Entry]] = defaultdict(list)
    odd: list[str] = []
    for kind, file in files:
        if kind == "YOLO" and file.parent not in classes:
            classes[file.parent] = box_files.yolo_classes(file.parent, root)
        names, keypoints = classes.get(file.parent, ([], False))
        try:
            entries = box_files.read(kind, file, names, keypoints=keypoints)
        except Odd as error:
            odd.append(f"{file.name}: {error}")
            continue
        if kind == "YOLO":  # the file's folders tell images of one name apart
            entries = [replace(e, image=str(file.with_suffix(""))) for e in entries]
        of_group[_group(root, kind, file)].extend(entries)
    if not of_group:
        raise UserError(f"--objects {where} cannot be read: {listed(odd, 3)}.")
    if odd:
        passed_over[f"in files that cannot be read ({listed(odd, 2)})"] += len(odd)
    return of_group


def _group(root: Path, kind: Kind, file: Path) -> str:
    """The annotations that a file belongs to, in words: a COCO file, or a folder of the others."""
    place = file
    if kind != "COCO":
        folders = [folder for folder in file.parents if folder.name in ("labels", "Annotations")]
        place = folders[0] if folders else file.parent
    try:
        name = place.relative_to(root).as_posix()
    except ValueError:
        name = str(place)
    return f"{name if name != '.' else root.name} ({kind})"


def _matched(
    of_group: dict[str, list[Entry]], images: _ByName, passed_over: Counter[str]
) -> list[tuple[Source, Entry]]:
    """The objects that can be used, each with its image.

    Raises:
        UserError: several groups of annotations hold objects of one image.
    """
    pairs, group_of = [], dict[str, str]()
    for group, entries in of_group.items():
        for entry in entries:
            image, reason = images.find(entry.image)
            if entry.reason or image is None:
                passed_over[entry.reason or reason] += 1
                continue
            if (other := group_of.setdefault(image.path, group)) != group:
                raise UserError(
                    f"{other} and {group} both hold objects of {short(image.rel_path, 60)}: name "
                    "one of them with --objects."
                )
            pairs.append((image, entry))
    return pairs


def _sample(images: list[Source], count: int | None, seed: int) -> set[str]:
    """The paths of all images, or of a random sample."""
    paths = [image.path for image in images]
    if count is None or count >= len(paths):
        return set(paths)
    picks = np.random.default_rng(seed).choice(len(paths), count, replace=False)
    return {paths[i] for i in picks}


def _sources(
    pairs: Sequence[tuple[Source, Entry]],
    context: float,
    passed_over: Counter[str],
    workers: int,
) -> tuple[list[Source], int]:
    """A source for each object, in the order of the images, and how many boxes were cut."""
    unsized = {image.path: image for image, entry in pairs if entry.size is None}
    found = decode_pool.identify_many(list(unsized.values()), size=None, workers=workers)
    sizes = {path: (i.width, i.height) for path, i in zip(unsized, found, strict=True) if i.width}
    objects: dict[str, list[Source]] = defaultdict(list)
    used: Counter[str] = Counter()
    cut = 0
    for image, entry in pairs:
        assert entry.box
        size = entry.size or sizes.get(image.path)
        box, reason = clipped(entry.box, *size) if size else (None, UNSIZED)
        if box is None:
            passed_over[reason] += 1
            continue
        cut += reason == CUT
        name = f"{image.rel_path}#{entry.number}"
        used[name] += 1
        name += f"-{used[name]}" if used[name] > 1 else ""
        objects[image.rel_path].append(
            replace(
                image,
                rel_path=name,
                label=entry.label,
                box=box,
                context=context,
                object_id=entry.number,
            )
        )
    return [source for name in sorted(objects) for source in objects[name]], cut


CUT = "cut at the edge"


def clipped(
    box: Iterable[float], width: float = 1.0, height: float = 1.0
) -> tuple[Box | None, str]:
    """A box in shares of the image's sides and within it, or the reason why there is none left.

    Args:
        box: left edge, top edge, width and height, in the unit of the image's sides.

    Returns:
        The box, and `CUT` where more than rounding of a pixel of it was outside.
    """
    x, y, wide, high = box
    if not wide > 0 or not high > 0 or not all(map(math.isfinite, (x, y, wide, high))):
        return None, ZERO
    left, top = max(x / width, 0.0), max(y / height, 0.0)
    right, bottom = min((x + wide) / width, 1.0), min((y + high) / height, 1.0)
    if left >= right or top >= bottom:
        return None, OUTSIDE
    beyond = max(-x, -y, x + wide - width, y + high - height)
    pixel = 1.0 if width > 1 else 0.005
    return (left, top, right - left, bottom - top), CUT if beyond > pixel else ""


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
