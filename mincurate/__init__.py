"""mincurate: what is rare in my images, and can I have more of it?"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mincurate.diffusion.denoiser import Denoiser
    from mincurate.diffusion.pixel_blocks import PixelBlockUNet
    from mincurate.diffusion.standardised import StandardisedAutoencoder
    from mincurate.diffusion.taef2 import TAEF2
    from mincurate.errors import UserError
    from mincurate.pipelines.augment import augment, guide
    from mincurate.pipelines.augment_settings import AugmentSettings, GuideSettings
    from mincurate.pipelines.convert import convert
    from mincurate.pipelines.evaluate import EvaluateSettings, evaluate
    from mincurate.pipelines.evaluate_folders import evaluate_folders
    from mincurate.pipelines.export import export
    from mincurate.pipelines.launch import launch
    from mincurate.pipelines.mine import MineSettings, mine
    from mincurate.pipelines.rebalance import rebalance
    from mincurate.pipelines.result import Result
    from mincurate.pipelines.review import review
    from mincurate.pipelines.runs import compare, delete, find_run, verify
    from mincurate.pipelines.score import score
    from mincurate.pipelines.score_new import retry, score_new
    from mincurate.pipelines.score_settings import ScoreSettings
    from mincurate.pipelines.sync import sync
    from mincurate.pipelines.train import TrainSettings, train
    from mincurate.runs.store import Run

__all__ = [
    "TAEF2",
    "AugmentSettings",
    "Denoiser",
    "EvaluateSettings",
    "GuideSettings",
    "MineSettings",
    "PixelBlockUNet",
    "Result",
    "Run",
    "ScoreSettings",
    "StandardisedAutoencoder",
    "TrainSettings",
    "UserError",
    "augment",
    "compare",
    "convert",
    "delete",
    "evaluate",
    "evaluate_folders",
    "export",
    "find_run",
    "guide",
    "launch",
    "mine",
    "rebalance",
    "retry",
    "review",
    "score",
    "score_new",
    "sync",
    "train",
    "verify",
]

_HOMES = {
    "AugmentSettings": "pipelines.augment_settings",
    "Denoiser": "diffusion.denoiser",
    "EvaluateSettings": "pipelines.evaluate",
    "GuideSettings": "pipelines.augment_settings",
    "MineSettings": "pipelines.mine",
    "ModelMixin": "diffusion.pixel_blocks",  # diffusers looks for it beside `PixelBlockUNet`
    "PixelBlockUNet": "diffusion.pixel_blocks",
    "Result": "pipelines.result",
    "Run": "runs.store",
    "ScoreSettings": "pipelines.score_settings",
    "StandardisedAutoencoder": "diffusion.standardised",
    "TAEF2": "diffusion.taef2",
    "TrainSettings": "pipelines.train",
    "UserError": "errors",
    "augment": "pipelines.augment",
    "compare": "pipelines.runs",
    "convert": "pipelines.convert",
    "delete": "pipelines.runs",
    "evaluate": "pipelines.evaluate",
    "evaluate_folders": "pipelines.evaluate_folders",
    "export": "pipelines.export",
    "find_run": "pipelines.runs",
    "guide": "pipelines.augment",
    "launch": "pipelines.launch",
    "mine": "pipelines.mine",
    "rebalance": "pipelines.rebalance",
    "retry": "pipelines.score_new",
    "review": "pipelines.review",
    "score": "pipelines.score",
    "score_new": "pipelines.score_new",
    "sync": "pipelines.sync",
    "train": "pipelines.train",
    "verify": "pipelines.runs",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch alone takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mincurate' has no attribute {name!r}")
    with warnings.catch_warnings():
        # tqdm's, which diffusers imports; the progress of mincurate needs no widgets.
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(import_module(f"mincurate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
