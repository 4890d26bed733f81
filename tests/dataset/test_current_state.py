"""What happened since scoring: labels, samples, files, the dataset itself, the scored run."""

import os
import shutil
import time
from pathlib import Path

import fiftyone as fo
import pytest
import user_work

from mincurate.curation import gather
from mincurate.dataset import current_state, delete, destination, lookup, writer
from mincurate.errors import UserError
from mincurate.pipelines import evaluate, new_files, sync
from mincurate.runs import store

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def folder(tmp_path):
    for label in "ab":
        user_work.pictures(tmp_path / "set" / label, 6)
    return tmp_path / "set"


@pytest.fixture
def paths(tmp_path):
    return user_work.pictures(tmp_path / "plain", 12)


@pytest.fixture(autouse=True)
def empty(database):
    for name in fo.list_datasets():
        fo.delete_dataset(name)


def own(paths, **fields):
    dataset = fo.Dataset("own", persistent=True, overwrite=True)
    dataset.add_samples([fo.Sample(filepath=path) for path in paths], progress=False)
    for field, values in fields.items():
        dataset.set_values(field, values)
    return dataset


def classes(names):
    return [fo.Classification(label=name) for name in names]


def test_nothing_differs_right_after_scoring(folder):
    run = user_work.score_folder("mincurate_1", folder)
    state = current_state.read(run)
    assert state.differences == "" and state.label_field == "ground_truth"
    assert state.frame["label"].tolist() == run.frame()["label"].tolist()
    fo.delete_dataset(run.record["dataset"])


@pytest.mark.parametrize("source", ["folder", "classification", "text", "boxes"])
def test_corrected_labels_and_deleted_samples_are_followed(folder, paths, source):
    """By export, rebalance and weights: `gather` counts the images as they are now."""
    if source == "folder":
        run = user_work.score_folder("mincurate_1", folder, into="now")
        dataset, path = fo.load_dataset("now"), "ground_truth.label"
    else:
        names = ["a", "b"] * 6
        values = {
            "classification": classes(names),
            "text": names,
            "boxes": [
                fo.Detections(detections=[fo.Detection(label=n, bounding_box=[0, 0, 1, 1])])
                for n in names
            ],
        }
        dataset = own(paths, ground_truth=values[source])
        run = user_work.score_dataset("mincurate_1", "own")
        path = {"text": "ground_truth", "classification": "ground_truth.label"}.get(source)
    first, second, gone = dataset.values("filepath")[:3]
    if source == "boxes":
        sample = dataset[first]
        sample.ground_truth.detections[0].label = "corrected"
        sample.save()
    else:
        dataset.select(dataset.values("id")[0]).set_values(path, ["corrected"])
    dataset.delete_samples([dataset[gone].id])
    state = current_state.read(run)
    table = gather.gather(run, frame=state.frame, tags=state.tags).set_index("path")
    assert table.loc[first, "label"] == "corrected" and table.loc[second, "label"] is not None
    assert gone not in table.index and len(table) == (run.frame()["status"] == "ok").sum() - 1
    assert "1 image was deleted, 1 label was changed" in state.differences
    assert bool(state.boxes) is (source == "boxes")
    dataset.delete()


def test_several_labels_of_an_image_are_handed_on(paths):
    truth = [
        fo.Classifications(classifications=[fo.Classification(label=n) for n in names])
        for names in (["b"], ["b", "a", "b"]) * 6
    ]
    own(paths, ground_truth=truth)
    state = current_state.read(user_work.score_dataset("mincurate_1", "own"))
    assert state.several == {path: ["b", "a"] for path in paths[1::2]} and state.boxes == {}
    assert state.differences == ""


def test_files_that_were_moved_in_fiftyone_are_found(paths, tmp_path):
    dataset = own(paths)
    run = user_work.score_dataset("mincurate_1", "own")
    moved = str(tmp_path / "moved.png")
    shutil.move(paths[0], moved)
    sample = dataset.first()
    sample.filepath = moved
    sample.save()
    state = current_state.read(run)
    assert "1 file has another path" in state.differences
    assert moved in gather.gather(run, frame=state.frame)["path"].tolist()


def test_a_run_without_labels_takes_those_that_were_given_since(paths):
    dataset = own(paths)
    run = user_work.score_dataset("mincurate_1", "own")
    dataset.set_values("ground_truth", classes("ab" * 6))
    assert current_state.read(run).frame["label"].tolist() == list("ab" * 6)
    run.update(settings={"labels": False})
    assert current_state.read(run).frame["label"].isna().all()


def test_a_label_field_that_is_gone_leaves_the_labels_of_the_run(paths):
    dataset = own(paths, kind=classes("ab" * 6), other=classes("xy" * 6))
    run = user_work.score_dataset("mincurate_1", "own", label_field="kind")
    assert current_state.read(run).label_field == "kind"
    dataset.delete_sample_field("kind")
    assert current_state.read(run).frame["label"].tolist() == list("ab" * 6)


