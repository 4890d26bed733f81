"""Which images are exported, and why the others are not.

The input is a table with one row per image; columns that are missing count as empty.

==================  ===============================================================================
``path``            the file; required, each once
``content_hash``    of the file, the same for copies
``source``          ``real`` or ``synthetic``; required
``label``           its class
``labels``          list of all its labels, where there are several
``boxes``           list of ``(label, (x, y, width, height))``; coordinates are shares of the
                    image's width and height, from its top left corner; of a run of objects, each
                    with its ranks as a third entry (`gather_objects.FACTS`)
``rarity_class``    ordinal class
``split``           name of the split, such as ``train``; of all real images or of none
``tags``            list of strings; rows tagged ``outlier-drop`` are left out
``accepted``        of synthetic images: whether the gate accepted it; required where there are any
``reason``          of synthetic images: why the gate rejected it
``nearest_real``    of synthetic images: ``path`` of the nearest real image, or a list
``start``           of synthetic images: ``path`` of the real image it was made from, or empty
``run``, ``seed``   of synthetic images: what made it
``mined``           of real images: whether it was found in a pool
``weight``          how often to draw it, compared with a real image of its label; empty where no
                    trial of classifiers tells
==================  ===============================================================================
"""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from mincurate.errors import UserError

DROP_TAG = "outlier-drop"
TRAIN = "train"
"""The split of a synthetic image that has none, where real images have one."""
COLUMNS = [
    *("path", "source", "label", "labels", "boxes", "rarity_class", "split", "tags", "accepted"),
    *("reason", "nearest_real", "start", "run", "seed", "weight", "content_hash", "mined"),
]


def texts(value: Any) -> list[str]:
    """A cell that is missing, a text or a list of texts, as a list."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list | tuple | set | np.ndarray):
        return [str(item) for item in value]
    return []


def select(
    frame: pd.DataFrame, *, include_rejected: bool = False
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows to export, with every described column, and how many are left out, by reason.

    Where real images have splits, a synthetic image (of ``train`` unless ``split`` says otherwise)
    is exported only if the image it started from, all its nearest real images and all copies of
    these are of its own split: else training would leak into the test set. Where that is not
    known it is left out.

    Raises:
        UserError: the table is not as described.
    """
    rows = _complete(frame)
    synthetic = rows["source"] == "synthetic"
    dropped = np.array([DROP_TAG in texts(tags) for tags in rows["tags"]], dtype=bool)
    accepted = np.array([pd.notna(value) and bool(value) for value in rows["accepted"]], dtype=bool)
    reasons = np.full(len(rows), None, dtype=object)
    if rows["split"].notna().any():
        rows["split"] = rows["split"].mask(synthetic & rows["split"].isna(), TRAIN)
        unsplit = int(rows["split"].isna().sum())
        if unsplit:
            raise UserError(f"{unsplit} real images have no split; give one to all or to none.")
        splits_of = _splits_by_path(rows[~synthetic])
        for i in np.flatnonzero(synthetic):
            near = texts(rows["nearest_real"].iloc[i])
            kin = [splits_of.get(path) for path in [*near, *texts(rows["start"].iloc[i])]]
            if any(splits and splits - {rows["split"].iloc[i]} for splits in kin):
                reasons[i] = "near an image of another split"
            elif not near or None in kin:
                reasons[i] = "split of its nearest real image not known"
    if not include_rejected:
        for i in np.flatnonzero(synthetic.to_numpy() & ~accepted):
            reasons[i] = "not accepted" + "".join(f": {r}" for r in texts(rows["reason"].iloc[i]))
    reasons[dropped] = f"tagged {DROP_TAG}"
    chosen = np.array([reason is None for reason in reasons], dtype=bool)
    return rows[chosen].copy(), dict(sorted(Counter(reasons[~chosen].tolist()).items()))


def _splits_by_path(real: pd.DataFrame) -> dict[str, set[str]]:
    """The splits that hold an image: its own, and those of its copies."""
    content = real["content_hash"].where(real["content_hash"].notna(), real["path"])
    splits = real.groupby(content)["split"].agg(set)
    return dict(zip(real["path"], content.map(splits), strict=True))


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    for column in ("path", "source"):
        if column not in frame or frame[column].isna().any():
            raise UserError(f"The table to export needs the column {column} in every row.")
    others = set(frame["source"]) - {"real", "synthetic"}
    if others:
        raise UserError(f"The source of an image is real or synthetic, not {others.pop()!r}.")
    if "accepted" not in frame and (frame["source"] == "synthetic").any():
        raise UserError("Synthetic images need the column accepted; run the quality gate first.")
    repeated = frame["path"][frame["path"].duplicated()]
    if len(repeated):
        raise UserError(f"The table to export holds {str(repeated.iloc[0])!r} more than once.")
    return frame.reindex(columns=COLUMNS).astype(object).reset_index(drop=True)
