"""The checkpoint of a training on disk: whole, or not there."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from mincurate.errors import UserError
from mincurate.runs.atomic_files import write_atomically


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Keep ``state``, tensors and plain values, in place of the checkpoint before."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state that was kept, ``None`` where there is none; nothing in the file is executed.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if isinstance(state, dict):
            return state
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError):
        pass
    raise UserError(
        f"The checkpoint {path} is damaged; restore a copy of it, or delete it to train again from "
        "the start."
    )
