import numpy as np
import pytest
import torch

from mincurate.errors import UserError
from mincurate.evaluation.classifier_trial import compare, copies

BRIGHT = {"dark": 60, "bright": 190, "odd": 125}


def pictures(counts, seed):
    """Noisy squares; labels differ in brightness, and ``odd`` lies between the others."""
    rng = np.random.default_rng(seed)
    labels = [name for name, n in counts.items() for _ in range(n)]
    base = np.array([BRIGHT[name] for name in labels]).reshape(-1, 1, 1, 1)
    noisy = (
        base + rng.normal(0, 25, (len(labels), 1, 1, 1)) + rng.normal(0, 30, (len(labels), 3, 8, 8))
    )
    return noisy.clip(0, 255).astype(np.uint8), labels


TRAIN = pictures({"dark": 150, "bright": 150, "odd": 4}, 0)
TEST = pictures({"dark": 60, "bright": 60, "odd": 60}, 1)
NONE = (np.zeros((0, 3, 8, 8), np.uint8), [])


def test_more_of_a_rare_class_raises_its_recall():
    told = []
    found = compare(
        TRAIN,
        pictures({"odd": 140}, 2),
        TEST,
        rare=["odd"],
        steps=40,
        batch_size=48,
        advance=told.append,
    )
    assert sum(told) == 9
    table = found.classes.set_index("class")
    assert table["n_synthetic"].to_dict() == {"bright": 0, "dark": 0, "odd": 140}
    assert table["n_train"].to_dict() == {"bright": 150, "dark": 150, "odd": 4}
    assert min(table.loc["odd", ["change", "gain"]]) > 0.3
    assert table["rare"].tolist() == [False, False, True]
    assert found.groups["group"].tolist() == ["rare", "rest", "all"]
    assert found.groups["change"][0] == pytest.approx(table.loc["odd", "change"])
    for one in (found.classes, found.groups):
        assert ((one["low"] <= one["change"]) & (one["change"] <= one["high"])).all()
        assert ((one["gain_low"] <= one["gain"]) & (one["gain"] <= one["gain_high"])).all()
        beyond = one["recall_with"] - one["recall_oversampled"]
        np.testing.assert_allclose(one["gain"], beyond)
    assert found.without.shape == found.oversampled.shape == found.with_synthetic.shape == (3, 3)


def test_copies_given_as_synthetic_images_bring_nothing_beyond_copies():
    x, labels = TRAIN
    odd = np.flatnonzero(np.array(labels) == "odd")
    made = (x[np.resize(odd, 140)], ["odd"] * 140)
    found = compare(TRAIN, made, TEST, rare=["odd"], steps=40, batch_size=48)
    assert not np.array_equal(found.without, found.oversampled)
    assert found.classes["gain"].abs().max() < 0.05


def test_every_label_is_copied_as_often_as_it_was_made_and_its_images_take_turns():
    labels = ["a"] * 3 + ["b"] * 5
    wanted = ["b", "a", "a", "b", "a", "a", "a", "a", "a"]
    found = copies(labels, wanted, seed=1)
    assert [labels[i] for i in found] == wanted
    times = np.bincount(found, minlength=8)
    assert sorted(times[:3]) == [2, 2, 3] and times[3:].max() == 1
    assert (copies(labels, wanted, seed=1) == found).all()
    assert len(copies(labels, [], seed=1)) == 0


def test_images_of_the_kind_are_copied_where_a_label_has_some():
    labels = ["a"] * 3 + ["b"] * 5
    like = np.arange(8) == 1
    found = copies(labels, ["a", "a", "b"], like=like, seed=0)
    assert found[:2].tolist() == [1, 1] and found[2] >= 3


def test_nothing_added_changes_nothing_and_a_seed_gives_one_result():
    state = torch.get_rng_state()
    one, two = (compare(TRAIN, NONE, TEST, rare=["odd"], steps=4) for _ in range(2))
    np.testing.assert_array_equal(one.without, one.with_synthetic)
    np.testing.assert_array_equal(one.without, one.oversampled)
    np.testing.assert_array_equal(one.without, two.without)
    differences = ["change", "low", "high", "gain", "gain_low", "gain_high"]
    assert (one.classes[differences] == 0).all(axis=None)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seeds": (0, 1)}, "3 different seeds"),
        ({"rare": ["cat"]}, "'cat'"),
        ({"test": pictures({"dark": 5, "bright": 5}, 1)}, "held-out image has the label 'odd'"),
        ({"train": pictures({"dark": 5}, 1)}, "at least 2 labels"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(change, sentence):
    given = {"train": TRAIN, "synthetic": NONE, "test": TEST, "rare": ["odd"]} | change
    with pytest.raises(UserError, match=sentence) as error:
        compare(**given)
    assert "\n" not in str(error.value)
