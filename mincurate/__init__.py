"""mincurate: what is rare in my images, and can I have more of it?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mincurate.diffusion.denoiser import Denoiser
    from mincurate.errors import UserError
    from mincurate.pipelines.augment import augment, guide
    from mincurate.pipelines.evaluate import evaluate
    from mincurate.pipelines.score import Result, score
    from mincurate.pipelines.score_new import score_new
    from mincurate.pipelines.train import train
    from mincurate.runs.store import Run

__all__ = [
    "Denoiser",
    "Result",
    "Run",
    "UserError",
    "augment",
    "evaluate",
    "guide",
    "score",
    "score_new",
    "train",
]

_HOMES = {
    "Denoiser": "diffusion.denoiser",
    "Result": "pipelines.score",
    "Run": "runs.store",
    "UserError": "errors",
    "augment": "pipelines.augment",
    "evaluate": "pipelines.evaluate",
    "guide": "pipelines.augment",
    "score": "pipelines.score",
    "score_new": "pipelines.score_new",
    "train": "pipelines.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch alone takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mincurate' has no attribute {name!r}")
    return getattr(import_module(f"mincurate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
