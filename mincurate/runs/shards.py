"""Shards of scores: a Parquet file and a marker each, without which the file does not count."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mincurate import hashing
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run

if TYPE_CHECKING:
    import pyarrow as pa


def write_shard(run: Run, index: int, table: "pa.Table", lost: dict[str, str]) -> None:
    """Write shard ``index``, and then its marker.

    Args:
        lost: reasons, by content hash, of the shard's images that have no row.
    """
    path = _shard(run, index)
    path.parent.mkdir(exist_ok=True)
    atomic_files.write_table(path, table)
    marker = {"rows": table.num_rows, "digest": hashing.file_digest(path), "lost": lost}
    atomic_files.write_atomically(path.with_suffix(".done"), json.dumps(marker).encode())


def read_shard(run: Run, index: int) -> "pa.Table | None":
    """Shard ``index``; ``None`` if it is missing, unfinished or damaged."""
    import pyarrow.parquet as pq

    return pq.read_table(_shard(run, index)) if shard_done(run, index) else None


def lost_in_shard(run: Run, index: int) -> dict[str, str]:
    """Reasons, by content hash, of the images without a row in shard ``index``, which is done."""
    return json.loads(_shard(run, index).with_suffix(".done").read_text()).get("lost", {})


def shard_done(run: Run, index: int) -> bool:
    """Whether shard ``index`` is complete: it has a marker, whose checksum matches."""
    path = _shard(run, index)
    try:
        marker = json.loads(path.with_suffix(".done").read_text())
        return marker["digest"] == hashing.file_digest(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def damaged_shards(run: Run) -> list[int]:
    """The shards that have a marker, but not its checksum."""
    markers = sorted((run.path / schema.SHARDS).glob("scores-*.done"))
    indices = [int(path.stem.removeprefix("scores-")) for path in markers]
    return [index for index in indices if not shard_done(run, index)]


def _shard(run: Run, index: int) -> Path:
    return run.path / schema.SHARDS / f"scores-{index:06d}.parquet"
