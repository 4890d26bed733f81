"""What the App's panel shows of a scored run: views of its images, verdicts, pictures, diagnostics.

Tables and figures come from `LongTail`. Views hold real images of the run that the dataset shows,
unless they are of generated ones.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mincurate import hashing
from mincurate.curation import review
from mincurate.curation.first_page import PAGE
from mincurate.curation.selection import DROP_TAG
from mincurate.dataset import app_config, boxes, labels, lookup, object_ranks
from mincurate.dataset import samples as parts
from mincurate.dataset.labels import LabelField
from mincurate.errors import UserError
from mincurate.images import regions
from mincurate.images.bit_depth import Rendering
from mincurate.images.regions import FileOrRegion
from mincurate.pipelines import review as learning
from mincurate.pipelines.review import Reviewed
from mincurate.ranking import tail as tails
from mincurate.ranking import tail_groups
from mincurate.ranking.tail import NO_LABEL, LongTail
from mincurate.ranking.tail_groups import RareGroup
from mincurate.report import diagnostics_text, figures
from mincurate.runs.schema import SYNTHETIC
from mincurate.runs.store import Run

THUMBNAIL_QUALITY = 80
"""WebP quality of thumbnails, 0 to 100."""


def shown(dataset: Any) -> LongTail:
    """The long tail of the run that a dataset shows; kept until the run's files change.

    Raises:
        UserError: the dataset shows no run, or the run's files are gone.
    """
    return tails.look(lookup.find(dataset))


def groups(tail: LongTail) -> tuple[RareGroup, ...]:
    """The groups of similar images in the tail, largest first; kept.

    Raises:
        UserError: the run's embeddings cannot be read.
    """
    return tail_groups.find_groups(tail)


def diagnostics(tail: LongTail) -> list[dict[str, str]]:
    """The run's diagnostics, each with ``title``, ``value``, ``what``, ``good``, ``verdict``."""
    return diagnostics_text.diagnostics(tail.record.get("diagnostics") or {})


# Views: of samples, or where a run ranks objects, of patches


def _value(dataset: Any, name: str) -> str:
    """The path of a row's value: in its sample, or in the object that its patch shows."""
    run = lookup.find(dataset)
    if run.objects is None:
        return name
    return f"{object_ranks.field_of(dataset, run.record).name}.{name}"


def ranked(dataset: Any) -> Any:
    """Ranked images, rarest first."""
    rarity = _value(dataset, "rarity")
    return _of_run(dataset).exists(rarity).sort_by(rarity, reverse=True)


def of_classes(dataset: Any, low: int, high: int) -> Any:
    """Images with ``rarity_class`` from ``low`` to ``high``, rarest first."""
    from fiftyone import ViewField as F

    number = F(_value(dataset, "rarity_class"))
    return ranked(dataset).match((number >= low) & (number <= high))


def of_cell(dataset: Any, tail: LongTail, label: str, number: int) -> Any:
    """Images of one label and one class of `LongTail.labels`, rarest first."""
    from fiftyone import ViewField as F

    view = of_label(dataset, tail, label)
    if not tail.within_label:
        return view.match(F("rarity_class") == number)
    low, high = tail.scores_of(tail.classes_of_all == number)
    score = F(_value(dataset, tail.column))
    return view.match((score >= low) & (score <= high))


def of_label(dataset: Any, tail: LongTail, label: str) -> Any:
    """Images of one label of `LongTail.labels`, rarest first.

    Raises:
        UserError: the dataset has no label field any more.
    """
    if tail.run.objects is not None:
        of_objects = LabelField(object_ranks.field_of(dataset, tail.record).name, "Detection")
        return labels.matching(ranked(dataset), of_objects, None if label == NO_LABEL else label)
    field = app_config.label_field(dataset, tail.record)
    if field is None:
        raise UserError(f"The dataset {dataset.name!r} has no label field any more.")
    return labels.matching(ranked(dataset), field, None if label == NO_LABEL else label)


def of_tail(dataset: Any, tail: LongTail) -> Any:
    """The rarest tenth without copies, rarest first."""
    from fiftyone import ViewField as F

    rarity, copy = _value(dataset, "rarity"), _value(dataset, "duplicate_of")
    view = _of_run(dataset).match(F(rarity) >= tail.tail_rarity)
    if view.has_field(copy):
        view = view.exists(copy, False)
    return view.sort_by(rarity, reverse=True)


def not_seen(dataset: Any, tail: LongTail) -> Any:
    """Images of the tail that have neither a verdict nor been looked at, rarest first."""
    tags = [review.SEEN_TAG, *review.VERDICTS]
    if tail.run.objects is None:
        return of_tail(dataset, tail).match_tags(tags, bool=False)
    return of_tail(dataset, tail).match(~_tags(dataset).contains(tags))


