"""Vectors of photographs: against the network's own rate, FiftyOne, and memory.

    python benchmarks/vectors.py FOLDER [--images 400] [--rounds 3] [--memory 1000 10000]

Side by side, in turns: the network on ready pixels, mincurate's vectors stage (decode, resize,
network, write), and FiftyOne's ``compute_embeddings`` with the same network, EfficientNet-Lite0, on
the same images, as it is called by default and with batches of 16 and two workers. FiftyOne resizes
as mincurate does, so that the vectors can be compared. Other programs change wall times: CPU
seconds, those of the decoding processes included, are given beside them.

Memory is the peak of ``mincurate score --quick`` with all its processes (proportional shares), at
each number of photographs: copies with an appended byte, at half the side.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from provenance import provenance

BATCH = 16
IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


def cpu_seconds():
    """Of this process and its children, those that still run included."""
    import psutil

    own = psutil.Process()
    family = [own, *own.children(recursive=True)]
    living = sum(sum(p.cpu_times()[:2]) for p in family if "mongod" not in p.name())
    return living + sum(own.cpu_times()[2:4])


def timed(work):
    """The result of some work, its wall and its CPU seconds."""
    started, before = time.perf_counter(), cpu_seconds()
    result = work()
    return result, time.perf_counter() - started, cpu_seconds() - before


def rates(files, rounds, fewer):
    """Images per second and CPU milliseconds per image of each, and cosines with FiftyOne's."""
    import torch

    from mincurate.compute.device import choose_precision
    from mincurate.features.embedder import load_embedder
    from mincurate.ranking import vectors
    from mincurate.ranking.shard_loop import Reading

    network = load_embedder("efficientnet-lite0", None)
    dtype = choose_precision("auto", "cpu")
    reading = Reading(network.side, "crop", BATCH, 2, resampling=network.resampling)
    pairs = [(str(file), str(file)) for file in files]
    pixels = [batch for _, batch, _ in reading.batches(pairs)]

    def ready():
        return np.concatenate(list(vectors.embed_batches(network, "cpu", dtype, iter(pixels))))

    def stage():
        return stored(network, dtype, reading, files)

    def fiftyone(**options):
        return lambda: dataset[:fewer].compute_embeddings(model, progress=False, **options)

    dataset, model = fiftyone_dataset(files), fiftyone_model()
    ways = {
        "network on ready pixels": (ready, len(files)),
        "mincurate, vectors stage": (stage, len(files)),
        "FiftyOne, batches of 16, 2 workers": (fiftyone(batch_size=32, num_workers=2), fewer),
        "FiftyOne, as called by default": (fiftyone(), fewer),
    }
    figures = {name: {"per_second": [], "cpu_ms": []} for name in ways}
    results = {}
    for _ in range(rounds):
        for name, (work, count) in ways.items():
            results[name], wall, cpu = timed(work)
            figures[name]["per_second"].append(count / wall)
            figures[name]["cpu_ms"].append(1000 * cpu / count)
    dataset.delete()
    ours, theirs = results["mincurate, vectors stage"], results["FiftyOne, as called by default"]
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    exact = stored(network, None, reading, files[:fewer])
    cosines = {}
    for name, rows in ((str(dtype or torch.float32), ours[:fewer]), ("float32", exact)):
        cosine = (rows.astype(np.float64) * theirs).sum(1)
        cosines[name] = {"mean": float(cosine.mean()), "least": float(cosine.min())}
    return figures, cosines


