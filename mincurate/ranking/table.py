"""From shards of scores to the table of a run: evidence, ranks, classes, groups, map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.images import appearance, regions
from mincurate.images.collection import Collection
from mincurate.images.decode import Identity
from mincurate.images.sources import Source
from mincurate.progress import Reporter
from mincurate.ranking import (
    classes,
    evidence,
    neighbors,
    object_sizes,
    ranks,
    rarity_kind,
    table_file,
    tail_groups,
    umap_map,
)
from mincurate.runs import atomic_files, schema, shards, store
from mincurate.runs.store import Run


@dataclass(frozen=True)
class Ranking:
    """What images are ranked by.

    Attributes:
        rank_by: one of `classes.RANKINGS`.
        num_classes: number of ordinal classes (L).
        within_label: rank an image among those of its own label.
    """

    rank_by: str
    num_classes: int
    within_label: bool

    @property
    def column(self) -> str:
        """The column that the ranking follows; higher is rarer."""
        return classes.RANKINGS[self.rank_by]


def assemble(
    run: Run,
    images: Collection,
    unreadable: dict[str, str],
    ranking: Ranking,
    *,
    scores: bool,
    map_seed: int | None,
    shard_images: int,
    reporter: Reporter,
) -> None:
    """Write ``scores.parquet``, ``scores.csv`` and ``embeddings.npy`` from the shards of a run.

    Args:
        unreadable: reasons, by content hash, of images that could not be decoded meanwhile.
        scores: the minority scores are there; without them the images are ranked by vectors alone.
        map_seed: random seed of the map; ``None`` makes no map.
        shard_images: images per shard.
    """
    # What joined the run is not in its shards: should its table be made again, it joins again.
    (run.path / schema.JOINED).unlink(missing_ok=True)
    scored, vectors = _read_shards(run, -(-len(images.unique) // shard_images), scores)
    _save_vectors(run, scored["content_hash"].tolist(), vectors)
    compared = _with_sizes(images, scored["content_hash"], vectors)
    with reporter.task("Neighbours and map", 2, "steps") as advance:
        distances, near = neighbors.neighbors(compared, rarity_kind.NEAREST)
        names = [images.unique[content][0].label for content in scored["content_hash"]]
        labels = pd.Series(names, scored.index, dtype=object)
        pattern = evidence.of_vectors(scored, compared, distances, labels)
        evidence.calibrate(scored)
        advance(1, "")
        map_method = _add_map(run, scored, vectors, map_seed)
        advance(1, "")
    frame = _per_file(images, scored, unreadable)
    position = pd.Series(np.arange(len(scored)), index=scored["content_hash"])
    edges = ranks.add_ranks(
        frame, compared, position, ranking.column, ranking.num_classes, ranking.within_label
    )
    floor = appearance.sharpness_floor(frame["sharpness"].to_numpy(np.float64))
    frame["broken"] = appearance.broken(frame, floor)
    _add_groups(frame, vectors, near, position, ranking)
    table_file.save_table(run, frame)
    if images.of_objects:
        table_file.save_images(run, frame)
    run.update(
        **edges,
        **pattern,
        sharpness_floor=floor,
        map_method=map_method,
        counts=counts(images)
        | {
            "scored": int((frame["status"] == "ok").sum()),
            "unscorable": int((frame["status"] != "ok").sum()),
        },
    )


def counts(images: Collection) -> dict[str, int]:
    """How many files, readable contents, copies and unreadable files there are."""
    readable = sum(identity.content_hash is not None for _, identity in images.files)
    unique = len(images.unique)
    return {
        "images": len(images.files),
        "scored": readable,
        "unique": unique,
        "duplicates": readable - unique,
        "unscorable": len(images.files) - readable,
    }


def file_facts(source: Source, identity: Identity) -> dict[str, Any]:
    """The columns of a file that are known before it is scored."""
    looks = identity.appearance or [None] * len(appearance.NAMES)
    return {
        "path": source.path,
        "rel_path": source.rel_path,
        "content_hash": identity.content_hash,
        "label": source.label,
        "sample_id": source.sample_id,
        "width": identity.width,
        "height": identity.height,
        "complexity": identity.complexity,
        "warning": identity.warning,
        **dict(zip(appearance.NAMES, looks, strict=True)),
        **_region_facts(source),
    }


def _region_facts(source: Source) -> dict[str, Any]:
    """The columns of a row that is a part of an image."""
    if source.box is None:
        return {}
    box = dict(zip(regions.COLUMNS, source.box, strict=True))
    return {**box, "context": source.context, "object_id": source.object_id}


def record_outcome(run: Run, **facts: object) -> None:
    """Write facts about a scored run into its record and mark it finished."""
    finished = run.record.get("finished") or store.now()
    run.update(**facts, finished=finished, scored_last=store.tick())


def _read_shards(run: Run, count: int, scores: bool) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """One row per different image that has all results, and the vectors ``(N, d)``."""
    embedded = _joined(run, "vectors", count)
    if embedded is None:
        return table_file.unscored_table([]), np.zeros((0, 1), np.float32)
    hashes = embedded["content_hash"].to_pylist()
    vectors = table_file.matrix(embedded, "embedding").astype(np.float32)
    if not scores:
        return table_file.unscored_table(hashes), vectors
    joined = _joined(run, "scores", count)
    if joined is None:
        return table_file.unscored_table([]), vectors[:0]
    frame = table_file.unique_table(joined)
    rows = pd.Index(hashes).get_indexer(frame["content_hash"])
    return frame[rows >= 0].reset_index(drop=True), vectors[rows[rows >= 0]]


def _joined(run: Run, kind: shards.Kind, count: int) -> pa.Table | None:
    read = (shards.read_shard(run, kind, i) for i in range(count))
    tables = [table for table in read if table is not None and len(table)]
    return pa.concat_tables(tables) if tables else None


def _with_sizes(
    images: Collection, hashes: pd.Series, vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Vectors by which images are compared: those of objects with their sizes beside."""
    if images.noun != "objects":
        return vectors
    sides = np.array([(one.width or 1, one.height or 1) for _, one in images.unique.values()])
    rows = pd.Index(list(images.unique)).get_indexer(pd.Index(hashes))
    return object_sizes.beside(vectors, *sides[rows].T.astype(np.float64))


