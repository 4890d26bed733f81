"""Generated images on disk: one PNG and one line of the manifest for each.

An image is written before its line, so that every complete line has its image. The line records the
image's hash: a damaged image is noticed and generated again.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.runs.atomic_files import write_atomically
from mincurate.runs.schema import IMAGES as IMAGES
from mincurate.runs.schema import MANIFEST as MANIFEST


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of the manifest whose image exists, one per image, in order."""
    entries: dict[int, dict[str, Any]] = {}
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return []
    for line in content.splitlines(keepends=True):
        try:
            entry = json.loads(line)
            complete = line.endswith(b"\n") and (folder / entry["file"]).is_file()
            index = int(entry["index"])
        except (ValueError, KeyError, TypeError):  # half a line, or a damaged one
            continue
        if complete:
            entries.setdefault(index, entry)
    return [entries[i] for i in sorted(entries)]


def repair(folder: Path) -> list[dict[str, Any]]:
    """`read_manifest`, after removing incomplete lines and those of damaged images."""
    entries = [e for e in read_manifest(folder) if not damaged(folder, e)]
    content = "".join(json.dumps(e) + "\n" for e in entries).encode()
    path = folder / MANIFEST
    if path.is_file() and path.read_bytes() != content:
        write_atomically(path, content)
    return entries


def damaged(folder: Path, entry: dict[str, Any]) -> bool:
    """Whether an image has another hash than its line of the manifest."""
    expected = entry.get("content_hash")
    if expected is None:  # a line of an earlier version
        return False
    return hashing.content_hash((folder / entry["file"]).read_bytes()) != expected


def files(folder: Path, entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Content hash and path of the images of some lines of the manifest."""
    paths = [folder.resolve() / entry["file"] for entry in entries]
    return [(hashing.content_hash(path.read_bytes()), str(path)) for path in paths]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """``(3, H, W)`` uint8 RGB as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(buffer, "PNG")
    return buffer.getvalue()


def read_png(path: Path) -> NDArray[np.uint8]:
    """Pixels ``(3, H, W)``, uint8 RGB, of an image that `png` wrote."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def append(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Add lines to the manifest and flush them to the disk."""
    with (folder / MANIFEST).open("ab") as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
        file.flush()
        os.fsync(file.fileno())
