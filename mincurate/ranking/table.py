"""From shards of scores to the table: ranks, classes, neighbours, map, and the run's record."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.images import appearance
from mincurate.images import collection as collections
from mincurate.images.collection import Collection
from mincurate.images.decode import Fit, Identity
from mincurate.images.sources import Source
from mincurate.progress import Reporter
from mincurate.ranking import classes as ordinal
from mincurate.ranking import minority_score, neighbors, outliers, tail_groups, umap_map
from mincurate.ranking.minority_score import Scored, Scorer
from mincurate.runs import files as run_files
from mincurate.runs import schema, store
from mincurate.runs import shards as shard_files
from mincurate.runs.store import Run

COVERED = 0.95
"""Share of the images whose true rank, that of endless draws, its interval holds."""
PERCENTILES = ("minority_percentile", "minority_percentile_low", "minority_percentile_high")
"""Columns of `minority_percentiles`."""
SHOWN_RECONSTRUCTIONS = 12
"""Images of either end of the ranking whose reconstructions the report shows."""


def counts(collection: Collection) -> dict[str, int]:
    """How many files, readable contents, copies and unreadable files there are."""
    readable = sum(identity.content_hash is not None for _, identity in collection.files)
    unique = len(collection.unique)
    return {
        "images": len(collection.files),
        "scored": readable,
        "unique": unique,
        "duplicates": readable - unique,
        "unscorable": len(collection.files) - readable,
    }


def shard_table(hashes: Sequence[str], parts: Sequence[Scored]) -> pa.Table:
    """Rows of a shard, one per image; without any, a table of none."""
    if not parts:
        return pa.table({"content_hash": pa.array([], pa.string())})

    def lists(arrays: list[NDArray[np.float32]]) -> pa.Array:
        joined = np.concatenate(arrays)
        kind = pa.float16() if joined.dtype == np.float16 else pa.float32()
        flat = pa.array(joined.reshape(-1), kind)
        return pa.FixedSizeListArray.from_arrays(flat, joined.shape[1])

    return pa.table(
        {
            "content_hash": pa.array(hashes, pa.string()),
            "draws": lists([p.draws for p in parts]),
            "layers": lists([p.layers for p in parts]),
            "denoising_error": pa.array(
                np.concatenate([p.denoising_error for p in parts]), pa.float32()
            ),
            # Half precision is ample for distances between unit vectors.
            "embedding": lists([p.embeddings.astype(np.float16) for p in parts]),
        }
    )


def assemble(
    run: Run,
    collection: Collection,
    scorer: Scorer,
    lost: dict[str, str],
    *,
    num_classes: int,
    within_label: bool,
    rank_by: str,
    umap: bool,
    shard_images: int,
    reporter: Reporter,
) -> None:
    """Write ``scores.parquet``, ``scores.csv`` and ``embeddings.npy`` from the shards of a run.

    Args:
        lost: reasons, by content hash, of images that could not be decoded while scoring.
        umap: make the map.
    """
    # What joined the run is not in its shards: should its table be made again, it joins again.
    (run.path / "joined.npz").unlink(missing_ok=True)
    shards = -(-len(collection.unique) // shard_images)
    tables = [
        t for i in range(shards) if (t := shard_files.read_shard(run, i)) is not None and len(t)
    ]
    if tables:
        table = pa.concat_tables(tables)
        scored = unique_table(table, rank_by=rank_by)
        vectors = _matrix(table, "embedding").astype(np.float32)
    else:
        scored, vectors = unique_table(None, rank_by=rank_by), np.zeros((0, 1), np.float32)
    _save_vectors(run, scored["content_hash"].tolist(), vectors)
    with reporter.task("Neighbours and map", 2, "steps") as advance:
        scored["neighbor_distance"] = neighbors.neighbor_distance(vectors)
        rows = outliers.reference(scored["content_hash"])
        evidence = outliers.evidence(vectors, vectors[rows], rows)
        scored[list(outliers.NAMES)] = np.stack(evidence, axis=1)
        scored["embedding_rarity"] = ordinal.mean_rank(*evidence, weights=outliers.WEIGHTS)
        _calibrate(scored)
        advance(1, "")
        points, method = _map(run, scored, vectors, scorer.seed) if umap else (None, "none")
        scored["map_x"], scored["map_y"] = points.T if points is not None else (np.nan, np.nan)
        advance(1, "")
    frame = _per_file(collection, scored, lost)
    place = pd.Series(np.arange(len(scored)), index=scored["content_hash"])
    if frame["label"].notna().any():
        _rank_vectors_within_labels(frame, vectors, place)
    edges = _rank(frame, ordinal.RANKINGS[rank_by], num_classes, within_label)
    floor = appearance.sharpness_floor(frame["sharpness"].to_numpy(np.float64))
    frame["broken"] = appearance.broken(frame, floor)
    known = ordinal.rarest_first(frame, ordinal.RANKINGS[rank_by])
    rows = place[known["content_hash"]].to_numpy(np.int64)
    frame["rarity_kind"] = tail_groups.rarity_kinds(frame, known, vectors[rows])
    frame["rare_group"] = tail_groups.rare_groups(frame, known, vectors, rows)
    save_table(run, frame)
    run.update(
        **edges,
        sharpness_floor=floor,
        map_method=method,
        counts=counts(collection)
        | {
            "scored": int((frame["status"] == "ok").sum()),
            "unscorable": int((frame["status"] != "ok").sum()),
        },
    )


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
        **dict(zip(appearance.NAMES, looks, strict=True)),
    }


def save_table(run: Run, frame: pd.DataFrame) -> None:
    """Write ``scores.parquet``, which is what counts, and then ``scores.csv``."""
    frame = frame[[column for column in schema.COLUMNS if column in frame.columns]]
    run_files.write_table(run.path / "scores.parquet", _arrow(frame))
    flat = frame.drop(columns=schema.names("floats"))
    run_files.write_atomically(
        run.path / "scores.csv", flat.to_csv(index=False).encode("utf-8", "backslashreplace")
    )


def unique_table(table: pa.Table | None, *, rank_by: str) -> pd.DataFrame:
    """One row per different image: the score, its error, and what it is made of."""
    if table is None:
        columns = ["content_hash", "minority_score", "minority_score_se", "minority_score_draws"]
        return pd.DataFrame({name: [] for name in [*columns, "layer_distances", "denoising_error"]})
    draws, layers = _matrix(table, "draws"), _matrix(table, "layers")
    return pd.DataFrame(
        {
            "content_hash": table["content_hash"].to_pylist(),
            **summary(draws),
            "layer_distances": list(layers),
            "denoising_error": table["denoising_error"].to_numpy(),
        }
    )


def summary(draws: NDArray[np.float32]) -> dict[str, Any]:
    """Columns of the minority score, of draws ``(N, K)``, NaN where they were spared."""
    return {
        "minority_score": np.nanmean(draws, axis=1, dtype=np.float64),
        "minority_score_se": minority_score.standard_error(draws),
        "minority_score_draws": [row[np.isfinite(row)] for row in draws],
    }


def minority_percentiles(known: NDArray[np.float64], scored: pd.DataFrame) -> NDArray[np.float64]:
    """Where images rank by the minority score, and at either end of its interval (`COVERED`).

    The error of a mean of few draws is itself a guess: Student's t allows for that.

    Args:
        known: ``(N,)`` scores that are ranked; NaN left out.
        scored: ``(M,)`` rows with the columns of `summary`.

    Returns:
        ``(M, 3)`` on [0, 1]: rank, low, high; the latter two are NaN for a single draw.
    """
    from scipy.stats import t

    score, error = (
        scored[name].to_numpy(np.float64) for name in ("minority_score", "minority_score_se")
    )
    made = [d.size if isinstance(d, np.ndarray) else 0 for d in scored["minority_score_draws"]]
    reach = t.ppf((1 + COVERED) / 2, np.array(made) - 1) * error
    ends = (score, score - reach, score + reach)
    return np.stack([ordinal.percentile_among(known, end) for end in ends], axis=1)


def _calibrate(scored: pd.DataFrame) -> None:
    """Add ``minority_score_calibrated``: mean rank, 0..1, of semantic surprise and neighbours."""
    if len(scored) == 0:
        scored["minority_score_calibrated"] = []
        return
    surprise = minority_score.semantic_surprise(_layers(scored))
    far = scored["neighbor_distance"].to_numpy(np.float64)
    scored["minority_score_calibrated"] = ordinal.mean_rank(surprise, far)


def calibrated_among(known: pd.DataFrame, joining: pd.DataFrame) -> NDArray[np.float64]:
    """``minority_score_calibrated`` of images that join those of ``known``, which are ranked.

    Both tables hold ``layer_distances`` and ``neighbor_distance``.
    """
    layers = _layers(known)
    return ordinal.mean_rank_among(
        [minority_score.semantic_surprise(layers), known["neighbor_distance"].to_numpy()],
        [
            minority_score.semantic_surprise(_layers(joining), layers),
            joining["neighbor_distance"].to_numpy(),
        ],
    )


def _layers(scored: pd.DataFrame) -> NDArray[np.float32]:
    return np.stack(scored["layer_distances"].tolist()).astype(np.float32)


def _map(
    run: Run, scored: pd.DataFrame, vectors: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], str]:
    """The fitted map; a run that is gone on with keeps the one it has."""
    kept = run.path / "map.npz"
    identity = hashing.fingerprint([run.record.get("fingerprint"), scored["content_hash"].tolist()])
    try:
        with np.load(kept, allow_pickle=False) as saved:
            if str(saved["identity"]) == identity:
                return saved["points"], str(saved["method"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass  # none yet, or not a whole one: it is made anew
    points, method = umap_map.fit_map(vectors, seed)
    buffer = io.BytesIO()
    np.savez(buffer, points=points, method=method, identity=identity)
    run_files.write_atomically(kept, buffer.getvalue())
    return points, method


def _save_vectors(run: Run, hashes: list[str], vectors: NDArray[np.float32]) -> None:
    run_files.write_vectors(run.path / "embeddings.npy", vectors)
    run_files.write_table(run.path / "embeddings.parquet", pa.table({"content_hash": hashes}))


def _per_file(collection: Collection, scored: pd.DataFrame, lost: dict[str, str]) -> pd.DataFrame:
    """One row per file: copies take the numbers of the first one, unreadable files a reason."""
    first = {h: source for h, (source, _) in collection.unique.items()}
    known = set(scored["content_hash"])
    rows: list[dict[str, Any]] = []
    for source, identity in collection.files:
        content = identity.content_hash
        reason = identity.reason
        if content is not None and content not in known:
            reason = lost.get(content, "became unreadable while the run went on")
        copy = content is not None and first[content] is not source
        rows.append(
            file_facts(source, identity)
            | {
                "duplicate_of": first[content].rel_path if copy and content is not None else None,
                "status": "ok" if reason is None else "unscorable",
                "reason": reason,
            }
        )
    frame = pd.DataFrame(rows).merge(scored, on="content_hash", how="left")
    if collection.kind != "fiftyone":
        frame = frame.drop(columns="sample_id")
    looks = dict.fromkeys(appearance.NAMES, "float64")
    return frame.astype({"width": "Int64", "height": "Int64", **looks})


def _rank_vectors_within_labels(
    frame: pd.DataFrame, vectors: NDArray[np.float32], place: pd.Series
) -> None:
    """Add ``embedding_rarity_within_label``: `outliers.rarity` among the images of the same label.

    Those without a label are compared among themselves.

    Args:
        vectors: ``(N, d)``.
        place: by content hash, which of them is whose.
    """
    first = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    found = pd.Series(np.nan, frame.index)
    for _, members in ordinal.members_by_label(first["label"].fillna("")):
        hashes = first["content_hash"].iloc[members]
        of_label = vectors[place[hashes].to_numpy(np.int64)]
        found[first.index[members]] = outliers.rarity(of_label, outliers.reference(hashes))
    frame[ordinal.WITHIN["embedding_rarity"]] = _to_copies(frame, found)


def _rank(
    frame: pd.DataFrame, column: str, num_classes: int, within_label: bool
) -> dict[str, object]:
    """Add rarity and classes, which follow ``column``, and return the edges of the classes.

    Where the images rank by the minority score is added, too, whatever the ranking follows.
    Within labels the column of `classes.WITHIN` stands for ``column``, if the table has it.

    Args:
        within_label: rank an image among those of its own label, and those without a label among
            themselves. The classes then have no edges that hold for all images, but some for each
            label (``""`` for none).
    """
    first = frame["duplicate_of"].isna()
    of_label = frame[ordinal.within_column(column, frame.columns)].where(first).to_numpy(np.float64)
    labels = frame["label"].where(frame["label"].notna(), None).to_numpy(object)
    apart = within_label and bool(frame["label"].notna().any())
    groups = frame["label"].fillna("").to_numpy(object) if apart else np.full(len(frame), "")
    scores = of_label if apart else frame[column].where(first).to_numpy(np.float64)
    classes = ordinal.classes_within(scores, groups, num_classes)
    within = ordinal.classes_within(of_label, labels, num_classes)
    rarity = pd.Series(ordinal.percentile_within(scores, groups), frame.index)
    frame["rarity"] = _to_copies(frame, rarity)
    minority = frame["minority_score"].where(first).to_numpy(np.float64)
    places = np.full((len(frame), len(PERCENTILES)), np.nan)
    for _, members in ordinal.members_by_label(groups):
        places[members] = minority_percentiles(minority[members], frame.iloc[members])
    for name, place in zip(PERCENTILES, places.T, strict=True):
        frame[name] = _to_copies(frame, pd.Series(place, frame.index))
    for name, found in (("minority_class", classes), ("minority_class_within_label", within)):
        whole = pd.Series(found, frame.index)
        frame[name] = _to_copies(frame, whole.where(whole >= 0).astype("Int64"))
    edges = {
        name: ordinal.class_edges(scores[members], classes[members], num_classes)
        for name, members in ordinal.members_by_label(groups)
    }
    if apart:
        return {"class_edges": [], "class_edges_by_label": edges}
    return {"class_edges": edges.get("", []), "class_edges_by_label": {}}


def _to_copies(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Give a copy the value of its first file, which alone took part in the ranking."""
    copies = frame["duplicate_of"].notna()
    if not copies.any():
        return values
    firsts = ~copies & frame["content_hash"].notna()
    by_content = pd.Series(values[firsts].to_numpy(), index=frame.loc[firsts, "content_hash"])
    filled = values.copy()
    filled[copies] = frame.loc[copies, "content_hash"].map(by_content).to_numpy()
    return filled