def _save_vectors(run: Run, hashes: list[str], vectors: NDArray[np.float32]) -> None:
    atomic_files.write_vectors(run.path / schema.VECTORS, vectors)
    atomic_files.write_table(run.path / schema.VECTOR_HASHES, pa.table({"content_hash": hashes}))


def _add_map(run: Run, scored: pd.DataFrame, vectors: NDArray[np.float32], seed: int | None) -> str:
    """Add ``map_x`` and ``map_y``, and return how they were made."""
    if seed is None:
        scored["map_x"], scored["map_y"] = np.nan, np.nan
        return "none"
    points, method = _fitted_map(run, scored, vectors, seed)
    scored["map_x"], scored["map_y"] = points.T
    return method


def _fitted_map(
    run: Run, scored: pd.DataFrame, vectors: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], str]:
    """The fitted map; a run that is gone on with keeps the one it has."""
    path = run.path / schema.MAP
    identity = hashing.fingerprint(
        [run.record.get("vectors_from"), scored["content_hash"].tolist()]
    )
    saved = atomic_files.read_arrays(path) or {}
    if {"points", "method"} <= saved.keys() and str(saved.get("identity")) == identity:
        return saved["points"], str(saved["method"])
    points, method = umap_map.fit_map(vectors, seed)
    atomic_files.write_arrays(path, points=points, method=method, identity=identity)
    return points, method


def _per_file(images: Collection, scored: pd.DataFrame, unreadable: dict[str, str]) -> pd.DataFrame:
    """One row per file: copies take the numbers of the first one, unreadable files a reason."""
    first = {content: source for content, (source, _) in images.unique.items()}
    scored_hashes = set(scored["content_hash"])
    rows: list[dict[str, Any]] = []
    for source, identity in images.files:
        content = identity.content_hash
        reason = identity.reason
        if content is not None and content not in scored_hashes:
            reason = unreadable.get(content, "became unreadable while the run went on")
        is_copy = content is not None and first[content] is not source
        rows.append(
            file_facts(source, identity)
            | {
                "duplicate_of": first[content].rel_path if is_copy and content else None,
                "status": "ok" if reason is None else "unscorable",
                "reason": reason,
            }
        )
    frame = pd.DataFrame(rows).merge(scored, on="content_hash", how="left")
    if images.kind != "fiftyone":
        frame = frame.drop(columns="sample_id")
    looks = dict.fromkeys(appearance.NAMES, "float64")
    return frame.astype({"width": "Int64", "height": "Int64", **looks})


def _add_groups(
    frame: pd.DataFrame,
    vectors: NDArray[np.float32],
    near: NDArray[np.int64],
    position: pd.Series,
    ranking: Ranking,
) -> None:
    """Add ``rarity_kind`` (rare, odd or broken) and ``rare_group`` to the rarest images.

    Args:
        near: ``(N, k)``, rows of the nearest other vectors.
    """
    ranked = classes.rarest_first(frame, ranking.column)
    rows = position[ranked["content_hash"]].to_numpy(np.int64)
    place = np.full(len(vectors), -1)
    place[rows] = np.arange(len(rows))
    frame["rarity_kind"] = rarity_kind.rarity_kinds(frame, ranked, place[near[rows]])
    frame["rare_group"] = tail_groups.rare_groups(frame, ranked, vectors, rows)
