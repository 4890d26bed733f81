"""Real and accepted synthetic images as a dataset on disk, with the origin of each.

The input is the table that `curation.selection` describes.
"""

import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mincurate import hashing
from mincurate.curation import gather_objects
from mincurate.curation.annotations import Annotation, annotations, coco, yolo
from mincurate.curation.file_names import distinct, file_names
from mincurate.curation.selection import DROP_TAG, TRAIN, select, texts
from mincurate.errors import UserError
from mincurate.images.file_names import on_disk
from mincurate.progress import SILENT, Reporter
from mincurate.runs import atomic_files as run_files
from mincurate.runs import store

__all__ = ["DROP_TAG", "FORMATS", "RECORD", "TRAIN", "Exported", "Format", "export", "select"]

Format = Literal["folder", "csv", "parquet", "coco", "yolo"]
FORMATS: tuple[Format, ...] = ("folder", "csv", "parquet", "coco", "yolo")
RECORD = "export.json"
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)
COLUMNS = {
    "file": "string",
    "label": "string",
    "rarity_class": "Int64",
    "split": "string",
    "provenance": "string",
    "run": "string",
    "seed": "Int64",
    "start": "string",
    "nearest_real": "string",
    "weight": "Float64",
    "original": "string",
}
"""Of the table that is written: ``file`` is relative to the folder, ``provenance`` is ``real`` or
``synthetic``, ``original`` the path it was taken from; more than one ``nearest_real`` are JSON;
``weight`` is how often to draw an image, compared with a real one of its label."""
NESTED = ("labels", "boxes")
"""Further columns, as JSON, of images that have several labels, or boxes."""
VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        real: real images in it.
        synthetic: synthetic images in it.
        excluded: images left out, by reason.
        notes: sentences on what the format cannot hold.
    """

    folder: Path
    real: int
    synthetic: int
    excluded: dict[str, int]
    notes: tuple[str, ...] = ()


def export(
    frame: pd.DataFrame,
    folder: Path,
    *,
    format: Format = "folder",
    classes: Literal["label", "rarity_class"] = "label",
    files: Literal["link", "copy"] = "link",
    include_rejected: bool = False,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a dataset into ``folder``; an export that was stopped continues.

    * ``folder``: ``[SPLIT/]CLASS/FILE`` and ``provenance.csv``;
    * ``csv``, ``parquet``: ``images/FILE``, and ``dataset.csv`` or ``dataset.parquet``;
    * ``coco``: ``images/FILE``, and ``[SPLIT-]annotations.json``, whose entries in ``images`` have
      the columns of the table as keys;
    * ``yolo``: ``images/SPLIT/FILE``, ``labels/SPLIT/FILE.txt``, ``data.yaml``, and
      ``provenance.csv``.

    In COCO and YOLO an image without boxes has one box per class, the whole image, so that both
    classification and detection readers take it. Where images have boxes, synthetic images, which
    have none, are left out of these two. Where objects were ranked, ``objects.csv`` has the rank of
    each, and COCO annotations have it as keys.

    Args:
        frame: see `curation.selection`.
        folder: new or empty, or with the same export in it.
        classes: the column whose values are the classes; boxes have labels.
        files: ``link`` makes hard links, which take no room, and copies where the file system
            cannot; a program that changes such a file in place changes the original.
        include_rejected: also write synthetic images that the gate rejected.

    Raises:
        UserError: the table is not as described, the folder holds something else, or it cannot be
            written.
    """
    if format not in FORMATS:
        raise UserError(f"There is no export format {format!r}; choose {', '.join(FORMATS)}.")
    rows, excluded = select(frame, include_rejected=include_rejected)
    rows = _leave_out(
        rows, [not os.path.isfile(on_disk(p)) for p in rows["path"]], "file is gone", excluded
    )
    boxed = np.array([isinstance(boxes, list) for boxes in rows["boxes"]], dtype=bool)
    if format in ("coco", "yolo") and classes == "label" and boxed.any():
        unknown = (rows["source"] == "synthetic").to_numpy() & ~boxed
        rows = _leave_out(rows, unknown, "synthetic, without boxes", excluded)
    if rows.empty:
        raise UserError("No image is left to export; see the reasons in the table of images.")
    rows = rows.assign(file=file_names(rows, format, classes))
    table = _table(rows)
    _take(folder, hashing.fingerprint([format, classes, files, table.to_csv(), excluded]))
    run_files.sweep(folder)
    try:
        with reporter.task("Exporting", len(rows)) as advance:
            for path, file in zip(rows["path"], rows["file"], strict=True):
                _place(Path(on_disk(path)), folder / file, link=files == "link")
                advance(1)
        _write_tables(table, rows, folder, format, classes)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        _write_json(folder / RECORD, record | {"finished": store.now(), "excluded": excluded})
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full; free some space and export to {folder} again to continue."
            ) from error
        raise UserError(
            f"Cannot write {error.filename2 or error.filename or folder}: {error.strerror}; "
            "correct that and export again to continue."
        ) from error
    synthetic = int((rows["source"] == "synthetic").sum())
    notes = tuple(_notes(rows, format, classes))
    return Exported(folder, len(rows) - synthetic, synthetic, excluded, notes)


def _leave_out(
    rows: pd.DataFrame, which: Any, reason: str, excluded: dict[str, int]
) -> pd.DataFrame:
    """The other rows; those that are left out are counted in ``excluded``."""
    out = np.asarray(which, dtype=bool)
    if out.any():
        excluded[reason] = int(out.sum())
    return rows[~out]


