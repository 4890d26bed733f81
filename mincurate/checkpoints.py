"""The state of an unfinished training on disk: whole or not there, and read without running it."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from mincurate.errors import UserError
from mincurate.runs import write_atomically


def write(path: Path, state: dict[str, Any]) -> None:
    """Keep ``state``, tensors and plain values, in place of what was kept before."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def read(path: Path, device: str | torch.device) -> dict[str, Any]:
    """What was kept.

    Raises:
        UserError: it is damaged, or not one of ours.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if isinstance(state, dict):
            return state
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError):
        pass
    raise UserError(
        f"The checkpoint {path} is damaged; put a copy of it back, or delete it to train anew."
    )
