"""What the App's form of `score` offers, and what is wrong with what is typed into it."""

from pathlib import Path
from typing import Any

from mincurate.dataset import boxes, labels
from mincurate.errors import UserError


def object_fields(samples: Any) -> list[str]:
    """The names of the fields with objects that can be ranked."""
    return [field.name for field in boxes.fields(samples)]


def vector_sources(dataset: Any) -> list[str]:
    """What `score` can take vectors from: fields of samples, and similarity indexes."""
    import fiftyone as fo

    kinds = (fo.VectorField, fo.ArrayField)
    fields = [f"fiftyone:{name}" for name in dataset.get_field_schema(ftype=kinds)]
    configs = {key: dataset.get_brain_info(key).config for key in dataset.list_brain_runs()}
    return fields + [
        f"brain:{key}"
        for key, config in configs.items()
        if config.type == "similarity" and not getattr(config, "patches_field", None)
    ]


def vectors_problem(dataset: Any, source: str | None) -> str | None:
    """Why vectors cannot be read, as far as their name tells."""
    if not source:
        return None
    kind, _, name = source.partition(":")
    if kind == "fiftyone":
        there = dataset.has_field(name)
        return None if there else f"The dataset {dataset.name!r} has no field {name!r}."
    if kind == "brain":
        there = dataset.has_brain_run(name)
        return None if there else f"The dataset {dataset.name!r} has no brain run {name!r}."
    there = Path(source).expanduser().is_file()
    return None if there else f"There is no file of vectors {source}."


def problem(**settings: Any) -> str | None:
    """What is wrong with settings of `score`, in the words of the command."""
    from mincurate.pipelines.score_settings import ScoreSettings

    try:
        ScoreSettings(**settings).settled()
    except UserError as error:
        return str(error)
    return None


def has_labels(samples: Any) -> bool:
    """Whether scoring these samples would find labels."""
    field = labels.choose(samples)
    return field is not None and len(samples.exists(field.name).limit(1)) > 0
