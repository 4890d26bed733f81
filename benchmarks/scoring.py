"""Scoring speed and memory against the published procedure, re-enacted, on this machine.

    python benchmarks/scoring.py [FOLDER] [--model FOLDER] [--images 512] [--draws 6]

The published procedure: batch by batch, K fresh draws one after the other, the features of the
original computed again for every draw, float32, contiguous memory. Ours: `minority_score.Scorer`
as `mincurate score` runs it. Both use the same weights; every side runs in a process of its own, so
that peak memory is its own; the sides alternate, and the ratio is of their best rates. Three rank
correlations are given: with noise of its own on either side, which K draws limit; of two runs of
the published procedure, which is that limit; and with the same noise, which shows that the same is
computed. The last column sets our arithmetic against this
machine's matrix-multiply peak in float32, measured in the same run: where it is near 1, nothing but
less arithmetic could be faster. Prints a table and writes JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from provenance import provenance

SHARED = Path(__file__).resolve().parents[2] / "shared"
SQUEEZENET = SHARED / "models" / "squeezenet1_0-imagenet-fp16.safetensors"


def published(model, distance, pixels, n_draws, sigma, batch, names=None, seed=1):
    """Scores of ``pixels`` as the research code computes them; with ``names``, on our noise."""
    import torch

    from mincurate.diffusion.denoiser import to_tensor
    from mincurate.ranking import minority_score

    generator = torch.Generator().manual_seed(seed)
    scores = []
    with torch.no_grad():
        for start in range(0, len(pixels), batch):
            x0 = to_tensor(pixels[start : start + batch])
            total = torch.zeros(len(x0))
            if names:
                ours = minority_score.noise(
                    names[start : start + batch], n_draws, tuple(x0.shape[1:]), 0
                )
            for k in range(n_draws):
                eps = ours[:, k] if names else torch.randn(x0.shape, generator=generator)
                x0hat = model.denoise(x0 + sigma * eps, sigma)
                total += published_distance(distance, x0, x0hat)
            scores.append((total / n_draws).numpy())
    return np.concatenate(scores)


def published_distance(distance, a, b):
    """LPIPS as its package computes it, the features of both images anew."""
    import torch

    total = 0
    for i, pair in enumerate(zip(distance.trunk(a), distance.trunk(b), strict=True)):
        f, g = (v / (torch.sqrt(torch.sum(v**2, dim=1, keepdim=True)) + 1e-10) for v in pair)
        apart = (f - g) ** 2
        if distance.channel_weights is not None:
            apart = apart * distance.channel_weights[i].view(1, -1, 1, 1)
        total = total + apart.sum(1).mean((1, 2))
    return total


def side(name, folder, spec, n_draws, batch):
    """Run one side and print its figures as JSON."""
    import torch

    from mincurate.compute import device
    from mincurate.diffusion.load import load_denoiser
    from mincurate.diffusion.weight_precision import cast_once
    from mincurate.features import perceptual
    from mincurate.ranking.minority_score import Scorer

    pixels = np.load(folder / "pixels.npy")
    model = load_denoiser(str(folder / "model"))
    distance = perceptual.load_perceptual(spec, model)
    sigma = model.nearest_sigma(0.005 * model.image_size)
    names = [str(i) for i in range(len(pixels))]
    if name == "published":
        model.unet.to(memory_format=torch.contiguous_format)
        contiguous_only()
        published(model, distance, pixels[:batch], 1, sigma, batch)
        started = time.perf_counter()
        scores = published(model, distance, pixels, n_draws, sigma, batch)
        seconds = time.perf_counter() - started
        same = published(model, distance, pixels, n_draws, sigma, batch, names)
        np.save(folder / "same-noise.npy", same)
        again = published(model, distance, pixels, n_draws, sigma, batch, seed=2)
        np.save(folder / "again.npy", again)
    else:
        device.keep_freed_memory()  # as the command line does
        dtype = device.reduced_precision("cpu")
        scorer = Scorer(cast_once(model, dtype), distance, sigma, n_draws, 0, dtype)
        scorer(pixels[:batch], names[:batch])
        started = time.perf_counter()
        parts = [
            scorer(pixels[i : i + batch], names[i : i + batch]).draws.mean(1)
            for i in range(0, len(pixels), batch)
        ]
        scores = np.concatenate(parts)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.save(folder / f"{name}.npy", scores)
    print(json.dumps({"rate": len(pixels) / seconds, "peak_mb": peak / 1024}))


def contiguous_only():
    """Undo channels_last wherever mincurate asks for it: the published code has none."""
    import torch

    original = torch.Tensor.contiguous
    torch.Tensor.contiguous = lambda self, memory_format=None: original(self)
    for module in gc_modules():
        module.to(memory_format=torch.contiguous_format)


def gc_modules():
    import gc

    import torch

    return [m for m in gc.get_objects() if isinstance(m, torch.nn.Module)]


def arithmetic(folder, spec, n_draws):
    """GFLOP that scoring an image takes, and this machine's GFLOP/s in float32 multiplication."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mincurate.diffusion.load import load_denoiser
    from mincurate.features import perceptual
    from mincurate.ranking.minority_score import Scorer

    model = load_denoiser(str(folder / "model"))
    sigma = model.nearest_sigma(0.005 * model.image_size)
    distance = perceptual.load_perceptual(spec, model)
    scorer = Scorer(model, distance, sigma, n_draws, 0)
    with FlopCounterMode(display=False) as counter:
        scorer(np.load(folder / "pixels.npy")[:8], [str(i) for i in range(8)])
    a = torch.randn(2048, 2048)
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started))
    return counter.get_total_flops() / 8 / 1e9, best / 1e9


def random_vgg(folder):
    """Weights for the paper's distance, drawn at random: its own cannot be had everywhere, and
    weights do not change its speed."""
    import safetensors.torch
    import torch
    import torchvision

    path = folder / "vgg16.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        state = torchvision.models.vgg16(weights=None).state_dict()
        trunk = {key: v for key, v in state.items() if key.startswith("features.")}
        safetensors.torch.save_file(trunk, path)
    return path


def prepare(source, folder, images, steps, model):
    """Decode the images and take a model, or train one briefly: weights do not change its speed."""
    import shutil

    from mincurate.diffusion import train_denoiser, training_plan
    from mincurate.images import collection

    if source is None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (images, 3, 8, 8))
        pixels = coarse.repeat(4, 2).repeat(4, 3).astype(np.uint8)
        what = f"{images} made-up images"
    else:
        opened = collection.open_collection(source, max_images=images)
        _, pixels = collection.training_pixels(opened, size=32, fit="crop", seed=0, workers=2)
        pixels = pixels[:images]
        what = f"{len(pixels)} images of {source}"
    np.save(folder / "pixels.npy", pixels)
    if model:
        shutil.copytree(model, folder / "model")
        return what
    train_denoiser.train(
        pixels,
        folder / "model",
        train_denoiser.Training(32, training_plan.around(0.16), steps=steps),
    )
    return what


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", nargs="?", help="folder of images; made-up ones without")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", type=Path, help="a trained model, instead of --steps of one")
    parser.add_argument("--perceptual", nargs="*")
    parser.add_argument("--json", type=Path, default=Path("scoring.json"))
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        name, folder, spec = options.side
        side(name, Path(folder), spec, options.draws, options.batch)
        return
    specs = options.perceptual or ["unet", "lpips-vgg"]
    if not options.perceptual and SQUEEZENET.exists():
        specs.append(f"torchvision:squeezenet1_0@{SQUEEZENET}")
    from rich.console import Console
    from rich.table import Table
    from scipy.stats import spearmanr

    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        what = prepare(options.source, folder, options.images, options.steps, options.model)
        for name in specs:
            spec = f"lpips-vgg@{random_vgg(folder)}" if name == "lpips-vgg" else name
            rates = {"published": [], "mincurate": []}
            for _ in range(options.rounds):
                for name in rates:
                    command = [sys.executable, __file__, "--side", name, place, spec]
                    command += ["--draws", str(options.draws), "--batch", str(options.batch)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    rates[name].append(json.loads(done.stdout.splitlines()[-1]))
            best = {name: max(f["rate"] for f in runs) for name, runs in rates.items()}
            peak = {name: max(f["peak_mb"] for f in runs) for name, runs in rates.items()}
            theirs, ours, same, again = (
                np.load(folder / f"{name}.npy")
                for name in ("published", "mincurate", "same-noise", "again")
            )
            per_image, peak_rate = arithmetic(folder, spec, options.draws)
            rows.append(
                {
                    "perceptual": spec.split("@")[0],
                    "published_images_per_s": best["published"],
                    "mincurate_images_per_s": best["mincurate"],
                    "ratio": best["mincurate"] / best["published"],
                    "published_peak_mb": peak["published"],
                    "mincurate_peak_mb": peak["mincurate"],
                    "spearman": float(spearmanr(theirs, ours).statistic),
                    "spearman_published_again": float(spearmanr(theirs, again).statistic),
                    "spearman_same_noise": float(spearmanr(same, ours).statistic),
                    "gflop_per_image": per_image,
                    "peak_gflops": peak_rate,
                    "share_of_peak": best["mincurate"] * per_image / peak_rate,
                }
            )
    result = {
        **provenance(),
        "images": what,
        "draws": options.draws,
        "rows": rows,
    }
    options.json.write_text(json.dumps(result, indent=1))
    table = Table(title=f"{what}, K = {options.draws}")
    for name in (
        "perceptual",
        "published img/s",
        "mincurate img/s",
        "ratio",
        "peak MB",
        "Spearman",
        "published twice",
        "same noise",
        "of peak",
    ):
        table.add_column(name, justify="left" if name == "perceptual" else "right")
    for row in rows:
        table.add_row(
            row["perceptual"],
            f"{row['published_images_per_s']:.1f}",
            f"{row['mincurate_images_per_s']:.1f}",
            f"{row['ratio']:.1f}",
            f"{row['published_peak_mb']:.0f} / {row['mincurate_peak_mb']:.0f}",
            f"{row['spearman']:.4f}",
            f"{row['spearman_published_again']:.4f}",
            f"{row['spearman_same_noise']:.5f}",
            f"{row['share_of_peak']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
