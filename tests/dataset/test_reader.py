"""FiftyOne's shapes and kinds of labels: each is read as one would expect, or refused at once."""

import os
import subprocess
import sys

import fiftyone as fo
import pytest
import user_work

from mincurate.dataset import destination, labels, lookup, reader
from mincurate.errors import UserError

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return user_work.pictures(tmp_path_factory.mktemp("pictures"), 12)


def make(paths, name="shapes", **fields):
    dataset = fo.Dataset(name, persistent=True, overwrite=True)
    dataset.add_samples([fo.Sample(filepath=path) for path in paths], progress=False)
    for field, values in fields.items():
        dataset.set_values(field, values)
    return dataset


def boxes(*names):
    corners = [0.1, 0.1, 0.5, 0.5]
    return fo.Detections(detections=[fo.Detection(label=n, bounding_box=corners) for n in names])


def several(*names):
    return fo.Classifications(classifications=[fo.Classification(label=n) for n in names])


@pytest.mark.parametrize(
    ("name", "view"),
    [("team/proj", None), ("team/proj", "rare"), ("team/proj", "to do/now"), ("plain", "a/b")],
)
def test_names_of_datasets_and_views_may_hold_slashes(paths, name, view):
    dataset = make(paths, name)
    if view:
        dataset.save_view(view, dataset.limit(5))
    value = f"{name}/{view}" if view else name
    assert reader.split(value) == (name, view)
    assert len(reader.read(value).sources) == (5 if view else 12)
    run = user_work.score_dataset("mincurate_1", value)
    dataset.reload()
    assert run.record["dataset"] == name and dataset.count("rarity") == (5 if view else 11)
    dataset.delete()
    with pytest.raises(UserError, match="no FiftyOne dataset"):
        reader.split(value) if view else reader.read(value)


def grouped(paths):
    dataset = fo.Dataset("grouped", persistent=True, overwrite=True)
    dataset.add_group_field("group", default="left")
    members = []
    for left, right in zip(paths[::2], paths[1::2], strict=True):
        group = fo.Group()
        members += [
            fo.Sample(filepath=left, group=group.element("left")),
            fo.Sample(filepath=right, group=group.element("right")),
        ]
    dataset.add_samples(members, progress=False)
    return dataset


def test_a_slice_of_a_grouped_dataset_is_scored_and_the_whole_is_refused(paths):
    dataset = grouped(paths)
    dataset.save_view("right", dataset.select_group_slices("right"))
    with pytest.raises(UserError, match=r"grouped .*left, right.*: save a view"):
        reader.read("grouped")
    run = user_work.score_dataset("mincurate_1", "grouped/right", mapped=True)
    every = dataset.select_group_slices(media_type="image")
    assert len(run.frame()) == 6 and every.count("rarity") == 6
    assert {s.group.name for s in every.exists("rarity")} == {"right"}
    assert len(dataset.load_saved_view("rarest-first")) == 6
    assert len(dataset.load_brain_results("minority_umap").points) == 6
    with pytest.raises(UserError, match="belong to no group"):
        user_work.generate("mincurate_2", run, "grouped")
    assert lookup.place(every.limit(2)).startswith("fiftyone:grouped/scored-")


def test_a_view_grouped_by_a_field_is_scored_with_all_its_samples(paths):
    dataset = make(paths, scene=["a", "b", "c"] * 4)
    dataset.save_view("scenes", dataset.group_by("scene"))
    dataset.save_view("two", dataset.group_by("scene").limit(2))
    assert len(reader.read("shapes/scenes").sources) == 12
    assert len(reader.read("shapes/two").sources) == 8
    user_work.score_dataset("mincurate_1", "shapes/two")
    dataset.reload()
    assert dataset.count("rarity") == 7


@pytest.mark.parametrize("saved", [True, False])
def test_patches_are_refused_and_no_rank_is_lost(paths, saved):
    dataset = make(paths, gt=[boxes("a", "b") for _ in paths])
    user_work.score_dataset("mincurate_1", "shapes")
    dataset.reload()
    before = dataset.values("rarity")
    patches = dataset.to_patches("gt")
    if saved:
        dataset.save_view("patches", patches)
        with pytest.raises(UserError, match=r"'patches' .*shows patches"):
            reader.read("shapes/patches")
    else:
        with pytest.raises(UserError, match="shows patches"):
            lookup.place(patches)
    dataset.reload()
    assert dataset.values("rarity") == before


def test_two_samples_of_one_file_both_get_their_values(paths):
    dataset = make([*paths, *paths[:3]])
    user_work.score_dataset("mincurate_1", "shapes")
    dataset.reload()
    assert len(dataset.exists("minority_run")) == 15
    folder = os.path.dirname(paths[0])
    from mincurate.images import sources

    run = user_work.scored(
        "mincurate_2", sources.find(folder, False), {"kind": "folder", "value": folder}, seed=1
    )
    from mincurate.dataset import writer

    assert writer.write_run(run, "shapes").added == 0
    dataset.reload()
    ranks = dict(zip(*dataset.limit(12).values(["filepath", "rarity"]), strict=True))
    assert dataset.skip(12).values("rarity") == [ranks[path] for path in paths[:3]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: setattr(d, "persistent", False), "not persistent.*persistent = True"),
        (lambda d: d.delete(), "no FiftyOne dataset.*persistent = True"),
        (lambda d: d.delete_samples(d), "no images"),
        (lambda d: d.save_view("v", d.match_tags("none")), "no images in .* 'v'"),
    ],
)
def test_what_cannot_be_scored_is_said_in_a_sentence(paths, change, words):
    dataset = make(paths)
    change(dataset)
    place = "shapes/v" if "'v'" in words else "shapes"
    with pytest.raises(UserError, match=words) as error:
        user_work.score_dataset("mincurate_1", place)
    assert "\n" not in str(error.value)


