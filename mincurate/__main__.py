"""``python -m mincurate`` is the command ``mincurate``."""

from mincurate.cli import main

if __name__ == "__main__":
    main()
