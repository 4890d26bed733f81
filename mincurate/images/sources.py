"""Where the images are: a folder or a table becomes a list of sources.

Nothing is decoded here. What cannot be an image for a reason that its place already tells (a link
that leads out of the folder, a row without a path) is listed with that reason, so that every file
a user might expect gets its row.
"""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mincurate.errors import UserError
from mincurate.images import object_storage

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jpf",
        ".jpx",
        ".jxl",
        ".apng",
        ".dib",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pam",
        ".pfm",
    ]
)
"""Files so named are listed, in any case of letters, readable or not; others are ignored."""
TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".parquet", ".pq"))
PATH_COLUMNS = ["path", "filepath", "file_path", "file", "filename", "image", "image_path", "img"]
LABEL_COLUMNS = ["label", "class", "category", "target", "ground_truth"]
_LEADS_OUT = "symbolic link out of the folder, not followed"
_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"GIF8[79]a", "GIF"),
        (rb"RIFF....WEBP", "WEBP"),
        (rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"....ftypavi[fs]", "AVIF"),
        (rb"....ftyp(hei|hev|mif|msf)", "HEIC"),
        (rb"....ftyp", "MP4"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "JPEG XL"),
        (rb"P[1-6]\s", "PNM"),
        (rb"Pf\s", "PFM"),
        (rb"P7\s", "PAM"),
        (rb"PF\s", "PFM of three colours"),
        (rb"8BPS", "PSD"),
        (rb"%PDF", "PDF"),
        (rb"PK\x03\x04", "ZIP"),
        (rb"\x1f\x8b", "GZIP"),
        (rb"version https://git-lfs", "Git LFS pointer"),
        (rb"(?i:\s*(<\?xml.*|<!--.*|<!doctype svg.*)?<svg)", "SVG"),
        (rb"(?i:\s*(<!doctype html|<html|<head|<body))", "HTML"),
    )
)
_STARTS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIC", "JPEG 2000")
_SPLITS = frozenset(["train", "training", "val", "valid", "validation", "test", "testing", "dev"])
_NOT_A_CLASS = re.compile(
    r"(19|20)\d\d([-_. ]?\d\d){0,2}"  # a year, a month, a day
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32,}"  # a UUID, a hash
    r"|(batch|part|chunk|shard|page|folder|dir|group|split|fold)[-_. ]?\d+"
    r"|images|imgs|masks|labels|annotations",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """One file that should hold an image."""

    path: str
    """Absolute, or the URL of an object; empty where a table's row has none."""
    rel_path: str
    """Posix style, relative to the folder (or the table's folder): the identity of the file."""
    label: str | None = None
    sample_id: str | None = None
    reason: str | None = None
    """Why it cannot be scored, when its place already tells."""


def find(path_like: str | Path, labels: bool | None = None) -> list[Source]:
    """The images of a folder, below a URL, or of a table (CSV, TSV, Parquet); see below."""
    if object_storage.remote(str(path_like)):
        return find_objects(str(path_like), labels)
    path = Path(path_like).expanduser()
    if path.suffix.casefold() in TABLE_SUFFIXES and not path.is_dir():
        return find_table(path, labels)
    return find_folder(path, labels)


def sniff(head: bytes) -> str | None:
    """What a file is by its first bytes (512 are plenty), for instance ``"PNG"`` or ``"PDF"``."""
    return next((kind for pattern, kind in _MAGIC if pattern.match(head)), None)


def find_folder(root: Path, labels: bool | None = None) -> list[Source]:
    """Every image file below ``root``, sorted by relative path.

    A file counts by its suffix, or without a suffix by its first bytes. Hidden names and
    ``__MACOSX`` are skipped; links are followed as long as they stay below ``root``.

    ``labels``: True takes the name of each image's own folder, False takes none. None takes it
    when the folders look like classes, that is when every image lies exactly one folder deep (or
    one below train, val, test ...), there are two such folders or more, they hold more than one
    image on average, and fewer than half of them are named like a date, a UUID, a numbered batch
    or a kind of file ("images", "masks"). Digits are classes.
    """
    if not os.path.isdir(root):
        happened = "is not a folder or a table" if os.path.exists(root) else "does not exist"
        raise UserError(f"{root} {happened}: give a folder of images, or a CSV or Parquet table.")
    base = os.path.abspath(root)
    found = sorted(_walk(base), key=lambda file: file[0])
    candidates = [rel_path for rel_path, reason in found if reason is None]
    if not candidates:
        seen = f" ({found[0][0]}: {found[0][1]})" if found else ""
        raise UserError(f"{root} holds no images{seen}: give a folder with JPEG, PNG, ... files.")
    if labels is None:
        labels = look_like_classes(candidates)

    def source(rel_path: str, reason: str | None) -> Source:
        path = os.path.join(base, *rel_path.split("/"))
        label = os.path.basename(os.path.dirname(path)) if labels else None
        if not _is_text(path):  # neither a table nor a web page could hold it
            path, rel_path, label = as_text(path), as_text(rel_path), label and as_text(label)
        return Source(path, rel_path, label, reason=reason)

    return [source(rel_path, reason) for rel_path, reason in found]


