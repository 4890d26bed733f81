"""Every test has a home of its own; tests that need the database share one real mongod."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("mincurate", deadline=None)
settings.load_profile("mincurate")

# FiftyOne reads these once, when it is imported: they are set before anything can import it.
DATABASE = tempfile.mkdtemp(prefix="mincurate-database-")
os.environ["FIFTYONE_DATABASE_DIR"] = DATABASE
os.environ["FIFTYONE_DATABASE_NAME"] = "mincurate-tests"
atexit.register(shutil.rmtree, DATABASE, ignore_errors=True)

SHARED = Path(__file__).resolve().parents[2] / "shared"
SQUEEZENET = SHARED / "models" / "squeezenet1_0-imagenet-fp16.safetensors"
CIFAR = SHARED / "data" / "cifar10-train.zip"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh ``MINCURATE_HOME``."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MINCURATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def database() -> None:
    """A real mongod with a folder of its own, started once."""
    from mincurate import dataset
    from mincurate.errors import UserError

    try:
        dataset.check_database()
    except UserError as error:
        if os.environ.get("MINCURATE_REQUIRE_DB"):
            raise
        pytest.skip(f"no database here: {error}")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty small pictures in two class folders: many discs, and five crosses among them."""
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, discs=55, crosses=5)
    return folder


def draw_shapes(folder: Path, discs: int, crosses: int) -> None:
    """Write pictures of 16 x 16 px, each different, as PNG."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for kind, count in (("disc", discs), ("cross", crosses)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            cx, cy, r = rng.uniform(6, 10), rng.uniform(6, 10), rng.uniform(3, 5)
            if kind == "disc":
                inside = (x - cx) ** 2 + (y - cy) ** 2 < r**2
            else:
                inside = (abs(x - cx) < 1.5) | (abs(y - cy) < 1.5)
            colors = rng.integers(0, 255, (2, 3))
            picture = np.where(inside[..., None], colors[0], colors[1])
            noisy = picture + rng.normal(0, 4, picture.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
                folder / kind / f"{i:03d}.png"
            )


def shorten_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings for which no number of steps is given take twenty."""
    from dataclasses import replace

    from mincurate import training

    train = training.train

    def short(images, folder, plan, **more):
        return train(images, folder, replace(plan, steps=plan.steps or 20), **more)

    monkeypatch.setattr(training, "train", short)
