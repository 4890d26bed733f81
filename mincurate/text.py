"""Text from strangers, made harmless to show: names of files, labels, reasons."""


def visible(text: str) -> str:
    r"""Spell out (``\n``, ``\u202e``) what would be invisible or change its surroundings.

    Line breaks, control characters, lone surrogates and marks that turn the direction of reading;
    joiners, which Persian and emoji need, stay.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\u200c\u200d" else c.encode("unicode_escape").decode()
        for c in text
    )


def short(text: str, limit: int = 160) -> str:
    """At most ``limit`` characters, the middle left out; without invisible ones."""
    text = visible(text)
    head = limit // 3
    return text if len(text) <= limit else f"{text[:head]}…{text[head + 1 - limit :]}"