def find_objects(url: str, labels: bool | None = None) -> list[Source]:
    """Every image below a URL such as ``s3://bucket/photos``, sorted; a file counts by its suffix.

    Args:
        labels: as in `find_folder`.
    """
    keys = [
        key
        for key in object_storage.find(url)
        if _named_like_an_image(key)
        and not any(part.startswith(".") or part == "__MACOSX" for part in key.split("/"))
    ]
    if not keys:
        raise UserError(f"{url} holds no images: give a place with JPEG, PNG, ... files.")
    if labels is None:
        labels = look_like_classes(keys)
    root = url.rstrip("/")
    return [
        Source(
            f"{root}/{key}", key, f"{root}/{key}".split("/")[-2] if labels and "/" in key else None
        )
        for key in keys
    ]


def look_like_classes(rel_paths: Iterable[str]) -> bool:
    """Whether the folders of these files look like classes; the rule is in `find_folder`."""
    folders = [rel_path.split("/")[:-1] for rel_path in rel_paths]
    if all(folder and folder[0].casefold() in _SPLITS for folder in folders):
        folders = [folder[1:] for folder in folders]
    if any(len(folder) != 1 for folder in folders):
        return False
    names = {folder[0] for folder in folders}
    odd = sum(_NOT_A_CLASS.fullmatch(name) is not None for name in names)
    return len(names) >= 2 and len(folders) > len(names) and 2 * odd < len(names)


def _walk(root: str) -> Iterator[tuple[str, str | None]]:
    """(relative path, reason or None) of every candidate below ``root``.

    A folder behind a link is walked unless it is one of those we are in (a loop) or was reached
    by another link already, which bounds the work however the links are knotted.
    """
    real_root = os.path.realpath(root)
    linked: set[str] = set()
    stack: list[tuple[str, tuple[str, ...]]] = [("", (real_root,))]  # with its real ancestors
    while stack:
        folder, above = stack.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                inside = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not _named_like_an_image(folder):
                yield folder or ".", f"folder cannot be read: {why(error)}"
            continue
        for entry in inside:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            rel_path = f"{folder}/{entry.name}" if folder else entry.name
            named = _named_like_an_image(entry.name)
            real = os.path.join(above[-1], entry.name)
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                if not os.path.exists(real):
                    if named:
                        yield rel_path, "symbolic link to nothing"
                    continue
                if not Path(real).is_relative_to(real_root):
                    if named or os.path.isdir(real):
                        yield rel_path, _LEADS_OUT
                    continue
            if entry.is_dir():
                if named:
                    yield rel_path, "a folder, not a file"
                if entry.is_symlink():
                    if real in above or real in linked:
                        continue
                    linked.add(real)
                stack.append((rel_path, (*above, real)))
            elif named:
                yield rel_path, None if entry.is_file() else "not a regular file"
            elif "." not in entry.name and entry.is_file() and _starts_like_an_image(entry.path):
                yield rel_path, None


def find_table(table: Path, labels: bool | None = None) -> list[Source]:
    """The images that a CSV, TSV or Parquet table names, in its order; repeated rows count once.

    The path column is the first of ``PATH_COLUMNS`` that the table has, the label column the first
    of ``LABEL_COLUMNS`` (``labels``: True demands one, False ignores it).

    A table may come from a stranger. Relative paths start at its folder and stay below it, also
    where links lead: what leaves it is listed with a reason. An absolute path, or the URL of an
    object, is read as it stands there; to read files outside, or behind links, name them so.
    """
    try:
        columns, values = _open_table(table)
        path_column = _first_of(PATH_COLUMNS, columns)
        label_column = None if labels is False else _first_of(LABEL_COLUMNS, columns)
        present = ", ".join(columns) or "none"
        if path_column is None:
            raise UserError(
                f"{table} has no column of image paths (its columns: {present}): "
                f"name one of them {', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}."
            )
        if labels and label_column is None:
            raise UserError(
                f"{table} has no column of labels (its columns: {present}): "
                f"name one of them {', '.join(LABEL_COLUMNS[:-1])} or {LABEL_COLUMNS[-1]}."
            )
        paths = values(path_column)
        names = values(label_column) if label_column else [None] * len(paths)
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:  # Arrow's among them
        what = why(error) if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise UserError(f"{table} cannot be read as a table: {what}.") from error
    if not paths:
        raise UserError(f"{table} has no rows: give a table with one row per image.")
    odd = next((value for value in paths if not isinstance(value, str | None)), None)
    if odd is not None:
        raise UserError(
            f"Column {path_column} of {table} holds {type(odd).__name__} values, not paths: "
            "give a column of text."
        )
    folder = os.path.dirname(os.path.abspath(table))
    real = os.path.realpath(folder)
    sources: dict[str, Source] = {}
    for row, (path, name) in enumerate(zip(paths, names, strict=True), start=1):
        label = None if name is None or str(name) == "" else str(name)
        source = _row(folder, real, str(path or ""), row, label)
        sources.setdefault(source.rel_path, source)
    return list(sources.values())


