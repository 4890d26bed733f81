"""A run's images and those generated for it as they are now, for what counts or exports them."""

from typing import Any

import pandas as pd

from mincurate.curation import gather
from mincurate.errors import UserError
from mincurate.pipelines import new_files
from mincurate.progress import Reporter
from mincurate.runs import store
from mincurate.runs.store import Run


def gather_now(
    scored: Run,
    reporter: Reporter,
    *,
    splits: dict[str, str] | None = None,
    several_labels: bool = True,
) -> pd.DataFrame:
    """`gather.gather` with the tags and labels of today from the run's FiftyOne dataset.

    Where the dataset does not answer, those of the run count, and a warning says so.

    Args:
        splits: of real images, by path.
        several_labels: take all labels of an image that has several, or none of them.

    Raises:
        UserError: the run is not a finished scored one.
    """
    state = _of_dataset(scored, reporter)
    if not several_labels:
        state["labels"] = None
    return gather.gather(scored, splits=splits, **state)


def mined_now(scored: Run, reporter: Reporter) -> dict[str, str]:
    """Labels, by path, of the mined images that were kept and have one."""
    mined = _of_dataset(scored, reporter).get("mined") or {}
    return {path: label for path, label in mined.items() if label is not None}


def _of_dataset(scored: Run, reporter: Reporter) -> dict[str, Any]:
    if store.kind_of(scored) != store.SCORE or not scored.finished:
        return {}  # `gather` says what is wrong
    if changed := new_files.words_on_changes(scored):
        reporter.warn(changed)
    if not scored.record.get("dataset") and "dataset_id" not in scored.record["source"]:
        return {}
    from mincurate.dataset import current_state

    try:
        state = current_state.read(scored, reporter=reporter)
    except UserError as error:
        reporter.warn(f"Tags and corrected labels are not taken into account: {error}")
        return {}
    if state.differences:
        reporter.say(state.differences)
    return {
        "tags": state.tags,
        "frame": state.frame,
        "labels": state.several or None,
        "boxes": state.boxes or None,
        "mined": state.mined,
    }
