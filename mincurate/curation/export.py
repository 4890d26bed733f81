"""Real and accepted synthetic images as a dataset on disk, with where each of them comes from.

The input is a table with one row per image; columns that are missing count as empty.

==================  ===============================================================================
``path``            the file; needed, each once
``content_hash``    of the file, the same for copies
``source``          ``real`` or ``synthetic``; needed
``label``           name of its class
``minority_class``  ordinal class
``split``           name of the split, such as ``train``; of all real images or of none
``tags``            list of strings; rows tagged ``outlier-drop`` are left out
``accepted``        of synthetic images: whether the gate let it pass; needed where there are any
``reason``          of synthetic images: what the gate had against it
``nearest_real``    of synthetic images: ``path`` of the nearest real image, or a list
``start``           of synthetic images: ``path`` of the real image it was made from, or empty
``run``, ``seed``   of synthetic images: what made it
==================  ===============================================================================
"""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.images.decode import FORMATS as IMAGE_FORMATS
from mincurate.progress import SILENT, Reporter
from mincurate.runs import files as run_files
from mincurate.runs import store

Format = Literal["folder", "csv", "parquet", "coco"]
FORMATS: tuple[Format, ...] = ("folder", "csv", "parquet", "coco")
RECORD = "export.json"
DROP_TAG = "outlier-drop"
TRAIN = "train"
"""The split of a synthetic image that has none, where real images have one."""
UNLABELLED = "unlabelled"
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)
LONGEST = 100
"""Characters of a file or folder name, at most: with a digest it fits every file system."""
COLUMNS = {
    "file": "string",
    "label": "string",
    "minority_class": "Int64",
    "split": "string",
    "provenance": "string",
    "run": "string",
    "seed": "Int64",
    "start": "string",
    "nearest_real": "string",
    "original": "string",
}
"""Of the table that is written: ``file`` is relative to the folder, ``provenance`` is ``real`` or
``synthetic``, ``original`` the path it was taken from; more than one ``nearest_real`` are JSON."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        real: real images in it.
        synthetic: synthetic images in it.
        excluded: images left out, by reason.
    """

    folder: Path
    real: int
    synthetic: int
    excluded: dict[str, int]


