"""Boxes of AVIF files: what Pillow's reader is stricter about than browsers."""

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Box(NamedTuple):
    """A box: its kind, where it starts, where its content starts, and where it ends."""

    kind: bytes
    start: int
    content: int
    end: int


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes that lie between two places of a file, one after another."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1 and start + 16 <= end:
            length, content = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        stop = end if length == 0 else start + length
        if not content <= stop <= end:
            return
        yield Box(kind, start, content, stop)
        start = stop


def _within(data: bytes, *path: bytes) -> list[Box]:
    """The boxes of the last kind of ``path``, each inside one of the kind before."""
    outer = [Box(b"", 0, 0, len(data))]
    for kind in path:
        outer = [
            box
            for parent in outer
            for box in boxes(data, parent.content + 4 * (parent.kind == b"meta"), parent.end)
            if box.kind == kind
        ]
    return outer


def largest_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture that a file declares; 0 where it declares none."""
    sizes = [
        struct.unpack_from(">II", data, box.content + 4)
        for box in _within(data, b"meta", b"iprp", b"ipco", b"ispe")
        if box.end - box.content >= 12
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def one_association(data: bytes) -> bytes:
    """A file whose properties are assigned to its items in one box, where it has several.

    The format allows several only of different versions, and libavif refuses the rest; early
    encoders (cavif) wrote one for each item. What the box saves is filled up, so that nothing else
    moves.
    """
    containers = _within(data, b"meta", b"iprp")
    parts = _within(data, b"meta", b"iprp", b"ipma")
    versions = {data[part.content : part.content + 4] for part in parts}
    if len(parts) < 2 or len(versions) > 1 or len(containers) > 1:
        return data
    [container] = containers
    bounds = [part.start for part in parts[1:]] + [container.end]
    if [part.end for part in parts] != bounds or container.content != container.start + 8:
        return data
    count = sum(int.from_bytes(data[part.content + 4 : part.content + 8], "big") for part in parts)
    entries = b"".join(data[part.content + 8 : part.end] for part in parts)
    together = struct.pack(">I4s", 16 + len(entries), b"ipma") + versions.pop()
    together += struct.pack(">I", count) + entries
    saved = container.end - parts[0].start - len(together)
    return b"".join(
        [
            data[: container.start],
            struct.pack(">I4s", container.end - container.start - saved, b"iprp"),
            data[container.content : parts[0].start],
            together,
            struct.pack(">I4s", saved, b"free") + bytes(saved - 8),
            data[container.end :],
        ]
    )
