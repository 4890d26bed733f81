"""The map of the run that is shown, as a brain run: the Embeddings panel draws it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mincurate.dataset import boxes, object_ranks, ownership
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import BRAIN_KEY
from mincurate.runs import schema
from mincurate.runs.store import Run


def write(dataset: Any) -> None:
    """Register the points of the run that is shown, and of the images generated from it.

    The points come from the runs' files; vectors are not stored in the database.
    """
    import fiftyone.brain as fob

    record = ownership.claim(dataset, brain_runs=[BRAIN_KEY])
    if BRAIN_KEY in dataset.list_brain_runs():
        dataset.delete_brain_run(BRAIN_KEY)
    if not dataset.has_run(record.current or ""):
        return
    config = dataset.get_run_info(record.current).config
    folder = Path(config.folder)
    if getattr(config, "objects", None) is not None:
        _write_objects(dataset, Run(folder))
        return
    tables = [folder / schema.SCORES]
    tables += [
        Path(generation["folder"]) / schema.SYNTHETIC
        for generation in record.generations.values()
        if generation["base"] == record.current
    ]
    rows = [
        pd.read_parquet(table, columns=["path", "map_x", "map_y"])
        for table in tables
        if table.is_file()
    ]
    if not rows:
        return
    points = pd.concat(rows).drop_duplicates("path").set_index("path").dropna()
    ids, paths = parts.images(dataset).values(["id", "filepath"])
    present = pd.Series(ids, index=paths)
    present = present[present.index.isin(points.index)]
    if len(present) == 0:
        return
    fob.compute_visualization(
        parts.images(dataset).select(present.tolist(), ordered=True),
        points=points.loc[present.index].to_numpy(np.float64),
        brain_key=BRAIN_KEY,
        method="manual",
        progress=False,
    )


def _write_objects(dataset: Any, run: Run) -> None:
    """The same for a run of objects, whose points are those of its patches."""
    import fiftyone.brain as fob

    table, record = run.path / schema.SCORES, run.record
    if not table.is_file():
        return
    field = object_ranks.field_of(dataset, record)
    frame = pd.read_parquet(table, columns=["rel_path", "object_id", "map_x", "map_y"]).dropna()
    ids = object_ranks.view_ids(dataset, frame, record)
    points = dict(zip(ids, frame[["map_x", "map_y"]].to_numpy(np.float64), strict=True))
    samples, alone = parts.images(dataset), boxes.single(field)
    sample_of = boxes.ids(samples, field)
    present = set(sample_of.values() if alone else sample_of)
    points = {key: point for key, point in points.items() if key in present}
    if points:
        fob.compute_visualization(
            samples.select(list(points)) if alone else samples.exists(field.name),
            patches_field=None if alone else field.name,
            points=points,
            brain_key=BRAIN_KEY,
            method="manual",
            progress=False,
        )
