"""Bring tables of an earlier version up to date: what stands under which name.

Until 2026-11-28 ``minority_class`` was the class of the ranking in force, whatever it followed.
That is ``rarity_class`` now, and ``minority_class`` is the class of the minority score.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from mincurate.errors import UserError
from mincurate.ranking import classes, ranks, table_file
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run

RENAMED = {
    "minority_class": "rarity_class",
    "minority_class_within_label": "rarity_class_within_label",
}


def out_of_date(run: Run) -> bool:
    """Whether a scored run's table has its fields under the earlier names."""
    return "rarity_class" not in run.frame().columns


def rename_classes(run: Run, generations: list[Run]) -> None:
    """Rename the classes of a scored run and of what was generated from it, and add the others.

    Scores, ranks and classes of the ranking stay as they are.

    Raises:
        UserError: the run is too old to say what its ranking followed.
    """
    record, frame = run.record, run.frame().rename(columns=RENAMED)
    if "rank_by" not in record or "num_classes" not in record:
        raise UserError(f"The run {run.key} is too old to be renamed; score its images again.")
    column = classes.RANKINGS[record["rank_by"]]
    within_label = bool((record.get("settings") or {}).get("within_label"))
    ranked = frame.copy()
    edges = ranks.rank(ranked, column, int(record["num_classes"]), within_label)
    names = ["minority_class", "minority_class_within_label", "minority_percentile"]
    names += ["minority_percentile_low", "minority_percentile_high"]
    frame[names] = ranked[names]
    minority_edges = edges["minority_class_edges"]
    table_file.save_table(run, frame)
    run.update(minority_class_edges=minority_edges)
    for generation in generations:
        _rename_in_generation(generation, np.asarray(minority_edges, np.float64))


def _rename_in_generation(generation: Run, minority_edges: np.ndarray) -> None:
    path = generation.path / schema.SYNTHETIC
    frame = pd.read_parquet(path)
    if "rarity_class" in frame.columns:
        return
    frame = frame.rename(columns=RENAMED)
    scores = frame["minority_score"].to_numpy(np.float64)
    frame["minority_class"] = np.searchsorted(minority_edges, scores)
    atomic_files.write_table(path, pa.Table.from_pandas(frame, preserve_index=False))
    flat = frame.drop(columns=["minority_score_draws", "layer_distances"])
    atomic_files.write_atomically(
        generation.path / schema.SYNTHETIC_CSV, flat.to_csv(index=False).encode()
    )
