"""Training on latents: does such a model find the rare, and what does it generate at 256 px?

    python benchmarks/latents.py --data clothing --autoencoder taef2-encoder.safetensors

A few images of each of five kinds are hidden among four common ones (`HIDDEN`, `COMMON`). A
denoiser is trained on the latents of all of them, another on their pixels at 32 px. Every kind is
then a case: how well does a score tell it from the common ones?
"""

import argparse
import shutil
from pathlib import Path

import numpy as np

COMMON = ("T-Shirt", "Longsleeve", "Pants", "Shoes")
HIDDEN = ("Hat", "Skirt", "Dress", "Outwear", "Shirt")
OF_COMMON, OF_HIDDEN = 300, 30
"""Images of every kind; a hidden one is 2.4 % of what it is hidden in."""


def plant(data: Path, folder: Path) -> None:
    """Copy the images of the set into ``folder``, in a sub-folder for each kind."""
    rng = np.random.default_rng(0)
    for kind in (*COMMON, *HIDDEN):
        files = sorted(p for p in (data / kind).iterdir() if p.is_file())
        count = OF_HIDDEN if kind in HIDDEN else OF_COMMON
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in rng.permutation(len(files))[:count]:
            shutil.copyfile(files[i], folder / kind / files[i].name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--autoencoder", required=True, help="as mincurate train --latent takes it")
    parser.add_argument("--steps", type=int, default=1700, help="of 16 latents")
    parser.add_argument("--pixel-steps", type=int, default=3400, help="of 8 images of 32 px")
    parser.add_argument("--folder", type=Path, default=Path("latents"), help="of images and models")
    options = parser.parse_args()

    import mincurate
    from mincurate.compute import device

    device.keep_freed_memory()  # as the command line does
    images = options.folder / "images"
    if not images.exists():
        plant(options.data, images)
    mincurate.train(
        images,
        options.folder / "latent",
        latent=options.autoencoder,
        train_steps=options.steps,
        progress=True,
    )


if __name__ == "__main__":
    main()
