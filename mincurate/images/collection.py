"""The images a run is about: found, identified, counted once, and read in batches."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.images import bands as bands_of_set
from mincurate.images import bit_depth, decode_pool, file_names, object_storage, sources
from mincurate.images.bit_depth import DEFAULT, Rendering
from mincurate.images.decode import Identity, UnreadableImage
from mincurate.images.fit import Fit, Resampling
from mincurate.images.regions import FileOrRegion, path_of
from mincurate.images.sources import Source
from mincurate.progress import SILENT, Reporter
from mincurate.text import noun, visible

FIFTYONE = "fiftyone:"
TRAINING_BYTES = 2 * 2**30
"""Decoded images kept in memory for training; more images than fit are sampled."""


@dataclass(frozen=True)
class Collection:
    """Files in order, each with its identity or the reason why it has none.

    Attributes:
        kind: ``folder``, ``files``, ``table`` or ``fiftyone``.
        value: the path or the name that was given; of several files, the folder they lie in.
        files: every file with what is known of it.
        rendering: how they become pixels: all images alike.
        origin: what else the run's record says of where they are from.
        lines: what is to be said about the place: labels, files passed over, and more.
    """

    kind: str
    value: str
    files: list[tuple[Source, Identity]]
    rendering: Rendering = DEFAULT
    origin: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def source(self) -> dict[str, Any]:
        """What the run's record says of where the images are from."""
        return {"kind": self.kind, "value": self.value, **self.origin}

    @property
    def of_objects(self) -> bool:
        """Whether its rows are parts of images: objects, or tiles."""
        return "objects" in self.origin

    @property
    def noun(self) -> str:
        """What its rows are: images, objects or tiles."""
        return noun(self.origin)

    @cached_property
    def unique(self) -> dict[str, tuple[Source, Identity]]:
        """Content hash to the first file that has this content, in order."""
        first: dict[str, tuple[Source, Identity]] = {}
        for source, identity in self.files:
            if identity.content_hash is not None:
                first.setdefault(identity.content_hash, (source, identity))
        return first

    @property
    def digest(self) -> str:
        """Hash of the contents, whatever the files are called, and of how they are drawn."""
        drawn = self.rendering.record() if self.rendering != DEFAULT else None
        return hashing.fingerprint([sorted(self.unique), drawn] if drawn else sorted(self.unique))

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted({source.label for source, _ in self.files if source.label is not None})

    def usual_side(self) -> int:
        """Median of the images' shorter sides, in pixels."""
        sides = [min(i.width or 0, i.height or 0) for _, i in self.unique.values()]
        return int(median(sides)) if sides else 0


Place = str | Path | Sequence[str | Path]
"""A folder, a URL, a table, ``fiftyone:NAME[/VIEW]``, or several files and folders."""


def place_name(place: Place) -> str:
    """A place in one word; of several files, the folder they lie in.

    Raises:
        UserError: it is empty, or mixes what cannot be mixed.
    """
    if isinstance(place, str | Path):
        if not str(place).strip():
            raise UserError("The path is empty (is a variable unset?): give a folder of images.")
        return object_storage.normal(object_storage.local(str(place)))
    names = [place_name(one) for one in place]
    if not names:
        raise UserError("The list of paths is empty: give a folder of images.")
    if len(names) == 1:
        return names[0]
    for name in names:
        if name.startswith(FIFTYONE) or object_storage.scheme(name):
            raise UserError(
                f"{name} is one of {len(names)} paths: give a FiftyOne dataset or a URL alone; "
                "several paths are files and folders of this machine."
            )
    return sources.common_folder(names)


def check_place(place: Place) -> None:
    """Raise `UserError` when there is plainly nothing at ``place``: before any slow start."""
    place_name(place)
    for one in [place] if isinstance(place, str | Path) else place:
        text = place_name(one)
        if text.startswith(FIFTYONE):
            continue
        if object_storage.remote(text):
            object_storage.check(text)
            continue
        if scheme := object_storage.scheme(text):
            raise UserError(
                f"{scheme}:// is not read: download the images, or give s3:// or gs://, a folder "
                "or a table."
            )
        if not os.path.lexists(os.path.expanduser(text)):
            raise UserError(
                f"{one} does not exist: give a folder of images, s3://BUCKET/FOLDER, a CSV, JSON "
                "Lines or Parquet table, or fiftyone:NAME."
            )


