"""Vectors that users bring: they are matched to images, and nothing is embedded again.

They come from a file, a field or brain run of a FiftyOne dataset, or a Python function. As all
vectors here they are brought to length 1.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.features.embedder import Embedder
from mincurate.features.vector_files import Rows, matrix
from mincurate.features.vector_table import VectorTable
from mincurate.images.collection import Collection
from mincurate.images.sources import Source
from mincurate.text import short

FUNCTION = "function:"
"""What the sources of vectors begin with that a Python function gives."""
SIDE = 224
"""Side in pixels of the images that a function is given, unless it has an attribute ``side``."""
CLOSE = 2e-3
"""Largest difference of a coordinate that half precision makes, with room."""
Function = Callable[[Tensor], Any]
_FUNCTIONS: dict[str, Function] = {}
"""The functions that were given in this process, by the name of their source."""


@dataclass(frozen=True, eq=False)
class OwnVectors:
    """Vectors by path or sample id.

    Attributes:
        source: where they are from: a file, ``fiftyone:FIELD`` or ``brain:KEY``.
        rows: as they were given.
        folder: where relative paths start that do not start at the folder of the images.
    """

    source: str
    rows: Rows
    folder: str = field(default_factory=os.getcwd)

    @property
    def name(self) -> str:
        """What messages call them."""
        return os.path.basename(self.source) if os.path.isabs(self.source) else self.source

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """``(N, d)`` of length 1; rows that are not finite, or zero, are NaN."""
        values = self.rows.vectors
        largest = np.abs(values).max(1, keepdims=True)
        good = np.isfinite(largest) & (largest > 0)
        # Divided twice: the squares of very large and very small numbers leave the range.
        scaled = np.divide(values, largest, where=good, out=np.full_like(values, np.nan))
        return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)

    @cached_property
    def faults(self) -> Counter[str]:
        """How many rows cannot be used, in words."""
        values, odd = self.rows.vectors, self.rows.odd
        zero = int((values == 0).all(1).sum())
        unusable = int(np.isnan(self.vectors[:, 0]).sum()) - zero - odd
        return Counter(
            {
                "have another length than most": odd,
                "are not finite": unusable,
                "are zero": zero,
                "contradict another row of the same image": len(self._contradicting),
            }
        )

    def in_order(self, images: Collection) -> "OwnVectors":
        """The same, by the paths of the images where they had no keys.

        Raises:
            UserError: there are not as many vectors as images.
        """
        if self.rows.keys is not None:
            return self
        if len(self.rows.vectors) != len(images.files):
            raise UserError(
                f"{self.name} has {len(self.rows.vectors):,} vectors without paths for "
                f"{len(images.files):,} files: name the files, one a line, in a .txt file of the "
                "same name, or give a table with paths."
            )
        keys = [source.sample_id or source.path for source, _ in images.files]
        return OwnVectors(self.source, Rows(self.rows.vectors, keys, self.rows.odd), self.folder)

    def row(self, source: Source) -> int | None:
        """The row of an image; ``None`` where it has none."""
        for key in (source.sample_id, source.path, source.rel_path):
            if key and key in self.by_key:
                return self.by_key[key]
        return self._by_path.get(source.path)

    def fitting(self, sources: Iterable[Source]) -> list[Source]:
        """The images that have a vector that can be used."""
        rows = [(source, self.row(source)) for source in sources]
        return [source for source, row in rows if row is not None and self.usable[row]]

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Which rows can be used, ``(N,)``."""
        usable = ~np.isnan(self.vectors[:, 0])
        usable[list(self._contradicting)] = False
        return usable

    @cached_property
    def by_key(self) -> dict[str, int]:
        """The first row of each key."""
        by_key: dict[str, int] = {}
        for row, key in enumerate(self.rows.keys or ()):
            if not os.path.isabs(key):
                key = key.replace("\\", "/").removeprefix("./")
            by_key.setdefault(key, row)
        return by_key

    @cached_property
    def _by_path(self) -> dict[str, int]:
        keys = self.by_key.items()
        return {os.path.normpath(os.path.join(self.folder, key)): row for key, row in keys}

    @cached_property
    def _contradicting(self) -> set[int]:
        """Rows of images that have several, which differ."""
        keys, values = self.rows.keys or [], self.rows.vectors
        if len(set(keys)) == len(keys):
            return set()
        first: dict[str, int] = {}
        rows: set[int] = set()
        for row, key in enumerate(keys):
            other = first.setdefault(key, row)
            if not np.array_equal(values[other], values[row], equal_nan=True):
                rows |= {other, row}
        return rows


