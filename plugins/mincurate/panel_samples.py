"""FiftyOne's side of the panel: the run that a dataset shows, views of its samples, and tags."""

import json
from collections.abc import Iterable
from typing import Any

from fiftyone import ViewField as F

from mincurate import hashing
from mincurate.curation.review import OPPOSITE, SEEN_TAG, VERDICTS, Review, review
from mincurate.dataset import app_config, labels, lookup
from mincurate.dataset import samples as parts
from mincurate.errors import UserError
from mincurate.ranking import tail as tails
from mincurate.ranking.tail import NO_LABEL, LongTail
from mincurate.runs.store import Run


def shown(dataset: Any) -> LongTail:
    """The long tail of the run whose scores a dataset shows.

    Raises:
        UserError: it shows none, or the run's files are gone.
    """
    return tails.look(lookup.find(dataset))


def generations(dataset: Any) -> list[Run]:
    """What was generated from the run that is shown, the first made first."""
    base = lookup.find(dataset).key
    return [run for run in lookup.generations(dataset) if run.record.get("base") == base]


def ranked(dataset: Any) -> Any:
    """The real images with a score of the run that is shown, rarest first."""
    return _of_run(dataset).exists("rarity").sort_by("rarity", reverse=True)


def _of_run(dataset: Any) -> Any:
    """The real images whose scores are from the run that is shown."""
    real = parts.real(parts.images(dataset))
    return real.match(F(app_config.RUN) == lookup.find(dataset).key)


def of_classes(dataset: Any, low: int, high: int) -> Any:
    """Real images of a range of classes, rarest first."""
    wanted = (F("rarity_class") >= low) & (F("rarity_class") <= high)
    return ranked(dataset).match(wanted)


def of_cell(dataset: Any, tail: LongTail, label: str, number: int) -> Any:
    """Real images of one label and class, rarest first."""
    view = of_label(dataset, tail, label)
    if not tail.within_label:
        return view.match(F("rarity_class") == number)
    low, high = tail.scores_of(tail.classes_of_all == number)
    return view.match((F(tail.column) >= low) & (F(tail.column) <= high))


def of_label(dataset: Any, tail: LongTail, label: str) -> Any:
    """Real images of one label, rarest first."""
    wanted = None if label == NO_LABEL else label
    return labels.matching(ranked(dataset), label_field(dataset, tail), wanted)


def generated(dataset: Any) -> Any:
    """The images generated from the run that is shown, rarest first."""
    keys = [run.key for run in generations(dataset)]
    return parts.generated(dataset, keys).sort_by("rarity", reverse=True)


def of_tail(dataset: Any, tail: LongTail) -> Any:
    """The rarest tenth, copies left out, as `LongTail.tail` has it."""
    view = _of_run(dataset).match(F("rarity") >= tail.tail_rarity)
    if dataset.has_field("duplicate_of"):
        view = view.exists("duplicate_of", False)
    return view.sort_by("rarity", reverse=True)


def label_field(dataset: Any, tail: LongTail) -> labels.LabelField:
    """The field that holds the labels of the run: the one it was told, or the usual one.

    Raises:
        UserError: there is no label field any more.
    """
    if field := app_config.label_field(dataset, tail.record):
        return field
    raise UserError(f"The dataset {dataset.name!r} has no field of labels any more.")


def ids_of(dataset: Any, paths: Iterable[str]) -> list[str]:
    """Ids of the samples of some files, in their order; files that are not there are left out."""
    wanted = list(paths)
    found = dataset.match(F("filepath").is_in(wanted)).values(["filepath", "id"])
    by_path = dict(zip(*found, strict=True))
    return [by_path[path] for path in wanted if path in by_path]


def progress(dataset: Any, tail: LongTail) -> Review:
    """How far the review of the tail has come."""
    return review(of_tail(dataset, tail).values("tags"))


def unseen(dataset: Any, tail: LongTail) -> Any:
    """What of the tail nobody has looked at yet, rarest first."""
    return of_tail(dataset, tail).match_tags([SEEN_TAG, *VERDICTS], bool=False)


def tag(dataset: Any, ids: list[str], verdict: str) -> int:
    """Say it of samples; its opposite is taken back."""
    samples = dataset.select(ids)
    if verdict in OPPOSITE:
        samples.match_tags(OPPOSITE[verdict]).untag_samples(OPPOSITE[verdict])
    samples.tag_samples(verdict)
    return len(samples)


def untag(dataset: Any, ids: list[str]) -> int:
    """Take back whatever was said of samples."""
    samples = dataset.select(ids)
    samples.untag_samples([*VERDICTS, SEEN_TAG])
    return len(samples)


def stages(view: list[dict[str, Any]] | None) -> str:
    """A digest of a view's stages, without the number of its own that every copy has."""
    plain = [(stage.get("_cls"), stage.get("kwargs")) for stage in view or []]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashing.digest(text.encode(), 8).hex()
