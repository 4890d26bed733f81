"""A scored run's images and those generated for it in one table, which is exported and counted.

It reads files only: tags, labels and boxes of a FiftyOne dataset are arguments.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mincurate import hashing
from mincurate.curation.gather_objects import gather_objects
from mincurate.curation.selection import DROP_TAG, TRAIN
from mincurate.errors import UserError
from mincurate.images import sources
from mincurate.runs import store
from mincurate.runs.schema import EVALUATION, SYNTHETIC
from mincurate.runs.store import Run

Box = tuple[str, Sequence[float]]
"""A label and ``(x, y, width, height)``, shares of the image's sides from its top left corner."""
SPLIT_TAGS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Tags that name a split, in any case."""


def generations(scored: Run) -> list[Run]:
    """The finished generations for a scored run, oldest first."""
    return made_for(scored, store.AUGMENT)


def made_for(scored: Run, kind: str) -> list[Run]:
    """The finished runs of a kind, generations or mined images, for a scored run, oldest first."""
    created = scored.record.get("created")
    facts = {"kind": kind, "base": scored.key, "base_created": created}
    return [
        run
        for run in store.all_runs()
        if run.finished and all(run.record.get(key) == value for key, value in facts.items())
    ]


def identity(scored: Run) -> str:
    """Hash of a run's scores and classes: images generated for another have other classes."""
    record, frame = scored.record, scored.frame()
    if "joined" in frame:  # images that joined later change no class
        frame = frame[frame["joined"].isna()]
    classes = frame["rarity_class"].astype(str)
    return hashing.fingerprint([record.get("fingerprint"), record.get("rank_by"), classes.tolist()])


def gather(
    scored: Run,
    *,
    tags: Mapping[str, Sequence[str]] | None = None,
    splits: Mapping[str, str] | None = None,
    labels: Mapping[str, str | Sequence[str] | None] | None = None,
    boxes: Mapping[str, Sequence[Box]] | None = None,
    frame: pd.DataFrame | None = None,
    mined: Mapping[str, str | None] | None = None,
) -> pd.DataFrame:
    """One row per image, as `curation.selection` describes it: real ones, then generated ones.

    Copies of a real file are rows of their own; a generated image that several generations hold
    counts once. Images generated before the run was ranked in another way have no class.

    Args:
        tags: of images, by path.
        splits: of real images, by path.
        labels: the labels that images have now, by path, in place of those of the run; a list
            where there are several, None for none.
        boxes: the boxes of images, by path; an empty list where there is nothing to see.
        frame: the run's table as it is to count, such as `dataset.current_state` gives it.
        mined: labels, by path, of mined images that were kept: these count as real ones, and are
            marked in the column ``mined``.

    Raises:
        UserError: the run is not a finished scored one.
    """
    store.check_scored(scored)
    frame = scored.frame() if frame is None else frame
    if scored.objects is not None:
        ranked: Any = boxes
        return gather_objects(frame, tags or {}, splits or {}, ranked)
    readable = frame[frame["status"] == "ok"].drop_duplicates("path")  # samples may share a file
    real = readable[["path", "content_hash", "label", "rarity_class", "minority_class"]].astype(
        object
    )
    current = identity(scored)
    real = _with_mined(real, mined or {})
    real = real.assign(source="real", weight=1.0, split=real["path"].map(dict(splits or {})))
    if splits:  # as generated images, they are to train on
        real["split"] = real["split"].mask(real["mined"] & real["split"].isna(), TRAIN)
    parts = [real]
    for run in generations(scored):
        generated = pd.read_parquet(run.path / SYNTHETIC).astype(object)
        columns = ["path", "content_hash", "label", "rarity_class", "minority_class"]
        columns += ["accepted", "reason"]
        generated = generated[[*columns, "nearest_real", "start", "seed"]]
        if run.record.get("base_identity") != current:
            generated["rarity_class"] = None
            generated["minority_class"] = None
        parts.append(generated.assign(source="synthetic", run=run.key, weight=training_weight(run)))
    table = pd.concat(parts, ignore_index=True)
    repeated = (table["source"] == "synthetic") & table.duplicated("content_hash")
    table = table[~repeated].reset_index(drop=True)
    tags_of = tags or {}
    table["tags"] = [list(tags_of.get(path, ())) for path in table["path"]]
    table = table.astype(object).where(table.notna(), None)
    return _annotated(table, labels, boxes)


