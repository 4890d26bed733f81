"""The samples of a FiftyOne dataset: the user's, and those that mincurate generated."""

from typing import Any

from mincurate.dataset import ownership
from mincurate.errors import UserError

GENERATION = "generation"
"""Field of generated images alone: how each was made, and in which run."""
IMAGE_ONLY = "mincurate scores whole images"


def images(dataset: Any) -> Any:
    """All samples of a dataset that are images, those of every group slice among them."""
    if dataset.media_type == "group":
        return dataset.select_group_slices(media_type="image")
    return dataset


def flat(samples: Any, what: str) -> Any:
    """A dataset or view as plain samples: groups made by a field of the samples are taken apart.

    Args:
        what: how messages call it.

    Raises:
        UserError: it holds patches, frames or clips, or is not of images.
    """
    if samples._is_generated:
        parts = "patches" if samples._is_patches else "frames" if samples._is_frames else "clips"
        raise UserError(
            f"{what} shows {parts} of samples and {IMAGE_ONLY}: score the dataset or a view of its "
            f"samples, or export the {parts} as files and score their folder."
        )
    if samples._is_dynamic_groups:
        samples = samples.flatten()
    if samples.media_type in ("image", None):
        return samples
    if samples.media_type == "group":
        slices = [s for s, kind in samples.group_media_types.items() if kind == "image"]
        if not slices:
            raise UserError(f"{what} is grouped and none of its slices holds images.")
        raise UserError(
            f"{what} is grouped (slices {', '.join(slices)}): save a view of the slice to score, "
            f"dataset.save_view({slices[0]!r}, dataset.select_group_slices({slices[0]!r})), and "
            f"score fiftyone:DATASET/{slices[0]}."
        )
    raise UserError(f"{what} holds {samples.media_type} samples, not images.")


def real(samples: Any) -> Any:
    """A dataset or view without the images that mincurate generated."""
    from fiftyone import ViewField

    if not _may_hold_generated(samples):
        return samples.view()
    return samples.match(~ViewField(GENERATION).exists())


def generated(samples: Any, keys: list[str] | None = None) -> Any:
    """The images that mincurate generated, or those of some generations."""
    from fiftyone import ViewField

    if not _may_hold_generated(samples):
        return samples.select([])
    if keys is None:
        return samples.match(ViewField(GENERATION).exists())
    return samples.match(ViewField(f"{GENERATION}.run").is_in(keys))


def _may_hold_generated(samples: Any) -> bool:
    """Whether the field that only generated images have is there and ours; tags are anybody's."""
    dataset = samples._root_dataset
    return GENERATION in ownership.read(dataset).fields and dataset.has_field(GENERATION)
