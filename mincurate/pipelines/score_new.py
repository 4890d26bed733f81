"""Images that came since a run was scored: found, scored with it, and kept in its table.

The run's ranking stays what it is: a new image gets the score of the run's own scorer, the rank it
would have had, the class between whose stored edges it falls, and a place on the map. It takes no
part in the ranks of others, nor in what is generated from the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.compute.device import choose_device
from mincurate.errors import StoppedError
from mincurate.features.own_vectors import OwnVectors, match_vectors, table_embedder
from mincurate.images import appearance, decode_pool
from mincurate.images.collection import Place
from mincurate.images.sources import Source
from mincurate.pipelines import new_files, own_vectors, previews
from mincurate.pipelines.open_images import Images, place_of
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import (
    classes,
    joining,
    joining_labels,
    rarity_kind,
    reference,
    table_file,
)
from mincurate.ranking import table as tables
from mincurate.ranking.joining import Networks
from mincurate.ranking.reference import Base
from mincurate.runs import atomic_files as run_files
from mincurate.runs import digests, schema, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

PORTION = 512
"""Images that are scored between two writings of the table: what a killed process loses."""
JOINED_REQUEST = "joined"
"""The request of a run that images joined: no scoring of other images makes its table again."""
NUMBERS = [name for name, column in schema.COLUMNS.items() if column.of_content]
"""Columns that an exact copy takes over, as far as the run has them."""


@dataclass(frozen=True, repr=False)
class Joined:
    """What `score_new` leaves.

    Attributes:
        run: the run that grew.
        dataset: name of the FiftyOne dataset that shows it, or ``None``.
        frame: the rows that were added to the run's table.
        tried: of how many files that had failed; ``None`` where new ones were looked for.
    """

    run: Run
    dataset: str | None
    frame: pd.DataFrame
    tried: int | None = None

    def __repr__(self) -> str:
        return f"<Joined: {self.words}>"

    @property
    def words(self) -> str:
        """One line on what was added."""
        if self.tried is not None:
            return (
                f"{len(self.frame):,} of {self.tried:,} files that could not be read joined run "
                f"{self.run.key}; everything else is as it was."
            )
        if not len(self.frame):
            return f"No image is new since run {self.run.key} was scored."
        bad = int((self.frame["status"] != "ok").sum())
        rare = int(classes.in_tail(self.frame["rarity"]).sum())
        line = f"{len(self.frame):,} new images joined run {self.run.key}: {rare:,} of them rank "
        line += "among the rarest tenth"
        return line + (f", {bad:,} cannot be read." if bad else ".")


def score_new(
    run: AnyRun = None,
    images: Images | None = None,
    *,
    vectors: Any = None,
    dataset: str | None = None,
    batch_size: int = 32,
    workers: int = 2,
    device: str = "auto",
    fiftyone: bool = True,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> Joined:
    """Score the images that came since a run was scored, and add them to it.

    Args:
        run: the scored run (`find_run`); the one scored last when absent.
        images: of a run of paths, a table or a data frame, which cannot tell by itself what is new:
            further paths, or the table or data frame as it is now. Those that are scored already
            are left out.
        vectors: of the new images, where the run has the user's own (`own_vectors.source_of`); by
            default they are read again from where those of the run came from.
        dataset: FiftyOne dataset to look for new samples in and to write to; the run's own when
            absent.
        batch_size: images per batch; changes no score.
        workers: processes that decode images.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        fiftyone: look there and write there at all.
        reporter: as in `score`, and ``progress`` likewise.

    Raises:
        UserError: something the user can mend.
        StoppedError: Ctrl-C; what is scored is kept, and the same call goes on.
    """
    reporter = choose_reporter(reporter, progress)
    scored = find_run(run, kind=store.SCORE)
    base = reference.open_base(scored, scores=not scored.quick)
    name = None
    if fiftyone and (dataset or scored.record.get("dataset")):
        from mincurate.dataset import database, destination, lookup, writer

        database.check_database()
        name = dataset or lookup.dataset_of(scored, reporter)
        destination.check(database.load(str(name)), grouped=True)
    if changed := new_files.words_on_changes(scored):
        reporter.warn(changed)
    new = new_files.find_new(scored, name, None if images is None else _place(scored, images))
    own = own_vectors.of_new(base, vectors)
    new = own_vectors.with_vectors(new, own, reporter)
    before = len(scored.frame())
    stopped = False
    with digests.held(scored):
        if new:
            reporter.say(f"Files that are new since run {scored.key} was scored: {len(new):,}.")
            networks = joining.networks_of(scored, choose_device(device))
            try:
                portions = _portions(base, networks, own, new, batch_size, workers, reporter)
                for rows, found in portions:
                    _keep(scored, rows, found)
            except KeyboardInterrupt:
                stopped = True
        frame = scored.frame()
        # Also without new files: the database may have been lost the last time.
        if name and "joined" in frame:
            writer.write_run(scored, name, reporter)
    added = frame.iloc[before:].reset_index(drop=True)
    if stopped:
        raise StoppedError(
            f"{len(added):,} of {len(new):,} new images are scored; do the same again to go on."
        )
    return Joined(scored, name, added)


def _place(scored: Run, images: Images) -> Place:
    settings = scored.record["settings"]
    columns = {name: settings.get(name) for name in ("labels", "label_field", "path_column")}
    return place_of(images, **columns)


def retry(
    run: AnyRun = None,
    *,
    batch_size: int = 32,
    workers: int = 2,
    device: str = "auto",
    fiftyone: bool = True,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> Joined:
    """Try the files again that could not be read when a run was scored; all others are kept.

    Those that can be read now join the run like new ones. The arguments are those of `score_new`.

    Raises:
        UserError: something the user can mend.
    """
    reporter = choose_reporter(reporter, progress)
    run = find_run(run, kind=store.SCORE)
    base = reference.open_base(run, scores=not run.quick)
    name = None
    if fiftyone and run.record.get("dataset"):
        from mincurate.dataset import lookup, writer

        name = lookup.dataset_of(run, reporter)
    own = own_vectors.of_new(base)
    failed = own_vectors.with_vectors(new_files.find_failed(run), own, reporter)
    nothing = run.frame().head(0)
    if not failed:
        return Joined(run, name, nothing, tried=0)
    joined = []
    with digests.held(run):
        networks = joining.networks_of(run, choose_device(device))
        for rows, vectors in _portions(base, networks, own, failed, batch_size, workers, reporter):
            rows = rows[rows["status"] == "ok"]
            if len(rows):
                _keep(run, rows, vectors)
                joined.append(rows)
        if name and joined:
            writer.write_run(run, name, reporter)
    frame = pd.concat(joined, ignore_index=True) if joined else nothing
    return Joined(run, name, frame, tried=len(failed))


def _portions(
    base: Base,
    networks: Networks,
    own: OwnVectors | None,
    files: list[Source],
    batch_size: int,
    workers: int,
    reporter: Reporter,
) -> Iterator[tuple[pd.DataFrame, tuple[list[str], NDArray[np.float32]]]]:
    """What `_score` gives, for `PORTION` files at a time, which are then to be kept."""
    for start in range(0, len(files), PORTION):
        portion = files[start : start + PORTION]
        yield _score(base, networks, own, portion, batch_size, workers, reporter)


def _score(
    base: Base,
    networks: Networks,
    own: OwnVectors | None,
    new: list[Source],
    batch_size: int,
    workers: int,
    reporter: Reporter,
) -> tuple[pd.DataFrame, tuple[list[str], NDArray[np.float32]]]:
    """Rows of the run's table for new files, and the vectors of the new contents."""
    identities = list(
        decode_pool.identify_many(new, size=None, rendering=base.rendering, workers=workers)
    )
    frame = base.run.frame()
    first = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    first_of = dict(zip(first["content_hash"], first["rel_path"], strict=True))
    files: dict[str, Source] = {}
    unseen: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for source, identity in zip(new, identities, strict=True):
        content = identity.content_hash
        copy_of = first_of.get(content) if content else None
        if content and copy_of is None:
            files[content] = source
            if not identity.in_browsers:
                unseen[content] = source.path
            first_of[content] = source.rel_path
        rows.append(
            tables.file_facts(source, identity)
            | {
                "duplicate_of": copy_of,
                "status": "ok" if content else "unscorable",
                "reason": identity.reason,
                "joined": store.now(),
            }
        )
    if base.run.record.get("dataset"):
        previews.write(base.run, unseen, base.rendering, workers, reporter)
    copied = [name for name in NUMBERS if name in frame]
    numbers = [first[["content_hash", *copied]].astype(object)]
    vectors = np.zeros((0, base.vectors.shape[1]), np.float32)
    if files:
        pairs = [(content, source.place) for content, source in files.items()]
        if own is not None:
            of_file = table_embedder(match_vectors(own, files.items()))
            networks = replace(networks, embedder=of_file)
        labels = [source.label for source in files.values()]
        networks = networks.with_labels(list(files), labels)
        scored, vectors = networks.join(base, pairs, batch_size, workers, reporter)
        joining_labels.rank_by_label(base, scored, vectors, labels, reporter)
        like = rarity_kind.nearest_of_tail(
            base.frame, base.vectors, scored["rarity"].to_numpy(np.float64), vectors
        )
        for name in ("rarity_kind", "rare_group"):
            if name in frame:
                words = base.frame[name].astype(object).iloc[like].reset_index(drop=True)
                scored[name] = words.where(like >= 0, None)
        numbers.append(scored[["content_hash", *copied]].astype(object))
    table = pd.DataFrame(rows).merge(pd.concat(numbers), on="content_hash", how="left")
    table["broken"] = appearance.broken(table, base.run.record["sharpness_floor"])
    table.loc[table["broken"].notna(), "rarity_kind"] = rarity_kind.BROKEN
    if "rare_group" in table:
        table.loc[table["duplicate_of"].notna(), "rare_group"] = None
    if "sample_id" not in frame:
        table = table.drop(columns="sample_id")
    return table, (list(files), vectors)


