"""What the Ray engine costs over the local one: whole runs of `mincurate score`, side by side.

    python benchmarks/engines.py FOLDER --model FOLDER [--images 512] [--rounds 2]

Local is one process with as many threads as the machine has CPUs, Ray as many processes with one
thread each. Timed is the scoring alone, without the start of Python and of the cluster, which a
long run does not notice: with Ray from the first worker that is ready on. The tables are compared.
``--fault`` loses a node and five workers on the way.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np


class Watch:
    """A reporter that notes when every image was done."""

    def __init__(self):
        self.times = []

    def say(self, text):
        pass

    warn = say

    def task(self, title, total, unit="images"):
        from contextlib import contextmanager

        @contextmanager
        def entered():
            def advance(n, note="", total=None):
                if title == "Scoring":
                    self.times.append((time.perf_counter(), n))

            yield advance

        return entered()

    @property
    def rate(self):
        """Images a second, from the first images that are done on."""
        images = sum(n for _, n in self.times[1:])
        return images / (self.times[-1][0] - self.times[0][0])


def score(options, folder, engine, address=None):
    from mincurate import audit

    watch = Watch()
    more = {"engine": engine, "address": address} if engine == "ray" else {}
    started = time.perf_counter()
    done = audit.score(
        options.source,
        model=str(options.model),
        perceptual=options.perceptual,
        output=folder,
        fiftyone=False,
        umap=False,
        max_images=options.images,
        reporter=watch,
        **more,
    )
    return done.frame, watch.rate, time.perf_counter() - started


def frail(recipe, reading, folder, work):
    """The work, whose worker dies before five of the shards, once each."""
    score_files = work(recipe, reading)

    def dying(items):
        seen = Path(folder) / items[0][0]
        if len(os.listdir(folder)) < 5 and not seen.exists():
            seen.touch()
            os._exit(1)
        return score_files(items)

    return dying


def with_faults(options, place):
    """A run on two nodes, one of which is lost, with five workers that die."""
    import sys
    from functools import partial

    import ray
    from ray.cluster_utils import Cluster

    from mincurate import runs, shards

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    memory = {"object_store_memory": 100 * 2**20}
    machines = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    nodes = [machines.add_node(num_cpus=1, **memory) for _ in range(2)]
    machines.wait_for_nodes()
    deaths = place / "deaths"
    deaths.mkdir()
    shards.build_work = partial(frail, folder=str(deaths), work=shards.build_work)
    written = runs.write_shard

    def write_shard(run, index, table, lost):
        written(run, index, table, lost)
        if len(list((run.path / "shards").glob("*.done"))) == 3:
            machines.remove_node(nodes[1], allow_graceful=False)

    runs.write_shard = write_shard
    frame, rate, seconds = score(options, place / "faults", "ray", machines.address)
    found = {"deaths": len(os.listdir(deaths)), "nodes_lost": 1, "rate": rate, "seconds": seconds}
    ray.shutdown()
    machines.shutdown()
    runs.write_shard = written
    return frame, found


def difference(a, b):
    """The greatest difference of two tables' scores; infinite when they hold other files."""
    if a["rel_path"].tolist() != b["rel_path"].tolist() or (a["status"] != b["status"]).any():
        return float("inf")
    return float(np.nanmax(np.abs(a["minority_score"] - b["minority_score"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="a folder of images")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--perceptual", default="unet")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shard", type=int, default=64, help="images per shard")
    parser.add_argument("--fault", action="store_true", help="lose a node and five workers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray lowers it otherwise
    from mincurate import shards
    from mincurate.device import keep_freed_memory

    keep_freed_memory()
    shards.SHARD_IMAGES = options.shard
    rates = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["MINCURATE_HOME"] = str(place / "home")
        tables = {}
        for i in range(options.rounds):
            for engine in rates:
                frame, rate, seconds = score(options, place / f"{engine}{i}", engine)
                tables[engine] = frame
                rates[engine].append(rate)
                print(f"{engine}: {rate:.1f} images/s, {seconds:.0f} s in all", flush=True)
        best = {engine: max(found) for engine, found in rates.items()}
        result = {
            "images": options.images,
            "images_per_s": best,
            "overhead": best["local"] / best["ray"] - 1,
            "greatest_difference": difference(tables["local"], tables["ray"]),
        }
        if options.fault:
            frame, faults = with_faults(options, place)
            faults["greatest_difference"] = difference(tables["local"], frame)
            result["faults"] = faults
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
