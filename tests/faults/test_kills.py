"""`kill -9` at random moments. In full: `MINCURATE_KILLS=200 pytest -m faults tests/faults`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("MINCURATE_KILLS", "8"))
SECONDS = 500 + 20 * KILLS
"""Ample: measured, four for a kill and the way to the end of its round, beside other work."""

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(SECONDS + 60)]
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "faults.py"


def test_killed_at_random_every_command_ends_with_the_files_of_an_undisturbed_one(tmp_path):
    call = [sys.executable, str(BENCHMARK), "--kills", str(KILLS), "--images", "20"]
    call += ["--keep", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{KILLS} kills" in done.stdout
