import json
import os

import pyarrow as pa
import pytest

from mincurate import runs
from mincurate.errors import UserError
from mincurate.progress import SILENT
from mincurate.runs import Run

TABLE = pa.table({"content_hash": ["a", "b"], "draws": [[1.0], [2.0]]})


def test_keys_count_up_and_outputs_elsewhere_are_listed_too(tmp_path):
    first, second = runs.create(), runs.create(tmp_path / "out")
    assert (first.key, second.key) == ("mincurate_1", "mincurate_2")
    assert second.path == tmp_path / "out"
    assert [run.key for run in runs.all_runs()] == ["mincurate_1", "mincurate_2"]
    assert runs.find().key == "mincurate_2"
    assert runs.find("1").key == runs.find("mincurate_1").key == "mincurate_1"
    assert runs.find(str(tmp_path / "out")).key == "mincurate_2"


def test_a_run_nobody_made_is_one_sentence():
    with pytest.raises(UserError, match="no run yet"):
        runs.find()
    runs.create()
    with pytest.raises(UserError, match="mincurate_1"):
        runs.find("mincurate_9")


def test_deleting_a_run_removes_its_files_and_nothing_else(tmp_path):
    run = runs.create(tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    runs.write_shard(run, 0, TABLE, {})
    runs.delete(run)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert runs.all_runs() == []
    inside = runs.create()
    runs.delete(inside)
    assert not inside.path.exists()


def test_a_shard_counts_only_when_its_marker_fits():
    run = runs.create()
    assert not runs.shard_done(run, 0)
    runs.write_shard(run, 0, TABLE, {})
    assert runs.read_shard(run, 0).equals(TABLE)
    marker = run.path / "shards" / "scores-000000.done"
    kept = marker.read_bytes()
    marker.unlink()
    assert not runs.shard_done(run, 0)
    marker.write_bytes(kept)
    shard = marker.with_suffix(".parquet")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert not runs.shard_done(run, 0)
    marker.write_text("{")
    assert not runs.shard_done(run, 0)


def test_a_write_that_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    place = tmp_path / "file"
    runs.write_atomically(place, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        runs.write_atomically(place, b"new")
    assert place.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_damaged_record_is_one_sentence():
    run = runs.create()
    (run.path / "run.json").write_text("{ not json")
    with pytest.raises(UserError, match="damaged"):
        _ = Run(run.path).record


def test_a_record_keeps_what_is_not_changed():
    run = runs.create()
    run.update(sigma=0.16)
    run.update(n_draws=5)
    assert (run.record["sigma"], run.record["n_draws"]) == (0.16, 5)
    json.loads((run.path / "run.json").read_text())


def test_two_processes_do_not_work_on_one_run():
    run = runs.create()
    with (
        runs.locked(run),
        pytest.raises(UserError, match="Another mincurate process"),
        runs.locked(Run(run.path)),
    ):
        pass


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="MINCURATE_HOME"):
        runs.create()


def test_an_output_that_was_deleted_and_made_again_is_one_run(tmp_path):
    import shutil

    runs.create(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert runs.create(tmp_path / "out").key == "mincurate_1"
    assert [run.key for run in runs.all_runs()] == ["mincurate_1"]


def test_a_damaged_run_does_not_hide_the_others():
    good, bad = runs.create(), runs.create()
    (bad.path / "run.json").write_text("{")
    assert [run.path for run in runs.all_runs()] == [good.path]
    assert [run.path for run in runs.all_runs(damaged=True)] == [bad.path]
    assert runs.find().key == good.key


def test_a_run_says_from_its_first_moment_what_it_is(monkeypatch):
    """Killed at any moment, it is not there yet, or goes on as what it is."""
    seen = []
    rename = os.rename

    def look(source, target):
        seen.append(json.loads((source / "run.json").read_text()))
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    made = runs.begun_or_new("abc", True, SILENT, kind="augment")
    assert (seen[0]["request"], seen[0]["kind"], seen[0]["key"]) == ("abc", "augment", made.key)
    assert runs.begun_or_new("abc", True, SILENT).path == made.path
    assert runs.kind_of(made) == "augment"


def test_nobody_goes_on_with_a_run_that_another_process_is_still_making(monkeypatch):
    found = []
    rename = os.rename

    def look(source, target):
        assert (source / "run.json").is_file()
        found.extend(runs.all_runs() + runs.all_runs(damaged=True))
        rename(source, target)

    monkeypatch.setattr(os, "rename", look)
    made = runs.begun_or_new("abc", True, SILENT, kind="score")
    assert found == [] and runs.all_runs() == [made]


def test_what_a_process_left_that_was_killed_while_it_made_a_run_goes():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    left = runs.home() / "runs" / f".new.{child}"
    left.mkdir(parents=True)
    (left / "run.json").write_text("{")
    assert runs.create().key == "mincurate_1"
    assert [p.name for p in left.parent.iterdir()] == ["mincurate_1"]


def test_runs_that_are_made_at_once_have_keys_of_their_own():
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            runs.create()
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert sorted(run.key for run in runs.all_runs()) == [f"mincurate_{i}" for i in range(1, 9)]
