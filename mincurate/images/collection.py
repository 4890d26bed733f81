"""The images a run is about: found, identified, counted once, and read in batches."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.images import decode_pool, depth, object_storage, sources
from mincurate.images.decode import Fit, Identity, UnreadableImage
from mincurate.images.depth import DEFAULT, Rendering
from mincurate.images.sources import Source
from mincurate.progress import SILENT, Reporter

FIFTYONE = "fiftyone:"
TRAINING_BYTES = 2 * 2**30
"""Decoded images kept in memory for training; more images than fit are sampled."""


@dataclass(frozen=True)
class Collection:
    """Files in order, each with its identity or the reason why it has none.

    Attributes:
        kind: ``folder``, ``table`` or ``fiftyone``.
        value: the path or the name that was given.
        files: every file with what is known of it.
        rendering: how they become pixels: all images alike.
        origin: what else the run's record says of where they are from.
    """

    kind: str
    value: str
    files: list[tuple[Source, Identity]]
    rendering: Rendering = DEFAULT
    origin: dict[str, str | None] = field(default_factory=dict)

    @property
    def source(self) -> dict[str, str | None]:
        """What the run's record says of where the images are from."""
        return {"kind": self.kind, "value": self.value, **self.origin}

    @property
    def unique(self) -> dict[str, tuple[Source, Identity]]:
        """Content hash to the first file that has this content, in order."""
        found: dict[str, tuple[Source, Identity]] = {}
        for source, identity in self.files:
            if identity.content_hash is not None:
                found.setdefault(identity.content_hash, (source, identity))
        return found

    @property
    def digest(self) -> str:
        """Hash of the contents, whatever the files are called, and of how they are drawn."""
        drawn = asdict(self.rendering) if self.rendering != DEFAULT else None
        return hashing.fingerprint([sorted(self.unique), drawn] if drawn else sorted(self.unique))

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted({source.label for source, _ in self.files if source.label is not None})

    def usual_side(self) -> int:
        """Median of the images' shorter sides, in pixels."""
        sides = [min(i.width or 0, i.height or 0) for _, i in self.unique.values()]
        return int(median(sides)) if sides else 0


def check_place(place: str | Path) -> None:
    """Raise `UserError` when there is plainly nothing at ``place``: before any slow start."""
    text = object_storage.local(str(place))
    if text.startswith(FIFTYONE) or object_storage.remote(text):
        return
    if not Path(text).expanduser().exists():
        raise UserError(
            f"{place} does not exist: give a folder of images, s3://BUCKET/FOLDER, a CSV or "
            "Parquet table, or fiftyone:NAME."
        )


def open_collection(
    place: str | Path,
    *,
    labels: bool | None = None,
    max_images: int | None = None,
    background: str = "auto",
    seed: int = 0,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> Collection:
    """Find and identify the images of a folder (or URL) or a table.

    Args:
        labels: take labels (True), none (False), or decide by what the folders look like (None).
        max_images: a random sample of this many files, decided by ``seed``.
        background: behind transparent pixels (`depth.Rendering`).

    Raises:
        UserError: there is nothing to read, or not one readable image.
    """
    text = object_storage.local(str(place))
    if object_storage.remote(text):
        kind, value = "folder", text.rstrip("/")
        found = sources.find(value, labels)
    else:
        path = Path(text).expanduser()
        kind, value = ("folder" if path.is_dir() else "table"), sources.as_text(str(path.resolve()))
        found = sources.find(path, labels)
    return identify_all(
        kind,
        value,
        found,
        max_images=max_images,
        background=background,
        seed=seed,
        workers=workers,
        reporter=reporter,
    )


def identify_all(
    kind: str,
    value: str,
    found: list[Source],
    *,
    max_images: int | None = None,
    background: str = "auto",
    seed: int = 0,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> Collection:
    """Identify files that were found, as `open_collection` does.

    Raises:
        UserError: not one of them is a readable image.
    """
    if max_images is not None and max_images < len(found):
        picks = np.random.default_rng(seed).choice(len(found), max_images, replace=False)
        found = [found[i] for i in sorted(picks.tolist())]
    identities = _identify(found, Rendering(background), workers, reporter)
    ranges = depth.ranges_of_set(identity.range for identity in identities)
    rendering = Rendering(background, ranges)
    deep = [i for i, identity in enumerate(identities) if identity.range is not None]
    if deep:  # now that it is known what is black and white in this set
        ends = ", ".join(
            f"{low:g} to {high:g} ({kind})" for kind, pairs in ranges.items() for low, high in pairs
        )
        reporter.say(f"{len(deep):,} images of more than 8 bits, from black to white: {ends}.")
        again = _identify([found[i] for i in deep], rendering, workers, reporter)
        for i, identity in zip(deep, again, strict=True):
            identities[i] = identity
    collection = Collection(kind, value, list(zip(found, identities, strict=True)), rendering)
    _say_warnings(identities, reporter)
    if not collection.unique:
        reasons = ", ".join(sorted({i.reason or "" for i in identities})[:3])
        raise UserError(
            f"None of the {len(found)} files in {value} is a readable image: {reasons}."
        )
    return collection


def _identify(
    found: list[Source], rendering: Rendering, workers: int, reporter: Reporter
) -> list[Identity]:
    identities = []
    with reporter.task("Reading images", len(found)) as advance:
        for identity in decode_pool.identify_many(
            found, size=None, rendering=rendering, workers=workers
        ):
            identities.append(identity)
            advance(1, "")
    return identities


def _say_warnings(identities: list[Identity], reporter: Reporter) -> None:
    warnings = Counter(identity.warning for identity in identities if identity.warning)
    if warnings:
        [(commonest, count)] = warnings.most_common(1)
        reporter.say(
            f"{warnings.total():,} images are read with a warning (column warning), "
            f"{count:,} of them: {commonest}."
        )


def read_batches(
    files: list[tuple[str, str]],
    *,
    size: int,
    fit: Fit,
    rendering: Rendering = DEFAULT,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[list[str], NDArray[np.uint8], dict[str, str]]]:
    """Decode files in batches while the caller computes.

    Args:
        files: (content hash, path) pairs.

    Yields:
        The hashes of the images in the batch, their pixels ``(n, 3, size, size)`` uint8, and the
        reasons of those that could not be decoded any more, by hash.
    """
    decoded = decode_pool.decode_many(
        [path for _, path in files],
        size=size,
        fit=fit,
        rendering=rendering,
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
        pixels = (
            np.stack([p for _, p in good]) if good else np.zeros((0, 3, size, size), dtype=np.uint8)
        )
        yield [h for h, _ in good], pixels, bad


def training_pixels(
    collection: Collection, *, size: int, fit: Fit, seed: int, workers: int
) -> NDArray[np.uint8]:
    """Decoded images to train on, ``(N, 3, size, size)``: as many as `TRAINING_BYTES` hold."""
    files = [(h, source.path) for h, (source, _) in sorted(collection.unique.items())]
    room = max(2, TRAINING_BYTES // (3 * size * size))
    if room < len(files):
        picks = np.random.default_rng(seed).choice(len(files), room, replace=False)
        files = [files[i] for i in sorted(picks.tolist())]
    batches = read_batches(
        files,
        size=size,
        fit=fit,
        rendering=collection.rendering,
        batch_size=256,
        workers=workers,
    )
    return np.concatenate([pixels for _, pixels, _ in batches])
