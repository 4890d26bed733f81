"""Ordinal classes of scores that lie in many partitions, in memory that does not grow with them.

`classes.ordinal_classes` sorts all scores at once. Here the same classes come out of counts: the
scores are read four times, and every time sixteen more bits of each class's highest score are
known. Counts of partitions add up, so that nothing but them has to be in one place.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

DIGIT = 16
"""Bits that one reading settles."""
Chunks = Callable[[], Iterable[NDArray[np.floating]]]
"""Gives all scores, piece by piece, as often as it is called; NaN marks what has none."""


def class_tops(chunks: Chunks, num_classes: int) -> NDArray[np.float64]:
    """The highest score of every class but the last, ``(num_classes - 1,)``, non-decreasing.

    ``numpy.searchsorted(tops, scores)`` gives exactly what `classes.ordinal_classes` does: equal
    scores share the class that their middle member would have had. An empty class has the top of
    the class below it, or minus infinity.
    """
    n = sum(len(_keys(chunk)) for chunk in chunks())
    if n == 0 or num_classes < 2:
        return np.full(max(0, num_classes - 1), -np.inf)
    # Class c begins at the first position i with i * num_classes // n >= c.
    begins = -(-np.arange(1, num_classes) * n // num_classes)
    inside = np.minimum(begins, n - 1)
    keys, below, equal = _select(chunks, inside)
    middle = below + (equal - 1) // 2
    lower = (middle < begins) | (begins >= n)
    return np.where(lower, _scores(keys), _scores_before(chunks, keys))


def _select(
    chunks: Chunks, ranks: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """The keys at these ranks, how many keys are below each, and how many are equal to it."""
    prefixes = np.zeros(len(ranks), np.uint64)
    below = np.zeros(len(ranks), np.int64)
    equal = below
    for shift in range(64 - DIGIT, -1, -DIGIT):
        unique_prefixes = np.unique(prefixes)
        counts = np.zeros((len(unique_prefixes), 1 << DIGIT), np.int64)
        for chunk in chunks():
            keys = _keys(chunk) >> np.uint64(shift)
            digits = (keys & np.uint64((1 << DIGIT) - 1)).astype(np.int64)
            heads = keys >> np.uint64(DIGIT)
            slots = np.minimum(np.searchsorted(unique_prefixes, heads), len(unique_prefixes) - 1)
            here = unique_prefixes[slots] == heads
            added = np.bincount(slots[here] * (1 << DIGIT) + digits[here], minlength=counts.size)
            counts += added.reshape(counts.shape)
        rows = counts[np.searchsorted(unique_prefixes, prefixes)]
        upto = rows.cumsum(1)
        digits = (upto <= (ranks - below)[:, None]).sum(1)
        every = np.arange(len(ranks))
        equal = rows[every, digits]
        below = below + upto[every, digits] - equal
        prefixes = (prefixes << np.uint64(DIGIT)) | digits.astype(np.uint64)
    return prefixes, below, equal


def _scores_before(chunks: Chunks, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The highest score below each of ``keys``, minus infinity where there is none."""
    best = np.full(len(keys), -np.inf)
    order = np.argsort(keys, kind="stable")
    for chunk in chunks():
        chunk_keys = _keys(chunk)
        # The highest below a key is the highest of its own interval, or of one further down.
        places = np.searchsorted(keys[order], chunk_keys, side="right")
        tops = np.zeros(len(keys) + 1, np.uint64)
        np.maximum.at(tops, places, chunk_keys)
        tops = np.maximum.accumulate(tops)[:-1]
        best[order] = np.maximum(best[order], np.where(tops > 0, _scores(tops), -np.inf))
    return best


def _keys(scores: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the scores, which are without NaN; all above 0."""
    values = np.asarray(scores, np.float64)
    bits = (values[~np.isnan(values)] + 0.0).view(np.uint64)  # -0.0 and 0.0 are one score
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)


def _scores(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    sign = np.uint64(1 << 63)
    return np.where(keys & sign, keys & ~sign, ~keys).view(np.float64)