def _notes(rows: pd.DataFrame, format: Format, classes: str) -> list[str]:
    """What a reader of the export has to know."""
    several = sum(len(texts(names)) > 1 for names in rows["labels"])
    boxed = sum(isinstance(boxes, list) for boxes in rows["boxes"])
    mined = int((rows["mined"] == True).sum())  # noqa: E712
    notes = [f"{mined:,} of the real images were mined."] if mined else []
    if format == "folder" and classes == "label" and several:
        notes.append(
            f"{several:,} images have several labels and are in the folder of the first; "
            "provenance.csv has all of them."
        )
    with_ranks = format != "folder" and any(map(gather_objects.ranked, rows["boxes"]))
    if boxed and not with_ranks and (format == "folder" or classes != "label"):
        notes.append(
            f"{boxed:,} images have boxes, which only the formats coco and yolo hold, with labels "
            "as classes; the table has them as JSON."
        )
    if format in ("coco", "yolo") and classes == "label" and 0 < boxed < len(rows):
        notes.append(
            f"{len(rows) - boxed:,} images have no boxes; those with a label are annotated as a "
            "whole."
        )
    if format == "yolo" and not set(rows["split"].dropna()) & {*VALIDATION}:
        notes.append("data.yaml has no val, which training with YOLO needs: split the images.")
    return notes


def _take(folder: Path, fingerprint: str) -> None:
    """Start an export in ``folder``, or check that it holds this one.

    Raises:
        UserError: it holds something else.
    """
    try:
        # A folder with nothing but the partial record of a killed export counts as empty.
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
            f"{folder} holds files that are no export of mincurate; choose a new folder."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot write to {folder}: {error.strerror}.") from error
    raise UserError(
        f"{folder} holds an export of other images or settings; choose a new folder or delete it."
    )


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Link or copy a file; ``target`` is complete or absent."""
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
    """`COLUMNS` of every file, and `NESTED` where there are any."""

    def several(value: Any) -> str | None:
        names = texts(value)
        return json.dumps(names) if len(names) > 1 else (names[0] if names else None)

    renamed = rows.rename(columns={"source": "provenance", "path": "original"})
    renamed["nearest_real"] = renamed["nearest_real"].map(several)
    renamed["start"] = renamed["start"].map(several)
    kinds = dict(COLUMNS)
    for name in NESTED:
        lists = renamed[name].map(lambda value: json.dumps(value) if _is_list(value) else None)
        if lists.notna().any():
            renamed[name], kinds[name] = lists, "string"
    columns: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        values = renamed[name].where(renamed[name].notna(), None)
        if kind == "string":
            values = values.map(_unicode, na_action="ignore")
        columns[name] = values.tolist()
    return pd.DataFrame(columns).astype(kinds)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _unicode(value: Any) -> str:
    """Text that UTF-8 can hold: file names may have other bytes."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _write_tables(
    table: pd.DataFrame, rows: pd.DataFrame, folder: Path, format: Format, classes: str
) -> None:
    if any(map(gather_objects.ranked, rows["boxes"])):
        objects_table = gather_objects.table_of(rows).to_csv(index=False)
        run_files.write_atomically(folder / "objects.csv", objects_table.encode())
    if format == "parquet":
        import pyarrow as pa

        plain = pa.Table.from_pandas(table, preserve_index=False)
        run_files.write_table(folder / "dataset.parquet", plain)
        return
    if format in ("coco", "yolo"):
        records = ({str(k): v for k, v in row.items()} for row in rows.to_dict("records"))
        objects = [annotations(row, classes) for row in records]
        categories = sorted({item.name for shown in objects for item in shown})
        if format == "coco":
            _write_coco(table, rows["split"], objects, folder, categories)
            return
        _write_yolo(rows, objects, folder, categories)
    name = "dataset.csv" if format == "csv" else "provenance.csv"
    run_files.write_atomically(folder / name, table.to_csv(index=False).encode())


def _write_coco(
    table: pd.DataFrame,
    split: "pd.Series[Any]",
    objects: list[list[Annotation]],
    folder: Path,
    categories: list[Any],
) -> None:
    splits = split.fillna("").tolist()
    names = dict(zip(splits, distinct(splits), strict=True))
    for name in sorted(set(splits)):
        members = np.flatnonzero([s == name for s in splits])
        file = f"{names[name]}-annotations.json" if name else "annotations.json"
        shown = [objects[i] for i in members]
        _write_json(folder / file, coco(table.iloc[members], shown, folder, categories))


def _write_yolo(
    rows: pd.DataFrame, objects: list[list[Annotation]], folder: Path, categories: list[Any]
) -> None:
    """Label files and ``data.yaml`` (https://docs.ultralytics.com/datasets/detect/)."""
    for file, shown in zip(rows["file"], objects, strict=True):
        path = folder / "labels" / Path(file).relative_to("images").with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        run_files.write_atomically(path, yolo(shown, categories).encode())
    splits = rows["split"].fillna(TRAIN).tolist()
    lines = []
    for name, place in sorted(set(zip(splits, distinct(splits), strict=True))):
        key = "val" if name in VALIDATION else place
        lines.append(f"{json.dumps(key)}: {json.dumps(f'images/{place}')}")
    lines += ["names:", *(f"  {i}: {json.dumps(str(name))}" for i, name in enumerate(categories))]
    run_files.write_atomically(folder / "data.yaml", "\n".join([*lines, ""]).encode())


def _write_json(path: Path, content: object) -> None:
    run_files.write_atomically(path, json.dumps(content, ensure_ascii=True).encode())
