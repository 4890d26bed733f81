"""What the Ray engine costs over the local one: whole runs of `mincurate score`, side by side.

    python benchmarks/engines.py FOLDER --model FOLDER [--images 512] [--rounds 2]

Local is one process with as many threads as the machine has CPUs, Ray as many processes with one
thread each. Timed is the scoring alone, without the start of Python and of the cluster, which a
long run does not notice: all images, from the moment the first process has its networks to the
last image. Training, too, is timed by what it says of itself, in steps of the same images, without
its start. The tables are compared. ``--fault`` loses a node and five workers on the way.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from provenance import provenance


class Watch:
    """A reporter that notes when scoring began here, and when the last image was done."""

    def say(self, text):
        pass

    warn = say

    @contextmanager
    def task(self, title, total, unit="images"):
        noted = title == "Scoring"
        if noted:
            self.began = self.ended = time.monotonic()

        def advance(n, note="", total=None):
            if noted:
                self.ended = time.monotonic()

        yield advance


def told(recipe, reading, folder, work):
    """The work, which says when a worker is ready for it; all processes here share the clock."""
    score_files = work(recipe, reading)
    (Path(folder) / f"{time.monotonic():.3f}").touch()
    return score_files


def score(options, folder, engine, address=None):
    """The table, images a second while scoring, and seconds in all."""
    from mincurate.pipelines import score as pipeline
    from mincurate.ranking import score_shards

    watch, work = Watch(), score_shards.build_work
    more = {"engine": engine, "address": address} if engine == "ray" else {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as ready:
        score_shards.build_work = partial(told, folder=ready, work=work)
        try:
            done = pipeline.score(
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
        finally:
            score_shards.build_work = work
        # None is told of here, where the networks were there before the scoring began.
        began = min(map(float, os.listdir(ready)), default=watch.began)
    return done.frame, options.images / (watch.ended - began), time.perf_counter() - started


def train(options, folder, engine):
    """Images a second of a training."""
    from mincurate.diffusion import train_denoiser
    from mincurate.pipelines import train as pipelines_train

    more = {"engine": engine, "num_workers": 2} if engine == "ray" else {}
    pipelines_train.train(
        options.source,
        folder,
        image_size=options.train_size,
        train_steps=options.train_steps,
        max_images=options.images,
        **more,
    )
    record = train_denoiser.record(folder)
    return record["images_seen"] / (60 * record["minutes"])


def frail(recipe, reading, folder, work):
    """The work, whose worker dies before five of the shards, once each."""
    score_files = work(recipe, reading)

    def dying(items, advance=None):
        seen = Path(folder) / items[0][0]
        if len(os.listdir(folder)) < 5 and not seen.exists():
            seen.touch()
            os._exit(1)
        return score_files(items, advance)

    return dying


def with_faults(options, place):
    """A run on two nodes, one of which is lost, with five workers that die."""
    import ray
    from ray.cluster_utils import Cluster

    from mincurate.runs import shards

    memory = {"object_store_memory": 100 * 2**20}
    machines = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    nodes = [machines.add_node(num_cpus=1, **memory) for _ in range(2)]
    machines.wait_for_nodes()
    from mincurate.ranking import score_shards

    deaths = place / "deaths"
    deaths.mkdir()
    score_shards.build_work = partial(frail, folder=str(deaths), work=score_shards.build_work)
    written = shards.write_shard

    def write_shard(run, kind, index, table, lost):
        written(run, kind, index, table, lost)
        if len(list((run.path / "shards").glob("*.done"))) == 3:
            machines.remove_node(nodes[1], allow_graceful=False)

    shards.write_shard = write_shard
    frame, rate, seconds = score(options, place / "faults", "ray", machines.address)
    row = {"deaths": len(os.listdir(deaths)), "nodes_lost": 1, "rate": rate, "seconds": seconds}
    ray.shutdown()
    machines.shutdown()
    shards.write_shard = written
    return frame, row


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
    parser.add_argument("--train-steps", type=int, default=300, help="of 8 images; 0: no training")
    parser.add_argument("--train-size", type=int, default=32, help="side in pixels")
    parser.add_argument("--fault", action="store_true", help="lose a node and five workers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray lowers it otherwise
    import ray

    from mincurate.compute.device import keep_freed_memory

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    keep_freed_memory()
    from mincurate.ranking import shard_loop

    shard_loop.SHARD_IMAGES = options.shard
    rates = {"local": [], "ray": []}
    trained = {engine: [] for engine in rates}
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
            for engine in trained if options.train_steps else ():
                trained[engine].append(train(options, place / f"model-{engine}{i}", engine))
                print(f"{engine}: trains {trained[engine][-1]:.1f} images/s", flush=True)
        best = {engine: max(values) for engine, values in rates.items()}
        result = {
            **provenance(),
            "images": options.images,
            "images_per_s": best,
            "overhead": best["local"] / best["ray"] - 1,
            "greatest_difference": difference(tables["local"], tables["ray"]),
        }
        if options.train_steps:
            fastest = {engine: max(values) for engine, values in trained.items()}
            result["training"] = {
                "steps": options.train_steps,
                "images_per_s": fastest,
                "overhead": fastest["local"] / fastest["ray"] - 1,
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