def match_vectors(own: OwnVectors, files: Iterable[tuple[str, Source]]) -> VectorTable:
    """The vectors of files, pairs of content hash and source; of copies the first counts."""
    rows: dict[str, int] = {}
    for content, source in files:
        row = None if content in rows else own.row(source)
        if row is not None and own.usable[row]:
            rows[content] = row
    picks = np.fromiter(rows.values(), np.int64, len(rows))
    order = {content: i for i, content in enumerate(rows)}
    return VectorTable(own.name, order, own.vectors[picks].astype(np.float16))


def table_embedder(table: VectorTable) -> Embedder:
    """An embedder that takes the vectors of a table; images that it does not hold are refused."""

    def refuse(_: Tensor) -> Tensor:
        raise UserError(f"{table.name} has no vectors of further images.")

    chunks = [str(table.vectors.shape[1]).encode(), *(h.encode() for h in table.rows)]
    content = hashing.hash_chunks([*chunks, table.vectors.tobytes()])
    return Embedder(table.name, content, refuse, 0, 0, weak=False, table=table)


def embedder_of_images(own: OwnVectors, images: Collection) -> tuple[Embedder, list[str]]:
    """The embedder of a collection, and lines on what was matched and what was not.

    Raises:
        UserError: no image has a vector.
    """
    keyed = own.in_order(images)
    files = [(i.content_hash, s) for s, i in images.files if i.content_hash is not None]
    table = match_vectors(keyed, files)
    if not table.rows:
        keys = short((keyed.rows.keys or [""])[0], 80)
        raise UserError(
            f"No image has a vector in {own.name}: {_faults(keyed) or 'no path fits'}. Its first "
            f"key is {keys!r}; the first image is {short(images.files[0][0].path, 80)!r}."
        )
    used = {row for source, _ in images.files if (row := keyed.row(source)) is not None}
    words = f"Vectors: {len(table.rows):,} of {own.vectors.shape[1]} dimensions from {own.name}"
    words += ", in the order of the images." if own.rows.keys is None else "."
    lines = [words]
    without = len(images.unique) - len(table.rows)
    unused = len(keyed.by_key) - len(used)
    if faults := _faults(keyed):
        lines.append(f"Rows of {own.name} that are left out: {faults}.")
    if without:
        lines.append(f"{without:,} images have no vector in {own.name} and are not ranked.")
    if unused and own.rows.keys is not None:
        lines.append(f"{unused:,} rows of {own.name} are of none of the images.")
    return table_embedder(table), lines


def _faults(own: OwnVectors) -> str:
    return ", ".join(f"{count:,} {words}" for words, count in own.faults.items() if count)


def function_source(function: Function) -> str:
    """The source that stands for a function in a run's record; the function is kept for it."""
    place = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    name = ".".join(filter(None, place)) or type(function).__name__
    source = FUNCTION + name
    _FUNCTIONS[source] = function
    return source


def function_embedder(source: str, device: str, expected: str | None = None) -> Embedder:
    """The embedder of a function that was given in this process.

    It is known by its weights where it is a torch module, else by its vectors of two noise images.

    Args:
        expected: the hash that it must have.

    Raises:
        UserError: it was given in another process, or does not give vectors.
    """
    function = _FUNCTIONS.get(source)
    if function is None:
        raise UserError(
            f"The vectors are from the Python function {source.removeprefix(FUNCTION)}: give it "
            "again in this session: mincurate.score(run, vectors=FUNCTION)."
        )
    side = int(getattr(function, "side", SIDE))

    def network(x: Tensor) -> Tensor:
        given = function(x)
        vectors = given if isinstance(given, Tensor) else torch.from_numpy(np.asarray(given))
        if vectors.ndim != 2 or len(vectors) != len(x) or not vectors.isfinite().all():
            raise UserError(
                f"The function {source.removeprefix(FUNCTION)} must give finite vectors (images, "
                f"dimensions); of {len(x)} images it gave an array {tuple(vectors.shape)}."
            )
        return vectors.to(x.device)

    probe = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        vectors = matrix(network(probe.to(device)).float().cpu().numpy(), source)
    content = hashing.content_hash(vectors.astype(np.float16).tobytes())
    if isinstance(function, torch.nn.Module):
        content = hashing.hash_tensors(function.state_dict())
    if expected not in (None, content):
        raise UserError(f"{source} is another function than that which gave the run's vectors.")
    return Embedder(source, content, network, side, side, weak=False)
