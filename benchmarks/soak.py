"""Score, add images, score the new ones, augment, delete: in a loop, and watch what grows.

One process and a MongoDB of its own. Memory, files, database and open handles must stay flat
after the first loops, which fill caches; the exit code is 1 where one grows beyond its bound.

    python benchmarks/soak.py --minutes 30
    python benchmarks/soak.py --minutes 8 --no-fiftyone      # mincurate alone

FiftyOne makes Python classes for every dataset, which it keeps as long as the process lives.
"""

import argparse
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COLUMNS = ("loop", "minutes", "memory MiB", "files", "disk MiB", "database MiB", "collections")
COLUMNS += ("handles", "threads", "processes")
BOUNDS = {
    "memory MiB": 150,
    "files": 0,
    "disk MiB": 0.5,
    "database MiB": 0.5,
    "collections": 0,
    "handles": 4,
    "threads": 8,
    "processes": 1,
}
"""What may be added in half an hour: what comes and goes (measured), and FiftyOne's classes."""


def serve(folder: Path) -> "subprocess.Popen[bytes]":
    """A MongoDB on a free port, which FiftyOne is told of before it is imported."""
    spec = importlib.util.find_spec("fiftyone")
    assert spec and spec.submodule_search_locations, "FiftyOne is not installed"
    assert "fiftyone" not in sys.modules
    binary = Path(spec.submodule_search_locations[0]) / "db" / "bin" / "mongod"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    folder.mkdir()
    os.environ["FIFTYONE_DATABASE_URI"] = f"mongodb://127.0.0.1:{port}/"
    os.environ["FIFTYONE_DATABASE_NAME"] = "soak"
    call = [str(binary), "--dbpath", str(folder)]
    call += ["--port", port, "--bind_ip", "127.0.0.1", "--logpath", f"{folder}/log"]
    return subprocess.Popen(call, stdout=subprocess.DEVNULL)


def loop(images: Path, number: int, fiftyone: bool) -> None:
    """Once the whole way, back to where it began."""
    from faults import pictures

    from mincurate.dataset import delete
    from mincurate.pipelines import augment, score, score_new
    from mincurate.runs import store

    scored = score.score(
        images,
        dataset="soak" if fiftyone else None,
        train_steps=20,
        n_draws=2,
        num_classes=5,
        umap=False,
        fiftyone=fiftyone,
    ).run
    pictures(images / "new", 8, seed=1000 + number)
    joined = score_new.score_new(scored, fiftyone=fiftyone)
    assert len(joined.frame) == 10, joined.words
    generated = augment.augment(
        scored,
        n=8,
        steps=4,
        init="real",
        top_fraction=1.0,
        train_steps=20,
        guide_steps=20,
        dataset="soak" if fiftyone else None,
        batch_size=4,
    ).run
    shutil.rmtree(images / "new")
    delete.delete_run(generated)
    delete.delete_run(scored)
    assert not store.all_runs()


def measured(home: Path) -> dict[str, Any]:
    """What must not grow."""
    import fiftyone as fo
    from fiftyone.core import odm

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = [p for p in home.rglob("*") if p.is_file()]
    stats = odm.get_db_conn().command("dbStats")
    children = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, check=False)
    assert not fo.list_datasets()
    return {
        "memory MiB": pages * os.sysconf("SC_PAGE_SIZE") >> 20,
        "files": len(files),
        "disk MiB": round(sum(p.stat().st_size for p in files) / 2**20, 1),
        "database MiB": round((stats["dataSize"] + stats["indexSize"]) / 2**20, 2),
        "collections": stats["collections"],
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "processes": len(children.stdout.split()) - 1,  # pgrep itself
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--no-fiftyone", action="store_true")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="mincurate-soak-"))
    os.environ |= {"MINCURATE_HOME": str(place / "home"), "OMP_WAIT_POLICY": "passive"}
    server = serve(place / "database")
    rows: list[dict[str, Any]] = []
    try:
        from faults import pictures

        from mincurate.compute.device import keep_freed_memory
        from mincurate.dataset.database import check_database
        from mincurate.diffusion import new_network
        from mincurate.errors import UserError

        keep_freed_memory()
        network = new_network.new_unet
        new_network.new_unet = lambda size, _, *more: network(size, (32, 32, 64), *more)
        for attempt in range(60):
            try:
                check_database()
                break
            except UserError:
                if attempt == 59:
                    raise
                time.sleep(0.5)
        pictures(place / "images", 40)
        began = time.monotonic()
        print(*(f"{name:>12}" for name in COLUMNS), flush=True)
        while (spent := (time.monotonic() - began) / 60) < options.minutes:
            loop(place / "images", len(rows), not options.no_fiftyone)
            minutes = round((time.monotonic() - began) / 60, 1)
            rows.append({"loop": len(rows) + 1, "minutes": minutes, **measured(place / "home")})
            print(*(f"{rows[-1][name]:>12}" for name in COLUMNS), flush=True)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(place, ignore_errors=True)
    settled, last = rows[min(2, len(rows) - 1)], rows[-1]
    growth = {name: last[name] - settled[name] for name in COLUMNS[2:]}
    print(f"from loop {settled['loop']} to {last['loop']}, {spent:.1f} minutes: ", end="")
    print(", ".join(f"{name} {value:+g}" for name, value in growth.items()))
    beyond = [name for name, value in growth.items() if value > BOUNDS[name]]
    print("beyond its bound: " + ", ".join(beyond) if beyond else "all within their bounds")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
