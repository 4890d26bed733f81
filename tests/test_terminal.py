"""Calls from Python show their progress where somebody looks, and log it elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

from mincurate import progress

WORK = """
import logging, sys
sys.argv[1] == "configured" and logging.basicConfig(level=logging.INFO, format="%(message)s")
from mincurate.terminal import choose_reporter
progress = {"shown": True, "hidden": False}.get(sys.argv[1])
reporter = choose_reporter(None, progress)
reporter.say("Found 3 files")
reporter.warn("A\\x1b[31m is damaged")
with reporter.task("Scoring", 3) as advance:
    advance(3, "loss 0.1")
"""


def streams(how: str, **environment: str) -> tuple[str, str]:
    """What the work prints on standard output and error, neither of them a terminal."""
    done = subprocess.run(
        [sys.executable, "-c", WORK, how],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout, done.stderr


LINES = ["Found 3 files", "Scoring: 3 images", "Scoring: 3 images done in under 1 s, loss 0.1"]
WARNING = r"A\x1b[31m is damaged"


@pytest.mark.parametrize(
    ("how", "environment"), [("plain", {}), ("hidden", {"MINCURATE_PROGRESS": "1"})]
)
def test_without_a_terminal_only_warnings_are_printed(how, environment):
    assert streams(how, **environment) == ("", f"{WARNING}\n")


def test_with_logging_configured_all_of_it_is_logged():
    out, error = streams("configured")
    assert out == "" and error.splitlines() == [LINES[0], WARNING, *LINES[1:]]


@pytest.mark.parametrize(
    ("how", "environment"),
    [("shown", {"MINCURATE_PROGRESS": "0"}), ("plain", {"MINCURATE_PROGRESS": "1"})],
)
def test_it_can_be_shown_anywhere(how, environment):
    out, error = streams(how, **environment)
    assert out == "" and error.splitlines() == [LINES[0], f"! {WARNING}", *LINES[1:]]


def test_a_terminal_shows_a_bar_on_standard_error_unless_told_not_to():
    for switch, bar in (("", True), ("0", False)):
        terminal, other_end = pty.openpty()
        environment = {**os.environ, "MINCURATE_PROGRESS": switch, "TERM": "xterm"}
        done = subprocess.run(
            [sys.executable, "-c", WORK, "plain"],
            stdout=subprocess.PIPE,
            stderr=other_end,
            check=True,
            env=environment,
        )
        os.close(other_end)
        printed = os.read(terminal, 100_000).decode()
        os.close(terminal)
        assert done.stdout == b"" and WARNING in printed
        assert ("━" in printed and "3/3" in printed and LINES[0] in printed) is bar


def test_the_time_of_a_training_comes_with_what_changes_it():
    told = progress.budget(2.5, None, "--guide-minutes")
    assert told == "about 2.5 min; --guide-minutes (guide_minutes in Python) changes that"
    assert progress.budget(2.5, 1000, "--guide-minutes") == "1,000 steps"