def _keep(run: Run, rows: pd.DataFrame, vectors: tuple[list[str], NDArray[np.float32]]) -> None:
    """Add rows to the run's table, in place of those of files that had failed.

    The vectors go first: without their rows nothing reads them.
    """
    hashes, found = read_vectors(run)
    run_files.write_arrays(
        run.path / schema.JOINED,
        content_hash=np.array([*hashes, *vectors[0]], dtype=str),
        vectors=np.concatenate([*([found] if len(found) else []), vectors[1]]),
    )
    frame = run.frame()
    if "joined" not in frame:
        frame["joined"] = pd.Series(pd.NA, index=frame.index, dtype="string")
    key = "sample_id" if "sample_id" in frame else "rel_path"
    frame = frame[~frame[key].isin(rows[key])]
    dtypes = {name: kind for name, kind in frame.dtypes.items() if name in rows}
    frame = pd.concat([frame, rows.astype(dtypes)], ignore_index=True)
    table_file.save_table(run, frame)
    fine, copy = frame["status"] == "ok", frame["duplicate_of"].notna()
    run.update(
        request=JOINED_REQUEST,
        counts=dict(run.record["counts"])
        | {
            "images": len(frame),
            "scored": int(fine.sum()),
            "unique": int((fine & ~copy).sum()),
            "duplicates": int((fine & copy).sum()),
            "unscorable": int((~fine).sum()),
            "joined": int(frame["joined"].notna().sum()),
        },
    )


def read_vectors(run: Run) -> tuple[list[str], NDArray[np.float32]]:
    """Content hashes and vectors of the images that joined a run."""
    try:
        with np.load(run.path / schema.JOINED, allow_pickle=False) as kept:
            return kept["content_hash"].tolist(), kept["vectors"]
    except FileNotFoundError:
        return [], np.zeros((0, 0), np.float32)