def stored(network, dtype, reading, files):
    """Vectors of files by the stage of a run, which writes them in shards; read again."""
    from mincurate.images.collection import Collection
    from mincurate.images.decode import Identity
    from mincurate.images.sources import Source
    from mincurate.progress import SILENT
    from mincurate.ranking import table_file, vectors
    from mincurate.runs import shards, store

    images = Collection(
        "folder", "", [(Source(str(f), f.name), Identity(content_hash=str(f))) for f in files]
    )
    recipe = vectors.Recipe(network.name, None, "cpu", dtype, network.weights_hash)
    with tempfile.TemporaryDirectory() as folder:
        run = store.Run(Path(folder))
        vectors.embed(run, images, network, recipe, reading, SILENT)
        tables = [shards.read_shard(run, "vectors", i) for i in range(-(-len(files) // 256))]
    return np.concatenate([table_file.matrix(table, "embedding") for table in tables])


def fiftyone_dataset(files):
    """A dataset of files, which is deleted afterwards."""
    import fiftyone as fo

    dataset = fo.Dataset(f"mincurate-benchmark-{os.getpid()}")
    dataset.add_samples([fo.Sample(str(file)) for file in files])
    return dataset


def fiftyone_model():
    """timm's EfficientNet-Lite0 as a FiftyOne model, with the pixels and pooling of mincurate."""
    import timm
    import torch
    from fiftyone.utils.torch import TorchImageModel, TorchImageModelConfig

    from mincurate.features import backbone, packaged
    from mincurate.features.embedder import summary
    from mincurate.images.decode import fit_image

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = timm.create_model("tf_efficientnet_lite0")
            weights = backbone.read_weights(packaged.weights_file()).values()
            self.net.load_state_dict(dict(zip(self.net.state_dict(), weights, strict=True)))

        def forward(self, x):
            return summary(self.net.forward_features(x))

    def prepare(image):
        pixels = np.asarray(fit_image(image, packaged.SIDE, "crop", "hamming")).transpose(2, 0, 1)
        return torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1)

    return TorchImageModel(
        TorchImageModelConfig(
            {
                "model": Pooled(),
                "transforms": prepare,
                "ragged_batches": False,
                "as_feature_extractor": True,
            }
        )
    )


def peak_memory(files, count):
    """Peak megabytes of a quick run of ``count`` photographs, with its processes."""
    import psutil
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small"
        small.mkdir()
        for i, file in enumerate(files):
            with Image.open(file) as image:
                image.draft("RGB", (image.width // 2, image.height // 2))
                image.convert("RGB").resize((image.width // 2, image.height // 2)).save(
                    small / f"{i:05d}.jpg"
                )
        source = sorted(small.iterdir())
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for i in range(count):
            content = source[i % len(source)].read_bytes()
            (pictures / f"{i:06d}.jpg").write_bytes(content + i.to_bytes(4, "big"))
        shutil.rmtree(small)
        command = [sys.executable, "-m", "mincurate", "score", str(pictures), "--quick"]
        command += ["--no-fiftyone", "--no-umap", "--output", f"{folder}/run"]
        command += ["--embedding", "efficientnet-lite0"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak, parent = 0, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                family = [parent, *parent.children(recursive=True)]
                peak = max(peak, sum(p.memory_full_info().pss for p in family))
            except psutil.Error:  # a process that has just ended
                continue
            time.sleep(0.25)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed")
    return peak / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--fewer", type=int, default=128, help="images for FiftyOne")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--json", type=Path, default=Path("vectors.json"))
    options = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    from mincurate.compute import device

    device.keep_freed_memory()  # as the command line does
    files = sorted(f for f in options.folder.rglob("*") if f.suffix.lower() in IMAGES)
    files = files[:: max(1, len(files) // options.images)][: options.images]
    result = {**provenance(), "images": len(files)}
    console = Console()
    if options.rounds:
        figures, cosines = rates(files, options.rounds, min(options.fewer, len(files)))
        ours = figures["mincurate, vectors stage"]
        table = Table("", "images/s", "CPU ms per image", "mincurate's rate over it", "by CPU")
        for name, figure in figures.items():
            speed, cost = np.median(figure["per_second"]), np.median(figure["cpu_ms"])
            ratio = np.median(np.divide(ours["per_second"], figure["per_second"]))
            by_cpu = np.median(np.divide(figure["cpu_ms"], ours["cpu_ms"]))
            table.add_row(name, f"{speed:.1f}", f"{cost:.1f}", f"{ratio:.2f}", f"{by_cpu:.2f}")
        console.print(table)
        console.print(cosines)
        result |= {"figures": figures, "cosines": cosines}
    result["peak_mb"] = {count: peak_memory(files, count) for count in options.memory}
    for count, peak in result["peak_mb"].items():
        console.print(f"{count:,} photographs: peak {peak:,.0f} MB, all processes")
    options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
