"""The `mincurate score` command that resumes a run."""

import shlex
from pathlib import Path
from typing import Any

from mincurate import paths
from mincurate.runs import store
from mincurate.runs.store import Run
from mincurate.text import visible

VALUES = (
    *("model", "prompt", "sigma", "n_draws", "perceptual", "embedding", "image_size", "fit"),
    *("seed", "precision", "max_images", "train_minutes", "train_steps", "num_classes"),
    *("label_field", "path_column", "vectors", "objects", "context", "tiles"),
)
"""Recorded settings that are options with a value; given if the record has one."""
SWITCHES = {
    "adaptive": {True: "--adaptive"},
    "labels": {True: "--labels", False: "--no-labels"},
    "within_label": {True: "--within-label"},
    "umap": {False: "--no-umap"},
    "quick": {True: "--quick"},
    "follow_links": {True: "--follow-links"},
}
"""Recorded settings that are switches, and the option for values that are not the default."""


def command(run: Run) -> str:
    """The `mincurate score` command that resumes a run, from any folder.

    An option appended to it overrides the same option in it.
    """
    record = run.record
    settings, source = record.get("settings") or {}, record.get("source") or {}
    settings = {k: v for k, v in settings.items() if k not in _without_effect(settings)}
    value, of_dataset = str(source.get("value") or "PATH"), source.get("kind") == "fiftyone"
    several = [str(Path(path).absolute()) for path in source.get("paths") or ()]
    words = ["mincurate", "score", *(several or [f"fiftyone:{value}" if of_dataset else value])]
    for name in VALUES:
        if settings.get(name) is not None:
            words += ["--" + name.replace("_", "-"), str(settings[name])]
    for name, options in SWITCHES.items():
        words += [options[settings[name]]] if settings.get(name) in options else []
    if rank_by := record.get("rank_by") or settings.get("rank_by"):
        words += ["--rank-by", str(rank_by)]
    dataset = record.get("dataset")
    if not dataset:
        words.append("--no-fiftyone")
    elif not (of_dataset and dataset == store.source_dataset(run)):
        words += ["--dataset", str(dataset)]
    folder = run.path.resolve()
    if folder.parent != (paths.home() / "runs").resolve():
        words += ["--output", str(folder)]
    return quoted(*words)


def _without_effect(settings: dict[str, Any]) -> set[str]:
    """Recorded settings whose options `mincurate score` refuses, because others override them."""
    names = {"train_minutes"} if settings.get("train_steps") is not None else set()
    if settings.get("vectors") is not None:
        names |= {"embedding"}
    if settings.get("objects") is None:
        names |= {"context"}
    if settings.get("model") is not None:
        names |= {"train_minutes", "train_steps", "image_size"}
    return names


def quoted(*words: str) -> str:
    """A command as one line that can be pasted into a shell."""
    return " ".join(shlex.quote(visible(word)) for word in words)


def lasting(spec: str, *, bare: bool = False) -> str:
    """A folder or ``NAME@FILE`` that is valid from any folder: files become absolute.

    Args:
        bare: a word without a slash may be a folder too.
    """
    path = Path(spec).expanduser()
    if (bare or "/" in spec) and path.exists():
        return str(path.resolve())
    name, at, file = spec.partition("@")
    path = Path(file).expanduser()
    return f"{name}@{path.resolve()}" if at and path.exists() else spec
