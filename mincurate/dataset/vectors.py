"""Vectors that a FiftyOne dataset holds: in a field of its samples, or in a brain run."""

from typing import Any

from mincurate.dataset.database import check_database, load
from mincurate.dataset.reader import split
from mincurate.errors import UserError, reason
from mincurate.features import vector_files
from mincurate.features.vector_files import Rows


def of_field(value: str, field: str) -> Rows:
    """The vectors in a field of the dataset ``NAME[/VIEW]``, by sample id.

    Raises:
        UserError: there is no such field, or it holds something else.
    """
    return _field(_dataset(value), field)


def of_brain(value: str, key: str) -> Rows:
    """The embeddings of a brain run of the dataset ``NAME[/VIEW]``, by sample id.

    Those of a similarity index, or those that a visualization was made from.

    Raises:
        UserError: there is no such run, or it has no embeddings of whole images.
    """
    dataset = _dataset(value)
    keys = dataset.list_brain_runs()
    if key not in keys:
        there = ", ".join(keys) or "none"
        raise UserError(f"The dataset {dataset.name!r} has no brain run {key!r}; it has: {there}.")
    config = dataset.get_brain_info(key).config
    if getattr(config, "patches_field", None):
        raise UserError(f"The brain run {key!r} is of patches, and whole images are ranked.")
    if index := getattr(config, "similarity_index", None):
        return of_brain(value, index)
    if field := getattr(config, "embeddings_field", None):
        return _field(dataset, field)
    if config.type != "similarity":
        raise UserError(
            f"The brain run {key!r} keeps no embeddings: name their field (fiftyone:FIELD) or a "
            "similarity index."
        )
    try:
        vectors, ids, _ = dataset.load_brain_results(key).get_embeddings()
    except Exception as error:  # each backend has its own, and its own service
        raise UserError(
            f"The embeddings of the brain run {key!r} cannot be read: {reason(error)}."
        ) from error
    return Rows(vector_files.matrix(vectors, f"The brain run {key!r}"), [str(i) for i in ids])


def _dataset(value: str) -> Any:
    check_database()
    return load(split(value)[0])


def _field(dataset: Any, field: str) -> Rows:
    if not dataset.has_field(field):
        raise UserError(f"The dataset {dataset.name!r} has no field {field!r}.")
    ids, vectors = dataset.values(["id", field])
    return vector_files.stack(ids, vectors, f"The field {field!r} of {dataset.name!r}")