def tagged(dataset: Any, tag: str) -> Any:
    """All samples, or all objects, with a tag."""
    if lookup.find(dataset).objects is None:
        return dataset.match_tags(tag)
    return _of_run(dataset).match(_tags(dataset).contains(tag))


def _tags(dataset: Any) -> Any:
    """The tags of the object that a patch shows."""
    from fiftyone import ViewField as F

    return F(_value(dataset, "tags"))


def generated(dataset: Any) -> Any:
    """Images generated from the run, rarest first."""
    keys = [run.key for run in generations(dataset)]
    return parts.generated(dataset, keys).sort_by("rarity", reverse=True)


def of_rows(dataset: Any, rows: pd.DataFrame) -> Any:
    """The samples, or the objects, of rows of `LongTail.images`, in this order."""
    samples = dataset if lookup.find(dataset).objects is None else _of_run(dataset)
    return samples.select(ids_of_rows(dataset, rows), ordered=True)


def ids_of_rows(dataset: Any, rows: pd.DataFrame) -> list[str]:
    """Ids of the samples or objects of rows, in this order; those that are gone are left out."""
    run = lookup.find(dataset)
    if run.objects is None:
        return ids_of(dataset, rows["path"])
    present = set(_of_run(dataset).values("id"))
    ids = object_ranks.view_ids(dataset, rows, run.record)
    return [key for key in ids if key in present]


def named(tail: LongTail, rel_path: str) -> pd.DataFrame:
    """The row of `LongTail.images` of this name; none where there is no such."""
    return tail.images[tail.images["rel_path"] == rel_path]


def ids_of(dataset: Any, paths: Iterable[str]) -> list[str]:
    """Ids of the samples of files, in this order; files without a sample are left out."""
    from fiftyone import ViewField as F

    files = list(paths)
    pairs = dataset.match(F("filepath").is_in(files)).values(["filepath", "id"])
    by_path = dict(zip(*pairs, strict=True))
    return [by_path[path] for path in files if path in by_path]


def digest(stages: list[dict[str, Any]] | None) -> str:
    """A hash of a view's stages, equal for equal views: copies differ in their ``_uuid`` only,
    and those of patches in the state of their temporary dataset."""

    def kwargs(stage: dict[str, Any]) -> list[Any]:
        return [pair for pair in stage.get("kwargs") or [] if not str(pair[0]).startswith("_")]

    return hashing.fingerprint([(s.get("_cls"), kwargs(s)) for s in stages or []])


def _of_run(dataset: Any) -> Any:
    """Real images with scores of the run that the dataset shows, or its objects as patches."""
    from fiftyone import ViewField as F

    run = lookup.find(dataset)
    if run.objects is not None:
        field = object_ranks.field_of(dataset, run.record)
        return object_ranks.patches(dataset, field, run.key)
    real = parts.real(parts.images(dataset))
    return real.match(F(app_config.RUN) == run.key)


# Verdicts


def verdicts() -> dict[str, str]:
    """The tags that record what a user thinks of an image, with a label for each."""
    return {
        review.KEEP_TAG: "Keep",
        DROP_TAG: "Drop",
        review.MISLABELLED_TAG: "Mislabelled",
        review.SEEN_TAG: "Seen",
    }


def set_verdict(dataset: Any, ids: list[str], tag: str) -> str:
    """Tag samples with one of `verdicts`, replacing its opposite; an empty tag removes all of them.

    Returns:
        What was done, in words.
    """
    run = lookup.find(dataset)
    if run.objects is not None:
        return _tag_objects(dataset, run, ids, tag)
    view = dataset.select(ids)
    count = f"{len(view)} image{'s' if len(view) != 1 else ''}"
    if tag not in verdicts():
        view.untag_samples(list(verdicts()))
        return f"verdicts removed from {count}"
    if opposite := review.OPPOSITE.get(tag):
        view.match_tags(opposite).untag_samples(opposite)
    view.tag_samples(tag)
    return f"{count} tagged {tag}"


def _tag_objects(dataset: Any, run: Run, ids: list[str], tag: str) -> str:
    """The same for objects, by the ids of their patches."""
    field = object_ranks.field_of(dataset, run.record)
    objects = object_ranks.select(dataset, field, ids)
    number = objects.count(boxes.inside(field))
    if not number:
        raise UserError("Select objects: show them in the grid first, with All, rarest first.")
    count = f"{number} object{'s' if number != 1 else ''}"
    if tag not in verdicts():
        objects.untag_labels(list(verdicts()), label_fields=field.name)
        return f"verdicts removed from {count}"
    if opposite := review.OPPOSITE.get(tag):
        objects.untag_labels(opposite, label_fields=field.name)
    objects.tag_labels(tag, label_fields=field.name)
    return f"{count} tagged {tag}"


