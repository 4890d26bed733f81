"""Trials whose outcome is known: more real images help, noise and copies do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mincurate.evaluation import classifier_trial, students, training_arms
from mincurate.evaluation.classifier_trial import compare
from mincurate.evaluation.students import NETWORK, PROBE
from mincurate.evaluation.training_advice import advise
from mincurate.evaluation.training_arms import (
    BALANCED_LOSS,
    COPIES,
    FEATURES,
    GENERATED,
    MINED,
    NOTHING,
    Material,
)

NAMES, SIDE = ["a", "b", "c", "odd"], 48
QUICK = replace(PROBE, steps=100, batch_size=128)
CENTRES = np.random.default_rng(7).normal(0, 0.45, (4, SIDE))


def vectors(counts, seed):
    """Normal clouds, one per label."""
    labels = np.repeat(np.arange(4), counts)
    noise = np.random.default_rng(seed).normal(0, 1, (len(labels), SIDE))
    return torch.tensor(CENTRES[labels] + noise, dtype=torch.float32), torch.tensor(labels)


REAL, TEST = vectors([200, 200, 200, 5], 0), vectors([60] * 4, 1)
MORE = vectors([0, 0, 0, 150], 2)
NOISE = (torch.randn(MORE[0].shape, generator=torch.Generator().manual_seed(3)), MORE[1])
SAME = (REAL[0][-5:].repeat(30, 1), MORE[1])


def trial(generated, mined=None, seeds=(0, 1, 2, 3, 4)):
    material = Material(REAL, generated, mined, TEST, vectors=True)
    return compare({QUICK: material}, NAMES, ["odd"], seeds)


@pytest.fixture(scope="module")
def held_back():
    return trial(MORE)


def test_generating_is_advised_where_generated_images_are_as_good_as_real_ones(held_back):
    advice, _ = advise(held_back)
    assert (advice.arm, advice.tone) == (GENERATED, "good")
    assert advice.weight in training_arms.WEIGHTS and "Generating pays" in advice.words
    [outcome] = held_back.outcomes
    assert outcome.arms == [NOTHING, COPIES, BALANCED_LOSS, FEATURES, GENERATED]
    assert outcome.interval(GENERATED, outcome.rare, COPIES)[0] > 0.1


@pytest.mark.parametrize("generated", [NOISE, SAME], ids=["noise", "copies"])
def test_something_cheaper_is_advised_where_generated_images_are_noise_or_copies(generated):
    advice, _ = advise(trial(generated))
    assert advice.arm in (COPIES, BALANCED_LOSS, FEATURES)
    assert advice.words.startswith("Do not generate") and "nothing" not in advice.words
    assert advice.weight is None


def test_mined_images_are_advised_where_they_do_as_well(held_back):
    advice, _ = advise(trial(vectors([0, 0, 0, 20], 5), mined=MORE))
    assert advice.arm == MINED and "add the mined real images" in advice.words


def test_what_costs_the_other_labels_is_not_advised(held_back):
    """Images of the common labels that are called rare raise recall by calling all of them rare."""
    wrong = torch.cat([MORE[0], vectors([150, 150, 150, 0], 6)[0]])
    material = Material(REAL, (wrong, torch.full((len(wrong),), 3)), None, TEST)
    assert advise(compare({QUICK: material}, NAMES, ["odd"], (0, 1, 2)))[0].arm != GENERATED


def test_the_table_has_every_arm_for_groups_and_labels_with_intervals(held_back):
    table = held_back.table
    assert len(table) == 5 * (3 + 4)
    for name in ("recall", "change"):
        low, high = ("low", "high") if name == "recall" else ("change_low", "change_high")
        assert ((table[low] <= table[name]) & (table[name] <= table[high])).all()
    rows = table.set_index(["kind", "of", "arm"]).sort_index()
    same = rows.loc[("group", "rare"), "recall"], rows.loc[("label", "odd"), "recall"]
    assert same[0].to_list() == same[1].to_list()
    assert rows.loc[(slice(None), slice(None), NOTHING), "change"].eq(0).all()
    counts = held_back.labels.set_index("label")
    assert counts.loc["odd", ["n_train", "n_generated", "n_test"]].to_list() == [5, 150, 60]


def test_the_weight_is_judged_on_images_that_did_not_choose_it():
    """Of many weights that all guess, the best looks better than chance; apart it does not."""
    rng = np.random.default_rng(0)
    labels, aim = np.zeros(200, np.int64), np.array([True])
    correct = {w: rng.random((3, 200)) < 0.5 for w in np.linspace(0.1, 1, 40)}
    weight, honest = classifier_trial.best_weight(correct, labels, aim)
    assert correct[weight].mean() == max(c.mean() for c in correct.values()) > 0.53
    assert abs(honest.mean() - 0.5) < 0.03


def test_labels_have_equal_shares_and_a_generated_image_counts_by_its_weight():
    material = Material(REAL, MORE, None, TEST, vectors=True)
    for arm in training_arms.arms(material, 4, 0):
        shares = torch.zeros(4).index_add_(0, arm.labels, arm.sampling)
        equal = bool((shares - shares[0]).abs().max() < 1e-5)
        assert equal == (arm.name not in (NOTHING, BALANCED_LOSS))
        if arm.name == GENERATED:
            real, made = arm.sampling[len(REAL[1]) - 1], arm.sampling[-1]
            assert made / real == pytest.approx(arm.weight)


def test_a_seed_gives_one_network_and_leaves_the_state_of_torch_alone(monkeypatch):
    state = torch.get_rng_state()
    quick = students.Student("small network", NETWORK.build, 3, 16, 3e-3)
    pixels = torch.randint(0, 255, (40, 3, 8, 8), dtype=torch.uint8)
    arm = training_arms.Arm(NOTHING, pixels, torch.arange(40) % 2, torch.ones(40))
    state = torch.get_rng_state()
    one, two = (students.train(quick, arm, 2, 5, "cpu") for _ in range(2))
    assert torch.equal(students.predict(one, pixels, "cpu"), students.predict(two, pixels, "cpu"))
    assert torch.equal(state, torch.get_rng_state())
