"""Untrusted text made safe to print, file names, labels, reasons; and the noun for rows."""

from collections.abc import Mapping
from typing import Any


def visible(text: str) -> str:
    r"""Escape (``\n``, ``\u202e``) characters that are invisible or change the text around them.

    These are line breaks, control characters, lone surrogates and marks of the writing direction.
    Joiners stay: Persian and emoji need them.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\u200c\u200d" else c.encode("unicode_escape").decode()
        for c in text
    )


def short(text: str, limit: int = 160) -> str:
    """`visible` text of at most ``limit`` characters; what is too long loses its middle."""
    text = visible(text)
    head = limit // 3
    return text if len(text) <= limit else f"{text[:head]}…{text[head + 1 - limit :]}"


def noun(source: Mapping[str, Any]) -> str:
    """What the rows of a run are: images, objects or tiles.

    Args:
        source: of the run's record.
    """
    return "tiles" if source.get("tiles") else "objects" if source.get("objects") else "images"
