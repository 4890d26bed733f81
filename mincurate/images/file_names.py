"""File names that are not UTF-8, as text that a table can hold, and back."""

import os
import re


def is_text(path: str) -> bool:
    """Whether a path is valid UTF-8."""
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
