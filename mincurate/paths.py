"""Where mincurate keeps its files."""

import os
from pathlib import Path

from mincurate.errors import UserError


def home() -> Path:
    """The folder of runs and trained models: ``$MINCURATE_HOME``, or ``~/.mincurate``.

    Raises:
        UserError: this user has no home folder.
    """
    try:
        return Path(os.environ.get("MINCURATE_HOME") or Path.home() / ".mincurate").expanduser()
    except RuntimeError as error:
        raise UserError(
            "There is no home folder to keep runs and models in: set MINCURATE_HOME to a folder."
        ) from error