def _arrow(frame: pd.DataFrame) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name in frame.columns:
        values = frame[name]
        kind = schema.COLUMNS[name].kind
        if kind == "str":
            plain = [
                v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else None
                for v in values
            ]
            columns[name] = pa.array(plain, pa.string())
        elif kind == "floats":
            lists = [v.tolist() if isinstance(v, np.ndarray) else None for v in values]
            columns[name] = pa.array(lists, pa.list_(pa.float32()))
        else:
            columns[name] = pa.array(values, from_pandas=False)
    return pa.table(columns)


def _matrix(table: pa.Table, column: str) -> NDArray[Any]:
    joined = table[column].combine_chunks()
    width = joined.type.list_size
    return joined.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def save_reconstructions(run: Run, scorer: Scorer, *, size: int, fit: Fit) -> None:
    """Keep originals and one-shot reconstructions of both ends of the ranking, for the report."""
    rank_by = run.record["settings"]["rank_by"]
    known = ordinal.rarest_first(run.frame(), ordinal.RANKINGS[rank_by])
    n = min(SHOWN_RECONSTRUCTIONS, (len(known) + 1) // 2)
    ends = pd.concat([known.head(n), known.tail(min(n, len(known) - n))])
    files = list(zip(ends["content_hash"], ends["path"], strict=True))
    batches = collections.read_batches(files, size=size, fit=fit, batch_size=32, workers=1)
    kept = [(h, p, scorer.reconstruct(p, h)) for h, p, _ in batches if h]
    empty = np.zeros((0, size, size, 3), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        content_hash=np.array([h for hashes, _, _ in kept for h in hashes], dtype=str),
        original=np.concatenate([empty, *(p.transpose(0, 2, 3, 1) for _, p, _ in kept)]),
        reconstruction=np.concatenate([empty, *(r.transpose(0, 2, 3, 1) for _, _, r in kept)]),
    )
    run_files.write_atomically(run.path / "reconstructions.npz", buffer.getvalue())


def record_outcome(run: Run, **facts: object) -> None:
    """Write what the run found into its record and mark it finished."""
    finished = run.record.get("finished") or store.now()
    run.update(**facts, finished=finished, scored_last=store.tick())
