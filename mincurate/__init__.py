"""mincurate: what is rare in my images, and can I have more of it?"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mincurate.audit import Result, score
    from mincurate.augmentation import augment, guide
    from mincurate.denoiser import Denoiser
    from mincurate.errors import UserError
    from mincurate.evaluation import evaluate
    from mincurate.models import train
    from mincurate.newcomers import score_new
    from mincurate.runs import Run

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
    "Denoiser": "denoiser",
    "Result": "audit",
    "Run": "runs",
    "UserError": "errors",
    "augment": "augmentation",
    "evaluate": "evaluation",
    "guide": "augmentation",
    "score": "audit",
    "score_new": "newcomers",
    "train": "models",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: torch alone takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mincurate' has no attribute {name!r}")
    return getattr(import_module(f"mincurate.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
