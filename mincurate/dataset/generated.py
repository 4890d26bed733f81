"""Generated images in a FiftyOne dataset: added, placed on the map, linked, and taken out again.

They never become part of a ranking of real images, nor of a later scoring: the field ``generation``
keeps them apart, and the ranked views leave them out.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
from pymongo.errors import PyMongoError

from mincurate.dataset import app_config, brain_map, destination, ownership, removal, writer
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import FIELDS, PREDICTED, RUN, SYNTHETIC, SYNTHETIC_FIELDS
from mincurate.dataset.database import check_database, fiftyone, load, place, quiet, writing
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs.store import Run


def check(name: str, scored: Run) -> None:
    """Raise `UserError` unless images generated from a scored run can be added to the dataset."""
    check_database()
    dataset = load(name)
    current = ownership.read(dataset).current
    if current != scored.key:
        shows = f"shows run {current}" if current else "shows no run"
        raise UserError(
            f"The dataset {name!r} {shows}, not {scored.key}, whose ranks the images would get: "
            f"give the command of {scored.key} again first, or use --no-fiftyone."
        )
    destination.check_synthetic(dataset)


def selection(name: str, like: str) -> list[str]:
    """Content hashes of the samples that ``like`` names: ``tag:NAME``, ``view:NAME``, or ids.

    Raises:
        UserError: there is no such tag, view or sample, or none of them was scored.
    """
    check_database()
    dataset = load(name)
    kind, _, value = like.partition(":")
    if kind == "tag" and value:
        samples = parts.images(dataset).match_tags(value)
        if not len(samples):
            tags = ", ".join(sorted(dataset.distinct("tags"))) or "none"
            raise UserError(f"No sample of {name!r} is tagged {value!r}; its tags are: {tags}.")
    elif kind == "view" and value:
        if not dataset.has_saved_view(value):
            views = ", ".join(dataset.list_saved_views()) or "none"
            raise UserError(f"{name!r} has no saved view {value!r}; its views are: {views}.")
        samples = parts.flat(dataset.load_saved_view(value), f"The view {value!r} of {name!r}")
    else:
        ids = [part.strip() for part in like.split(",") if part.strip()]
        present = set(parts.images(dataset).values("id"))
        unknown = [i for i in ids if i not in present]
        if unknown or not ids:
            raise UserError(
                f"--like is tag:NAME, view:NAME or sample ids of {name!r}; "
                f"{(unknown or [like])[0]!r} is none of them."
            )
        samples = parts.images(dataset).select(ids)
    scored = "content_hash" in ownership.read(dataset).fields
    hashes = parts.real(samples).values("content_hash") if scored else []
    hashes = [content_hash for content_hash in hashes if content_hash]
    if not hashes:
        raise UserError(f"None of the images of {like!r} in {name!r} is a scored real image.")
    return hashes


def write(run: Run, frame: pd.DataFrame, name: str, reporter: Reporter = SILENT) -> int:
    """Add the images of a generation to the dataset; again, it changes nothing.

    Args:
        frame: the table of the generation, one row per image.

    Returns:
        How many samples were added.

    Raises:
        UserError: the database does not answer.
    """
    check_database()
    with writing(name, reporter):
        return _write(run, frame, name, reporter)


def _write(run: Run, frame: pd.DataFrame, name: str, reporter: Reporter) -> int:
    fo = fiftyone()
    dataset = load(name)
    destination.check_synthetic(dataset)
    destination.check_run(name, run)
    try:
        with reporter.task("Writing dataset", len(frame), "images") as advance, quiet():
            _declare(fo, dataset)
            present = set(parts.generated(dataset, [run.key]).values("filepath"))
            new = frame[~frame["path"].isin(present)]
            ids = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
            samples = [_sample(fo, dict(row), run, ids) for row in new.to_dict("records")]
            _register(dataset, run)
            writer.add_in_batches(dataset, samples, advance)
            advance(len(frame) - len(new))
            brain_map.write(dataset)
            app_config.save_views(fo, dataset)
            app_config.save_synthetic_view(dataset)
            app_config.group_fields(fo, dataset)
            dataset.save()
            ownership.copy(dataset)
            run.update(dataset_ids={name: str(dataset._doc.id)}, database=place())
    except PyMongoError as error:
        raise UserError(
            f"FiftyOne's database was lost while writing ({type(error).__name__}). The images are "
            f"in {run.path}; give the same command again to store them, which takes seconds."
        ) from error
    return len(new)


def remove(run: Run, name: str) -> bool:
    """Take the images of a generation out of the dataset; files stay.

    Returns:
        Whether there was anything to remove.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return False
    dataset = fo.load_dataset(name)
    entries = ownership.read(dataset)
    if run.key not in entries.generations:
        return False
    ownership.save(dataset, entries)  # it may have been read from the run that goes
    with quiet():
        dataset.delete_samples(parts.generated(dataset, [run.key]))
        if dataset.has_run(run.key):
            dataset.delete_run(run.key)
        entries = removal.without(ownership.read(dataset), run.key)
        ownership.save(dataset, entries)
        if not entries.generations:
            removal.strip_generated(dataset)
        if entries.current:
            brain_map.write(dataset)
            app_config.save_views(fo, dataset)
            app_config.group_fields(fo, dataset)
            dataset.save()
        ownership.copy(dataset)
        removal.finish(dataset)
    return True


