"""The review of the rare images: the tags people give, and the progress."""

from collections.abc import Iterable
from dataclasses import dataclass

from mincurate.curation.selection import DROP_TAG

KEEP_TAG = "rare-keep"
"""Rare and correct: worth having more of (``augment --like tag:rare-keep``)."""
MISLABELLED_TAG = "mislabelled"
"""The label is wrong, whatever the image."""
SEEN_TAG = "rare-seen"
"""Looked at, without a verdict."""
VERDICTS = (KEEP_TAG, DROP_TAG, MISLABELLED_TAG)
OPPOSITE = {KEEP_TAG: DROP_TAG, DROP_TAG: KEEP_TAG}
"""Giving the one removes the other."""


@dataclass(frozen=True)
class Review:
    """The progress of the review of the tail.

    Attributes:
        images: in the tail.
        seen: looked at, those with a verdict included.
        verdicts: how often each of `VERDICTS` was given.
    """

    images: int
    seen: int
    verdicts: dict[str, int]

    @property
    def share(self) -> float:
        """Share of the tail that was looked at, 0 to 1."""
        return self.seen / self.images if self.images else 1.0


def review(tags: Iterable[Iterable[str]]) -> Review:
    """The state of a review from the tags of every image of the tail."""
    images = [set(names) for names in tags]
    return Review(
        len(images),
        sum(bool(names & {SEEN_TAG, *VERDICTS}) for names in images),
        {tag: sum(tag in names for names in images) for tag in VERDICTS},
    )
