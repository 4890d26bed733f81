"""The samples of a FiftyOne dataset: the user's, those generated, and those mined."""

from typing import Any

from mincurate.curation.review import KEEP_TAG
from mincurate.dataset import ownership
from mincurate.errors import UserError

GENERATION = "generation"
"""Field of generated images alone: how each was made, and in which run."""
MINED_BY = "mined_by"
"""Field of mined images alone: the run that found each."""
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
        UserError: it holds patches, frames, clips or videos, or is not of images.
    """
    if samples._is_generated:
        parts = "patches" if samples._is_patches else "clips"
        if samples._is_frames:
            raise UserError(
                f"{what} shows frames: score the dataset of the videos itself; or save this view, "
                "in which every frame needs a picture (sample_frames=True), and score "
                "fiftyone:DATASET/VIEW."
            )
        raise UserError(
            f"{what} shows {parts} of samples and {IMAGE_ONLY}: score the dataset or a view of its "
            f"samples (with --objects FIELD for its objects), or export the {parts} as files and "
            "score their folder."
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
    if samples.media_type == "video":
        raise UserError(
            f"{what} holds videos, not images: `mincurate score "
            f"fiftyone:{samples._root_dataset.name}` ranks their frames."
        )
    raise UserError(f"{what} holds {samples.media_type} samples, not images.")


def real(samples: Any) -> Any:
    """A dataset or view without what mincurate generated, or mined and nobody has kept."""
    from fiftyone import ViewField as F

    view = samples.view()
    if _holds(samples, GENERATION):
        view = view.match(~F(GENERATION).exists())
    if _holds(samples, MINED_BY):
        view = view.match(~F(MINED_BY).exists() | F("tags").contains(KEEP_TAG))
    return view


def generated(samples: Any, keys: list[str] | None = None) -> Any:
    """The images that mincurate generated, or those of some generations."""
    from fiftyone import ViewField

    if not _holds(samples, GENERATION):
        return samples.select([])
    if keys is None:
        return samples.match(ViewField(GENERATION).exists())
    return samples.match(ViewField(f"{GENERATION}.run").is_in(keys))


def mined(samples: Any, key: str | None = None) -> Any:
    """The images that were mined, or those of one run."""
    from fiftyone import ViewField

    if not _holds(samples, MINED_BY):
        return samples.select([])
    of = ViewField(MINED_BY)
    return samples.match(of.exists() if key is None else of == key)


def kept(samples: Any) -> Any:
    """The mined images that a person has kept."""
    return mined(samples).match_tags(KEEP_TAG)


def candidates(samples: Any) -> Any:
    """The mined images that nobody has kept: they are proposals, not part of the dataset."""
    return mined(samples).match_tags(KEEP_TAG, bool=False)


def _holds(samples: Any, field: str) -> bool:
    """Whether a field by which mincurate knows its images is there and ours; tags are anybody's."""
    dataset = samples._root_dataset
    return field in ownership.read(dataset).fields and dataset.has_field(field)
