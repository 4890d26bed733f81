"""Where the time of scoring goes, stage by stage, and how far the UNet is from this machine's peak.

    python benchmarks/profile_scoring.py FOLDER --model FOLDER [--images 256] [--perceptual SPEC]

Every stage is timed inside of `score_shards.score_files`, which is what `mincurate score` runs.
Decoding happens in threads beside the rest, so that its time is work that is mostly hidden. The
peak is the best of ten float32 matrix multiplications before, and ten after, in this process.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

STAGES = ("decode", "noise", "unet", "perceptual", "distance", "write")


class Clock:
    """Seconds spent inside of functions, by name; threads add up."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.lock = threading.Lock()

    def timed(self, name, function):
        def call(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                with self.lock:
                    self.seconds[name] += time.perf_counter() - started

        return call


def peak():
    """GFLOP/s of the best of ten float32 multiplications of 2,048 x 2,048."""
    import torch

    a, best = torch.randn(2048, 2048), 0.0
    for _ in range(10):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started))
    return best / 1e9


def profile(options):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mincurate.compute import device
    from mincurate.diffusion.load import load_denoiser
    from mincurate.features import perceptual
    from mincurate.images import collection, decode_pool
    from mincurate.ranking import minority_score, score_shards, shard_loop, table_file
    from mincurate.ranking.minority_score import Scorer
    from mincurate.ranking.shard_loop import Reading
    from mincurate.runs import shards, store

    device.keep_freed_memory()
    model = load_denoiser(options.model)
    distance = perceptual.load_perceptual(options.perceptual, model)
    images = collection.open_collection(options.source, max_images=options.images)
    files = [(name, source.path) for name, (source, _) in images.unique.items()]
    dtype = device.reduced_precision("cpu")
    sigma = model.nearest_sigma(0.005 * model.image_size)
    scorer = Scorer(model, distance, sigma, options.draws, 0, dtype)
    reading = Reading(model.image_size, "crop", 32, 2)
    score_shards.score_files(scorer, reading, files[:32])
    before = peak()
    clock = Clock()
    patched = [
        (decode_pool, "_apart", "decode"),
        (minority_score, "noise", "noise"),
        (perceptual, "distance", "distance"),
    ]
    for module, name, stage in patched:
        setattr(module, name, clock.timed(stage, getattr(module, name)))
    for owner, name, stage in (
        (model, "denoise", "unet"),
        (distance, "features", "perceptual"),
    ):
        object.__setattr__(owner, name, clock.timed(stage, getattr(owner, name)))
    with tempfile.TemporaryDirectory() as folder:
        run = store.Run(Path(folder))
        started = time.perf_counter()
        for index in range(0, len(files), shard_loop.SHARD_IMAGES):
            rows = score_shards.score_files(
                scorer, reading, files[index : index + shard_loop.SHARD_IMAGES]
            )
            writing = time.perf_counter()
            shards.write_shard(
                run, "scores", index, table_file.shard_table(rows.hashes, rows.parts), rows.lost
            )
            clock.seconds["write"] += time.perf_counter() - writing
        wall = time.perf_counter() - started
    best = max(before, peak())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.denoise(torch.zeros(8, 3, model.image_size, model.image_size), sigma)
    per_draw = counter.get_total_flops() / 8 / 1e9
    rate = len(files) * options.draws * per_draw / clock.seconds["unet"]
    return {
        "images": len(files),
        "draws": options.draws,
        "images_per_s": len(files) / wall,
        "share_of_wall": {stage: clock.seconds[stage] / wall for stage in STAGES},
        "decoded_per_s_and_thread": len(files) / clock.seconds["decode"],
        "unet_gflop_per_draw": per_draw,
        "unet_gflops": rate,
        "peak_gflops": best,
        "unet_share_of_peak": rate / best,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="folder of images")
    parser.add_argument("--model", required=True)
    parser.add_argument("--perceptual", default="unet")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    result = profile(options)
    table = Table(
        title=f"{result['images']} images, K = {options.draws}, {options.perceptual[:40]}"
    )
    table.add_column("stage")
    table.add_column("share of the time", justify="right")
    for stage, share in result["share_of_wall"].items():
        table.add_row(stage + (" (beside the rest)" if stage == "decode" else ""), f"{share:.1%}")
    Console().print(table)
    print(
        f"{result['images_per_s']:.1f} images/s; UNet {result['unet_gflops']:.0f} of "
        f"{result['peak_gflops']:.0f} GFLOP/s: {result['unet_share_of_peak']:.2f} of the peak."
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
