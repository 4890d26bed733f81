"""What is the user's is never destroyed or mixed in: on a real mongod, with planted scores."""

import shutil

import fiftyone as fo
import pytest
import user_work
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mincurate.dataset import (
    app_config,
    delete,
    destination,
    generated,
    ownership,
    reader,
    samples,
    writer,
)
from mincurate.errors import UserError

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return user_work.pictures(tmp_path_factory.mktemp("pictures"), 12)


def fresh(paths):
    dataset = fo.Dataset("own", persistent=True, overwrite=True)
    dataset.add_samples([fo.Sample(filepath=path) for path in paths], progress=False)
    return dataset


@pytest.fixture
def own(paths):
    """A dataset of the user's, of twelve pictures."""
    return fresh(paths)


def everything(dataset):
    """All that FiftyOne stores of a dataset, but the times of changes."""
    dataset.reload()
    documents = list(dataset._sample_collection.find({}, {"last_modified_at": 0}).sort("_id"))
    config = dataset.app_config
    return {
        "samples": [sorted(document.items(), key=lambda item: item[0]) for document in documents],
        "fields": {n: (type(f), f.description) for n, f in dataset.get_field_schema().items()},
        "views": {n: dataset.load_saved_view(n).values("id") for n in dataset.list_saved_views()},
        "workspaces": dataset.list_workspaces(),
        "runs": (dataset.list_runs(), dataset.list_brain_runs()),
        "indexes": sorted(dataset.list_indexes()),
        "info": dict(dataset.info),
        "app": (config.sidebar_groups, config.active_fields, config.color_scheme),
    }


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.sets(st.sampled_from(["camera", "label", "confidence", "notes"])),
    tags=st.sets(st.sampled_from(["synthetic", "unscorable", "train", "mincurate_1"])),
    view=st.sampled_from([None, "mine", "scored"]),
    info=st.dictionaries(st.sampled_from(["note", "author"]), st.text(max_size=5)),
    twice=st.booleans(),
    scored=st.sampled_from(["own", "own/half"]),
    base_first=st.booleans(),
)
def test_after_score_augment_and_delete_a_dataset_is_what_it_was(
    paths, tmp_path_factory, monkeypatch, fields, tags, view, info, twice, scored, base_first
):
    """Samples, fields, tags, views, info, indexes and the App's settings, whatever they are."""
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path_factory.mktemp("home")))
    dataset = fresh(paths)
    ids = dataset.values("id")
    for field in fields:
        dataset.set_values(field, {i: f"{field} {n}" for n, i in enumerate(ids)}, key_field="id")
    for tag in tags:
        dataset.select(ids[4:8]).tag_samples(tag)
    if twice:
        dataset.add_sample(fo.Sample(filepath=dataset.first().filepath))
    if view:
        dataset.save_view(view, dataset.limit(4))
    dataset.save_view("half", dataset.limit(8))
    dataset.info = dict(info)
    dataset.save()
    before = everything(dataset)
    base = user_work.score_dataset("mincurate_1", scored)
    generation = user_work.generate("mincurate_2", base, "own")
    dataset.reload()
    assert dataset.count("rarity") == (7 if scored == "own/half" else 11 + twice) + 3
    for run in (base, generation) if base_first else (generation, base):
        delete.delete_run(run)
    assert everything(dataset) == before


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("field", "rarity"),
        ("field", "brightness"),
        ("field", "content_hash"),
        ("field", "minority_run"),
        ("view", "most-minority"),
        ("view", "unscorable"),
        ("workspace", "mincurate"),
    ],
)
def test_a_name_in_use_is_refused_before_anything_is_written(own, kind, name):
    if kind == "field":
        own.set_values(name, ["mine"] * len(own))
    elif kind == "view":
        own.save_view(name, own.limit(2))
    else:
        own.save_workspace(name, fo.Space(children=[fo.Panel(type="Samples")]))
    before = everything(own)
    for place, into in (("fiftyone:own", None), ("/some/folder", "own")):
        with pytest.raises(UserError, match=f"{name}.* of yours.*--dataset"):
            destination.choose_name(place, into)
    assert everything(own) == before


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("source", ["camera"] * 12),
        ("source", [1] * 12),
        ("flagged", [True] * 12),
        ("generation", list(range(12))),
        ("predicted_label", ["cat"] * 12),
        ("nearest_real", ["x"] * 12),
        ("synthetic", None),
    ],
)
def test_generating_is_refused_where_names_of_generated_images_are_in_use(own, name, values):
    if values is None:
        own.save_view(name, own.limit(2))
    else:
        own.set_values(name, values)
    before = everything(own)
    base = user_work.score_dataset("mincurate_1", "own")  # it needs none of these names
    with pytest.raises(UserError, match=f"{name}.* of yours.*--no-fiftyone"):
        user_work.generate("mincurate_2", base, "own")
    delete.delete_run(base)
    assert everything(own) == before


