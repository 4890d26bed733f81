"""What was generated, on disk: one PNG and one line of the manifest for each image.

An image is written before its line, and a line that is there is whole: what the manifest lists
exists. A line says what its image's bytes are, so that a damaged one is known and made again.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.runs.files import write_atomically

IMAGES, MANIFEST = "images", "manifest.jsonl"


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the manifest whose image is there, each image once, in order."""
    found: dict[int, dict[str, Any]] = {}
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return []
    for line in content.splitlines(keepends=True):
        try:
            entry = json.loads(line)
            whole = line.endswith(b"\n") and (folder / entry["file"]).is_file()
            index = int(entry["index"])
        except (ValueError, KeyError, TypeError):  # half a line, or a damaged one
            continue
        if whole:
            found.setdefault(index, entry)
    return [found[i] for i in sorted(found)]


def repair(folder: Path) -> list[dict[str, Any]]:
    """`read_manifest`, after half a line that a killed process left, and the lines of images that
    are not any more what they say, were taken out."""
    entries = [e for e in read_manifest(folder) if not damaged(folder, e)]
    whole = "".join(json.dumps(e) + "\n" for e in entries).encode()
    path = folder / MANIFEST
    if path.is_file() and path.read_bytes() != whole:
        write_atomically(path, whole)
    return entries


def damaged(folder: Path, entry: dict[str, Any]) -> bool:
    """Whether an image is not what its line in the manifest says."""
    wanted = entry.get("content_hash")  # lines of earlier versions do not say
    return (
        wanted is not None and hashing.content_hash((folder / entry["file"]).read_bytes()) != wanted
    )


def files(folder: Path, entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Content hash and path of the images that lines of the manifest tell of."""
    paths = [folder.resolve() / entry["file"] for entry in entries]
    return [(hashing.content_hash(path.read_bytes()), str(path)) for path in paths]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """``(3, H, W)`` uint8 RGB as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(buffer, "PNG")
    return buffer.getvalue()


def read_png(path: Path) -> NDArray[np.uint8]:
    """Pixels ``(3, H, W)`` of an image that we wrote."""
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def append(folder: Path, entries: list[dict[str, Any]]) -> None:
    """Add lines to the manifest and see them on the disk."""
    with (folder / MANIFEST).open("ab") as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
        file.flush()
        os.fsync(file.fileno())