def _declare(fo: Any, dataset: Any) -> None:
    writer.declare(fo, dataset, SYNTHETIC_FIELDS | {name: FIELDS[name] for name in writer.OF_SCORE})
    if not dataset.has_field(PREDICTED):
        ownership.claim(dataset, fields=[PREDICTED])
        dataset.add_sample_field(
            PREDICTED,
            fo.EmbeddedDocumentField,
            fo.Classification,
            description="Label of a generated image; how sure the classifier is",
        )


def _sample(fo: Any, row: dict[Any, Any], run: Run, ids: dict[str, str]) -> Any:
    """One generated image with everything that is known of it."""
    values: dict[str, Any] = {
        field: cast(row[field])
        for field, cast in (
            ("rarity", float),
            ("minority_score", float),
            ("minority_score_se", float),
            ("rarity_class", int),
            ("minority_percentile", float),
            ("minority_class", int),
            ("neighbor_distance", float),
            ("embedding_rarity", float),
            ("minority_score_calibrated", float),
            ("content_hash", str),
        )
        if field in FIELDS and not pd.isna(row.get(field))  # earlier generations have fewer
    }
    values[RUN] = run.record["base"]
    values["source"] = SYNTHETIC
    values["target_class"] = int(row["target_class"])
    values["flagged"] = _text(row["reason"])
    values["nearest_real"] = row["nearest_real"]
    values["nearest_real_id"] = ids.get(row["nearest_real"])
    settings = run.record["settings"]
    values["generation"] = {
        "seed": str(row["seed"]),  # 63 bits are more than the App's numbers hold
        "sampler": row["sampler"],
        "solver": row["solver"],
        "steps": int(row["steps"]),
        "guidance_scale": settings["guidance_scale"],
        "by": settings.get("by"),
        "model": run.record["model"]["hash"],
        "run": run.key,
        "start": _text(row["start"]),
    }
    if _text(row["label"]) is not None:
        values[PREDICTED] = fo.Classification(
            label=row["label"], confidence=float(row["label_confidence"])
        )
    values = {key: value for key, value in values.items() if value is not None}
    return fo.Sample(filepath=row["path"], tags=[SYNTHETIC, run.key], **values)


def _text(value: object) -> str | None:
    """A cell of the table, in which what is missing may be NaN."""
    return value if isinstance(value, str) else None


def _register(dataset: Any, run: Run) -> None:
    record = run.record
    config = dataset.init_run(
        method="mincurate augment",
        settings=record["settings"],
        base=record["base"],
        folder=str(run.path),
        model_hash=record["model"]["hash"],
        counts=record["counts"],
        gate=record["gate"],
    )
    dataset.register_run(run.key, config, overwrite=True)
    entries = ownership.read(dataset)
    generation = {"base": record["base"], "folder": str(run.path.resolve())}
    generations = entries.generations | {run.key: generation}
    ownership.save(dataset, replace(entries, generations=generations))
