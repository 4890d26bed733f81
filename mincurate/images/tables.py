"""Tables of images, as pandas, Excel, the Hugging Face hub and others write them.

A table becomes rows: where each stands, the path of its image, and its label.
"""

import codecs
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mincurate.errors import UserError
from mincurate.images import table_columns
from mincurate.images.labels import MISSING_IN_TABLES, clean, listed
from mincurate.text import short

PARQUET = (".parquet", ".pq")
JSON = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = frozenset((".csv", ".tsv", *PARQUET, *JSON))
SEPARATORS = ",;\t|"
ENCODINGS = ("utf-8-sig", "cp1252")


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    number: int
    """Counts from 1, without headings and empty lines."""
    line: int | None
    """Of the file, where it has lines."""
    path: str
    label: str | None
    stored: str | None = None
    """Where the image was written that the table holds itself."""

    @property
    def place(self) -> str:
        """Where it is, for a person to find."""
        return f"row {self.number}" if self.line is None else f"line {self.line}"


@dataclass(frozen=True)
class Table:
    """Its rows, the columns they were taken from, and what is to be said about it."""

    rows: list[Row]
    path_column: str
    label_column: str | None
    notes: list[str]


@dataclass(frozen=True)
class _Cells:
    """A table before any meaning: the values of two columns side by side."""

    path_column: str
    label_column: str | None
    values: Iterable[tuple[int | None, Any, Any]]
    """Line, path and label of each row that is not empty."""
    notes: list[str]


def read(
    table: Path,
    *,
    labels: bool | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    save: Callable[[str, bytes], str],
) -> Table:
    """Read a CSV, TSV, JSON Lines or Parquet table.

    The path column is ``path_column``, or the first of `table_columns.PATH_COLUMNS` that the table
    has, however it is spelled (``Image Path``, ``fileNames``); the label column likewise.

    Args:
        labels: True demands a column of labels, False takes none.
        save: writes an image that the table holds, and returns its path.

    Raises:
        UserError: it cannot be read, or has no such column or no rows.
    """
    suffix, columns = table.suffix.casefold(), (path_column, label_column, labels)
    try:
        if suffix in PARQUET:
            cells = _read_parquet(table, *columns)
        elif suffix in JSON:
            cells = _read_json(table, *columns)
        else:
            cells = _read_text(table, *columns)
        several: list[str] = []
        missing: Counter[str] = Counter()
        rows = []
        for number, (line, value, named) in enumerate(cells.values, start=1):
            path, data = _image(value, cells.path_column, table)
            name = "-".join(filter(None, (f"{number:06d}", re.split(r"[/\\]", path)[-1])))
            stored = None if data is None else save(name, data)
            rows.append(Row(number, line, path, _label(named, several, missing), stored))
    except OSError as error:  # Arrow's among them
        what = (error.strerror or str(error)).partition("\n")[0]
        what = "file not found" if isinstance(error, FileNotFoundError) else what
        raise UserError(f"{table} cannot be read as a table: {what}.") from error
    except (ValueError, NotImplementedError) as error:  # pandas', Arrow's and JSON's among them
        what = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(f"{table} cannot be read as a table: {what}.") from error
    if not rows:
        raise UserError(f"{table} has no rows: give a table with one row per image.")
    notes = list(cells.notes)
    if several:
        notes.append(
            f"{len(several):,} rows of {table.name} name several labels, of which the first "
            f"counts: {several[0]}."
        )
    if missing:
        notes.append(
            f"{missing.total():,} labels of {table.name} that read {listed(sorted(missing))} count "
            "as missing."
        )
    return Table(rows, cells.path_column, cells.label_column, notes)


def _image(value: Any, column: str, table: Path) -> tuple[str, bytes | None]:
    """The path and the bytes in a cell; the hub keeps ``{"bytes": ..., "path": ...}``."""
    if isinstance(value, dict) and value.keys() & {"bytes", "path"}:
        data = value.get("bytes")
        return str(value.get("path") or ""), data if isinstance(data, bytes) else None
    if isinstance(value, bytes):
        return "", value
    if clean(value, MISSING_IN_TABLES) is None:
        return "", None
    if isinstance(value, str):
        return value, None
    raise UserError(
        f"Column {column!r} of {table} holds {type(value).__name__} values, not paths: name "
        "another with --path-column."
    )


