import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from mincurate import paths
from mincurate.errors import UserError
from mincurate.progress import SILENT
from mincurate.runs import atomic_files, shards, store
from mincurate.runs.store import Run

TABLE = pa.table({"content_hash": ["a", "b"], "draws": [[1.0], [2.0]]})


def test_keys_count_up_and_outputs_elsewhere_are_listed_too(tmp_path):
    first, second = store.create(), store.create(tmp_path / "out")
    assert (first.key, second.key) == ("mincurate_1", "mincurate_2")
    assert second.path == tmp_path / "out"
    assert [run.key for run in store.all_runs()] == ["mincurate_1", "mincurate_2"]
    assert store.find().key == "mincurate_2"
    assert store.find("1").key == store.find("mincurate_1").key == "mincurate_1"
    assert store.find(str(tmp_path / "out")).key == "mincurate_2"


def test_a_run_nobody_made_is_one_sentence():
    with pytest.raises(UserError, match="no run yet"):
        store.find()
    store.create()
    with pytest.raises(UserError, match="mincurate_1"):
        store.find("mincurate_9")


def test_deleting_a_run_removes_its_files_and_nothing_else(tmp_path):
    run = store.create(tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    shards.write_shard(run, 0, TABLE, {})
    store.delete(run)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert store.all_runs() == []
    inside = store.create()
    store.delete(inside)
    assert not inside.path.exists()


def test_a_shard_counts_only_when_its_marker_fits():
    run = store.create()
    assert not shards.shard_done(run, 0)
    shards.write_shard(run, 0, TABLE, {})
    assert shards.read_shard(run, 0).equals(TABLE)
    marker = run.path / "shards" / "scores-000000.done"
    content = marker.read_bytes()
    marker.unlink()
    assert not shards.shard_done(run, 0)
    marker.write_bytes(content)
    shard = marker.with_suffix(".parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert not shards.shard_done(run, 0)
    marker.write_text("{")
    assert not shards.shard_done(run, 0)


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    place = tmp_path / "file"
    atomic_files.write_atomically(place, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_files.write_atomically(place, b"new")
    assert place.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_damaged_record_is_one_sentence():
    run = store.create()
    (run.path / "run.json").write_text("{ not json")
    with pytest.raises(UserError, match="damaged"):
        _ = Run(run.path).record


def test_a_record_keeps_what_is_not_changed():
    run = store.create()
    run.update(sigma=0.16)
    run.update(n_draws=5)
    assert (run.record["sigma"], run.record["n_draws"]) == (0.16, 5)
    json.loads((run.path / "run.json").read_text())


def test_two_processes_do_not_work_on_one_run():
    run = store.create()
    with (
        store.locked(run),
        pytest.raises(UserError, match="Another mincurate process"),
        store.locked(Run(run.path)),
    ):
        pass


HOLD = """
import os, sys, time
from pathlib import Path
from mincurate.runs import store
with store.locked(store.Run(Path(sys.argv[1]))):
    if not os.fork():  # as a pool of worker processes does
        print(os.getpid(), flush=True)
    time.sleep(600)
"""


def test_a_killed_process_releases_its_lock_though_its_children_live():
    run = store.create()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, run.path], stdout=subprocess.PIPE)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(UserError, match="Another mincurate process"), store.locked(run):
            pass
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it is there
        with store.locked(run):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="MINCURATE_HOME"):
        store.create()


def test_an_output_that_was_deleted_and_made_again_is_one_run(tmp_path):
    import shutil

    store.create(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert store.create(tmp_path / "out").key == "mincurate_1"
    assert [run.key for run in store.all_runs()] == ["mincurate_1"]


def test_a_damaged_run_does_not_hide_the_others():
    good, bad = store.create(), store.create()
    (bad.path / "run.json").write_text("{")
    assert [run.path for run in store.all_runs()] == [good.path]
    assert [run.path for run in store.all_runs(damaged=True)] == [bad.path]
    assert store.find().key == good.key


def test_a_run_says_from_its_first_moment_what_it_is(monkeypatch):
    """Killed at any moment, it is not there yet, or goes on as what it is."""
    seen = []
    rename = os.rename

    def look(source, target):
        seen.append(json.loads((source / "run.json").read_text()))
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    run = store.begun_or_new("abc", True, SILENT, kind="augment")
    assert (seen[0]["request"], seen[0]["kind"], seen[0]["key"]) == ("abc", "augment", run.key)
    assert store.begun_or_new("abc", True, SILENT).path == run.path
    assert store.kind_of(run) == "augment"


def test_nobody_goes_on_with_a_run_that_another_process_is_still_making(monkeypatch):
    runs = []
    rename = os.rename

    def look(source, target):
        assert (source / "run.json").is_file()
        runs.extend(store.all_runs() + store.all_runs(damaged=True))
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    run = store.begun_or_new("abc", True, SILENT, kind="score")
    assert runs == [] and store.all_runs() == [run]


def test_what_a_process_left_that_was_killed_while_it_made_a_run_goes():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    left = paths.home() / "runs" / f".new.{child}"
    left.mkdir(parents=True)
    (left / "run.json").write_text("{")
    assert store.create().key == "mincurate_1"
    assert [p.name for p in left.parent.iterdir()] == ["mincurate_1"]


def test_runs_that_are_made_at_once_have_keys_of_their_own():
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            store.create()
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert sorted(run.key for run in store.all_runs()) == [f"mincurate_{i}" for i in range(1, 9)]
