"""`kill -9` at random moments. The full form: `python benchmarks/faults.py --kills 200`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "faults.py"


def test_killed_at_random_every_command_ends_with_the_files_of_an_undisturbed_one(tmp_path):
    kills = os.environ.get("MINCURATE_KILLS", "8")
    call = [sys.executable, str(BENCHMARK), "--kills", kills, "--images", "20"]
    done = subprocess.run(
        [*call, "--keep", str(tmp_path)], capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills" in done.stdout
