"""The command that makes a run again."""

import shlex
from pathlib import Path

from mincurate import paths
from mincurate.runs.store import Run
from mincurate.text import visible

REPEATED = (
    *("model", "sigma", "n_draws", "perceptual", "embedding", "image_size", "fit", "seed"),
    *("precision", "max_images", "train_minutes", "train_steps", "num_classes", "label_field"),
)
"""Settings that are repeated whenever they are known."""
SWITCHED = {
    "adaptive": {True: "--adaptive"},
    "labels": {True: "--labels", False: "--no-labels"},
    "within_label": {True: "--within-label"},
    "umap": {False: "--no-umap"},
}
"""Settings that are switches, with what is said for a value that is not the default."""


def command(run: Run) -> str:
    """The `mincurate score` command that goes on with a run, whatever folder it is given in.

    An option that is appended to it counts instead of the same option inside.
    """
    record = run.record
    settings, source = record.get("settings") or {}, record.get("source") or {}
    value, of_dataset = str(source.get("value") or "PATH"), source.get("kind") == "fiftyone"
    words = ["mincurate", "score", f"fiftyone:{value}" if of_dataset else value]
    for name in REPEATED:
        if settings.get(name) is not None:
            words += ["--" + name.replace("_", "-"), str(settings[name])]
    for name, said in SWITCHED.items():
        words += [said[settings[name]]] if settings.get(name) in said else []
    if rank_by := record.get("rank_by") or settings.get("rank_by"):
        words += ["--rank-by", str(rank_by)]
    dataset = record.get("dataset")
    if not dataset:
        words.append("--no-fiftyone")
    elif not (of_dataset and dataset == value.partition("/")[0]):
        words += ["--dataset", str(dataset)]
    place = run.path.resolve()
    if place.parent != (paths.home() / "runs").resolve():
        words += ["--output", str(place)]
    return quoted(*words, "--resume")


def quoted(*words: str) -> str:
    """A command as one line that can be pasted into a shell."""
    return " ".join(shlex.quote(visible(word)) for word in words)


def lasting(spec: str, *, bare: bool = False) -> str:
    """A folder or ``NAME@FILE`` that holds wherever it is read: files become absolute, names stay.

    Args:
        bare: a word without a slash may be a folder too.
    """
    place = Path(spec).expanduser()
    if (bare or "/" in spec) and place.exists():
        return str(place.resolve())
    name, at, file = spec.partition("@")
    place = Path(file).expanduser()
    return f"{name}@{place.resolve()}" if at and place.exists() else spec
