"""Shards of a run: a Parquet file and a marker each, without which the file does not count."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mincurate import hashing
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["vectors", "scores"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What shards hold."""


def write_shard(run: Run, kind: Kind, index: int, table: "pa.Table", lost: dict[str, str]) -> None:
    """Write shard ``index``, and then its marker.

    Args:
        lost: reasons, by content hash, of the shard's images that have no row.
    """
    path = _shard(run, kind, index)
    path.parent.mkdir(exist_ok=True)
    atomic_files.write_table(path, table)
    marker = {"rows": table.num_rows, "digest": hashing.file_digest(path), "lost": lost}
    atomic_files.write_atomically(path.with_suffix(".done"), json.dumps(marker).encode())


def read_shard(run: Run, kind: Kind, index: int) -> "pa.Table | None":
    """Shard ``index``; ``None`` if it is missing, unfinished or damaged."""
    import pyarrow.parquet as pq

    return pq.read_table(_shard(run, kind, index)) if shard_done(run, kind, index) else None


def lost_in_shard(run: Run, kind: Kind, index: int) -> dict[str, str]:
    """Reasons, by content hash, of the images without a row in shard ``index``, which is done."""
    return json.loads(_shard(run, kind, index).with_suffix(".done").read_text()).get("lost", {})


def shard_done(run: Run, kind: Kind, index: int) -> bool:
    """Whether shard ``index`` is complete: it has a marker, whose checksum matches."""
    path = _shard(run, kind, index)
    try:
        marker = json.loads(path.with_suffix(".done").read_text())
        return marker["digest"] == hashing.file_digest(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def damaged_shards(run: Run, kind: Kind) -> list[int]:
    """The shards that have a marker, but not its checksum."""
    markers = sorted((run.path / schema.SHARDS).glob(f"{kind}-*.done"))
    indices = [int(path.stem.removeprefix(f"{kind}-")) for path in markers]
    return [index for index in indices if not shard_done(run, kind, index)]


def _shard(run: Run, kind: Kind, index: int) -> Path:
    return run.path / schema.SHARDS / f"{kind}-{index:06d}.parquet"
