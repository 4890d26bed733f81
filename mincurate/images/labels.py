"""What counts as a label, and what is said about labels."""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

MISSING = frozenset(("", "NaN", "nan", "-NaN", "-nan", "None", "<NA>"))
"""What a missing value becomes as text."""
MISSING_IN_TABLES = MISSING | {
    *("NULL", "null", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA"),
    *("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""What pandas takes for a missing value in a CSV file besides, and thus writes and reads as one."""


def clean(value: object, missing: frozenset[str] = MISSING) -> str | None:
    """A cell or a folder's name as a label; None where it is missing.

    Spaces around it do not count, nor does the form of Unicode (NFC), and ``1.0`` is ``1``, which
    becomes ``1.0`` in any column of numbers where one is missing.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = unicodedata.normalize("NFC", str(value)).strip()
    if re.fullmatch(r"-?\d+\.0+", text):
        text = text.partition(".")[0]
    return None if text in missing else text


def words(names: Iterable[str], labelled: int, total: int, where: str, what: str = "images") -> str:
    """How many labels there are and which, where they are from, and how many images have none."""
    labels = sorted({label for name in names if (label := clean(name)) is not None})
    line = f"{len(labels):,} ({listed(labels)}) from {where}"
    if total > labelled:
        line += f"; {total - labelled:,} of {total:,} {what} have none"
    return line + _alike(labels)


def _alike(labels: Iterable[str]) -> str:
    """A clause on labels that differ in nothing but their case."""
    by_case: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        by_case[label.casefold()].append(label)
    pairs = [" and ".join(map(repr, group)) for group in by_case.values() if len(group) > 1]
    return f"; {listed(pairs, 3)} differ only in case" if pairs else ""


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
