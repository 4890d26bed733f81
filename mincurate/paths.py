"""Where mincurate keeps its files."""

import os
from pathlib import Path


def home() -> Path:
    """The folder of runs and trained models: ``$MINCURATE_HOME``, or ``~/.mincurate``."""
    return Path(os.environ.get("MINCURATE_HOME") or Path.home() / ".mincurate").expanduser()