def _with_mined(real: pd.DataFrame, mined: Mapping[str, str | None]) -> pd.DataFrame:
    """Real images with those that were mined and kept; some may have joined the run already."""
    labels = pd.Series(dict(mined), dtype=object)
    joined = real["path"].map(labels)
    real = real.assign(
        label=real["label"].where(real["label"].notna(), joined),
        mined=real["path"].isin(labels.index),
    )
    others = [path for path in mined if path not in set(real["path"])]
    rows = pd.DataFrame({"path": others, "label": labels.reindex(others).to_numpy(), "mined": True})
    return pd.concat([real, rows], ignore_index=True) if others else real


def _annotated(
    table: pd.DataFrame,
    labels: Mapping[str, str | Sequence[str] | None] | None,
    boxes: Mapping[str, Sequence[Box]] | None,
) -> pd.DataFrame:
    """The table with the labels and boxes that images have now."""
    if labels is not None:
        names = [
            [label] if isinstance(label, str) else list(label or ())
            for label in map(labels.get, table["path"], table["label"])
        ]
        table["label"] = pd.Series([n[0] if n else None for n in names], dtype=object)
        if any(len(n) > 1 for n in names):
            table["labels"] = pd.Series([n if len(n) > 1 else None for n in names], dtype=object)
    if boxes is not None:
        lists = [list(boxes[p]) if p in boxes else None for p in table["path"]]
        table["boxes"] = pd.Series(lists, dtype=object)
    return table


def training_weight(generation: Run) -> float | None:
    """How often to draw an image of a generation, compared with a real one of its label.

    That which did best in ``mincurate evaluate --downstream``, by the student whose advice was
    taken; ``None`` without a trial.
    """
    path = generation.path / EVALUATION
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content.get("downstream", {}).get("weight")


def in_use(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `gather` in use: real images and accepted generated ones, none dropped."""
    dropped = table["tags"].map(lambda tags: DROP_TAG in tags)
    accepted = (table["source"] == "real") | (table.get("accepted") == True)  # noqa: E712
    return table[accepted & ~dropped]


def table_column(scored: Run, column: str) -> dict[str, str]:
    """A column of the table that was scored, by absolute path; rows without a value left out.

    Raises:
        UserError: the run's source is no table, or it has no such column.
    """
    source = scored.record.get("source") or {}
    if source.get("kind") != "table":
        raise UserError(
            f"--split needs a run of a table or of a FiftyOne dataset; {scored.key} is one "
            f"of a {source.get('kind')}."
        )
    path_column = (scored.record.get("settings") or {}).get("path_column")
    return sources.column(Path(str(source["value"])), column, path_column)


def folder_splits(scored: Run) -> dict[str, str]:
    """The first folder below the source that an image lies in, by absolute path.

    Raises:
        UserError: no such folder is called ``train``.
    """
    frame = scored.frame()
    readable = frame[frame["status"] == "ok"]
    parts = readable["rel_path"].str.partition("/")
    inside = (parts[0] != "") & (parts[1] != "")
    if TRAIN not in set(parts.loc[inside, 0]):
        raise UserError(
            f"--split folders needs images in folders named after their splits, one of them "
            f"{TRAIN}; {scored.key} has no such folder."
        )
    return dict(zip(readable.loc[inside, "path"], parts.loc[inside, 0], strict=True))


def tagged_splits(tags: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Splits that are kept as tags (`SPLIT_TAGS`), by path; images without such a tag left out.

    Raises:
        UserError: no image has such a tag, or one has several.
    """
    splits: dict[str, str] = {}
    for path, names in tags.items():
        own = {SPLIT_TAGS[name.lower()] for name in names if name.lower() in SPLIT_TAGS}
        if len(own) > 1:
            raise UserError(
                f"{path} is tagged for the splits {' and '.join(sorted(own))}; leave one of them."
            )
        if own:
            splits[path] = own.pop()
    if TRAIN not in splits.values():
        raise UserError(f"No image is tagged {TRAIN}, so the tags do not name splits.")
    return splits