def test_samples_of_one_file_count_once(paths):
    own([*paths, *paths[:3]])
    run = user_work.score_dataset("mincurate_1", "own")
    table = gather.gather(run, frame=current_state.read(run).frame)
    assert table["path"].is_unique


@pytest.mark.parametrize("kind", ["folder", "dataset"])
def test_a_renamed_dataset_is_found_again(folder, paths, kind):
    if kind == "folder":
        run = user_work.score_folder("mincurate_1", folder)
    else:
        own(paths)
        run = user_work.score_dataset("mincurate_1", "own")
    before = run.record["dataset"]
    dataset = fo.load_dataset(before)
    dataset.name = "after"
    assert lookup.dataset_of(run) == lookup.last_dataset() == "after"
    assert current_state.read(run).differences == ""
    assert len(new_files.find_new(run)) == 0
    assert sync.sync(run).name == "after" and not fo.dataset_exists(before)
    user_work.generate("mincurate_2", run, "after")
    if kind == "folder":  # the same command again, which names no dataset
        assert destination.choose_name(str(folder), None) == "after"
    delete.delete_run(run)
    dataset.reload()
    assert not dataset.has_field("rarity")


def test_a_dataset_that_is_gone_is_said_with_where_it_was(folder):
    run = user_work.score_folder("mincurate_1", folder, into="gone")
    fo.delete_dataset("gone")
    with pytest.raises(
        UserError, match=r"no FiftyOne dataset 'gone'.*`mincurate sync mincurate_1`"
    ):
        lookup.dataset_of(run)
    here = run.record["database"]
    run.update(database="/another/folder")
    with pytest.raises(UserError, match="it is in /another/folder"):
        lookup.dataset_of(run)
    assert current_state.differences(run) == ""
    run.update(database=here)
    assert sync.sync(run).added == 12
    assert lookup.dataset_of(run) == "gone"
    fo.delete_dataset("gone")


@pytest.mark.parametrize("change", ["deleted", "renamed", "emptied"])
def test_a_dataset_that_changes_while_it_is_scored(paths, change):
    dataset = own(paths)
    run = user_work.score_dataset("mincurate_1", "own")
    if change == "deleted":
        dataset.delete()
        with pytest.raises(UserError, match="deleted while it was scored"):
            writer.write_run(run, "own")
        assert not fo.dataset_exists("own")
    elif change == "renamed":
        dataset.name = "renamed"
        assert writer.write_run(run, "own").name == "renamed"
        assert not fo.dataset_exists("own")
        dataset.delete()
    else:
        dataset.delete_samples(dataset)
        assert writer.write_run(run, "own").added == 0
        assert len(dataset) == 0


def test_files_that_have_changed_or_are_gone_are_named(folder):
    run = user_work.score_folder("mincurate_1", folder)
    files = sorted(run.frame()["path"])
    assert new_files.find_changed(run) == ([], [])
    swapped = [Path(files[0]), Path(files[7])]
    times = [os.stat(path) for path in swapped]
    contents = [path.read_bytes() for path in swapped]
    user_work.pictures(folder.parent / "other", 14)
    for path, content, status in zip(swapped, reversed(contents), times, strict=True):
        path.write_bytes(content if content != path.read_bytes() else b"changed")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as rsync -t leaves it
    os.link(files[1], folder.parent / "link.png")  # as an export makes it
    os.remove(files[2])
    changed, gone = new_files.find_changed(run)
    assert set(changed) == {str(path) for path in swapped} and gone == [files[2]]
    words = new_files.words_on_changes(run)
    assert "2 files have changed" in words and "1 file is gone (02.png)" in words
    fo.delete_dataset(run.record["dataset"])


def test_old_files_are_not_read_again(folder, monkeypatch):
    run = user_work.score_folder("mincurate_1", folder)
    later = time.gmtime(time.time() + 3600)
    run.update(created=time.strftime(store.TIME, later))
    monkeypatch.setattr(new_files.hashing, "content_hash", lambda content: pytest.fail("read"))
    assert new_files.find_changed(run) == ([], [])
    fo.delete_dataset(run.record["dataset"])


def test_deleting_a_run_that_generations_rest_on_says_so(paths):
    own(paths)
    base = user_work.score_dataset("mincurate_1", "own")
    generation = user_work.generate("mincurate_2", base, "own")
    assert "mincurate_2" in delete.words(base) and "mincurate_1" not in delete.words(generation)
    delete.delete_run(base)
    with pytest.raises(UserError, match=r"scored run mincurate_1.* was deleted"):
        evaluate.base_of(generation)
    delete.delete_run(generation)
    assert len(fo.load_dataset("own")) == 12
