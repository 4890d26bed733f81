"""Generated images in a FiftyOne dataset: added, placed on the map, linked, and taken out again.

They never become part of a ranking of real images, nor of a later scoring: their tag keeps them
apart, and the ranked views leave them out.
"""

from typing import Any

import pandas as pd
from pymongo.errors import PyMongoError

from mincurate.dataset import app_config, writer
from mincurate.dataset.app_config import FIELDS, SYNTHETIC, SYNTHETIC_FIELDS
from mincurate.dataset.database import check_database, fiftyone, load, quiet, writing
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs.store import Run

PREDICTED = "predicted_label"


def check(name: str, scored: Run) -> None:
    """Raise `UserError` unless the dataset answers and shows the run that is generated from."""
    check_database()
    dataset = load(name)
    current = (dataset.info.get(writer.MADE_BY) or {}).get("current")
    if current != scored.key:
        shows = f"shows run {current}" if current else "shows no run"
        raise UserError(
            f"The dataset {name!r} {shows}, not {scored.key}, whose ranks the images would get: "
            f"give the command of {scored.key} again first, or use --no-fiftyone."
        )


def selection(name: str, like: str) -> list[str]:
    """Content hashes of the samples that ``like`` names: ``tag:NAME``, ``view:NAME``, or ids.

    Raises:
        UserError: there is no such tag, view or sample, or none of them was scored.
    """
    check_database()
    dataset = load(name)
    kind, _, value = like.partition(":")
    if kind == "tag" and value:
        samples = dataset.match_tags(value)
        if not len(samples):
            tags = ", ".join(sorted(dataset.distinct("tags"))) or "none"
            raise UserError(f"No sample of {name!r} is tagged {value!r}; its tags are: {tags}.")
    elif kind == "view" and value:
        if not dataset.has_saved_view(value):
            views = ", ".join(dataset.list_saved_views()) or "none"
            raise UserError(f"{name!r} has no saved view {value!r}; its views are: {views}.")
        samples = dataset.load_saved_view(value)
    else:
        ids = [part.strip() for part in like.split(",") if part.strip()]
        known = set(dataset.values("id"))
        unknown = [i for i in ids if i not in known]
        if unknown or not ids:
            raise UserError(
                f"--like is tag:NAME, view:NAME or sample ids of {name!r}; "
                f"{(unknown or [like])[0]!r} is none of them."
            )
        samples = dataset.select(ids)
    real = samples.match_tags(SYNTHETIC, bool=False)
    hashes = real.values("content_hash") if dataset.has_field("content_hash") else []
    found = [h for h in hashes if h]
    if not found:
        raise UserError(f"None of the images of {like!r} in {name!r} is a scored real image.")
    return found


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
    try:
        with reporter.task("Writing dataset", len(frame), "samples") as advance, quiet():
            _declare(fo, dataset)
            present = set(dataset.match_tags(run.key).values("filepath"))
            new = frame[~frame["path"].isin(present)]
            ids = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
            samples = [_sample(fo, dict(row), run, ids) for row in new.to_dict("records")]
            for start in range(0, len(samples), writer.BATCH):
                batch = samples[start : start + writer.BATCH]
                dataset.add_samples(batch, validate=False, progress=False)
                advance(len(batch))
            advance(len(frame) - len(new))
            _register(dataset, run)
            writer.write_map(dataset)
            app_config.save_synthetic_view(dataset)
            app_config.group_fields(fo, dataset)
            dataset.save()
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
    made = dict(dataset.info.get(writer.MADE_BY) or {})
    generations = dict(made.get("generations", {}))
    with quiet():
        samples = dataset.match_tags([SYNTHETIC, run.key], all=True)
        found = bool(len(samples)) or run.key in generations
        dataset.delete_samples(samples)
        if dataset.has_run(run.key):
            dataset.delete_run(run.key)
        generations.pop(run.key, None)
        if made:
            dataset.info[writer.MADE_BY] = made | {"generations": generations}
        dataset.save()
        if not len(dataset.match_tags(SYNTHETIC)):
            gone = [field for field in (*SYNTHETIC_FIELDS, PREDICTED) if dataset.has_field(field)]
            dataset.delete_sample_fields(gone)
            if dataset.has_saved_view(SYNTHETIC):
                dataset.delete_saved_view(SYNTHETIC)
        if found:
            writer.write_map(dataset)
            app_config.group_fields(fo, dataset)
            dataset.save()
    return found


def _declare(fo: Any, dataset: Any) -> None:
    kinds = {
        "int": fo.IntField,
        "float": fo.FloatField,
        "str": fo.StringField,
        "dict": fo.DictField,
    }
    for field, (kind, description, indexed) in SYNTHETIC_FIELDS.items():
        if not dataset.has_field(field):
            dataset.add_sample_field(field, kinds[kind], description=description)
        if indexed:
            dataset.create_index(field)
    if not dataset.has_field(PREDICTED):
        dataset.add_sample_field(
            PREDICTED,
            fo.EmbeddedDocumentField,
            fo.Classification,
            description="Label that the guidance's classifier sees in a generated image",
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
            ("neighbor_distance", float),
            ("embedding_rarity", float),
            ("minority_score_calibrated", float),
            ("content_hash", str),
        )
        if field in FIELDS and not pd.isna(row[field])
    }
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
    made = dict(dataset.info.get(writer.MADE_BY) or {})
    generations = dict(made.get("generations", {}))
    generations[run.key] = {"base": record["base"], "folder": str(run.path.resolve())}
    dataset.info[writer.MADE_BY] = made | {"generations": generations}
    dataset.save()
