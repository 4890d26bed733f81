"""Every test has a home of its own; tests that need the database share one real mongod."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("mincurate", deadline=None)
settings.load_profile("mincurate")

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in what tests start

# FiftyOne reads these once, when it is imported: they are set before anything can import it.
DATABASE = tempfile.mkdtemp(prefix="mincurate-database-")
os.environ["FIFTYONE_DATABASE_DIR"] = DATABASE
# FiftyOne connects to any mongod that another process of its has started, whatever its folder: only
# a name that nobody else has keeps the tests apart from it, and from each other.
os.environ["FIFTYONE_DATABASE_NAME"] = f"mincurate-tests-{worker or 'alone'}-{os.getpid()}"
# `mincurate launch` links the App's plugin there: not among those of whoever runs the tests.
os.environ["FIFTYONE_PLUGINS_DIR"] = str(Path(DATABASE) / "plugins")
atexit.register(shutil.rmtree, DATABASE, ignore_errors=True)

# As on a machine without the extra ``offline``, whose network would take most of the tests' time.
os.environ["MINCURATE_EFFICIENTNET"] = ""

SHARED = Path(__file__).resolve().parents[2] / "shared"
SQUEEZENET = SHARED / "models" / "squeezenet1_0-imagenet-fp16.safetensors"
CIFAR = SHARED / "data" / "cifar10-train.zip"


LONGEST = [
    *("test_score_command.py", "test_ray_map.py", "test_ray_train.py", "test_writer.py"),
    *("test_verify.py", "test_panel_app.py", "test_rebalance_command.py", "test_generated.py"),
    *("test_train_denoiser.py", "test_augment.py", "test_evaluate.py", "test_operators.py"),
    "test_reference.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that the processes of a run end together."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh ``MINCURATE_HOME``."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MINCURATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def database() -> Iterator[None]:
    """A database of its own on a real mongod, which is started once."""
    from mincurate.dataset import database
    from mincurate.errors import UserError

    try:
        database.check_database()
    except UserError as error:
        if os.environ.get("MINCURATE_REQUIRE_DB"):
            raise
        pytest.skip(f"no database here: {error}")
    yield
    from fiftyone.core import odm

    odm.drop_database()


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty small pictures in two class folders: many discs, and five crosses among them."""
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, discs=55, crosses=5)
    return folder


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network for vectors. Random weights see colours well enough."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(squeezenet1_0(weights=None).state_dict(), file)
    return f"torchvision:squeezenet1_0@{file}"


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

    from mincurate.diffusion import train_denoiser

    train = train_denoiser.train

    def short(images, folder, plan, **more):
        return train(images, folder, replace(plan, steps=plan.steps or 20), **more)

    monkeypatch.setattr(train_denoiser, "train", short)


def command(home: Path, *arguments: object, code: int = 0, columns: int = 160) -> str:
    """Run mincurate in a process with ``home``, and return what it printed on both streams."""
    done = subprocess.run(
        [sys.executable, "-c", "from mincurate.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": str(columns), "MINCURATE_HOME": str(home)},
        timeout=240,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


GENERATE = ("--no-fiftyone", "--train-steps", 20, "--guide-steps", 20, "--steps", 3)
"""Options of the quickest generation."""
VARY = ("--n", 12, "--batch-size", 4, "--init", "real", "--strength", 0.5, "--top-fraction", 1)


@pytest.fixture(scope="session")
def generated(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a scored run, ``mincurate_1``, and a generation for it, ``mincurate_2``.

    For looking at; what changes it takes `own`.
    """
    home = tmp_path_factory.mktemp("generated") / "home"
    quick = ["--train-steps", 20, "--n-draws", 2, "--num-classes", 5, "--no-umap"]
    command(home, "score", shapes, "--no-fiftyone", "--no-umap", *quick)
    command(home, "augment", *GENERATE, *VARY)
    accept_all(home / "runs" / "mincurate_2")
    return home


def accept_all(run: Path) -> None:
    """Let the gate have accepted every image, whatever so small a model made of it."""
    import pandas as pd

    from mincurate.runs import digests, store

    with digests.held(store.Run(run)):
        frame = pd.read_parquet(run / "synthetic.parquet")
        frame["accepted"], frame["reason"] = True, None
        frame.to_parquet(run / "synthetic.parquet")


@pytest.fixture
def own(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`generated` as the home of a test that changes it; put back afterwards.

    In its own place, because a model's hash holds the path it was read from.
    """
    kept = shutil.copytree(generated, tmp_path / "kept", symlinks=True)
    monkeypatch.setenv("MINCURATE_HOME", str(generated))
    yield generated
    shutil.rmtree(generated)
    shutil.copytree(kept, generated, symlinks=True)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: Any, *arguments: object) -> str:
    """The sentence with which a command ends in this process."""
    from mincurate.cli import main

    monkeypatch.setattr(sys, "argv", ["mincurate", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    said = str(capsys.readouterr().err)
    sentence = said.startswith("Error: ") and len(said.splitlines()) == 1
    assert end.value.code == 1 and sentence, said
    return said


TINY = ("--train-steps", 3, "--n-draws", 2, "--num-classes", 4, "--no-umap", "--no-fiftyone")
"""Options of the quickest run, with `tiny`; the first two train its model."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of a few hundred kilobytes, and shards of eight images."""
    from mincurate.diffusion import new_network
    from mincurate.ranking import shard_loop

    network = new_network.new_unet
    monkeypatch.setattr(
        new_network, "new_unet", lambda size, _, *more: network(size, (32, 32), *more)
    )
    monkeypatch.setattr(shard_loop, "SHARD_IMAGES", 8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty small pictures in two folders, which a test may change."""
    draw_shapes(tmp_path / "pictures", discs=16, crosses=4)
    return tmp_path / "pictures"


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., tuple[int, str]]:
    """A command in this process: its exit code and what it printed, which is never a traceback."""
    from mincurate.cli import main

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mincurate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        if end.value.code:
            assert printed.err.startswith("Error: "), printed.err
            assert len(printed.err.splitlines()) == 1, printed.err
        return int(end.value.code or 0), printed.out + printed.err

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk in memory of a size that can be changed; skips where nothing can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        options = f"remount,{options}" if mounted else options
        call = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)