def _label(value: Any, several: list[str], missing: Counter[str]) -> str | None:
    """The label in a cell; of lists the first, noted in ``several``.

    Args:
        missing: counts the texts that stand for none.
    """
    if isinstance(value, dict):  # as FiftyOne and COCO write one
        value = value.get("label", value.get("name"))
    if isinstance(value, list | tuple):
        names = [name for item in value if (name := _label(item, several, missing)) is not None]
        if len(set(names)) > 1:
            several.append(listed(names))
        return names[0] if names else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    label = clean(value, MISSING_IN_TABLES)
    if label is None and isinstance(value, str) and value.strip():
        missing[value.strip()] += 1
    return label


def _read_text(table: Path, path: str | None, label: str | None, labels: bool | None) -> _Cells:
    """A text file of any usual separator and encoding; lines before the headings may be empty."""
    import pandas as pd

    text, encoding = _decode(table.read_bytes(), table)
    notes = []
    if encoding == "cp1252":
        odd = next(word for word in re.split(rf"[{SEPARATORS}\r\n]", text) if not word.isascii())
        notes.append(
            f"{table.name} is not UTF-8 and was read as Windows-1252 (as in "
            f"{short(odd.strip(), 40)!r}); save it as UTF-8 if that is wrong."
        )
    if "\n" not in text:
        text = text.replace("\r", "\n")
    blank = rf"(?:[ {SEPARATORS}\r]*\n)*"
    head = re.match(rf'{blank}(?:"?sep=(?P<separator>.)"?[ {SEPARATORS}\r]*\n{blank})?', text, re.I)
    assert head is not None  # everything in it is optional
    body, offset = text[head.end() :], text.count("\n", 0, head.end())
    options: dict[str, Any] = {
        **{"header": None, "dtype": str, "na_filter": False, "skipinitialspace": True},
        **{"index_col": False, "skip_blank_lines": False},
    }

    def headings(separator: str) -> list[str]:
        try:
            first = pd.read_csv(io.StringIO(body), sep=separator, nrows=1, **options)
        except ValueError:  # pandas' EmptyDataError and ParserError are of this kind
            return []
        return [str(name).strip() for name in first.iloc[0]] if len(first) else []

    candidates = head["separator"] or SEPARATORS
    separator = max(
        candidates,
        key=lambda s: (
            table_columns.find(headings(s), table_columns.PATH_COLUMNS, path) != [],
            len(headings(s)),
        ),
    )
    columns = headings(separator)
    at = table_columns.find_columns(table, columns, path, label, labels)
    width = len(columns)
    try:  # a separator at the end of a line makes one cell more
        frame = pd.read_csv(io.StringIO(body), sep=separator, names=range(width + 1), **options)
        lines = offset + 1 + _lines(frame)
        if (longer := (frame[width] != "").to_numpy()).any():
            raise ValueError(_too_many(lines[longer][0], width + 1, width))
    except ValueError as error:
        raise UserError(
            f"{table} cannot be read as a table: {_where(error, offset)}; put cells that hold "
            f"{separator!r} or a line break in quotation marks."
        ) from error
    frame, lines = frame[1:], lines[1:]
    full = (frame != "").any(axis=1).to_numpy()
    frame, lines = frame[full], lines[full]
    paths, names = (
        table_columns.same_values(table, columns, i, [frame[k].tolist() for k in i]) for i in at
    )
    values = zip(lines.tolist(), paths, names or [None] * len(paths), strict=True)
    return _Cells(columns[at[0][0]], table_columns.name_at(columns, at[1]), values, notes)


def _lines(frame: Any) -> Any:
    """How many lines of the file lie before each row: cells may hold line breaks."""
    import numpy as np

    breaks = sum(frame[name].str.count("\n").to_numpy(int) for name in frame)
    return np.arange(len(frame)) + np.cumsum(breaks) - breaks


def _where(error: Exception, offset: int) -> str:
    """What pandas says about a row, with the line of the file."""
    words = str(error).strip().partition("C error: ")[2] or str(error)
    if many := re.match(r"Expected (\d+) fields in line (\d+), saw (\d+)", words):
        return _too_many(int(many[2]) + offset, int(many[3]), int(many[1]) - 1)
    if still_open := re.match(r"EOF inside string starting at row (\d+)", words):
        return f"a quotation mark of line {int(still_open[1]) + offset + 1} is not closed"
    return words.partition("\n")[0].rstrip(".")


