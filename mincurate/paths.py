"""Where mincurate keeps its files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def home() -> Path:
    """Where runs and trained models are kept: ``$MINCURATE_HOME``, or ``~/.mincurate``."""
    return Path(os.environ.get("MINCURATE_HOME") or Path.home() / ".mincurate").expanduser()