def test_a_dataset_of_videos_is_refused():
    dataset = fo.Dataset("videos", persistent=True, overwrite=True)
    dataset.add_sample(fo.Sample(filepath="/a.mp4"))
    for call in (lambda: reader.read("videos"), lambda: destination.choose_name("/x", "videos")):
        with pytest.raises(UserError, match="holds video"):
            call()


def test_a_view_that_cannot_be_opened_any_more_is_said(paths):
    dataset = make(paths, mine=[1] * 12)
    dataset.save_view("v", dataset.sort_by("mine").select_fields("mine"))
    dataset.delete_sample_field("mine")
    with pytest.raises(UserError, match=r"'v' .*cannot be opened"):
        reader.read("shapes/v")


KINDS = {
    "Classification": lambda names: [fo.Classification(label=n) for n in names],
    "Classifications": lambda names: [several(n) for n in names],
    "Detections": lambda names: [boxes(n, n) for n in names],
    "Detection": lambda names: [fo.Detection(label=n, bounding_box=[0, 0, 1, 1]) for n in names],
    "Polylines": lambda names: [fo.Polylines(polylines=[fo.Polyline(label=n)]) for n in names],
    "text": lambda names: names,
    "number": lambda names: [ord(n) for n in names],
    "texts": lambda names: [[n] for n in names],
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_read_from_every_kind_of_field(paths, kind):
    names = ["a", "b", "c"] * 4
    dataset = make(paths, ground_truth=KINDS[kind](names))
    wanted = [str(ord(n)) for n in names] if kind == "number" else names
    reading = reader.read("shapes")
    assert [source.label for source in reading.sources] == wanted
    assert reading.words.startswith("Labels: field 'ground_truth'")
    assert reading.origin["label_field"] == "ground_truth"
    field = labels.choose(dataset)
    assert len(labels.matching(dataset, field, wanted[0])) == 4
    assert len(labels.matching(dataset, field, None)) == 0


def test_a_label_is_the_same_with_spaces_around_it_and_none_where_it_says_so(paths):
    names = ["cat", "cat ", "caf\u00e9", "cafe\u0301", "NaN", "NA"]
    dataset = make(paths[:6], label=names)
    field = labels.choose(dataset)
    assert labels.read(dataset, field) == ["cat", "cat", "caf\u00e9", "caf\u00e9", None, "NA"]
    assert len(labels.matching(dataset, field, "cat")) == 2
    assert labels.matching(dataset, field, None).values("filepath") == paths[4:5]


def test_several_labels_of_an_image_are_not_lost_in_silence(paths):
    truth = [boxes("a"), boxes("a", "b"), None] * 4
    make(paths, ground_truth=truth, tags_of=[several("x", "y")] * 12)
    reading = reader.read("shapes")
    assert [source.label for source in reading.sources] == ["a", None, None] * 4
    assert "4 images with several different labels" in reading.words
    assert "not used: tags_of" in reading.words
    assert "12 images with several" in reader.read("shapes", "tags_of").words


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        (["predictions", "kind"], "kind"),
        (["kind", "label"], "label"),
        (["zebra", "ground_truth"], "ground_truth"),
        (["predictions"], "predictions"),
        ([], None),
    ],
)
def test_the_label_field_that_is_taken_is_the_likely_one(paths, fields, chosen):
    truth = [fo.Classification(label="a")] * 12
    make(paths, camera=["left"] * 12, **dict.fromkeys(fields, truth))
    reading = reader.read("shapes")
    assert reading.origin["label_field"] == chosen
    assert (repr(chosen) if chosen else "No label field") in reading.words
    assert {s.label for s in reader.read("shapes", "camera").sources} == {"left"}
    for wrong in ("camera2", "filepath"):
        with pytest.raises(UserError, match=wrong):
            reader.read("shapes", wrong)


def test_boxes_are_read_by_path(paths):
    dataset = make(paths, gt=[boxes("a", "b")] * 12, kind=["x"] * 12)
    found = labels.boxes(dataset, "gt")
    assert found[paths[0]] == [("a", [0.1, 0.1, 0.5, 0.5]), ("b", [0.1, 0.1, 0.5, 0.5])]
    assert labels.boxes(dataset, "kind") == labels.boxes(dataset, "none") == {}


CODE = """
import sys
from mincurate.dataset import database
if sys.argv[1:] == ["first"]:
    import fiftyone as fo
    fo.list_datasets()
database.check_database()
print(database.place())
"""


def test_the_database_of_another_process_is_not_written_to(tmp_path):
    """FiftyOne attaches to any server that runs, whatever folder was configured."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_")}
    settings |= {"FIFTYONE_DATABASE_DIR": str(tmp_path / "own"), "FIFTYONE_DO_NOT_TRACK": "true"}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", CODE, *arguments],
            capture_output=True, text=True, timeout=240, env=settings, check=False,
        )  # fmt: skip

    done = run()  # the server of these tests is running
    assert done.stdout.strip() == str(tmp_path / "own"), done.stderr
    assert list((tmp_path / "own").glob("*.wt"))
    taken = run("first")
    assert taken.returncode == 1
    assert f"not to the one in {tmp_path / 'own'}" in taken.stderr
