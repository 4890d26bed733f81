"""The table of a run as files: shards of scores, ``scores.parquet``, ``scores.csv``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mincurate.ranking import evidence
from mincurate.ranking.minority_score import Scored
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run


def save_table(run: Run, frame: pd.DataFrame) -> None:
    """Write ``scores.parquet``, which is what counts, and then ``scores.csv``."""
    frame = frame[[column for column in schema.COLUMNS if column in frame.columns]]
    atomic_files.write_table(run.path / schema.SCORES, _arrow(frame))
    flat = frame.drop(columns=schema.names("floats"))
    atomic_files.write_atomically(
        run.path / schema.SCORES_CSV, flat.to_csv(index=False).encode("utf-8", "backslashreplace")
    )


def save_images(run: Run, frame: pd.DataFrame) -> None:
    """Write ``images.csv``: one row per image, with its rarest object or tile, the rarest first."""
    ranked = frame.sort_values("rarity", ascending=False, na_position="last", kind="stable")
    by_image = ranked.groupby("path", sort=False, dropna=False)
    columns = ["rel_path", "label", "rarity", "rarity_class"]
    rarest = (
        by_image[columns].first().rename(columns={"rel_path": "object", "rarity": "rarest_object"})
    )
    rarest.insert(0, "rank", range(1, len(rarest) + 1))
    rarest["mean_rarity"] = by_image["rarity"].mean()
    rarest["objects"] = by_image.size()
    atomic_files.write_atomically(
        run.path / schema.IMAGES_CSV, rarest.to_csv().encode("utf-8", "backslashreplace")
    )


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


def shard_table(hashes: Sequence[str], parts: Sequence[Scored]) -> pa.Table:
    """Rows of a shard, one per image; without any, a table of none."""
    if not parts:
        return pa.table({"content_hash": pa.array([], pa.string())})

    return pa.table(
        {
            "content_hash": pa.array(hashes, pa.string()),
            "draws": lists([p.draws for p in parts]),
            "layers": lists([p.layers for p in parts]),
            "denoising_error": pa.array(
                np.concatenate([p.denoising_error for p in parts]), pa.float32()
            ),
        }
    )


def unscored_table(hashes: Sequence[str]) -> pd.DataFrame:
    """The columns of `unique_table` for images that have no minority score yet."""
    nothing = pd.Series([None] * len(hashes), dtype=object)
    unknown = np.full(len(hashes), np.nan)
    return pd.DataFrame(
        {
            "content_hash": pd.Series(list(hashes), dtype=object),
            "minority_score": unknown,
            "minority_score_se": unknown,
            "minority_score_draws": nothing,
            "layer_distances": nothing,
            "denoising_error": unknown.astype(np.float32),
        }
    )


def unique_table(table: pa.Table) -> pd.DataFrame:
    """One row per different image: the score, its error, and what it is made of."""
    draws, layers = matrix(table, "draws"), matrix(table, "layers")
    return pd.DataFrame(
        {
            "content_hash": table["content_hash"].to_pylist(),
            **evidence.summary(draws),
            "layer_distances": list(layers),
            "denoising_error": table["denoising_error"].to_numpy(),
        }
    )


def lists(arrays: list[NDArray[Any]]) -> pa.Array:
    """Arrays ``(n, d)``, one below the other, as lists of length d in half or single precision."""
    joined = np.concatenate(arrays)
    kind = pa.float16() if joined.dtype == np.float16 else pa.float32()
    return pa.FixedSizeListArray.from_arrays(pa.array(joined.reshape(-1), kind), joined.shape[1])


def matrix(table: pa.Table, column: str) -> NDArray[Any]:
    """A column of lists of one length as an array ``(N, d)``."""
    joined = table[column].combine_chunks()
    width = joined.type.list_size
    return joined.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