def export(
    frame: pd.DataFrame,
    folder: Path,
    *,
    format: Format = "folder",
    classes: Literal["label", "minority_class"] = "label",
    files: Literal["link", "copy"] = "link",
    include_rejected: bool = False,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a dataset into ``folder``; an export that was stopped goes on where it was.

    * ``folder``: ``[SPLIT/]CLASS/FILE`` and ``provenance.csv``;
    * ``csv``, ``parquet``: ``images/FILE``, and ``dataset.csv`` or ``dataset.parquet``;
    * ``coco``: ``images/FILE``, and ``[SPLIT-]annotations.json`` with one annotation per image that
      has a class, whose box is the whole image: so both classification and detection readers take
      it. The columns of the table are keys of the entries in ``images``.

    Files keep their name where it is the only one, and get a digest of their path where not.

    Args:
        frame: see the module's description.
        folder: new or empty, or with the same export in it.
        classes: the column whose values are the classes.
        files: ``link`` makes hard links, which take no room, and copies where the file system
            cannot; a program that changes such a file in place changes the original.
        include_rejected: also write synthetic images that the gate did not let pass.

    Raises:
        UserError: the table is not as described, the folder is not ours, or it cannot be written.
    """
    if format not in FORMATS:
        raise UserError(f"There is no export format {format!r}; choose {', '.join(FORMATS)}.")
    rows, excluded = select(frame, include_rejected=include_rejected)
    there = np.array([os.path.isfile(path) for path in rows["path"]], dtype=bool)
    if (~there).any():
        excluded["file is gone"] = int((~there).sum())
        rows = rows[there]
    if rows.empty:
        raise UserError("No image is left to export; see the reasons in the table of images.")
    rows = rows.assign(file=_places(rows, format, classes))
    table = _table(rows)
    _take(folder, hashing.fingerprint([format, classes, files, table.to_csv(), excluded]))
    run_files.sweep(folder)
    try:
        with reporter.task("Exporting", len(rows)) as advance:
            for path, file in zip(rows["path"], rows["file"], strict=True):
                _place(Path(path), folder / file, link=files == "link")
                advance(1)
        _write_tables(table, rows, folder, format, classes)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        _write_json(folder / RECORD, record | {"finished": store.now(), "excluded": excluded})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full; free some space and export to {folder} again to go on."
            ) from error
        raise UserError(
            f"Cannot write {error.filename2 or error.filename or folder}: {error.strerror}; "
            "mend that and export again to go on."
        ) from error
    synthetic = int((rows["source"] == "synthetic").sum())
    return Exported(folder, len(rows) - synthetic, synthetic, excluded)


def select(
    frame: pd.DataFrame, *, include_rejected: bool = False
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows fit for export, with every described column, and how many are not, by reason.

    Where real images have splits, a synthetic image (of ``train`` unless it says otherwise) is fit
    only if the image it started from, all its nearest real images and all copies of these are of
    its own split: else a test would ask for what training has all but shown. Where that is not
    known it is not fit.

    Raises:
        UserError: the table is not as described.
    """
    rows = _complete(frame)
    synthetic = rows["source"] == "synthetic"
    dropped = np.array([DROP_TAG in _texts(tags) for tags in rows["tags"]], dtype=bool)
    accepted = np.array([pd.notna(said) and bool(said) for said in rows["accepted"]], dtype=bool)
    reasons = np.full(len(rows), None, dtype=object)
    if rows["split"].notna().any():
        rows["split"] = rows["split"].mask(synthetic & rows["split"].isna(), TRAIN)
        unsplit = int(rows["split"].isna().sum())
        if unsplit:
            raise UserError(f"{unsplit} real images have no split; give one to all or to none.")
        splits_of = _splits_by_path(rows[~synthetic])
        for i in np.flatnonzero(synthetic):
            near = _texts(rows["nearest_real"].iloc[i])
            kin = [splits_of.get(path) for path in [*near, *_texts(rows["start"].iloc[i])]]
            if any(splits and splits - {rows["split"].iloc[i]} for splits in kin):
                reasons[i] = "near an image of another split"
            elif not near or None in kin:
                reasons[i] = "split of its nearest real image not known"
    if not include_rejected:
        for i in np.flatnonzero(synthetic.to_numpy() & ~accepted):
            reasons[i] = "not accepted" + "".join(f": {r}" for r in _texts(rows["reason"].iloc[i]))
    reasons[dropped] = f"tagged {DROP_TAG}"
    kept = np.array([reason is None for reason in reasons], dtype=bool)
    return rows[kept].copy(), dict(sorted(Counter(reasons[~kept].tolist()).items()))


def _splits_by_path(real: pd.DataFrame) -> dict[str, set[str]]:
    """The splits that hold an image: its own, and those of its copies."""
    content = real["content_hash"].where(real["content_hash"].notna(), real["path"])
    splits = real.groupby(content)["split"].agg(set)
    return dict(zip(real["path"], content.map(splits), strict=True))


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    for column in ("path", "source"):
        if column not in frame or frame[column].isna().any():
            raise UserError(f"The table to export needs the column {column} in every row.")
    strange = set(frame["source"]) - {"real", "synthetic"}
    if strange:
        raise UserError(f"The source of an image is real or synthetic, not {strange.pop()!r}.")
    if "accepted" not in frame and (frame["source"] == "synthetic").any():
        raise UserError("Synthetic images need the column accepted; run the quality gate first.")
    doubled = frame["path"][frame["path"].duplicated()]
    if len(doubled):
        raise UserError(f"The table to export holds {str(doubled.iloc[0])!r} more than once.")
    names = ["path", "source", "label", "minority_class", "split", "tags", "accepted", "reason"]
    names += ["nearest_real", "start", "run", "seed", "content_hash"]
    rows = frame.reindex(columns=names).astype(object)
    return rows.reset_index(drop=True)


def _texts(value: Any) -> list[str]:
    """A cell that may be missing, a text or a list of texts, as a list."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list | tuple | set | np.ndarray):
        return [str(item) for item in value]
    return []


def _places(rows: pd.DataFrame, format: Format, classes: str) -> list[str]:
    """Where each file goes, relative to the folder; different for all."""
    if format == "folder":
        named = rows[classes]
        if classes == "minority_class":
            width = max((len(str(int(n))) for n in named.dropna()), default=1)
            named = named.map(lambda n: str(int(n)).zfill(width), na_action="ignore")
        folders = _distinct(named.map(str, na_action="ignore").fillna(UNLABELLED))
        if rows["split"].notna().any():
            folders = [f"{s}/{f}" for s, f in zip(_distinct(rows["split"]), folders, strict=True)]
    else:
        folders = ["images"] * len(rows)
    plain = [f"{f}/{_safe(Path(p).name)}" for f, p in zip(folders, rows["path"], strict=True)]
    often = Counter(name.casefold() for name in plain)
    return [
        name if often[name.casefold()] == 1 else _with_digest(name, path)
        for name, path in zip(plain, rows["path"], strict=True)
    ]


def _distinct(names: Iterable[str]) -> list[str]:
    """Folder names, the same for equal names and different for different ones."""
    given = list(names)
    safe = {name: _safe(name) for name in given}
    often = Counter(name.casefold() for name in safe.values())
    return [safe[n] if often[safe[n].casefold()] == 1 else _with_digest(safe[n], n) for n in given]


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


def _take(folder: Path, fingerprint: str) -> None:
    """Make ``folder`` ours, or see that it is."""
    try:
        # What a killed export had begun of its record, and nothing else, is a folder still empty.
        begun = run_files.begun(folder / RECORD)
        if not folder.exists() or (folder.is_dir() and begun.issuperset(folder.iterdir())):
            for partial in begun:
                partial.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            record = {"fingerprint": fingerprint, "started": store.now(), "finished": None}
            _write_json(folder / RECORD, record)
            return
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["fingerprint"] == fingerprint:
            return
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder} holds something that is no export of mincurate; choose a new folder."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}.") from error
    raise UserError(
        f"{folder} holds an export of other images or settings; choose a new folder or delete it."
    )


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Link or copy a file; ``target`` is whole or not there."""
    real = source.resolve()
    if target.exists():
        if target.stat().st_size == real.stat().st_size:
            return
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(real, target)
            return
        except OSError as error:
            # another file system, one without links, or too many of one file
            if error.errno not in NO_LINKS:
                raise
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(real, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """What is told of every file: `COLUMNS`."""

    def kin(value: Any) -> str | None:
        texts = _texts(value)
        return json.dumps(texts) if len(texts) > 1 else (texts[0] if texts else None)

    told = rows.rename(columns={"source": "provenance", "path": "original"})
    told["nearest_real"] = told["nearest_real"].map(kin)
    told["start"] = told["start"].map(kin)
    columns: dict[str, list[Any]] = {}
    for name, kind in COLUMNS.items():
        values = told[name].where(told[name].notna(), None)
        if kind == "string":
            values = values.map(_unicode, na_action="ignore")
        columns[name] = values.tolist()
    return pd.DataFrame(columns).astype(COLUMNS)


def _unicode(value: Any) -> str:
    """Text that UTF-8 can hold: file names may have bytes that are none."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _write_tables(
    table: pd.DataFrame, rows: pd.DataFrame, folder: Path, format: Format, classes: str
) -> None:
    if format == "parquet":
        import pyarrow as pa

        plain = pa.Table.from_pandas(table, preserve_index=False)
        run_files.write_table(folder / "dataset.parquet", plain)
    elif format == "coco":
        categories = sorted(set(table[classes].dropna()))
        splits = rows["split"].fillna("").tolist()
        names = dict(zip(splits, _distinct(splits), strict=True))
        for split in sorted(set(splits)):
            members = table[[s == split for s in splits]]
            file = f"{names[split]}-annotations.json" if split else "annotations.json"
            _write_json(folder / file, _coco(members, folder, classes, categories))
    else:
        name = "provenance.csv" if format == "folder" else "dataset.csv"
        run_files.write_atomically(folder / name, table.to_csv(index=False).encode())


def _coco(
    table: pd.DataFrame, folder: Path, classes: str, categories: list[Any]
) -> dict[str, list[dict[str, Any]]]:
    """https://cocodataset.org/#format-data; ``file_name`` is relative to the export."""
    number = {name: i for i, name in enumerate(categories, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i, row in enumerate(table.to_dict("records"), start=1):
        width, height = _size(folder / row["file"])
        told = {str(k): v for k, v in row.items() if k != "file" and not pd.isna(v)}
        size = {"width": width, "height": height}
        images.append({"id": i, "file_name": row["file"], **size, **told})
        if not pd.isna(row[classes]):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": number[row[classes]],
                    "bbox": [0, 0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    named = [{"id": i, "name": str(name), "supercategory": "image"} for name, i in number.items()]
    return {"images": images, "annotations": annotations, "categories": named}


def _size(path: Path) -> tuple[int, int]:
    """Width and height as stored, which is what readers of COCO go by."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as img:
            return img.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(
            f"{path} is no image that can be read; leave it out of the export."
        ) from None


def _write_json(path: Path, content: object) -> None:
    run_files.write_atomically(path, json.dumps(content, ensure_ascii=True).encode())
