"""Read the images and labels of a FiftyOne dataset."""

import os
from pathlib import Path

from mincurate.dataset.app_config import SYNTHETIC, label_fields
from mincurate.dataset.database import check_database, fiftyone, load
from mincurate.errors import UserError
from mincurate.images.sources import Source


def read_sources(name: str, view: str | None, label_field: str | None = None) -> list[Source]:
    """The images of a dataset or of one of its saved views, as sources with sample ids.

    Synthetic samples are left out. Labels come from ``label_field``, or from the first
    classification field (``ground_truth`` before others).

    Raises:
        UserError: no such dataset, view or field, or not a dataset of images.
    """
    check_database()
    dataset = load(name)
    if dataset.media_type not in ("image", None):
        raise UserError(f"The dataset {name!r} holds {dataset.media_type} samples, not images.")
    if view is not None and view not in dataset.list_saved_views():
        views = ", ".join(dataset.list_saved_views()) or "none"
        raise UserError(f"The dataset {name!r} has no saved view {view!r}; it has: {views}.")
    samples = dataset.load_saved_view(view) if view else dataset.view()
    samples = samples.match_tags(SYNTHETIC, bool=False)
    found = label_fields(fiftyone(), samples)
    if label_field is not None and label_field not in found:
        raise UserError(
            f"The dataset {name!r} has no classification field {label_field!r}; it has: "
            f"{', '.join(found) or 'none'}."
        )
    field = label_field or next(iter(found), None)
    ids, paths = samples.values(["id", "filepath"])
    labels = samples.values(f"{field}.label") if field else [None] * len(ids)
    if not ids:
        raise UserError(f"There are no images in {name!r}{f' / {view!r}' if view else ''}.")
    root = os.path.commonpath([os.path.dirname(p) for p in paths])
    return [
        Source(path=p, rel_path=Path(os.path.relpath(p, root)).as_posix(), label=text, sample_id=i)
        for i, p, text in zip(ids, paths, labels, strict=True)
    ]
