"""What the operators of the App ask of a dataset, and do, beside the pipelines of their own names.

The dataset is a ``fiftyone.Dataset``. Every function may raise `UserError`, with a sentence for the
user.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mincurate.curation import export as exports
from mincurate.curation import gather, rebalance, review
from mincurate.dataset import (
    app_config,
    current_state,
    delete,
    generated,
    lookup,
    ownership,
    tags,
)
from mincurate.dataset import samples as parts
from mincurate.errors import UserError
from mincurate.progress import Reporter
from mincurate.ranking import compare
from mincurate.ranking import tail as tails
from mincurate.ranking.compare import Comparison
from mincurate.runs import atomic_files, schema, store
from mincurate.runs.store import Run

if TYPE_CHECKING:
    from mincurate.pipelines.augment import Augmented
    from mincurate.pipelines.rebalance import Filled

VIEWS = {
    "rarest-objects": "Objects, rarest first",
    "rarest-first": "Rarest first",
    "most-minority": "Highest minority score first",
    "least-minority": "Lowest minority score first",
    app_config.SYNTHETIC: "Generated images, rarest first",
    app_config.MINED: "Mined images, the most like the examples first",
    "odd": "Odd images (they fit nothing), rarest first",
    "broken": "Broken files: blank, blurred, copies, unreadable",
    "unscorable": "Files without a score",
    "duplicates": "Exact copies, side by side",
}
"""Saved views that mincurate makes, with a title for each."""


# Runs of a dataset


def find_run(dataset: Any, key: str | None = None) -> Run:
    """The run ``key`` of a dataset; by default the one that it shows."""
    return lookup.find(dataset, key)


def find_run_of_images(dataset: Any) -> Run:
    """The run that a dataset shows, whose rows are whole images.

    Raises:
        UserError: they are objects.
    """
    run = lookup.find(dataset)
    run.check_whole_images()
    return run


def current_run(dataset: Any) -> Run | None:
    """The run that a dataset shows, if its files are on this machine."""
    return lookup.current(dataset)


def scored_runs(dataset: Any) -> list[Run]:
    """Scored runs of a dataset, oldest first."""
    return lookup.scored(dataset)


def generations(dataset: Any) -> list[Run]:
    """Generations with images in a dataset, oldest first."""
    return lookup.generations(dataset)


def mines(dataset: Any) -> list[Run]:
    """Runs that mined images into a dataset, oldest first."""
    return lookup.mines(dataset)


def run_exists(key: str) -> bool:
    """Whether there is a run of this key."""
    return key in {run.key for run in store.all_runs()}


def saved_views(dataset: Any) -> dict[str, str]:
    """Names and titles of the saved views that mincurate made in a dataset."""
    ours = ownership.read(dataset).views
    views = {n: t for n, t in VIEWS.items() if n in ours and dataset.has_saved_view(n)}
    if not views:
        lookup.find(dataset)  # tells to score it first
        raise UserError("The ranked views of this dataset were deleted; score it again.")
    return views


# Score


def place(samples: Any) -> str:
    """``fiftyone:NAME[/VIEW]`` for a dataset or a view; an unnamed view is saved."""
    return lookup.place(samples)


def images_to_score(samples: Any) -> Any:
    """The images of a dataset or view without generated ones."""
    return parts.real(parts.flat(samples, "This view"))


def count_images(dataset: Any) -> int:
    """Images in a dataset without generated ones."""
    return int(parts.real(parts.images(dataset)).count())


# Generate


@dataclass(frozen=True)
class Counts:
    """Images of a scored run.

    Attributes:
        classes: by ordinal class, the rarest first.
        labels: by label, in alphabetical order.
    """

    classes: dict[int, int]
    labels: dict[str, int]


def guides(run: Run) -> dict[str, str]:
    """Whose classes can guide, with a title for each: ``rarity`` and ``minority``.

    ``rarity`` alone where the ranking is that of the minority score.
    """
    tail = tails.look(run)
    titles = {"rarity": f"the ranking that is shown ({tail.rank_by})"}
    if tail.rank_by != "minority" or tail.within_label:
        titles["minority"] = "the minority score (the paper's)"
    return titles


def counts(run: Run, by: str = "rarity") -> Counts:
    """How many images of a scored run are of each class and label.

    Args:
        run: the run.
        by: whose classes, ``rarity`` or ``minority``.

    Raises:
        UserError: there are no such classes.
    """
    if by not in ("rarity", "minority"):
        raise UserError(f"Images are rare by rarity or by minority, not by {by!r}.")
    column = f"{by}_class"
    columns = ["label", column, "status"]
    frame = pd.read_parquet(run.path / schema.SCORES, columns=columns)
    scored = frame[frame["status"] == "ok"]
    classes = scored[column].astype("int64").value_counts().sort_index(ascending=False)
    names = scored["label"].value_counts().sort_index()
    return Counts(
        {int(number): int(n) for number, n in zip(classes.index, classes, strict=True)},
        {str(name): int(n) for name, n in names.items()},
    )


def images_to_vary(dataset: Any, selected: list[str]) -> dict[str, str]:
    """Sets of scored images that can be varied, with a title for each: ``selection``, ``tag:NAME``.

    Args:
        dataset: the dataset.
        selected: ids of the selected samples.
    """
    real = parts.real(parts.images(dataset))
    if not real.has_field("content_hash"):
        return {}
    real = real.exists("content_hash")
    chosen = real.select(selected).count() if selected else 0
    sets = {"selection": f"The {chosen:,} selected images"} if chosen else {}
    by_tag = real.count_sample_tags()
    for tag in sorted(by_tag, key=lambda tag: (tag != review.KEEP_TAG, tag)):
        sets[f"tag:{tag}"] = f"The {by_tag[tag]:,} images tagged {tag}"
    return sets


def hashes_to_vary(dataset: Any, like: str, selected: list[str]) -> list[str]:
    """Content hashes of the images of one of `images_to_vary`."""
    return generated.selection(dataset.name, ",".join(selected) if like == "selection" else like)


def augment(dataset: Any, *, reporter: Reporter, **settings: Any) -> "Augmented":
    """Generate from the run that a dataset shows, and add the images to the dataset.

    Args:
        dataset: the dataset.
        reporter: hears of progress.
        settings: of `AugmentSettings`, by name.
    """
    from mincurate.pipelines import augment as pipeline

    run = lookup.find(dataset)
    return pipeline.augment(run, dataset=dataset.name, reporter=reporter, **settings)


# Rebalance


def images_in_use(dataset: Any) -> pd.DataFrame:
    """Real and accepted generated images, with the labels and tags of today, without dropped ones.

    Returns:
        One row per image; see `curation.selection`.
    """
    return gather.in_use(_images(dataset))


def rebalance_plan(images: pd.DataFrame, by: Any, to: Any, cap: int) -> pd.DataFrame:
    """What every label or class has and lacks: see `curation.rebalance.plan_for`."""
    return rebalance.plan_for(images, by, to, cap)


def write_weights(images: pd.DataFrame, by: Any, to: Any, path: Path) -> int:
    """Write a sampling weight for every image to a CSV file; returns the number of images."""
    weights = rebalance.weights_for(images, by, to)
    atomic_files.write_atomically(path, weights.to_csv(index=False).encode())
    return len(weights)


def fill(
    dataset: Any, plan: pd.DataFrame, *, by: Any, reporter: Reporter, **settings: Any
) -> "list[Filled]":
    """Generate what a plan lacks, and add the images to the dataset; arguments as for `augment`."""
    from mincurate.pipelines import rebalance as pipeline

    run = lookup.find(dataset)
    return pipeline.fill(run, plan, by=by, dataset=dataset.name, reporter=reporter, **settings)


# Evaluate, compare


def can_train(generation: Run, base: Run) -> bool:
    """Whether a classifier can be trained: two labels, and accepted images of one of them."""
    by_label = tails.look(base).images["label"].value_counts()
    names = by_label.index[by_label >= 2]
    table = pd.read_parquet(generation.path / schema.SYNTHETIC, columns=["label", "accepted"])
    usable = table["accepted"].astype(bool) & table["label"].isin(names)
    return len(names) >= 2 and bool(usable.any())


def compare_runs(dataset: Any, first: str, second: str) -> Comparison:
    """Compare the rankings in force of two scored runs of a dataset."""
    return compare.compare(lookup.find(dataset, first), lookup.find(dataset, second))


# Export, delete


def split_fields(dataset: Any) -> list[str]:
    """Fields of text or a classification, which may hold the splits."""
    import fiftyone as fo

    return sorted(
        name
        for name, field in dataset.get_field_schema().items()
        if name != "filepath"
        and (
            getattr(field, "document_type", None) is fo.Classification
            or isinstance(field, fo.StringField)
        )
    )


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export of mincurate."""
    try:
        json.loads((folder / exports.RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def export_counts(
    dataset: Any, split_field: str, *, include_rejected: bool
) -> tuple[int, int, dict[str, int]]:
    """Real and generated images that `export` would write, and those left out, by reason."""
    rows, excluded = exports.select(
        _images(dataset, split_field), include_rejected=include_rejected
    )
    synthetic = int((rows["source"] == "synthetic").sum())
    return len(rows) - synthetic, synthetic, excluded


def export(
    dataset: Any, folder: Path, split_field: str, *, reporter: Reporter, **settings: Any
) -> exports.Exported:
    """Write the real and the accepted generated images to a folder.

    Args:
        dataset: the dataset.
        folder: a new folder.
        split_field: field with the split of every real image; empty for none.
        reporter: hears of progress.
        settings: of `curation.export.export`.
    """
    table = _images(dataset, split_field)
    return exports.export(table, folder, reporter=reporter, **settings)


def labelled(dataset: Any) -> bool:
    """Whether the run that a dataset shows has labels."""
    return tails.look(lookup.find(dataset)).labels is not None


def words_on_deleting(run: Run, *, keep_dataset: bool) -> str:
    """What `delete_run` deletes, as part of a sentence."""
    return delete.words(run, keep_dataset=keep_dataset)


def delete_run(dataset: Any, run: Run, *, keep_dataset: bool) -> bool:
    """Delete a run; returns whether the dataset is still there."""
    from mincurate.dataset.database import fiftyone

    name = dataset.name
    delete.delete_run(run, keep_dataset=keep_dataset)
    return bool(fiftyone().dataset_exists(name))


def _images(dataset: Any, split_field: str = "") -> pd.DataFrame:
    """All images of the run that a dataset shows, and of its generations; see `gather.gather`."""
    run = lookup.find(dataset)
    state = current_state.read(run, dataset.name)
    splits = tags.field(dataset.name, split_field) if split_field else {}
    return gather.gather(
        run,
        tags=state.tags,
        splits=splits,
        frame=state.frame,
        boxes=state.boxes or None,
        mined=state.mined,
    )
