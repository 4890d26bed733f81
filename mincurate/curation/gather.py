"""A scored run's images and what was generated for it, as one table: what is exported and counted.

Files alone: FiftyOne's tags are the caller's to bring (`dataset.tags`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mincurate import hashing
from mincurate.curation.export import DROP_TAG, TRAIN
from mincurate.errors import UserError
from mincurate.images import sources
from mincurate.runs import store
from mincurate.runs.schema import SYNTHETIC
from mincurate.runs.store import Run


def generations(scored: Run) -> list[Run]:
    """The finished generations for a scored run, oldest first."""
    about = scored.record
    wanted = {"kind": store.AUGMENT, "base": scored.key, "base_created": about.get("created")}
    return [
        run
        for run in store.all_runs()
        if run.finished and all(run.record.get(key) == wanted[key] for key in wanted)
    ]


def identity(scored: Run) -> str:
    """Hash of a run's scores and classes; images generated for other ones are of other classes."""
    about, frame = scored.record, scored.frame()
    if "joined" in frame:  # images that joined later have changed no class
        frame = frame[frame["joined"].isna()]
    classes = frame["rarity_class"].astype(str)
    return hashing.fingerprint([about.get("fingerprint"), about.get("rank_by"), classes.tolist()])


def gather(
    scored: Run,
    *,
    tags: Mapping[str, Sequence[str]] | None = None,
    splits: Mapping[str, str] | None = None,
    frame: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per image, as `curation.export` describes it: real ones, then generated ones.

    Copies of a real file are rows of their own; a generated image that several generations hold
    counts once. Images generated before the run was ranked in another way have no class.

    Args:
        tags: of images, by path.
        splits: of real images, by path.
        frame: the run's table as it is to count, such as `dataset.now` gives it.

    Raises:
        UserError: the run is not a finished scored one.
    """
    if store.kind_of(scored) != store.SCORE:
        raise UserError(
            f"{scored.key} holds generated images; give the scored run that they were made for "
            f"({scored.record.get('base')})."
        )
    frame = scored.frame() if frame is None else frame
    known = frame[frame["status"] == "ok"].drop_duplicates("path")  # samples may share a file
    real = known[["path", "content_hash", "label", "rarity_class"]].astype(object)
    now = identity(scored)
    parts = [real.assign(source="real", split=real["path"].map(dict(splits or {})))]
    for run in generations(scored):
        made = pd.read_parquet(run.path / SYNTHETIC).astype(object)
        wanted = ["path", "content_hash", "label", "rarity_class", "accepted", "reason"]
        made = made[[*wanted, "nearest_real", "start", "seed"]]
        if run.record.get("base_identity") != now:
            made["rarity_class"] = None
        parts.append(made.assign(source="synthetic", run=run.key))
    table = pd.concat(parts, ignore_index=True)
    again = (table["source"] == "synthetic") & table.duplicated("content_hash")
    table = table[~again].reset_index(drop=True)
    found = tags or {}
    table["tags"] = [list(found.get(path, ())) for path in table["path"]]
    return table.astype(object).where(table.notna(), None)


def in_use(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `gather` that count: real images and accepted generated ones, none dropped."""
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
            f"--split-column needs a run of a table or of a FiftyOne dataset, and {scored.key} is "
            f"one of a {source.get('kind')}."
        )
    return sources.column(Path(str(source["value"])), column)


def folder_splits(scored: Run) -> dict[str, str]:
    """The first folder below the source in which an image lies, by absolute path; else left out.

    Raises:
        UserError: no such folder is called ``train``.
    """
    frame = scored.frame()
    known = frame[frame["status"] == "ok"]
    parts = known["rel_path"].str.partition("/")
    inside = (parts[0] != "") & (parts[1] != "")
    if TRAIN not in set(parts.loc[inside, 0]):
        raise UserError(
            f"--split-folders needs images in folders that are named like their splits, one of "
            f"them {TRAIN}, and {scored.key} has no such folder."
        )
    return dict(zip(known.loc[inside, "path"], parts.loc[inside, 0], strict=True))
