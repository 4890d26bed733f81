"""Memory that runs out, by the kernel's own limit."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]

CODE = """
import resource, sys
import numpy as np
import torch
torch.set_num_threads(1)
from mincurate.diffusion import new_network
from mincurate.diffusion.training_plan import Training
from mincurate.features import perceptual
from mincurate.ranking import minority_score, score_shards
denoiser = new_network.untrained(Training(32, (0.1, 1.0), channels=(64, 128)))
scorer = minority_score.Scorer(
    denoiser, perceptual.load_perceptual("unet", denoiser), 0.16, 4, 0
)
pixels = np.random.default_rng(0).integers(0, 256, (192, 3, 32, 32), np.uint8)
names = [f"{i:04d}" for i in range(len(pixels))]
scorer(pixels[:2], names[:2])
pages = int(open("/proc/self/statm").read().split()[0])
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(
    resource.RLIMIT_AS, (pages * resource.getpagesize() + int(sys.argv[1]) * 2**20, hard)
)
sizes = []
class Watched:
    denoiser, n_draws = scorer.denoiser, scorer.n_draws
    def __call__(self, pixels, names):
        found = scorer(pixels, names)
        sizes.append(len(names))
        return found
try:
    parts = score_shards._score_batch(Watched(), pixels, names)
except Exception as error:
    print(type(error).__name__, error)
    raise SystemExit
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
together = np.concatenate([part.draws for part in parts])
apart = np.concatenate(
    [scorer(pixels[i : i + 8], names[i : i + 8]).draws for i in range(0, 192, 8)]
)
print(len(sizes), max(sizes), float(abs(together - apart).max()))
"""


def scored(megabytes: int) -> str:
    """What scoring 192 images says with so much memory beside what the network takes."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(megabytes)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_a_batch_that_does_not_fit_is_scored_in_parts_with_the_same_scores():
    parts, largest, difference = map(float, scored(400).split())
    assert parts > 1 and largest < 192
    assert difference < 1e-5


def test_not_even_one_image_is_a_sentence():
    line = scored(1)
    assert line.startswith("UserError") and "memory" in line, line