def mark_seen(dataset: Any, sample_id: str) -> None:
    """Tag a sample, or the object of a patch, as looked at, if it is of the tail."""
    tail = shown(dataset)
    opened = of_tail(dataset, tail).select(sample_id)
    if tail.run.objects is None:
        opened.tag_samples(review.SEEN_TAG)
    elif len(opened):
        _tag_objects(dataset, tail.run, [sample_id], review.SEEN_TAG)


def progress(dataset: Any, tail: LongTail) -> review.Review:
    """How many images of the tail have been looked at, and the verdicts."""
    tags = "tags" if tail.run.objects is None else _value(dataset, "tags")
    return review.review(of_tail(dataset, tail).values(tags))


# Review that learns


def review_of(dataset: Any, tail: LongTail) -> Reviewed:
    """What the verdicts on the images of the run have taught; kept while they stay the same."""
    of_run = _of_run(dataset)
    return learning.look(
        tail,
        of_run.match_tags(review.KEEP_TAG).values("filepath"),
        of_run.match_tags(DROP_TAG).values("filepath"),
        of_run.match_tags([review.SEEN_TAG, review.MISLABELLED_TAG]).values("filepath"),
    )


def mark_page(dataset: Any, page: pd.DataFrame) -> None:
    """Tag the images of a page as looked at."""
    dataset.select(ids_of(dataset, page["path"])).tag_samples(review.SEEN_TAG)


def review_page(dataset: Any, tail: LongTail) -> pd.DataFrame:
    """The images to look at next, a page of them: rows of `LongTail.images`."""
    frame = review_of(dataset, tail).frame
    page = frame.loc[frame["verdict"] == "", "content_hash"].head(PAGE)
    return tail.images.set_index("content_hash", drop=False).loc[page]


# Generated images


def generations(dataset: Any) -> list[Run]:
    """The generations from the run that the dataset shows, oldest first."""
    base = lookup.find(dataset).key
    return [run for run in lookup.generations(dataset) if run.record.get("base") == base]


def generated_table(dataset: Any) -> pd.DataFrame | None:
    """One row per different image generated from the run; ``None`` if there is none.

    ``by`` says whose class was asked for, ``rarity`` or ``minority``, and ``reached`` whether the
    image is of that class, or rarer.
    """
    tables = []
    for run in generations(dataset):
        if (run.path / SYNTHETIC).is_file():
            frame, settings = pd.read_parquet(run.path / SYNTHETIC), run.record["settings"]
            by = settings.get("by", "rarity")
            reached = frame[f"{by}_class"] >= min(settings["target_classes"])
            tables.append(frame.assign(by=by, reached=reached))
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True).drop_duplicates("content_hash")
    return table.assign(rel_path=table["path"], width=None, height=None)


# Pictures, as addresses that hold them


def thumbnails(tail: LongTail, rows: pd.DataFrame, side: int) -> list[str]:
    """A square thumbnail of every row, ``side`` pixels; empty where the file cannot be read.

    Args:
        tail: of the run, by whose record files become pixels.
    """
    rendering = Rendering.of_record(tail.record.get("rendering"))
    drawn = figures.thumbnails(rows, side, square=True, rendering=rendering)
    return [
        "" if picture is None else figures.data_uri(picture, THUMBNAIL_QUALITY) for picture in drawn
    ]


def object_place(
    dataset: Any, tail: LongTail, patch_id: str
) -> tuple[FileOrRegion, "pd.Series[Any]"] | None:
    """Where the picture of an object is, and its row; ``None`` where it has no rank."""
    ids = object_ranks.view_ids(dataset, tail.images, tail.record)
    if patch_id not in ids:
        return None
    row = tail.images.iloc[[ids.index(patch_id)]]
    return regions.places(row)[0], row.iloc[0]


def score_pictures(
    tail: LongTail, place: FileOrRegion, content_hash: str, side: int
) -> dict[str, str]:
    """What the minority score compares in one image: ``original``, ``reconstruction``, ``heat``.

    The first call loads the run's networks, which takes seconds.

    Args:
        tail: of the run.
        place: the image, or the part of one.
        content_hash: of it.
        side: of the pictures in pixels; smaller images are enlarged in whole steps up to it.

    Raises:
        UserError: the file cannot be read, or the networks are gone.
    """
    from mincurate.report.error_map import difference, overlay

    compared = difference(tail.run, place, content_hash)
    pictures = {
        "original": compared.original,
        "reconstruction": compared.reconstruction,
        "heat": overlay(compared.original, compared.heat),
    }
    return {name: figures.data_uri(_enlarged(p, side)) for name, p in pictures.items()}


def _enlarged(picture: figures.Picture, side: int) -> figures.Picture:
    """In whole steps, so that pixels stay pixels."""
    height, width = picture.shape[:2]
    times = max(1, side // height)
    size = (times * width, times * height)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))


def colors(num_classes: int) -> list[str]:
    """A colour for every class, common to rare, as ``#rrggbb``."""
    return figures.class_colors(num_classes)
