"""Mined images in a FiftyOne dataset: added for review, and taken out again.

Until a person keeps one (tag ``rare-keep``) it is a proposal: it has no label and no rank, and
neither a scoring nor a plan counts it.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
from pymongo.errors import PyMongoError

from mincurate.curation.review import KEEP_TAG
from mincurate.dataset import app_config, destination, ownership, removal, writer
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import MINED, MINED_FIELDS
from mincurate.dataset.database import check_database, fiftyone, load, place, quiet, writing
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs.store import Run


def check(name: str, scored: Run) -> None:
    """Raise `UserError` unless images mined for a scored run can be added to the dataset."""
    check_database()
    dataset = load(name)
    if scored.key not in ownership.read(dataset).runs:
        raise UserError(
            f"The dataset {name!r} does not show run {scored.key}: `mincurate sync {scored.key} "
            f"--dataset {name}` writes it there; or use --no-fiftyone."
        )
    destination.check_mined(dataset)


def paths(name: str) -> set[str]:
    """The files of a dataset."""
    check_database()
    return set(load(name).values("filepath"))


def kept_labels(dataset: Any, names: dict[str, str | None]) -> dict[str, str | None]:
    """The mined images of a dataset that were kept, by path, with their labels.

    Args:
        names: the labels that images have now, by path; the proposed one counts without any.
    """
    kept = parts.kept(dataset)
    if not len(kept):
        return {}
    values = kept.values(["filepath", "proposed_label"])
    return {path: names.get(path) or label for path, label in zip(*values, strict=True)}


def write(run: Run, frame: pd.DataFrame, name: str, reporter: Reporter = SILENT) -> int:
    """Add mined images to the dataset; again, it changes nothing.

    Args:
        frame: the table of the run, one row per image.

    Returns:
        How many samples were added.

    Raises:
        UserError: the database does not answer.
    """
    check_database()
    with writing(name, reporter):
        try:
            return _write(run, frame, name, reporter)
        except PyMongoError as error:
            raise UserError(
                f"FiftyOne's database was lost while writing ({type(error).__name__}). The table "
                f"is in {run.path}; give the same command again to store the images."
            ) from error


def _write(run: Run, frame: pd.DataFrame, name: str, reporter: Reporter) -> int:
    fo = fiftyone()
    dataset = load(name)
    destination.check_mined(dataset)
    destination.check_run(name, run)
    with reporter.task("Writing dataset", len(frame), "images") as advance, quiet():
        writer.declare(fo, dataset, MINED_FIELDS)
        ids = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
        new = frame[~frame["path"].isin(ids)]
        samples = [_sample(fo, row, run, ids) for row in new.to_dict("records")]
        _register(dataset, run)
        writer.add_in_batches(dataset, samples, advance)
        advance(len(frame) - len(new))
        app_config.save_mined_view(dataset)
        app_config.group_fields(fo, dataset)
        dataset.save()
        ownership.copy(dataset)
        run.update(dataset_ids={name: str(dataset._doc.id)}, database=place())
    return len(new)


def _sample(fo: Any, row: dict[Any, Any], run: Run, ids: dict[str, str]) -> Any:
    values = {
        parts.MINED_BY: run.key,
        "mined_from": row["pool_path"],
        "mined_likeness": float(row["likeness"]),
        "mined_similarity": float(row["similarity"]),
        "nearest_example": row["nearest_example"],
        "nearest_example_id": ids.get(row["nearest_example"]),
        "proposed_label": row["proposed_label"],
    }
    present = {name: value for name, value in values.items() if isinstance(value, str | float)}
    return fo.Sample(filepath=row["path"], tags=[MINED, run.key], **present)


def _register(dataset: Any, run: Run) -> None:
    record = run.record
    config = dataset.init_run(
        method="mincurate mine",
        settings=record["settings"],
        base=record["base"],
        folder=str(run.path),
        counts=record["counts"],
    )
    dataset.register_run(run.key, config, overwrite=True)
    entries = ownership.read(dataset)
    mine = {"base": record["base"], "folder": str(run.path.resolve())}
    ownership.save(dataset, replace(entries, mines=entries.mines | {run.key: mine}))


def remove(run: Run, name: str) -> bool:
    """Take the images of a run that mined out of the dataset; files stay.

    Those that were kept, or that have become part of the dataset otherwise (other tags, values in
    fields), stay as samples of the user's, without what mining wrote.

    Returns:
        Whether there was anything to remove.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return False
    dataset = fo.load_dataset(name)
    entries = ownership.read(dataset)
    if run.key not in entries.mines:
        return False
    ownership.save(dataset, entries)  # it may have been read from the run that goes
    with quiet():
        samples = parts.mined(dataset, run.key)
        staying = samples.select(_taken_up(dataset, run))
        dataset.delete_samples(samples.exclude(staying))
        staying.untag_samples([MINED, run.key])
        for field in set(MINED_FIELDS) & set(entries.fields):
            staying.set_field(field, None).save(field)
        if dataset.has_run(run.key):
            dataset.delete_run(run.key)
        ownership.save(dataset, removal.without(ownership.read(dataset), run.key))
        if not ownership.read(dataset).mines:
            removal.strip_mined(dataset)
        if entries.current:
            app_config.group_fields(fo, dataset)
            dataset.save()
        ownership.copy(dataset)
        removal.finish(dataset)
    return True


def _taken_up(dataset: Any, run: Run) -> list[str]:
    """Ids of mined images that are the user's by now; those copied into the run's folder go."""
    fields = set(dataset.get_field_schema()) - {*removal.OF_FIFTYONE, *MINED_FIELDS}
    documents = dataset._sample_collection.find(
        {parts.MINED_BY: run.key}, dict.fromkeys(["filepath", "tags", *fields], 1)
    )
    ours = {MINED, run.key, *removal.VERDICTS} - {KEEP_TAG}
    folder = f"{run.path.resolve()}/"
    return [
        str(document["_id"])
        for document in documents
        if not document["filepath"].startswith(folder)
        and (
            set(document.get("tags") or ()) - ours
            or any(document.get(field) is not None for field in fields)
        )
    ]
