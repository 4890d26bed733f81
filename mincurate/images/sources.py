"""Where the images are: a folder or a table becomes a list of sources.

Nothing is decoded here. What cannot be an image for a reason that its place already tells (a link
that leads out of the folder, a row without a path) is listed with that reason, so that every file
a user might expect gets its row.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mincurate import hashing, paths
from mincurate.errors import UserError
from mincurate.images import (
    file_kinds,
    file_names,
    folders,
    object_storage,
    regions,
    tables,
)
from mincurate.images import labels as folder_labels
from mincurate.images.folders import LEADS_OUT, Entry, Walk
from mincurate.images.labels import listed
from mincurate.images.regions import Box, FileOrRegion, Region
from mincurate.images.table_paths import Beside
from mincurate.images.tables import TABLE_SUFFIXES
from mincurate.text import short, visible

_SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))


@dataclass(frozen=True)
class Source:
    """One file that should hold an image, or one part of it."""

    path: str
    """Absolute, or the URL of an object; empty where a table's row has none."""
    rel_path: str
    """Posix style, relative to the folder (or the table's folder): the identity of the file."""
    label: str | None = None
    sample_id: str | None = None
    reason: str | None = None
    """Why it cannot be scored, when its place already tells."""
    box: Box | None = None
    """The part of the image that is meant, where it is not all of it."""
    context: float = 0.0
    """What is cut out beside the box, as a share of its sides on each side."""
    object_id: str | None = None
    """What names the object within its source: an id, or the number of its annotation."""

    @property
    def place(self) -> FileOrRegion:
        """Where its picture comes from."""
        if self.box is None:
            return self.path
        return Region(self.path, regions.widened(self.box, self.context))


