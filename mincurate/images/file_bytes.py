"""The bytes of a file, or of an object in a storage, read as a whole and within a limit."""

import os
import stat

from mincurate.errors import UnreadableImage
from mincurate.images import object_storage
from mincurate.images.file_kinds import why
from mincurate.images.file_names import on_disk

MAX_BYTES = 2**30


def read(path: str) -> bytes:
    """The bytes of a file or an object; raises `UnreadableImage`."""
    try:
        data = (
            object_storage.read(path, MAX_BYTES)
            if object_storage.remote(path)
            else _read_file(path)
        )
    except OSError as error:
        raise UnreadableImage(why(error)) from None
    except ValueError:  # a NUL character in it
        raise UnreadableImage("not a valid path") from None
    if not data:
        raise UnreadableImage("empty file")
    return data


def _read_file(path: str) -> bytes:
    path = on_disk(path)
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
        folder = stat.S_ISDIR(status.st_mode)
        raise UnreadableImage("a folder, not a file" if folder else "not a regular file")
    if status.st_size > MAX_BYTES:
        gib = f"{status.st_size / 2**30:.1f} GiB"
        raise UnreadableImage(f"too large: {gib}, the limit is {MAX_BYTES >> 30} GiB")
    with open(path, "rb") as file:
        return file.read(MAX_BYTES)
