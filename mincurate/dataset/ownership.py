"""The record of what mincurate made in a FiftyOne dataset, by which it is removed again.

It lies in ``dataset.info["mincurate"]``, and a copy with every run that FiftyOne lists, because
users replace ``info``. A field, view or tag that it does not name is the user's: it is neither
overwritten nor removed.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

KEY = "mincurate"
"""Key of ``dataset.info``."""


@dataclass(frozen=True)
class Footprint:
    """What mincurate made in one dataset.

    Attributes:
        dataset_id: of the dataset that was written; a clone has another one.
        created: whether mincurate made the dataset itself.
        source: the folder or table that a dataset made by mincurate is of.
        name: under which mincurate created it.
        contents: digest of samples and labels when they were last written; see `removal.contents`.
        runs: keys of the scored runs.
        current: the run that the ranked views, the map and the panel show.
        generations: by key, the run whose ranks the generated images have (``base``) and where the
            files are (``folder``).
        mines: the same of the runs that mined images.
        fields: sample fields.
        views: saved views.
        tags: sample tags.
        workspaces: saved workspaces.
        brain_runs: brain keys.
        objects: digest of the objects in our field when they were last written.
        added: ``created_at``, ISO 8601, of the samples that were added to the user's dataset.
        app: parts of the App's settings that were empty before.
        frames_of: of a dataset of frames: the id of the videos' dataset, ``/``, and the view.
    """

    dataset_id: str = ""
    created: bool = False
    source: str | None = None
    name: str | None = None
    contents: str | None = None
    runs: list[str] = field(default_factory=list)
    current: str | None = None
    generations: dict[str, dict[str, str]] = field(default_factory=dict)
    mines: dict[str, dict[str, str]] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    workspaces: list[str] = field(default_factory=list)
    brain_runs: list[str] = field(default_factory=list)
    objects: str | None = None
    added: list[str] = field(default_factory=list)
    app: list[str] = field(default_factory=list)
    frames_of: str | None = None


def read(dataset: Any) -> Footprint:
    """The record of a dataset; empty where mincurate has written nothing.

    A clone is the user's, and so are all of its samples, whatever the copied record says.
    """
    names = {f.name for f in fields(Footprint)}
    stored = _plain(dataset.info.get(KEY) or _of_runs(dataset))
    footprint = Footprint(**{name: value for name, value in stored.items() if name in names})
    if footprint.dataset_id != str(dataset._doc.id):
        return replace(footprint, dataset_id=str(dataset._doc.id), created=False, added=[])
    return footprint


def save(dataset: Any, footprint: Footprint) -> None:
    """Store the record."""
    dataset.info[KEY] = asdict(footprint)
    dataset.save()


def change(dataset: Any, **entries: Any) -> Footprint:
    """Replace entries of the record."""
    footprint = replace(read(dataset), **entries)
    save(dataset, footprint)
    return footprint


def claim(dataset: Any, **names: list[Any]) -> Footprint:
    """Add names to lists of the record, before what they name is made.

    In this order a process that is killed in between leaves nothing that would pass for the user's.
    """
    footprint = read(dataset)
    changes = {}
    for kind, new in names.items():
        present = list(getattr(footprint, kind))
        if missing := [name for name in new if name not in present]:
            changes[kind] = [*present, *missing]
    return change(dataset, **changes) if changes else footprint


def forget(dataset: Any) -> None:
    """Remove the record."""
    dataset.info.pop(KEY, None)
    dataset.save()


def copy(dataset: Any) -> None:
    """Keep a copy of the record with every run that is registered in the dataset."""
    footprint = read(dataset)
    for key in {*footprint.runs, *footprint.generations, *footprint.mines} & set(
        dataset.list_runs()
    ):
        config = dataset.get_run_info(key).config
        config.footprint = asdict(footprint)
        dataset.update_run_config(key, config)


def _of_runs(dataset: Any) -> dict[str, Any]:
    """The copy of the record; empty where there is none."""
    for key in dataset.list_runs():
        if entries := getattr(dataset.get_run_info(key).config, "footprint", None):
            return dict(entries)
    return {}


def conflicts(
    dataset: Any,
    *,
    fields: Any = (),
    views: Any = (),
    workspaces: Any = (),
    brain_runs: Any = (),
) -> dict[str, list[str]]:
    """Which of these names are in use in the dataset by something that mincurate did not make.

    Returns:
        Kind, in words for the user, to names; kinds without a conflict are left out.
    """
    footprint = read(dataset)
    in_use = {
        "fields": (set(dataset.get_field_schema(flat=True)) - set(footprint.fields)) & set(fields),
        "saved views": (set(dataset.list_saved_views()) - set(footprint.views)) & set(views),
        "workspaces": (set(dataset.list_workspaces()) - set(footprint.workspaces))
        & set(workspaces),
        "brain runs": (set(dataset.list_brain_runs()) - set(footprint.brain_runs))
        & set(brain_runs),
    }
    return {kind: sorted(names) for kind, names in in_use.items() if names}


def _plain(value: Any) -> Any:
    """A stored value as dicts and lists of Python; the database's own kinds cannot be copied."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
