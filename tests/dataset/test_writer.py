"""What a run becomes in FiftyOne, on a real mongod."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import draw_shapes

import mincurate
from mincurate import paths as places
from mincurate.dataset import app_config, delete, destination, launch, reader, writer
from mincurate.errors import UserError
from mincurate.ranking import classes as ordinal
from mincurate.ranking import table_file
from mincurate.runs import store
from mincurate.runs.store import Run

pytestmark = pytest.mark.usefixtures("database")
QUICK = {"train_steps": 20, "n_draws": 2, "num_classes": 5}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "set"
    draw_shapes(folder, discs=40, crosses=5)
    (folder / "disc" / "broken.png").write_text("broken")
    endless = folder / "disc" / "002.png"
    endless.write_bytes(endless.read_bytes()[:-12])
    (folder / "cross" / "copy.png").write_bytes((folder / "disc" / "001.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def written(images, database, tmp_path_factory):
    import fiftyone as fo

    os.environ["MINCURATE_HOME"] = str(tmp_path_factory.mktemp("module-home"))
    result = mincurate.score(images, dataset="shapes", **QUICK)
    return result, fo.load_dataset("shapes"), os.environ["MINCURATE_HOME"]


def test_every_file_is_a_sample_with_its_numbers(written):
    result, dataset, _ = written
    assert dataset.persistent and len(dataset) == 47
    frame = result.frame.set_index("path")
    for sample in dataset:
        row = frame.loc[sample.filepath]
        if row["status"] == "ok":
            assert sample.minority_score == pytest.approx(row["minority_score"])
            assert sample.rarity_class == row["rarity_class"]
            assert sample.rarity == pytest.approx(row["rarity"])
            assert sample.ground_truth.label == row["label"]
        else:
            assert sample.minority_score is None and sample.rarity_class is None
            assert (sample.rarity_kind, sample.broken) == ("broken", "unreadable")
            assert "unscorable" in sample.tags and sample.unscorable_reason == "not an image"
    [warned] = dataset.exists("image_warning")
    assert warned.filepath.endswith("disc/002.png") and warned.rarity is not None
    assert warned.image_warning == "the end of the file is missing; the image is complete"
    assert dataset.get_field("image_warning").description


def test_the_rank_by_the_minority_score_stands_beside_its_interval(written):
    for sample in written[1].exists("rarity"):
        low, high = sample.minority_percentile_low, sample.minority_percentile_high
        assert 0 <= low <= sample.minority_percentile <= high <= 1


def test_groups_of_the_tail_are_in_the_side_bar_and_are_written_again(written):
    result, dataset, _ = written
    [paths] = [g.paths for g in dataset.app_config.sidebar_groups if g.name == "mincurate"]
    assert "rare_group" in paths and dataset.get_field("rare_group").description
    frame = result.frame
    names = {"Kind 1 (disc)": frame["path"][3:7], "Kind 2": frame["path"][7:9]}
    changed = frame.assign(rare_group=None)
    for name, members in names.items():
        changed.loc[members.index, "rare_group"] = name
    before = result.run.path / "scores.parquet"
    kept = before.read_bytes()
    for table in (changed, frame.assign(rare_group=None)):
        table_file.save_table(result.run, table)
        writer.write_run(result.run, "shapes")
        dataset.reload()
        written_now = dict(zip(*dataset.values(["filepath", "rare_group"]), strict=True))
        wanted = dict(zip(table["path"], table["rare_group"], strict=True))
        assert {p: g for p, g in written_now.items() if g} == {
            p: g for p, g in wanted.items() if isinstance(g, str)
        }
    before.write_bytes(kept)
    writer.write_run(result.run, "shapes")


def test_samples_are_stored_as_fiftyone_stores_its_own(written):
    import fiftyone as fo

    _, dataset, _ = written
    ours = dataset.exists("rarity").first()
    values = {field: ours[field] for field in ("minority_score", "rarity_class", "rarity")}
    copy = dataset.clone()
    label = fo.Classification(label=ours.ground_truth.label)
    theirs = copy.add_sample(fo.Sample(filepath=ours.filepath, ground_truth=label, **values))
    stored = list(copy._sample_collection.find({"filepath": ours.filepath}))
    copy.delete()
    here, there = sorted(stored, key=lambda document: str(document["_id"]) == theirs)
    assert {k: type(v) for k, v in here.items() if k in there} == {
        k: type(v) for k, v in there.items()
    }
    assert {k: type(v) for k, v in here["ground_truth"].items()} == {
        k: type(v) for k, v in there["ground_truth"].items()
    }
    assert {sample.media_type for sample in dataset} == {"image"}
    assert len({sample["_rand"] for sample in dataset._sample_collection.find()}) == len(dataset)


def test_scores_are_indexed_so_that_the_app_can_sort_by_them(written):
    _, dataset, _ = written
    assert {"rarity", "minority_score", "rarity_class"} <= set(dataset.list_indexes())


def test_the_saved_views_are_ranked(written):
    _, dataset, _ = written
    top = dataset.load_saved_view("rarest-first").values("rarity")
    assert top == sorted(top, reverse=True) and len(top) == 46 and top[0] == 1
    scores = dataset.load_saved_view("least-minority").values("minority_score")
    assert scores == sorted(scores) and len(scores) == 46
    assert len(dataset.load_saved_view("unscorable")) == 1
    assert len(dataset.load_saved_view("duplicates")) == 2


def test_the_map_is_a_brain_run_with_a_point_for_every_scored_sample(written):
    _, dataset, _ = written
    results = dataset.load_brain_results("minority_umap")
    assert results.points.shape == (46, 2)
    by_id = dict(zip(results.sample_ids, results.points, strict=True))
    frame = written[0].frame.set_index("path")
    sample = dataset.load_saved_view("rarest-first").first()
    row = frame.loc[sample.filepath]
    np.testing.assert_allclose(by_id[sample.id], [row["map_x"], row["map_y"]], rtol=1e-5)


def test_the_run_is_recorded_with_what_decided_it(written):
    result, dataset, _ = written
    config = dataset.get_run_info(result.run.key).config
    assert config.n_draws == 2 and len(config.class_edges) == 4 and config.model_hash


def test_the_app_shows_score_and_class_on_the_tiles(written):
    _, dataset, _ = written
    assert dataset.app_config.active_fields.paths[:2] == ["embedding_rarity", "rarity_class"]
    groups = {group.name: group.paths for group in dataset.app_config.sidebar_groups}
    assert "minority_score" in groups["mincurate"]
    assert not any("minority_score" in p for name, p in groups.items() if name != "mincurate")
    [palette] = [f for f in dataset.app_config.color_scheme.fields if f["path"] == "rarity_class"]
    assert len({entry["color"] for entry in palette["valueColors"]}) == 5
    space = dataset.load_workspace("mincurate")
    for child in space.children:
        assert child.active_child == child.children[0].component_id


def test_doing_it_again_updates_and_leaves_what_is_the_users(written, images, monkeypatch):
    _, dataset, home = written
    monkeypatch.setenv("MINCURATE_HOME", home)
    sample = dataset.first()
    sample.tags.append("mine")
    sample["note"] = "keep"
    sample.ground_truth.label = "corrected"
    sample.save()
    dataset.save_view("my-view", dataset.limit(3))
    (images / "disc" / "broken.png").write_bytes((images / "disc" / "002.png").read_bytes())
    again = mincurate.score(images, dataset="shapes", **QUICK)
    dataset.reload()
    assert len(dataset) == 47 and "0 samples added" in again.stored
    assert (sample.reload() or sample.note) == "keep" and "mine" in sample.tags
    assert sample.ground_truth.label == "corrected"
    assert dataset.has_saved_view("my-view")
    assert len(dataset.match_tags("unscorable")) == 0  # the file was mended
    assert not dataset.has_saved_view("unscorable")


def test_a_dataset_is_a_source_with_its_labels_and_views(database, images, tmp_path):
    import fiftyone as fo

    dataset = fo.Dataset("source", persistent=True)
    for i, path in enumerate(sorted(images.rglob("0*.png"))):
        labels = {"colour": "red", "kind": "a" if i % 2 else "b"}
        told = {field: fo.Classification(label=label) for field, label in labels.items()}
        dataset.add_sample(fo.Sample(filepath=str(path), **told))
    dataset.add_sample(fo.Sample(filepath=str(path.parent / "made.png"), tags=["synthetic"]))
    dataset.save_view("some", dataset.limit(20))
    result = mincurate.score("fiftyone:source/some", label_field="kind", **QUICK)
    dataset.reload()
    assert dataset.app_config.active_fields.paths[-1] == "kind"  # the labels that it went by
    assert result.dataset == "source" and len(result.frame) == 20
    assert set(result.frame["label"]) == {"a", "b"} and result.frame["sample_id"].notna().all()
    assert len(dataset.exists("minority_score")) == 20
    assert not dataset.has_field("ground_truth")
    assert delete.remove_from_dataset("source", result.run.key)
    dataset.reload()
    assert not dataset.has_field("minority_score") and len(dataset) == 46
    assert dataset.list_saved_views() == ["some"] and dataset.list_runs() == []
    assert dataset.list_brain_runs() == [] and dataset.list_workspaces() == []


@pytest.mark.parametrize("place", ["nothing-here", "shapes/no-such-view"])
def test_a_dataset_or_view_that_is_not_there_is_one_sentence(written, place):
    with pytest.raises(UserError) as error:
        reader.read_sources(*place.split("/") if "/" in place else (place, None))
    assert "\n" not in str(error.value)


def test_names_of_datasets_come_from_the_source():
    assert destination.default_name("/data/My photos (2)") == "mincurate-My-photos-2"


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_said_before_the_work(images):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE")}
    wrong = {"FIFTYONE_DATABASE_URI": "mongodb://user:secret@127.0.0.1:1/"}
    done = subprocess.run(
        [sys.executable, "-c", "from mincurate.cli import main; main()", "score", str(images)],
        capture_output=True, text=True, timeout=120, env=inherited | wrong,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FIFTYONE_DATABASE_URI" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert "Training" not in done.stdout and "Traceback" not in done.stderr


def test_a_database_lost_at_the_end_costs_nothing(images, tmp_path, monkeypatch):
    """The results are on disk when the database is gone, and the same command stores them."""
    with monkeypatch.context() as patch:

        def lost(*args):
            raise UserError("FiftyOne's database does not answer.")

        patch.setattr(writer, "write_run", lost)
        with pytest.raises(UserError):
            mincurate.score(images, dataset="later", output=tmp_path / "run", **QUICK)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
    frame = pd.read_parquet(tmp_path / "run" / "scores.parquet")
    shards = [p.stat().st_mtime_ns for p in sorted((tmp_path / "run" / "shards").iterdir())]
    result = mincurate.score(images, dataset="later", output=tmp_path / "run", **QUICK)
    assert "47 samples added" in result.stored
    assert shards == [p.stat().st_mtime_ns for p in sorted((tmp_path / "run" / "shards").iterdir())]
    pd.testing.assert_series_equal(
        result.frame["minority_score"], frame["minority_score"], check_dtype=False
    )


def test_labels_of_another_kind_are_left_alone(images, home):
    import fiftyone as fo

    dataset = fo.Dataset("boxes", persistent=True)
    path = str(next(images.rglob("0*.png")))
    box = fo.Detection(label="x", bounding_box=[0, 0, 1, 1])
    dataset.add_sample(fo.Sample(filepath=path, ground_truth=fo.Detections(detections=[box])))
    made_up(images, "mincurate_1", "boxes")
    dataset.reload()
    assert dataset.first().ground_truth.detections[0].label == "x"
    assert len(dataset.exists("ground_truth")) == 1


def test_writing_again_what_is_there_writes_nothing(images, home):
    import fiftyone as fo

    run = made_up(images, "mincurate_1", "same")
    before = fo.load_dataset("same").values("last_modified_at")
    writer.write_run(run, "same")
    assert fo.load_dataset("same").values("last_modified_at") == before


def shown(dataset):
    """What a user sees of a run: values, views, tags, map and colours."""
    dataset.reload()
    fields = ["filepath", "tags", *(f for f in app_config.FIELDS if dataset.has_field(f))]
    views = {name: dataset.load_saved_view(name).values("filepath")
             for name in sorted(dataset.list_saved_views())}  # fmt: skip
    points = None
    if "minority_umap" in dataset.list_brain_runs():
        points = dataset.load_brain_results("minority_umap").points.tolist()
    scheme = dataset.app_config.color_scheme
    colors = [f for f in scheme.fields if f["path"] == "rarity_class"]
    return fields, dataset.values(fields), views, points, colors


def made_up(images, key, dataset, *, classes=5, some=None, seed=0, mapped=True):
    """A finished run with random scores, as files; of every ``some``th image only."""
    paths = sorted(str(path) for path in images.rglob("*.png"))[::some]
    score = np.random.default_rng(seed).uniform(0, 1, len(paths))
    bad = np.array(["broken" in path for path in paths])
    score[bad] = np.nan
    rarity = ordinal.percentile(score)
    members = pd.Series(ordinal.ordinal_classes(score, classes))
    frame = pd.DataFrame(
        {
            "path": paths, "rel_path": paths, "content_hash": paths, "duplicate_of": None,
            "label": [path.split("/")[-2] for path in paths], "minority_score": score,
            "minority_score_se": score / 20, "rarity": rarity,
            "rarity_class": members.where(members >= 0).astype("Int64"),
            "neighbor_distance": score, "minority_score_calibrated": rarity, "complexity": score,
            "map_x": rarity if mapped else np.nan, "map_y": rarity if mapped else np.nan,
            "status": np.where(bad, "unscorable", "ok"),
            "reason": np.where(bad, "not an image", None),
        }
    )  # fmt: skip
    run = Run(places.home() / "runs" / key)
    run.path.mkdir(parents=True)
    frame.to_parquet(run.path / "scores.parquet")
    run.update(
        key=key, source={"kind": "folder", "value": str(images)}, settings={}, fingerprint="",
        sigma=0.1, n_draws=2, num_classes=classes, seed=0, class_edges=[], perceptual="unet",
        embedding="unet", warnings=[], versions={}, model={"name": "made up", "hash": ""},
        dataset=dataset, finished=store.now(), scored_last=store.now(),
    )  # fmt: skip
    writer.write_run(run, dataset)
    return run


@pytest.fixture
def twice(images, request):
    """A dataset of two runs: of all images, and of some, with fewer classes and without a map."""
    import fiftyone as fo

    name = f"twice {request.node.name}"
    first = made_up(images, "mincurate_1", name)
    dataset = fo.load_dataset(name)
    before = shown(dataset)
    second = made_up(images, "mincurate_2", name, classes=3, some=2, seed=1, mapped=False)
    assert shown(dataset) != before
    assert dataset.info["mincurate"]["current"] == second.key
    return first, second, dataset, before


def test_when_the_current_run_is_deleted_the_dataset_shows_the_other_again(twice):
    first, second, dataset, before = twice
    assert delete.remove_from_dataset(dataset.name, second.key)
    assert shown(dataset) == before
    assert dataset.list_runs() == [first.key]
    assert dataset.info["mincurate"]["current"] == first.key
    assert delete.remove_from_dataset(dataset.name, first.key)
    import fiftyone as fo

    assert not fo.dataset_exists(dataset.name)


def test_a_run_of_fewer_images_leaves_no_tag_of_the_run_before(twice, images):
    first, second, dataset, _ = twice
    writer.write_run(first, dataset.name)
    [broken] = map(str, images.rglob("broken.png"))
    outside = second.frame()
    outside[outside["path"] != broken].to_parquet(second.path / "scores.parquet")
    assert dataset.match_tags("unscorable").values("filepath") == [broken]
    assert delete.remove_from_dataset(dataset.name, first.key)
    dataset.reload()
    assert dataset.distinct("tags") == []
    assert len(dataset.exists("rarity")) == second.frame()["rarity"].notna().sum()


def test_deleting_a_run_that_is_not_shown_changes_no_value_of_the_one_that_is(twice):
    first, second, dataset, _ = twice
    _, (_, _, *values), views, *_ = shown(dataset)
    of_second = [run == second.key for run in dataset.values("minority_run")]
    assert delete.remove_from_dataset(dataset.name, first.key)
    _, (_, _, *after), views_after, *_ = shown(dataset)
    for before, now in zip(values, after, strict=True):
        assert now == [v if own else None for v, own in zip(before, of_second, strict=True)]
    assert views_after == views and dataset.list_runs() == [second.key]


def test_without_the_files_of_the_other_run_no_scores_are_shown(twice):
    first, second, dataset, _ = twice
    (first.path / "scores.parquet").write_bytes(b"damaged")
    assert delete.remove_from_dataset(dataset.name, second.key)
    dataset.reload()
    assert not [f for f in app_config.FIELDS if dataset.has_field(f)]
    assert dataset.list_saved_views() == [] and dataset.distinct("tags") == []
    assert dataset.list_runs() == [first.key] and len(dataset) == 47
    with pytest.raises(UserError, match="has no scores"):
        launch.open_app(dataset.name)


def test_runs_delete_clears_every_dataset_that_the_run_was_written_to(images):
    import fiftyone as fo
    from typer.testing import CliRunner

    from mincurate.cli import app as commands

    run = made_up(images, "mincurate_1", "two")
    writer.write_run(run, "one")
    done = CliRunner().invoke(commands, ["runs", "delete", run.key, "--yes"])
    assert done.exit_code == 0 and "one and two" in done.output
    assert not fo.dataset_exists("one") and not fo.dataset_exists("two")
    assert not run.path.exists()
