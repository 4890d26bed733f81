"""Training speed against a plain diffusers loop: the same network, images and batch, side by side.

    python benchmarks/training.py FOLDER [--steps 100] [--batch 8] [--rounds 2]

The plain loop is that of diffusers' unconditional example: images decoded at every step,
`DDPMScheduler.add_noise`, mean squared error, AdamW, gradient clipping, `EMAModel`. Ours is
`train_denoiser.train`, with its held-out checks and checkpoint. Both start from the folder, so
that decoding counts on either side; each runs in a process of its own, and they alternate.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import provenance

SIDE = 32
LIMIT = 2000
"""Images that are used."""


def paths_of(source):
    return sorted(path for path in Path(source).rglob("*") if path.suffix in (".jpg", ".png"))[
        :LIMIT
    ]


def plain(options):
    """Images a second of the loop of diffusers' example."""
    import torch
    import torch.nn.functional as F
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel
    from PIL import Image
    from torchvision import transforms

    from mincurate.diffusion.new_network import new_unet
    from mincurate.diffusion.train_denoiser import Training

    paths = paths_of(options.source)
    transform = transforms.Compose(
        [
            transforms.Resize(SIDE),
            transforms.CenterCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, index):
            return transform(Image.open(paths[index]).convert("RGB"))

    unet = new_unet(SIDE, Training.channels).train()
    average = EMAModel(unet.parameters(), decay=0.999, use_ema_warmup=True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4)
    schedule = get_cosine_schedule_with_warmup(optimizer, 10, options.steps)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    loader = torch.utils.data.DataLoader(
        Images(), batch_size=options.batch, shuffle=True, drop_last=True
    )
    started, step = time.perf_counter(), 0
    while step < options.steps:
        for pixels in loader:
            clean = F.pixel_unshuffle(pixels, 2)  # the network works on 2 x 2 blocks
            noise = torch.randn_like(clean)
            timesteps = torch.randint(0, 1000, (len(clean),))
            noised = scheduler.add_noise(clean, noise, timesteps)
            loss = F.mse_loss(unet(noised, timesteps).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            average.step(unet.parameters())
            step += 1
            if step == options.steps:
                break
    return options.steps * options.batch / (time.perf_counter() - started)


def ours(options):
    """Images a second of `train_denoiser`, as the command line runs it."""
    import diffusers  # noqa: F401  the plain loop imports it before its clock starts, too

    from mincurate.compute import device
    from mincurate.diffusion import train_denoiser, training_plan
    from mincurate.images import collection

    device.keep_freed_memory()
    files = [(str(path), str(path)) for path in paths_of(options.source)]
    plan = train_denoiser.Training(
        SIDE, training_plan.around(0.16), steps=options.steps, batch_size=options.batch
    )
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        batches = collection.read_batches(files, size=SIDE, fit="crop", batch_size=256, workers=2)
        pixels = np.concatenate([pixels for _, pixels, _ in batches])
        train_denoiser.train(pixels, Path(folder), plan)
        return options.steps * options.batch / (time.perf_counter() - started)


SIDES = {"plain": plain, "mincurate": ours}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", help="folder of images")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps({"rate": SIDES[options.side](options)}))
        return
    rates = {name: [] for name in SIDES}
    for _ in range(options.rounds):
        for name, values in rates.items():
            command = [sys.executable, __file__, options.source, "--side", name]
            command += ["--steps", str(options.steps), "--batch", str(options.batch)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            values.append(json.loads(done.stdout.splitlines()[-1])["rate"])
            print(f"{name}: {values[-1]:.1f} images/s", flush=True)
    best = {name: max(values) for name, values in rates.items()}
    result = {
        **provenance(),
        "steps": options.steps,
        "batch": options.batch,
        "images_per_s": best,
        "ratio": best["mincurate"] / best["plain"],
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