def column(table: Path, name: str) -> dict[str, str]:
    """A column of a table as `find_table` reads it: absolute path to text, empty ones left out.

    Raises:
        UserError: the table cannot be read, or has no such column.
    """
    try:
        columns, values = _open_table(table)
        path_column = _first_of(PATH_COLUMNS, columns)
        if path_column is None or name not in columns:
            raise UserError(f"{table} has no column {name!r}; it has: {', '.join(columns)}.")
        paths, found = values(path_column), values(name)
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:
        what = why(error) if isinstance(error, OSError) else str(error).partition("\n")[0]
        raise UserError(f"{table} cannot be read as a table: {what}.") from error
    folder = os.path.dirname(os.path.abspath(table))
    real = os.path.realpath(folder)
    pairs = zip(paths, found, strict=True)
    rows = [(_row(folder, real, str(path or ""), 0, None).path, value) for path, value in pairs]
    return {path: str(value) for path, value in reversed(rows) if value not in (None, "")}


def _row(folder: str, real: str, path: str, row: int, label: str | None) -> Source:
    """A row of a table in ``folder``, which is ``real`` when links are followed."""
    if not path.strip():
        return Source("", f"row {row}", label, reason="no path in the table")
    path = object_storage.local(path)
    if object_storage.remote(path):
        return Source(path, path, label)
    if object_storage.scheme(path):
        return Source(path, path, label, reason="a URL of a kind that is not read")
    absolute = os.path.isabs(path)
    path = os.path.normpath(os.path.join(folder, path))
    below = Path(path).is_relative_to(folder)
    rel_path = Path(os.path.relpath(path, folder) if below else path).as_posix()
    reason = None
    if not (absolute or below):
        reason = "relative path out of the table's folder, not read"
    elif not os.path.exists(path):
        reason = "file not found"
    elif not absolute and not Path(os.path.realpath(path)).is_relative_to(real):
        reason = _LEADS_OUT
    return Source(path, rel_path, label, reason=reason)


def _open_table(table: Path) -> tuple[list[str], Callable[[str], list[object]]]:
    """The names of the columns, and a function that gives the values of one of them."""
    if table.suffix.casefold() in (".parquet", ".pq"):
        import pyarrow.parquet as parquet

        file = parquet.ParquetFile(table)
        return file.schema_arrow.names, lambda name: file.read([name])[name].to_pylist()
    with open(table, newline="", encoding="utf-8-sig") as text:
        header = text.readline()
        separator = max(",;\t", key=header.count)
        text.seek(0)
        rows = list(csv.reader(text, delimiter=separator, skipinitialspace=True))
    columns = [name.strip() for name in rows[0]] if rows else []

    def values(name: str) -> list[object]:
        at = columns.index(name)
        return [row[at] if at < len(row) else None for row in rows[1:] if row]

    return columns, values


def _first_of(wanted: Iterable[str], columns: Iterable[str]) -> str | None:
    by_name = {column.casefold(): column for column in reversed(list(columns))}
    return next((by_name[name] for name in wanted if name in by_name), None)


def why(error: OSError) -> str:
    """What the system says about a file, as a fragment of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "file not found"
    return (error.strerror or "cannot be read").lower()


def _named_like_an_image(name: str) -> bool:
    return os.path.splitext(name)[1].casefold() in IMAGE_SUFFIXES


def _starts_like_an_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return sniff(file.read(512)) in _STARTS
    except OSError:
        return False


def _is_text(path: str) -> bool:
    return re.search(r"[\ud800-\udfff]", path) is None


def as_text(path: str) -> str:
    """A path as a table can hold it: bytes that are not UTF-8 as ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def on_disk(path: str) -> str:
    """The path that `as_text` made ``path`` of, where there is no file of that very name."""
    if "\\x" not in path or os.path.lexists(path):
        return path
    there = ""
    for part in path.split("/"):  # a name may hold a backslash of its own
        step = f"{there}/{part}" if there or not part else part
        there = step if os.path.lexists(step) else f"{there}/{_as_bytes(part)}"
    return there


def _as_bytes(text: str) -> str:
    code = re.compile(rb"\\x([89a-f][0-9a-f])")
    return os.fsdecode(code.sub(lambda digits: bytes.fromhex(digits[1].decode()), text.encode()))
