"""Disks that are full, read-only or broken: a sentence, and nothing that was there is lost."""

import contextlib
import errno
import os
import resource
import runpy
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY as QUICK
from conftest import VARY

from mincurate.runs import store
from mincurate.runs.verify import verify

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.usefixtures("tiny")]


@pytest.fixture
def wanted(pictures, say, tmp_path, monkeypatch) -> bytes:
    """The table of an undisturbed run in another home, where the same model is trained."""
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "elsewhere"))
    assert say("score", pictures, *QUICK)[0] == 0
    return (store.find().path / "scores.parquet").read_bytes()


def fill(file: Path) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as open_file:
        while open_file.write(b"x" * 4096):
            pass


def test_on_a_full_disk_each_command_says_so_and_goes_on_when_there_is_room(
    pictures, say, disk, monkeypatch, wanted
):
    home = disk("size=24k") / "home"
    monkeypatch.setenv("MINCURATE_HOME", str(home))
    failed = set()
    size = 24
    while True:
        code, output = say("score", pictures, *QUICK)
        if code == 0:
            break
        assert "No space left" in output or "os error 28" in output or "full" in output, output
        failed.add(output)
        size = int(size * 2.5)
        assert size < 100_000, output
        disk(f"size={size}k")
    assert len(failed) >= 2  # at different stages
    run = store.find()
    assert (run.path / "scores.parquet").read_bytes() == wanted
    assert verify(run) == []
    assert not list(home.rglob("*.partial"))


def test_a_full_disk_leaves_a_finished_run_as_it_is(pictures, say, disk, monkeypatch, wanted):
    home = disk("size=60m") / "home"
    monkeypatch.setenv("MINCURATE_HOME", str(home))
    assert say("score", pictures, *QUICK)[0] == 0
    run = store.find()
    before = {p: p.read_bytes() for p in run.path.rglob("*.parquet")}
    filler = home.parent / "filler"
    fill(filler)
    code, output = say("score", pictures, *QUICK, "--rank-by", "neighbors")
    assert code == 1 and "No space left" in output
    assert {p: p.read_bytes() for p in run.path.rglob("*.parquet")} == before
    filler.unlink()
    assert say("score", pictures, *QUICK)[0] == 0 and verify(run) == []
    assert (run.path / "scores.parquet").read_bytes() == wanted


class Failing:
    """A disk that answers every flush from the n-th on with an I/O error, as a dying one does."""

    def __init__(self, flush):
        self.flush = flush
        self.never()

    def never(self) -> None:
        self.after(10**9)

    def after(self, n: int) -> None:
        self.count, self.first = 0, n

    def __call__(self, file: int) -> None:
        self.count += 1
        if self.count >= self.first:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.flush(file)


@pytest.fixture
def failing(monkeypatch) -> Failing:
    disk = Failing(os.fsync)
    monkeypatch.setattr(os, "fsync", disk)
    return disk


FASTER = ("--train-steps", 3, "--guide-steps", 3)
COMMANDS = {
    "train": ("--train-steps", 3),
    "guide": FASTER,
    "augment": (*VARY, *FASTER, "--steps", 2, "--no-fiftyone"),
}
contents = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "faults.py"))["contents"]
"""Digests of all files below a folder, times left out."""


def command(name: str, pictures: Path, home: Path) -> tuple[object, ...]:
    place = (pictures, "--output", home / "model") if name == "train" else ()
    return (name, *place, *COMMANDS[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_stops_what_follows_the_scoring_with_a_sentence_and_costs_nothing(
    pictures, say, disk, monkeypatch, name
):
    home = disk("size=80m") / "home"
    monkeypatch.setenv("MINCURATE_HOME", str(home))
    assert say("score", pictures, *QUICK)[0] == 0
    before, run = contents(home), store.find()
    filler = home.parent / "filler"
    fill(filler)
    code, output = say(*command(name, pictures, home))
    assert code == 1 and "No space left" in output, output
    assert before.items() <= contents(home).items() and verify(run) == []
    filler.unlink()
    code, output = say(*command(name, pictures, home))
    assert code == 0, output
    assert not list(home.rglob("*.partial")) and verify(run) == []


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_an_error_at_any_write_of_what_follows_the_scoring_is_one_sentence_and_costs_nothing(
    pictures, say, home, tmp_path, failing, name, share
):
    scored = tmp_path / "scored"
    assert say("score", pictures, *QUICK)[0] == 0
    shutil.copytree(home, scored, symlinks=True)
    failing.never()
    assert say(*command(name, pictures, home))[0] == 0
    expected, flushes = contents(home), failing.count
    shutil.rmtree(home)
    shutil.copytree(scored, home, symlinks=True)
    failing.after(max(1, int(share * flushes)))
    code, said = say(*command(name, pictures, home))
    assert code == 1 and "Input/output error" in said, said
    before = contents(scored)
    assert {k: v for k, v in contents(home).items() if k in before} == before
    failing.never()
    assert say(*command(name, pictures, home))[0] == 0
    assert contents(home) == expected


def test_a_disk_that_became_read_only_is_one_sentence(pictures, say, disk, monkeypatch, tmp_path):
    home = disk("size=60m") / "home"
    monkeypatch.setenv("MINCURATE_HOME", str(home))
    assert say("score", pictures, *QUICK)[0] == 0
    before = store.find().frame()
    disk("ro,size=60m")
    for command in (
        ("score", pictures, *QUICK),
        ("score", pictures, *QUICK, "--fresh"),
        ("train", pictures, "--output", home / "model", "--train-steps", 2),
        ("guide", "--train-steps", 2, "--guide-steps", 2),
        ("export", home / "exported"),
    ):
        code, output = say(*command)
        assert code == 1 and "ead-only" in output, output
    assert say("verify")[0] == 0
    pd.testing.assert_frame_equal(store.find().frame(), before)


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.85, 0.99])
def test_an_error_at_any_write_is_one_sentence_and_costs_nothing(
    pictures, say, home, monkeypatch, wanted, failing, share
):
    monkeypatch.setenv("MINCURATE_HOME", str(home / "counted"))
    failing.never()
    assert say("score", pictures, *QUICK)[0] == 0
    monkeypatch.setenv("MINCURATE_HOME", str(home / "broken"))
    failing.after(max(1, int(share * failing.count)))
    code, output = say("score", pictures, *QUICK)
    assert code == 1 and "Input/output error" in output
    failing.never()
    assert say("score", pictures, *QUICK)[0] == 0
    run = store.find()
    assert (run.path / "scores.parquet").read_bytes() == wanted and verify(run) == []


def test_a_limit_on_the_size_of_files_is_one_sentence(pictures, say, home):
    """The kernel cuts a file short in the middle of a write, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        code, output = say("score", pictures, *QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert code == 1 and "too large" in output, output
    assert say("score", pictures, *QUICK)[0] == 0
    assert not list(Path(home).rglob("*.partial"))