def _too_many(line: int, cells: int, headings: int) -> str:
    return f"line {line} has {cells} cells, and there are {headings} headings"


def _decode(data: bytes, table: Path) -> tuple[str, str]:
    """The text of a file, and its encoding: by its mark, else UTF-8, else that of Windows."""
    marks = (
        *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
        *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
    )
    encodings = [name for mark, name in marks if data.startswith(mark)][:1]
    if not encodings and data[:2].count(0) == 1:  # UTF-16 without its mark
        encodings = ["utf-16-le" if data[1] == 0 else "utf-16-be"]
    for encoding in encodings or ENCODINGS:
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise UserError(
        f"{table} is neither UTF-8 nor UTF-16 nor Windows-1252 text: save it as UTF-8 "
        "(in Excel: CSV UTF-8)."
    )


def _read_json(table: Path, path: str | None, label: str | None, labels: bool | None) -> _Cells:
    """One object per line, or one list of objects."""
    text, _ = _decode(table.read_bytes(), table)
    if keys := _document(text):
        raise UserError(f"{table} is one JSON object ({keys}), no table: give one for each image.")
    entries: list[tuple[int | None, Any]] = []
    if text.lstrip().startswith("["):
        entries = [(None, entry) for entry in json.loads(text)]
    else:
        for number, words in enumerate(text.split("\n"), start=1):
            if not words.strip():
                continue
            try:
                entries.append((number, json.loads(words)))
            except ValueError as error:
                raise UserError(
                    f"{table} cannot be read as a table: line {number} is no JSON ({error}); give "
                    "one object per line, or a list of objects."
                ) from error
    for line, entry in entries:
        if not isinstance(entry, dict):
            where = f"line {line}" if line else "an entry"
            raise UserError(f"{table} cannot be read as a table: {where} is no JSON object.")
    columns = list(dict.fromkeys(name for _, entry in entries for name in entry))
    at = table_columns.find_columns(table, columns, path, label, labels)
    path_name, label_name = columns[at[0][0]], table_columns.name_at(columns, at[1])
    values = [(n, e.get(path_name), e.get(label_name) if label_name else None) for n, e in entries]
    return _Cells(path_name, label_name, values, [])


def _document(text: str) -> str:
    """The keys of a file that is one object of lists or objects, as those of COCO are."""
    with suppress(ValueError):  # one object per line
        whole = json.loads(text) if text.lstrip().startswith("{") else {}
        return ", ".join(whole if all(isinstance(p, list | dict) for p in whole.values()) else ())
    return ""


def _read_parquet(table: Path, path: str | None, label: str | None, labels: bool | None) -> _Cells:
    """A Parquet file; the names of classes are those that the Hugging Face hub keeps beside it."""
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(table)
    columns = list(file.schema_arrow.names)
    at = table_columns.find_columns(table, columns, path, label, labels)
    path_name, label_name = columns[at[0][0]], table_columns.name_at(columns, at[1])
    classes = _class_names(file.schema_arrow.metadata, label_name)

    def values() -> Iterator[tuple[int | None, Any, Any]]:
        for batch in file.iter_batches(512, columns=list({path_name, label_name or path_name})):
            here = list(zip(batch.schema.names, batch.columns, strict=True))
            paths, names = (
                table_columns.same_values(
                    table, columns, i, [c.to_pylist() for n, c in here if n == name]
                )
                for i, name in zip(at, (path_name, label_name), strict=True)
            )
            for value, named in zip(paths, names or [None] * batch.num_rows, strict=True):
                if classes and isinstance(named, int):  # -1 is the hub's word for none
                    named = classes[named] if 0 <= named < len(classes) else None
                yield None, value, named

    return _Cells(path_name, label_name, values(), [])


def _class_names(metadata: dict[bytes, bytes] | None, column: str | None) -> list[str]:
    """The names of a ``ClassLabel`` of the hub's ``datasets``, whose column holds their numbers."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, ValueError, TypeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []
