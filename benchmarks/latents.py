"""Training on latents: does the score of such a model find the rare?

    python benchmarks/latents.py --data clothing --autoencoder taef2-encoder.safetensors

A few images of each of five kinds are hidden among four common ones (`HIDDEN`, `COMMON`). A
denoiser is trained on the latents of all of them, another on their pixels at 32 px. Every kind is
then a case: how well does a ranking tell it from the common ones? Prints AUROC and average
precision, and writes JSON. Models and scores are kept in ``--folder``: a stopped run goes on.
"""

import argparse
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from planted import embed
from provenance import provenance
from study import NETWORK

COMMON = ("T-Shirt", "Longsleeve", "Pants", "Shoes")
HIDDEN = ("Hat", "Skirt", "Dress", "Outwear", "Shirt")
OF_COMMON, OF_HIDDEN = 300, 30
"""Images of every kind; a hidden one is 2.4 % of what it is hidden in."""
JUDGED = 150
"""Common images that are scored beside the hidden ones."""
SIDE, PIXELS = 256, 32
LATENT_SIGMAS = (0.32, 1.28, 2.5)
DECODED_SIGMAS = (1.28,)
PIXEL_SIGMA = 0.16
TOGETHER = 16


def plant(data: Path, folder: Path) -> None:
    """Copy the images of the set into ``folder``, in a sub-folder for each kind."""
    rng = np.random.default_rng(0)
    for kind in (*COMMON, *HIDDEN):
        files = sorted(p for p in (data / kind).iterdir() if p.is_file())
        count = OF_HIDDEN if kind in HIDDEN else OF_COMMON
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in rng.permutation(len(files))[:count]:
            shutil.copyfile(files[i], folder / kind / files[i].name)


def of_latents(model, spec: str, sigma: float, draws: int, hashes, samples) -> np.ndarray:
    """Minority scores of images whose latents are there already."""
    import torch

    from mincurate.compute.device import precision, reduced_precision
    from mincurate.features import perceptual
    from mincurate.ranking import minority_score

    distance = perceptual.load_perceptual(spec, model)
    sigma, scores = model.nearest_sigma(sigma), []
    for i in range(0, len(hashes), TOGETHER):
        x0 = torch.from_numpy(samples[i : i + TOGETHER].astype(np.float32))
        eps = minority_score.noise(hashes[i : i + TOGETHER], draws, x0.shape[1:], 0)
        with torch.inference_mode(), precision("cpu", reduced_precision("cpu")):
            reference = distance.sample_features(model, x0)
            x = x0.repeat_interleave(draws, 0) + sigma * eps.flatten(0, 1)
            features = distance.sample_features(model, model.denoise(x, sigma))
            layers = distance.between(reference, features)
        scores.append(layers.sum(1).view(-1, draws).mean(1).numpy())
    return np.concatenate(scores)


def of_pixels(model, spec: str, hashes, pixels) -> np.ndarray:
    """Minority scores of a pixel model, as `mincurate score` gives them."""
    from mincurate.features import perceptual
    from mincurate.ranking import minority_score

    distance = perceptual.load_perceptual(spec, model)
    scorer = minority_score.Scorer(model, distance, model.nearest_sigma(PIXEL_SIGMA), 4, 0)
    parts = [scorer(pixels[i : i + 32], hashes[i : i + 32]) for i in range(0, len(hashes), 32)]
    return np.concatenate([part.draws.mean(1) for part in parts])


def complexity(pixels: np.ndarray) -> int:
    """Bytes of an image ``(3, S, S)`` as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.tell()


def methods(options: argparse.Namespace) -> tuple[list[str], dict[str, Callable]]:
    """Labels of the images that are judged, and every ranking of them; trains what is missing."""
    import mincurate
    from mincurate.diffusion import autoencoder
    from mincurate.diffusion.load import load_denoiser
    from mincurate.images import collection
    from mincurate.pipelines import training_samples
    from mincurate.pipelines.open_images import open_images
    from mincurate.ranking import neighbors, outliers, vector_rarity
    from mincurate.terminal import Terminal

    folder, reporter = options.folder, Terminal()
    images = folder / "images"
    if not images.exists():
        plant(options.data, images)
    shared = {"seed": 0, "reporter": reporter}
    steps = {"latent": options.autoencoder, "train_steps": options.steps}
    if options.model:
        latent = load_denoiser(options.model)
    else:
        latent = mincurate.train(images, folder / "latent", **steps, **shared)
    steps = {"image_size": PIXELS, "train_steps": options.pixel_steps}
    pixel = mincurate.train(images, folder / "pixels", **steps, **shared)

    files = open_images(str(images), workers=2, reporter=reporter)
    reading = {"fit": "crop", "seed": 0, "workers": 2}
    encoder = autoencoder.load(options.autoencoder)
    encoded = training_samples.of_images(
        files, size=SIDE, autoencoder=encoder, standardise=True, reporter=reporter, **reading
    )
    hashes, samples = encoded.hashes, encoded.values
    labels = [str(files.unique[name][0].label) for name in hashes]
    common = [i for i, label in enumerate(labels) if label in COMMON][:JUDGED]
    rows = sorted([*common, *(i for i, label in enumerate(labels) if label in HIDDEN)])
    names, latents = [hashes[i] for i in rows], samples[rows]

    def pixels_at(side: int) -> np.ndarray:
        found, pixels = collection.training_pixels(files, size=side, **reading)
        assert found == hashes
        return pixels

    ways: dict[str, Callable] = {}
    for sigma in LATENT_SIGMAS:
        ways[f"latent, sigma {sigma:g}"] = lambda sigma=sigma: of_latents(
            latent, "latent", sigma, 2, names, latents
        )
    for name, spec in (("SqueezeNet", options.perceptual), ("unet", "unet")):
        ways[f"pixels at 32 px, {name}"] = lambda spec=spec: of_pixels(
            pixel, spec, names, pixels_at(PIXELS)[rows]
        )

    ways["complexity (control)"] = lambda: np.array(
        [complexity(image) for image in pixels_at(PIXELS)[rows]]
    )

    def by_vectors(rarity: Callable) -> np.ndarray:
        file = folder / "vectors.npy"
        if not file.exists():
            np.save(file, embed(list(pixels_at(224)), "efficientnet-lite0"))
        return np.asarray(rarity(np.load(file)))[rows]

    ways["vectors, the default ranking"] = lambda: by_vectors(
        lambda v: vector_rarity.measure(v, outliers.reference(hashes)).rarity
    )
    ways["vectors, distance to 50 neighbours"] = lambda: by_vectors(
        lambda v: neighbors.neighbor_distance(v, 50)
    )
    for sigma in DECODED_SIGMAS:
        ways[f"decoded, SqueezeNet, sigma {sigma:g}"] = lambda sigma=sigma: of_latents(
            latent, options.perceptual, sigma, 1, names, latents
        )
    return [labels[i] for i in rows], ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--autoencoder", required=True, help="as mincurate train --latent takes it")
    parser.add_argument("--steps", type=int, default=1200, help="of 16 latents")
    parser.add_argument("--pixel-steps", type=int, default=2400, help="of 8 images of 32 px")
    parser.add_argument("--model", help="of the latents of these images, in place of a new one")
    parser.add_argument("--methods", nargs="+", default=[""], help="those that begin so alone")
    parser.add_argument("--perceptual", default=NETWORK, help="distance of images")
    parser.add_argument("--folder", type=Path, default=Path("latents"), help="of images and models")
    options = parser.parse_args()

    from rich.console import Console
    from rich.table import Table
    from sklearn.metrics import average_precision_score, roc_auc_score

    from mincurate.compute import device

    device.keep_freed_memory()  # as the command line does
    labels, ways = methods(options)
    ways = {name: way for name, way in ways.items() if name.startswith(tuple(options.methods))}
    kept = options.folder / "scores.json"
    scores = json.loads(kept.read_text()) if kept.exists() else {}
    for name, way in ways.items():
        if name not in scores:
            scores[name] = np.asarray(way(), np.float64).tolist()
            kept.write_text(json.dumps(scores))
    label_of = np.array(labels)
    table = Table(title=f"AUROC, and average precision, {OF_HIDDEN} among {JUDGED}")
    for column in ("method", *HIDDEN, "mean AUROC", "mean AP"):
        table.add_column(column)
    result = []
    for name in ways:
        values = np.array(scores[name])
        row = {"method": name}
        for kind in HIDDEN:
            case = (label_of == kind) | np.isin(label_of, COMMON)
            rare = label_of[case] == kind
            row[kind] = (
                float(roc_auc_score(rare, values[case])),
                float(average_precision_score(rare, values[case])),
            )
        result.append(row)
        means = np.mean([row[kind] for kind in HIDDEN], axis=0)
        cells = [f"{row[kind][0]:.3f}, {row[kind][1]:.3f}" for kind in HIDDEN]
        table.add_row(name, *cells, *(f"{mean:.3f}" for mean in means))
    Console(width=150).print(table)
    about = {**provenance(), "rows": result}
    (options.folder / "latents.json").write_text(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
