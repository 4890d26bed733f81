"""Peak memory of `mincurate score` as the number of images grows, and what every image adds.

    python benchmarks/memory.py FOLDER --model FOLDER [--images 2500 5000 10000] [--fiftyone]

Every size is a whole run (scored, embedded, mapped, reported, with ``--fiftyone`` stored) in a
process of its own. Memory may grow by the results: the table, the embeddings and the map. Prints a
table and writes JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import provenance


def run(options, images, home):
    """Score ``images`` images; return minutes, peak memory in MB and the time of each stage."""
    command = [sys.executable, "-c", "from mincurate.cli import main; main()", "score"]
    command += [options.source, "--model", str(options.model), "--max-images", str(images)]
    command += ["--output", str(Path(home) / f"run-{images}"), "--fresh"]
    command += options.options.split()
    command += ["--dataset", f"memory-{images}"] if options.fiftyone else ["--no-fiftyone"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{output}")
    print(output.strip().splitlines()[-1])
    return {
        "images": images,
        "minutes": (time.perf_counter() - started) / 60,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="folder with at least as many images as asked for")
    parser.add_argument("--model", type=Path, required=True, help="a diffusers pipeline folder")
    parser.add_argument("--images", type=int, nargs="+", default=[2500, 5000, 10000])
    parser.add_argument("--fiftyone", action="store_true", help="write a FiftyOne dataset, too")
    parser.add_argument("--options", default="", help="more options of `mincurate score`")
    parser.add_argument("--json", type=Path, default=Path("memory.json"))
    options = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    with tempfile.TemporaryDirectory() as home:
        rows = [run(options, images, home) for images in options.images]
    result = {
        **provenance(),
        "rows": rows,
    }
    options.json.write_text(json.dumps(result, indent=1))
    table = Table("images", "minutes", "peak MB", "KB more per image")
    for before, row in zip([None, *rows], rows, strict=False):
        more = ""
        if before:
            grown = row["peak_mb"] - before["peak_mb"]
            more = f"{1024 * grown / (row['images'] - before['images']):.1f}"
        table.add_row(f"{row['images']:,}", f"{row['minutes']:.1f}", f"{row['peak_mb']:.0f}", more)
    Console().print(table)


if __name__ == "__main__":
    main()
