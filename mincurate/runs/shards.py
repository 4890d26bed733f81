"""Shards of scores: a Parquet file each, which counts once its marker is there too."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mincurate import hashing
from mincurate.runs import files
from mincurate.runs.store import Run

if TYPE_CHECKING:
    import pyarrow as pa


def write_shard(run: Run, index: int, table: "pa.Table", lost: dict[str, str]) -> None:
    """Write shard ``index`` and then the marker that says it is whole.

    Args:
        lost: reasons, by content hash, of files of the shard that have no row.
    """
    path = _shard(run, index)
    path.parent.mkdir(exist_ok=True)
    files.write_table(path, table)
    marker = {"rows": table.num_rows, "digest": hashing.file_digest(path), "lost": lost}
    files.write_atomically(path.with_suffix(".done"), json.dumps(marker).encode())


def read_shard(run: Run, index: int) -> "pa.Table | None":
    """Shard ``index``, or ``None`` when it is absent, unfinished or not what its marker says."""
    import pyarrow.parquet as pq

    return pq.read_table(_shard(run, index)) if shard_done(run, index) else None


def lost_in_shard(run: Run, index: int) -> dict[str, str]:
    """Reasons, by content hash, of the files that have no row in shard ``index``, which is done."""
    return json.loads(_shard(run, index).with_suffix(".done").read_text()).get("lost", {})


def shard_done(run: Run, index: int) -> bool:
    """Whether shard ``index`` has its marker and the digest fits."""
    path = _shard(run, index)
    try:
        return json.loads(path.with_suffix(".done").read_text())["digest"] == hashing.file_digest(
            path
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def damaged_shards(run: Run) -> list[int]:
    """The shards that were finished and are not any more what their markers say."""
    markers = sorted((run.path / "shards").glob("scores-*.done"))
    indices = [int(path.stem.removeprefix("scores-")) for path in markers]
    return [index for index in indices if not shard_done(run, index)]


def _shard(run: Run, index: int) -> Path:
    return run.path / "shards" / f"scores-{index:06d}.parquet"
