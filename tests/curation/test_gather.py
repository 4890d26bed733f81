import pytest

from mincurate.curation import gather
from mincurate.errors import UserError
from mincurate.runs import store


@pytest.fixture
def scored(generated, monkeypatch):
    monkeypatch.setenv("MINCURATE_HOME", str(generated))
    return store.find("1")


def test_labels_and_boxes_of_now_take_the_place_of_those_of_the_run(scored):
    paths = gather.gather(scored)["path"]
    labels = {paths[0]: "corrected", paths[1]: ["one", "two"], paths[2]: None}
    boxes = {paths[0]: [("corrected", (0, 0, 0.5, 1))], paths[1]: []}
    table = gather.gather(scored, labels=labels, boxes=boxes)
    assert table["label"][:4].tolist() == ["corrected", "one", None, "cross"]
    assert table["labels"].dropna().tolist() == [["one", "two"]]
    assert table["boxes"][:3].tolist() == [[("corrected", (0, 0, 0.5, 1))], [], None]


def test_splits_that_are_tags_are_read_whatever_their_case():
    tags = {"a": ["Train", "good"], "b": ["validation"], "c": ["test"], "d": ["other"]}
    assert gather.tagged_splits(tags) == {"a": "train", "b": "val", "c": "test"}


@pytest.mark.parametrize(
    ("tags", "words"),
    [({"a": ["train", "test"]}, "test and train"), ({"a": ["val"]}, "No image is tagged train")],
)
def test_tags_that_name_no_split_are_one_sentence(tags, words):
    with pytest.raises(UserError, match=words):
        gather.tagged_splits(tags)
