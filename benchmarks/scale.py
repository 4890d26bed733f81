"""What of a billion images can be tried on one machine: made-up tables in place of images.

    python benchmarks/scale.py quantiles [--n 20000000]
    python benchmarks/scale.py partitions [--n 10000000]
    python benchmarks/scale.py map [--n 1000000]
    python benchmarks/scale.py fiftyone [--n 20000]

Every part runs in a process of its own, so that its peak memory is its own. ``quantiles`` compares
`quantiles` with `classes`, which sorts all scores, and streams five times as
many scores. ``partitions`` writes a manifest in pieces of a million rows, loses one of them, makes
it again and finds the classes of all. ``map`` is `embedder.fit_map` of vectors of 512
numbers. ``fiftyone`` writes a made-up run into a database of its own, twice.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from provenance import provenance

PIECE = 1_000_000
DEFAULTS = {"quantiles": 20_000_000, "partitions": 10_000_000, "map": 1_000_000, "fiftyone": 20_000}


def made_up(piece, n=PIECE):
    """Scores of one partition; rounded ones, so that some tie."""
    return np.random.default_rng(piece).gamma(3, 0.3, n).astype(np.float32).astype(np.float64)


def quantiles(n, folder):
    from quantiles import class_tops

    from mincurate.ranking import classes

    scores = np.concatenate([made_up(piece) for piece in range(-(-n // PIECE))])[:n]
    started = time.perf_counter()
    sorted_classes = classes.ordinal_classes(scores, 10)
    sorted_seconds = time.perf_counter() - started
    started = time.perf_counter()
    tops = class_tops(lambda: np.array_split(scores, -(-n // PIECE)), 10)
    seconds = time.perf_counter() - started
    equal = bool((np.searchsorted(tops, scores) == sorted_classes).all())
    sizes = np.bincount(sorted_classes)
    return {
        "exact": equal,
        "largest_minus_smallest_class": int(sizes.max() - sizes.min()),
        "sorted_s": sorted_seconds,
        "streamed_s": seconds,
    }


def streamed(n, folder):
    from quantiles import class_tops

    started = time.perf_counter()
    tops = class_tops(lambda: map(made_up, range(n // PIECE)), 10)
    seconds = time.perf_counter() - started
    sizes = np.zeros(10, np.int64)
    for piece in range(n // PIECE):
        sizes += np.bincount(np.searchsorted(tops, made_up(piece)), minlength=10)
    return {"streamed_s": seconds, "largest_minus_smallest_class": int(sizes.max() - sizes.min())}


def partitions(n, folder):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from quantiles import class_tops

    from mincurate.runs import atomic_files

    def write(piece):
        first = piece * PIECE
        numbers = np.arange(first, first + PIECE)
        hashes = np.random.default_rng(piece).bytes(16 * PIECE)
        table = pa.table(
            {
                "path": pa.array([f"s3://photos/{i // 10_000:06d}/{i:010d}.jpg" for i in numbers]),
                "content_hash": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(16), PIECE, [None, pa.py_buffer(hashes)]
                ),
                "score": made_up(piece),
            }
        )
        atomic_files.write_table(folder / f"{piece:04d}.parquet", table)

    def missing():
        return [p for p in range(n // PIECE) if not (folder / f"{p:04d}.parquet").is_file()]

    def scores():
        for path in sorted(folder.glob("*.parquet")):
            yield pq.read_table(path, columns=["score"])["score"].to_numpy()

    started = time.perf_counter()
    for piece in missing():
        write(piece)
    seconds = time.perf_counter() - started
    size = sum(p.stat().st_size for p in folder.glob("*.parquet"))
    started = time.perf_counter()
    before = class_tops(scores, 10)
    merged = time.perf_counter() - started
    (folder / f"{n // PIECE // 2:04d}.parquet").unlink()
    started = time.perf_counter()
    again = missing()
    for piece in again:
        write(piece)
    repaired = time.perf_counter() - started
    return {
        "rows_per_s": n / seconds,
        "bytes_per_row": size / n,
        "merge_s": merged,
        "made_again": len(again),
        "made_again_s": repaired,
        "same_classes": bool((class_tops(scores, 10) == before).all()),
    }


def map_of(n, folder):
    from mincurate.ranking import umap_map

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, 512)).astype(np.float32)
    vectors = np.empty((n, 512), np.float32)
    kind = rng.integers(0, len(centres), n)
    for start in range(0, n, 50_000):
        part = centres[kind[start : start + 50_000]]
        part = part + 0.7 * rng.normal(size=part.shape).astype(np.float32)
        vectors[start : start + 50_000] = part / np.linalg.norm(part, axis=1, keepdims=True)
    started = time.perf_counter()
    points, _ = umap_map.fit_map(vectors, 0)
    seconds = time.perf_counter() - started
    # A map is of use if an image lies with its kind: so do this many of 2,000 nearest neighbours.
    from sklearn.neighbors import NearestNeighbors

    picks = rng.choice(n, 2000, replace=False)
    near = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points[picks])[1][:, 1]
    return {"map_s": seconds, "neighbours_of_a_kind": float((kind[near] == kind[picks]).mean())}


def fiftyone(n, folder):
    from panel import NAME, make

    from mincurate.dataset import writer
    from mincurate.runs.store import Run

    make(folder, n)
    import fiftyone as fo

    fo.delete_dataset(NAME)
    run = Run(folder / "home" / "runs" / "mincurate_1")
    first, second = writer.write_run(run, NAME), writer.write_run(run, NAME)
    in_all = fo.load_dataset(NAME).count()
    fo.delete_dataset(NAME)
    return {
        "first_samples_per_s": n / first.seconds,
        "second_samples_per_s": n / second.seconds,
        "added": [first.added, second.added],
        "in_dataset": in_all,
    }


PARTS = {
    "quantiles": quantiles,
    "streamed": streamed,
    "partitions": partitions,
    "map": map_of,
    "fiftyone": fiftyone,
}


def run(part, n):
    """One part in a process of its own, whose files and database are its own, too."""
    folder = Path(tempfile.mkdtemp(prefix="mincurate-scale-"))
    own = {
        "MINCURATE_HOME": str(folder / "home"),
        "FIFTYONE_DATABASE_DIR": str(folder / "database"),
        "FIFTYONE_DATABASE_NAME": f"mincurate-scale-{os.getpid()}",
    }
    command = [sys.executable, __file__, part, "--n", str(n), "--here", str(folder)]
    try:
        done = subprocess.run(
            command, env=os.environ | own, stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(part, n=None):
    """The figures of a part, as its process printed them."""
    n = n or DEFAULTS[part]
    row = {"part": part, "n": n, **run(part, n)}
    if part == "quantiles":
        row["streamed"] = {"n": 5 * n, **run("streamed", 5 * n)}
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--n", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        row = PARTS[options.part](options.n, options.here)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(row | {"peak_gib": peak}))
        return
    row = measure(options.part, options.n) | {
        **provenance(),
    }
    print(json.dumps(row, indent=1))
    if options.json:
        options.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