def test_tags_of_our_names_are_the_users(own):
    """Samples that the user calls synthetic are scored; no tag of the user's is taken away."""
    own.limit(4).tag_samples("synthetic")
    own.skip(8).tag_samples("unscorable")
    assert len(reader.read_sources("own", None)) == 12
    base = user_work.score_dataset("mincurate_1", "own")
    generation = user_work.generate("mincurate_2", base, "own")
    own.reload()
    assert own.count("rarity") == 11 + 3
    assert len(own.load_saved_view("rarest-first")) == 11
    assert len(own.load_saved_view("unscorable")) == 1
    assert len(own.load_saved_view("synthetic")) == 3
    assert len(reader.read_sources("own", None)) == 12
    assert len(own.match_tags("unscorable")) == 4
    delete.delete_run(generation)
    assert len(own.match_tags("synthetic")) == 4


def test_a_view_that_is_scored_leaves_the_ranks_of_the_others(own):
    first = user_work.score_dataset("mincurate_1", "own")
    own.reload()
    whole = dict(zip(*own.values(["id", "rarity"]), strict=True))
    own.save_view("some", own.limit(5))
    second = user_work.score_dataset("mincurate_2", "own/some", seed=1)
    own.reload()
    ids, rarity, runs = own.values(["id", "rarity", "minority_run"])
    assert runs == [second.key] * 5 + [first.key] * 7
    assert rarity[5:] == [whole[i] for i in ids[5:]] and rarity[:5] != [whole[i] for i in ids[:5]]
    assert len(own.load_saved_view("rarest-first")) == 5
    delete.delete_run(second)
    own.reload()
    assert dict(zip(*own.values(["id", "rarity"]), strict=True)) == whole
    assert own.list_saved_views().count("some") == 1
    assert ownership.read(own).current == first.key


def test_the_ranks_of_a_run_go_with_it_though_another_one_is_shown(own):
    first = user_work.score_dataset("mincurate_1", "own")
    own.save_view("some", own.limit(5))
    second = user_work.score_dataset("mincurate_2", "own/some", seed=1)
    own.reload()
    kept = own.limit(5).values("rarity")
    delete.delete_run(first)
    own.reload()
    assert own.values("rarity") == kept + [None] * 7
    assert ownership.read(own).runs == [second.key] and len(own.match_tags("unscorable")) == 0


def test_samples_added_to_a_dataset_of_the_users_go_unless_the_user_changed_them(own, tmp_path):
    folder = tmp_path / "set"
    for label in "ab":
        user_work.pictures(folder / label, 3)
    before = everything(own)
    run = user_work.score_folder("mincurate_1", folder, into="own")
    own.reload()
    assert len(own) == 18 and own.count("ground_truth") == 6
    delete.delete_run(run)
    assert everything(own) == before
    run = user_work.score_folder("mincurate_1", folder, into="own")
    own.reload()
    added = own.match(fo.ViewField("filepath").starts_with(str(folder)))
    tagged, corrected = added.values("id")[:2]
    own.select(tagged).tag_samples("mine")
    sample = own[corrected]
    sample.ground_truth.label = "other"
    sample.save()
    delete.delete_run(run)
    own.reload()
    assert set(own.values("id")) - _ids(before) == {tagged, corrected}
    assert own[corrected].ground_truth.label == "other"


def _ids(before):
    return {str(dict(document)["_id"]) for document in before["samples"]}


WORK = {
    "note": lambda d: d.info.update(note="mine"),
    "description": lambda d: setattr(d, "description", "mine"),
    "tag of the dataset": lambda d: d.tags.append("mine"),
    "field": lambda d: d.set_values("mine", [1] * len(d)),
    "tag": lambda d: d.limit(1).tag_samples("mine"),
    "tag of a label": lambda d: d.limit(1).tag_labels("mine", "ground_truth"),
    "view": lambda d: d.save_view("mine", d.limit(1)),
    "label": lambda d: d.limit(1).set_values("ground_truth.label", ["mine"]),
    "sample added": lambda d: d.add_sample(fo.Sample(filepath="/mine.png")),
    "sample deleted": lambda d: d.delete_samples(d.limit(1)),
    "class names": lambda d: d.default_classes.append("mine"),
}


@pytest.mark.parametrize("kind", [None, *WORK])
def test_a_dataset_goes_with_its_last_run_unless_it_holds_work_of_the_users(tmp_path, kind):
    folder = tmp_path / "set"
    for label in "ab":
        user_work.pictures(folder / label, 3)
    run = user_work.score_folder("mincurate_1", folder, into=f"made {kind}")
    dataset = fo.load_dataset(f"made {kind}")
    if kind:
        WORK[kind](dataset)
        dataset.save()
    delete.delete_run(run)
    assert fo.dataset_exists(dataset.name) is (kind is not None)
    if kind:
        dataset.reload()
        assert ownership.KEY not in dataset.info and not dataset.has_field("rarity")
        dataset.delete()


