"""Where mincurate keeps its files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mincurate.errors import UserError

if TYPE_CHECKING:
    pass


def home() -> Path:
    """Where runs and trained models are kept: ``$MINCURATE_HOME``, or ``~/.mincurate``.

    Raises:
        UserError: this user has no home folder.
    """
    try:
        return Path(os.environ.get("MINCURATE_HOME") or Path.home() / ".mincurate").expanduser()
    except RuntimeError as error:
        raise UserError(
            "There is no home folder to keep runs and models in: set MINCURATE_HOME to a folder."
        ) from error