def open_collection(
    place: Place,
    *,
    labels: bool | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    follow_links: bool = False,
    max_images: int | None = None,
    background: str = "auto",
    bands: tuple[int, ...] | None = None,
    seed: int = 0,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> Collection:
    """Find and identify the images of a folder (or URL), a table, or several files.

    Args:
        labels: take labels (True), none (False), or decide by what the folders look like (None).
        path_column: of a table, and ``label_column`` likewise; see `sources.read_place`.
        follow_links: read what symbolic links that leave the folder lead to.
        max_images: a random sample of this many files, decided by ``seed``.
        background: behind transparent pixels (`bit_depth.Rendering`).
        bands: that make an image, numbered from 1; none for all; their colours when ``None``, or
            all bands where most images have some that are no colours.

    Raises:
        UserError: there is nothing to read, or not one readable image.
    """
    value = place_name(place)
    several = [] if isinstance(place, str | Path) or len(place) == 1 else [*map(str, place)]
    where: Place = several or Path(value).expanduser()
    if object_storage.remote(value):
        kind, value = "folder", value.rstrip("/")
        where = value
    elif several:
        kind = "files"
    else:
        path = Path(value).expanduser()
        kind = "folder" if path.is_dir() else "table"
        value = file_names.as_text(str(path.resolve()))
    listing = sources.read_place(
        where,
        labels,
        path_column=path_column,
        label_column=label_column,
        follow_links=follow_links,
    )
    origin = {"labels": listing.labels, "passed_over": listing.passed_over}
    origin |= {"notes": listing.notes, **({"paths": several} if several else {})}
    return identify_all(
        Collection(kind, value, [], origin=origin, lines=listing.lines),
        listing.sources,
        max_images=max_images,
        background=background,
        bands=bands,
        seed=seed,
        workers=workers,
        reporter=reporter,
    )


def identify_all(
    empty: Collection,
    files: list[Source],
    *,
    max_images: int | None = None,
    background: str = "auto",
    bands: tuple[int, ...] | None = None,
    seed: int = 0,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> Collection:
    """The collection with its files identified, as `open_collection` does.

    Args:
        empty: what is known of the place.
        files: all of its files.

    Raises:
        UserError: not one of them is a readable image.
    """
    if max_images is not None and max_images < len(files):
        picks = np.random.default_rng(seed).choice(len(files), max_images, replace=False)
        files = [files[i] for i in sorted(picks.tolist())]
    first = Rendering(background, bands=None if bands is None else ())
    noun = empty.noun
    identities = _identify(files, first, workers, reporter, noun)
    rendering = _rendering(identities, bands, background, reporter, noun)
    by_bands = rendering.bands is not None
    deep = [i for i, one in enumerate(identities) if one.content_hash and (by_bands or one.range)]
    if deep:  # now that it is known what is black and white in this set
        again = _identify([files[i] for i in deep], rendering, workers, reporter, noun)
        for i, identity in zip(deep, again, strict=True):
            identities[i] = identity
    pairs = list(zip(files, identities, strict=True))
    lines = [*empty.lines, *_two_labels(pairs)]
    collection = replace(empty, files=pairs, rendering=rendering, lines=lines)
    _say_warnings(identities, reporter, noun)
    if not collection.unique:
        reasons = ", ".join(sorted({i.reason or "" for i in identities})[:3])
        sentence = (
            f"None of the {len(files)} files in {empty.value} is a readable image: {reasons}."
        )
        raise UserError(" ".join([sentence, *map(visible, empty.origin.get("notes", []))]))
    return collection


def _rendering(
    identities: list[Identity],
    asked: tuple[int, ...] | None,
    background: str,
    reporter: Reporter,
    noun: str,
) -> Rendering:
    """How the set is drawn, which is said where a range or bands had to be chosen."""
    readable = [identity for identity in identities if identity.content_hash is not None]
    rendering = bands_of_set.choose([one.bands for one in readable], asked, background)
    if rendering.bands is not None:
        numbers = ", ".join(map(str, rendering.bands))
        reporter.say(
            f"The {noun} have {rendering.of} bands; taken are {numbers}, each from black to white "
            "by its own range in the set."
        )
        return rendering
    ranges = bit_depth.ranges_of_set(identity.range for identity in readable)
    deep = sum(identity.range is not None for identity in readable)
    if deep:
        ends = ", ".join(
            f"{low:g} to {high:g} ({kind})" for kind, pairs in ranges.items() for low, high in pairs
        )
        reporter.say(f"{deep:,} {noun} of more than 8 bits, from black to white: {ends}.")
    return replace(rendering, ranges=ranges)


def _two_labels(files: list[tuple[Source, Identity]]) -> list[str]:
    """A line on images that lie under several labels, as exact copies."""
    by_content: dict[str, list[Source]] = defaultdict(list)
    for source, identity in files:
        if identity.content_hash and source.label is not None:
            by_content[identity.content_hash].append(source)
    pairs = [group for group in by_content.values() if len({s.label for s in group}) > 1]
    if not pairs:
        return []
    shown = ", ".join(visible(f"{source.rel_path} ({source.label})") for source in pairs[0][:2])
    return [f"Images with different labels as exact copies: {len(pairs):,}, first {shown}."]


def _identify(
    files: list[Source], rendering: Rendering, workers: int, reporter: Reporter, noun: str
) -> list[Identity]:
    identities = []
    with reporter.task("Reading images", len(files), noun) as advance:
        for identity in decode_pool.identify_many(
            files, size=None, rendering=rendering, workers=workers
        ):
            identities.append(identity)
            advance(1, "")
    return identities


def _say_warnings(identities: list[Identity], reporter: Reporter, noun: str) -> None:
    warnings = Counter(identity.warning for identity in identities if identity.warning)
    if warnings:
        [(commonest, count)] = warnings.most_common(1)
        reporter.say(
            f"Read with a warning (column warning): {warnings.total():,} of {len(identities):,} "
            f"{noun}; the most frequent one ({count:,}): {commonest}."
        )


def read_batches(
    files: Sequence[tuple[str, FileOrRegion]],
    *,
    size: int,
    fit: Fit,
    rendering: Rendering = DEFAULT,
    resampling: Resampling = "lanczos",
    batch_size: int,
    workers: int,
) -> Iterator[tuple[list[str], NDArray[np.uint8], dict[str, str]]]:
    """Decode files in batches while the caller computes.

    Args:
        files: pairs of content hash and path, or region.

    Yields:
        The hashes of the images in the batch, their pixels ``(n, C, size, size)`` uint8, and the
        reasons of those that could not be decoded any more, by hash.
    """
    decoded = decode_pool.decode_many(
        [place for _, place in files],
        size=size,
        fit=fit,
        rendering=rendering,
        resampling=resampling,
        workers=workers,
        batch_size=batch_size,
    )
    position = 0
    for batch in decoded:
        hashes = [h for h, _ in files[position : position + len(batch)]]
        position += len(batch)
        good = [(h, p) for h, p in zip(hashes, batch, strict=True) if isinstance(p, np.ndarray)]
        bad = {
            h: p.reason
            for h, p in zip(hashes, batch, strict=True)
            if isinstance(p, UnreadableImage)
        }
        none = np.zeros((0, rendering.channels, size, size), dtype=np.uint8)
        pixels = np.stack([p for _, p in good]) if good else none
        yield [h for h, _ in good], pixels, bad


def training_pixels(
    collection: Collection, *, size: int, fit: Fit, seed: int, workers: int
) -> tuple[list[str], NDArray[np.uint8]]:
    """Images to train on: content hashes, and pixels ``(N, C, size, size)``.

    They are as many as `TRAINING_BYTES` hold.
    """
    files = [(h, source.place) for h, (source, _) in sorted(collection.unique.items())]
    room = max(2, TRAINING_BYTES // (collection.rendering.channels * size * size))
    if room < len(files):
        picks = np.random.default_rng(seed).choice(len(files), room, replace=False)
        files = [files[i] for i in sorted(picks.tolist())]
    batches = read_batches(
        sorted(files, key=lambda file: path_of(file[1])),  # one decoding for all parts of a file
        size=size,
        fit=fit,
        rendering=collection.rendering,
        batch_size=256,
        workers=workers,
    )
    row_of = {h: row for row, (h, _) in enumerate(files)}
    pixels = np.zeros((len(files), collection.rendering.channels, size, size), np.uint8)
    readable = np.zeros(len(files), bool)
    for hashes, batch, _ in batches:
        rows = [row_of[h] for h in hashes]
        pixels[rows], readable[rows] = batch, True
    names = [h for (h, _), there in zip(files, readable, strict=True) if there]
    return names, pixels if readable.all() else pixels[readable]