def test_a_clone_is_the_users(tmp_path):
    """Deleting the run leaves the clone whole, and no run of the clone deletes it."""
    folder = tmp_path / "set"
    user_work.pictures(folder / "a", 5)
    first = user_work.score_folder("mincurate_1", folder, into="original")
    fo.load_dataset("original").clone("clone", persistent=True)
    second = user_work.score_dataset("mincurate_2", "clone", seed=1)
    delete.delete_run(first)
    clone = fo.load_dataset("clone")
    assert not fo.dataset_exists("original") and clone.count("rarity") == 5
    delete.delete_run(second)
    clone.reload()
    assert len(clone) == 5 and clone.count("ground_truth.label") == 5
    clone.delete()


def test_another_run_of_the_same_key_is_not_mixed_in(own, tmp_path, monkeypatch):
    """Keys are unique in one MINCURATE_HOME; a dataset may be written from several."""
    user_work.score_dataset("mincurate_1", "own")
    before = everything(own)
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "other"))
    with pytest.raises(UserError, match="holds another run mincurate_1"):
        user_work.score_dataset("mincurate_1", "own", seed=1)
    shutil.rmtree(tmp_path / "other")
    assert everything(own) == before


def test_the_record_of_the_version_before_is_taken_over(own):
    """Its ``info`` named runs alone; it had refused datasets in which our names were in use."""
    base = user_work.score_dataset("mincurate_1", "own")
    own.reload()
    own.info[ownership.KEY] = {"created": False, "runs": [base.key], "current": base.key}
    own.save()
    assert destination.choose_name("fiftyone:own", None) == "own"
    delete.delete_run(base)
    own.reload()
    assert not [f for f in app_config.FIELDS if own.has_field(f)] and not own.list_saved_views()


def test_generated_images_are_known_by_their_field_and_not_by_tags(own):
    base = user_work.score_dataset("mincurate_1", "own")
    one, two = (user_work.generate(f"mincurate_{n}", base, "own", n) for n in (2, 3))
    own.reload()
    own.limit(2).tag_samples([one.key, "synthetic"])
    assert len(samples.generated(own)) == 5 and len(samples.real(own)) == 12
    assert generated.remove(one, "own") and not generated.remove(one, "own")
    own.reload()
    assert len(own) == 12 + 3 and len(samples.generated(own, [two.key])) == 3
    assert len(own.match_tags(one.key)) == 2


def test_the_record_outlives_an_info_that_the_user_replaces(own):
    before = everything(own)
    base = user_work.score_dataset("mincurate_1", "own")
    generation = user_work.generate("mincurate_2", base, "own")
    own.reload()
    kept = ownership.read(own)
    own.info = {"note": "mine"}
    own.save()
    assert ownership.read(own) == kept
    writer.write_run(base, "own")
    for run in (generation, base):
        own.info = {"note": "mine"}
        own.save()
        delete.delete_run(run)
        own.reload()
    assert everything(own) == before | {"info": {"note": "mine"}}


def test_groups_of_the_side_bar_and_colours_of_the_users_stay(own):
    own.set_values("camera", ["left"] * 12)
    groups = fo.DatasetAppConfig.default_sidebar_groups(own)
    groups.append(fo.SidebarGroupDocument(name="mincurate", paths=["camera"]))
    own.app_config.sidebar_groups = groups
    own.app_config.color_scheme = fo.ColorScheme(fields=[{"path": "camera", "fieldColor": "red"}])
    own.app_config.active_fields = fo.ActiveFields(paths=["camera"])
    own.save()
    base = user_work.score_dataset("mincurate_1", "own")
    own.reload()
    [group] = [g for g in own.app_config.sidebar_groups if g.name == "mincurate"]
    assert group.paths[0] == "rarity" and group.paths[-1] == "camera"
    delete.delete_run(base)
    own.reload()
    [group] = [g for g in own.app_config.sidebar_groups if g.name == "mincurate"]
    assert list(group.paths) == ["camera"]
    assert [f["path"] for f in own.app_config.color_scheme.fields] == ["camera"]
    assert own.app_config.active_fields.paths == ["camera"]


def test_a_view_that_leaves_fields_out_holds_no_generated_images(own):
    base = user_work.score_dataset("mincurate_1", "own")
    user_work.generate("mincurate_2", base, "own")
    own.reload()
    own.save_view("bare", own.select_fields())
    assert len(reader.read_sources("own", "bare")) == 12


def test_a_run_written_to_another_database_is_not_deleted_in_silence(own):
    base = user_work.score_dataset("mincurate_1", "own")
    own.delete()
    base.update(database="/another/folder")
    with pytest.raises(UserError, match="in the database /another/folder"):
        delete.delete_run(base)
    delete.delete_run(base, keep_dataset=True)
    assert not base.path.exists()


def test_a_generation_is_deleted_from_a_dataset_that_was_renamed(own):
    base = user_work.score_dataset("mincurate_1", "own")
    generation = user_work.generate("mincurate_2", base, "own")
    own.name = "renamed"
    delete.delete_run(generation)
    own.reload()
    assert len(own) == 12 and not own.has_field("generation")
    own.name = "own"