@dataclass(frozen=True)
class Listing:
    """The images of a place, and what is to be said about it.

    Attributes:
        sources: one per image that might be expected to be scored.
        labels: which labels were taken, from where, and which were not: half a sentence.
        passed_over: how many other files there are, by suffix.
        notes: further sentences.
    """

    sources: list[Source]
    labels: str
    passed_over: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Everything that is to be said, line by line."""
        lines = [f"Labels: {visible(self.labels)}."]
        if self.passed_over:
            total = sum(self.passed_over.values())
            kinds = sorted(self.passed_over.items(), key=lambda kind: (-kind[1], kind[0]))
            shown = [f"{n:,} {suffix or 'without a suffix'}" for suffix, n in kinds]
            words = listed([visible(kind) for kind in shown])
            lines.append(f"Passed over: {total:,} other files ({words}).")
        return lines + [visible(note) for note in self.notes]


def find(place: str | Path, labels: bool | None = None) -> list[Source]:
    """The images of a folder, below a URL, or of a table: `read_place` without its words."""
    return read_place(place, labels).sources


def read_place(
    place: str | Path | Sequence[str | Path],
    labels: bool | None = None,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    follow_links: bool = False,
) -> Listing:
    """The images of a folder, of several files and folders, below a URL, or of a table.

    Args:
        labels: take labels (True), none (False), or decide by what the folders look like (None):
            see `folders.from_folders`. Of a table, True demands a column of labels.
        path_column: the column of a table that holds the paths; see `tables.read`.
        label_column: the column of a table that holds the labels.
        follow_links: read what symbolic links that leave the folder lead to.

    Raises:
        UserError: there is nothing to read, or it cannot be read.
    """
    if labels is False and label_column:
        raise UserError("--label-column takes labels, and --no-labels takes none: give one.")
    if isinstance(place, str | Path):
        path = Path(place).expanduser()
        if not object_storage.remote(str(place)) and is_table(path):
            return _read_table(path, labels, path_column, label_column, follow_links)
    if path_column or label_column:
        name = "--path-column" if path_column else "--label-column"
        raise UserError(f"{name} names a column of a table, and {place} is none.")
    if not isinstance(place, str | Path):
        return _read_files(place, labels, follow_links)
    if object_storage.remote(str(place)):
        return _read_objects(str(place), labels)
    return _read_folder(path, labels, follow_links)


def common_folder(places: Sequence[str | Path]) -> str:
    """The folder that several files and folders lie in."""
    return os.path.commonpath(
        [os.path.dirname(os.path.abspath(os.path.expanduser(place))) for place in places]
    )


def _read_folder(root: Path, labels: bool | None, follow_links: bool) -> Listing:
    """Every image file below ``root``, sorted by relative path.

    A file counts by its suffix, or without a suffix by its first bytes. Hidden names, caches of
    systems and what mincurate has written are skipped; links are followed as long as they stay
    below ``root``, or wherever they lead with ``follow_links``.
    """
    if not os.path.isdir(root):
        if os.path.exists(root):
            image = file_kinds.named_like_an_image(str(root)) or file_kinds.starts_like_an_image(
                str(root)
            )
            if file_kinds.named_like_a_video(str(root)):
                raise UserError(_way_of_videos(f"{root} is a video", str(root.parent)))
            happened = "is a single image" if image else "is not a folder or a table"
        else:
            happened = "does not exist"
        raise UserError(
            f"{root} {happened}: give a folder of images, or a table of them (CSV, JSON Lines, "
            "Parquet)."
        )
    walk = Walk(os.path.abspath(root), follow_links)
    return _listing(root, walk, walk.entries(), labels)


def _read_files(places: Sequence[str | Path], labels: bool | None, follow_links: bool) -> Listing:
    """The images among some files, and below some folders, of this machine."""
    walk = Walk(common_folder(places), follow_links)
    entries: list[Entry] = []
    for place in map(os.path.abspath, map(os.path.expanduser, places)):
        rel_path = Path(os.path.relpath(place, walk.root)).as_posix()
        if os.path.isdir(place):
            entries += walk.entries(rel_path)
        else:
            entries.append(Entry(rel_path, place))
    return _listing(walk.root, walk, entries, labels)


def _listing(
    place: str | Path, walk: Walk, entries: Iterable[Entry], labels: bool | None
) -> Listing:
    """The images among some files, sorted by their relative path, with their labels."""
    images: dict[str, str | None] = {}
    others = []
    for entry in entries:
        named = file_kinds.named_like_an_image(entry.rel_path)
        if entry.is_folder:
            if named or entry.reason:
                images[entry.rel_path] = "a folder, not a file" if named else entry.reason
        elif named or (
            not entry.reason
            and "." not in os.path.basename(entry.path)
            and file_kinds.starts_like_an_image(entry.path)
        ):
            images[entry.rel_path] = entry.reason
        elif not entry.reason and os.path.basename(entry.path).casefold() not in _SYSTEM_FILES:
            others.append(entry.rel_path)
    files, passed_over = sorted(images.items()), _by_suffix(others)
    notes = []
    if walk.own:
        notes.append(f"What mincurate has written is no input: {listed(sorted(walk.own))}.")
    if links := sum(reason == LEADS_OUT for _, reason in files):
        notes.append(
            f"{links:,} symbolic links lead out of the folder; --follow-links reads what they lead "
            "to."
        )
    candidates = [rel_path for rel_path, reason in files if reason is None]
    if not candidates:
        if films := [name for name in others if file_kinds.named_like_a_video(name)]:
            raise UserError(_way_of_videos(f"{place} holds {len(films):,} videos", str(place)))
        seen = f" ({files[0][0]}: {files[0][1]})" if files else ""
        hint = "give a folder with JPEG, PNG, ... files"
        if tables_there := sorted(name for name in others if is_table(Path(name))):
            hint += f", or the table {tables_there[0]} in it"
        more = Listing([], "", passed_over, notes).lines[1:]
        raise UserError(" ".join([f"{place} holds no images{seen}: {hint}.", *more]))
    decided = folders.from_folders(candidates, labels)

    def source(rel_path: str, reason: str | None) -> Source:
        path, label = os.path.join(walk.root, *rel_path.split("/")), decided.of(rel_path)
        if not file_names.is_text(path):  # neither a table nor a web page could hold it
            path, rel_path, label = (
                file_names.as_text(path),
                file_names.as_text(rel_path),
                label and file_names.as_text(label),
            )
        return Source(path, rel_path, label, reason=reason)

    sources = [source(rel_path, reason) for rel_path, reason in files]
    return Listing(sources, decided.words, passed_over, notes)


def _way_of_videos(what: str, folder: str) -> str:
    """What to do with videos that are no FiftyOne dataset yet.

    Args:
        what: was found.
        folder: with the videos.
    """
    return (
        f"{what}, and videos are read from a FiftyOne dataset: `fiftyone datasets create -n videos "
        f"-t fiftyone.types.VideoDirectory -d {shlex.quote(folder)}` makes one, and `mincurate "
        "score fiftyone:videos` ranks its frames."
    )


def _read_objects(url: str, labels: bool | None) -> Listing:
    """Every image below a URL such as ``s3://bucket/photos``, sorted; a file counts by its suffix.

    The same names are skipped as in a folder, but for what is told by the contents of files.
    """
    root = object_storage.normal(url).rstrip("/")
    keys = object_storage.find(root)
    own = tuple(folders.own_folders(keys))
    keys = [
        key
        for key in keys
        if not key.startswith(own) and not any(folders.is_cache(part) for part in key.split("/"))
    ]
    images = [key for key in keys if file_kinds.named_like_an_image(key)]
    if not images:
        raise UserError(f"{url} holds no images: give a place with JPEG, PNG, ... files.")
    decided = folders.from_folders(images, labels)
    sources = [Source(f"{root}/{key}", key, decided.of(key)) for key in images]
    others = [
        key for key in keys if not file_kinds.named_like_an_image(key) and not key.endswith("/")
    ]
    return Listing(sources, decided.words, _by_suffix(others))


def _by_suffix(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(os.path.splitext(name)[1].casefold() for name in names))


def is_table(path: Path) -> bool:
    """Whether a path names a table, by its suffix."""
    return path.suffix.casefold() in TABLE_SUFFIXES and not path.is_dir()


def _read_table(
    table: Path,
    labels: bool | None,
    path_column: str | None,
    label_column: str | None,
    follow_links: bool,
) -> Listing:
    """The images that a table names, in its order; repeated rows count once.

    A table may come from a stranger. Relative paths start at its folder and stay below it, also
    where links lead: what leaves it is listed with a reason. An absolute path, or the URL of an
    object, is read as it stands there; to read files outside, or behind links, name them so.
    Images that a table holds itself are written to the home folder.
    """
    if not table.exists():
        raise UserError(f"{table} does not exist: give a folder of images, or a table of them.")
    store = paths.home() / "tables" / hashing.fingerprint(os.path.abspath(table))
    read = tables.read(
        table,
        labels=labels,
        path_column=path_column,
        label_column=label_column,
        save=lambda name, data: _save(store, name, data),
    )
    beside = Beside(table, follow_links)
    sources: dict[str, Source] = {}
    contradictions: dict[str, str] = {}
    missing = []
    for row in read.rows:
        if row.stored:
            source = Source(row.stored, os.path.basename(row.stored), row.label)
        else:
            path, rel_path, reason = beside.find(row.path)
            source = Source(path, rel_path or f"row {row.number}", row.label, reason=reason)
        first = sources.setdefault(source.rel_path, source)
        if first is source and source.reason == "file not found":
            missing.append(f"{row.place} names {short(row.path)!r}, looked for at {source.path}")
        if source.label != first.label and None not in (source.label, first.label):
            contradictions.setdefault(first.rel_path, f"{first.label}, {source.label}")
    notes = list(read.notes)
    if contradictions:
        name, pair = next(iter(contradictions.items()))
        notes.append(
            f"{len(contradictions):,} images have rows with different labels, of which the first "
            f"counts ({name}: {pair})."
        )
    if missing:
        notes.append(
            f"{len(missing):,} files of {table.name} are not there: {missing[0]}; relative paths "
            "start at the folder of the table."
        )
    where = f"the column {read.label_column!r}"
    counted = [source.label for source in sources.values() if source.label is not None]
    if labels is False:
        labels_from = "none (--no-labels)"
    elif read.label_column is None:
        labels_from = "none, because no column has a usual name; --label-column names one"
    elif not counted:
        labels_from = f"none, because {where} is empty"
    else:
        labels_from = folder_labels.words(counted, len(counted), len(sources), where)
    labels_from += f"; paths from the column {read.path_column!r}"
    return Listing(list(sources.values()), labels_from, notes=notes)


def _save(folder: Path, name: str, data: bytes) -> str:
    """Write an image that a table holds, and return where it is."""
    suffixes = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "GIF": ".gif"}
    name = re.sub(r"[^\w. -]", "_", name)[-100:]
    path = folder / (
        name if "." in name else name + suffixes.get(file_kinds.sniff(data[:512]) or "", "")
    )
    try:
        if not path.is_file() or path.read_bytes() != data:
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{os.getpid()}.partial"
            partial.write_bytes(data)
            os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"Cannot write the images of the table to {folder}: {error.strerror}; set "
            "MINCURATE_HOME to a folder that can be written."
        ) from error
    return str(path)


def column(table: Path, name: str, path_column: str | None = None) -> dict[str, str]:
    """A column of a table as it is read for labels: absolute path to text, empty ones left out.

    Raises:
        UserError: the table cannot be read, or has no such column.
    """
    listing = read_place(table, path_column=path_column, label_column=name)
    return {s.path: s.label for s in listing.sources if s.label is not None}
