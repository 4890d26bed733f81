"""What people say of rare images as they look through them: tags, and how far they have come."""

from collections.abc import Iterable
from dataclasses import dataclass

from mincurate.curation.export import DROP_TAG

KEEP_TAG = "rare-keep"
"""Rare and right: worth having more of (``augment --like tag:rare-keep``)."""
MISLABELLED_TAG = "mislabelled"
"""The label is wrong, whatever the image."""
SEEN_TAG = "rare-seen"
"""Looked at, and nothing to say."""
VERDICTS = (KEEP_TAG, DROP_TAG, MISLABELLED_TAG)
OPPOSITE = {KEEP_TAG: DROP_TAG, DROP_TAG: KEEP_TAG}
"""Saying the one takes back the other."""


@dataclass(frozen=True)
class Review:
    """How far the review of the tail has come.

    Attributes:
        images: in the tail.
        seen: of them looked at, which those with a verdict are.
        verdicts: how often each of `VERDICTS` was given.
    """

    images: int
    seen: int
    verdicts: dict[str, int]

    @property
    def share(self) -> float:
        """Of the tail that was looked at, 0 to 1."""
        return self.seen / self.images if self.images else 1.0


def review(tags: Iterable[Iterable[str]]) -> Review:
    """The state of a review from the tags of every image of the tail."""
    images = [set(found) for found in tags]
    return Review(
        len(images),
        sum(bool(found & {SEEN_TAG, *VERDICTS}) for found in images),
        {tag: sum(tag in found for found in images) for tag in VERDICTS},
    )
