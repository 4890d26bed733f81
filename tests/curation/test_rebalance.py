import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mincurate.curation import rebalance
from mincurate.errors import UserError

COUNTS = st.dictionaries(st.text(max_size=4), st.integers(0, 10**6), min_size=1, max_size=8).filter(
    lambda counts: sum(counts.values()) > 0
)
TARGETS = st.one_of(st.sampled_from(["uniform", "sqrt"]), st.integers(1, 10**6))


@given(COUNTS, TARGETS)
def test_what_is_added_makes_up_what_is_missing(counts, to):
    table = rebalance.plan(counts, to)
    assert table["have"].sum() == sum(counts.values())
    assert (table["add"] >= 0).all()
    short = table["target"] > table["have"]
    assert (table["have"] + table["add"])[short].equals(table["target"][short])
    assert (table["add"][~short] == 0).all()


@given(COUNTS, TARGETS, st.randoms())
def test_the_order_of_the_classes_does_not_matter(counts, to, random):
    mixed = list(counts.items())
    random.shuffle(mixed)
    pd.testing.assert_frame_equal(rebalance.plan(dict(mixed), to), rebalance.plan(counts, to))


@given(COUNTS, TARGETS)
def test_weighted_classes_come_in_proportion_to_their_targets(counts, to):
    table = rebalance.plan(counts, to)
    there = table[table["have"] > 0]
    share = there["weight"] * there["have"]
    np.testing.assert_allclose(share / share.sum(), there["target"] / there["target"].sum())
    assert share.sum() == pytest.approx(table["have"].sum())
    assert (table["weight"][table["have"] == 0] == 0).all()


@given(COUNTS)
def test_nothing_is_added_to_the_largest_class(counts):
    for to in ("uniform", "sqrt"):
        table = rebalance.plan(counts, to)
        largest = table["have"] == table["have"].max()
        assert (table["add"][largest] == 0).all()
        assert (table["target"] >= table["have"]).all()


@given(COUNTS)
def test_square_root_lies_between_what_there_is_and_uniform(counts):
    root, even = (rebalance.plan(counts, to)["target"] for to in ("sqrt", "uniform"))
    assert (root <= even).all()


@given(COUNTS, TARGETS, st.data())
def test_generated_images_make_up_what_is_missing_and_move_no_target(counts, to, data):
    before = rebalance.plan(counts, to)
    made = {name: data.draw(st.integers(0, 2 * int(n)), label=str(name))
            for name, n in zip(before["class"], before["add"], strict=True)}  # fmt: skip
    table = rebalance.plan({k: n + made[k] for k, n in counts.items()}, to, real=counts)
    assert table["target"].equals(before["target"])
    missing = [max(0, n - made[k]) for k, n in zip(before["class"], before["add"], strict=True)]
    assert table["add"].tolist() == missing
    there = table[table["have"] > 0]
    share = there["weight"] * there["have"]
    np.testing.assert_allclose(share / share.sum(), there["target"] / there["target"].sum())


def test_a_plan_to_read():
    table = rebalance.plan({"cat": 100, "dog": 25, "emu": 0}, "sqrt")
    assert table.columns.tolist() == ["class", "have", "target", "add", "weight"]
    assert table["target"].tolist() == [100, 50, 0] and table["add"].tolist() == [0, 25, 0]
    assert rebalance.plan({"cat": 100, "dog": 25}, 60)["add"].tolist() == [0, 35]


def test_ordinal_classes_stand_in_the_order_of_their_numbers():
    assert rebalance.plan({10: 1, 9: 5, 0: 3})["class"].tolist() == [0, 9, 10]


def test_labels_are_counted_and_missing_ones_are_not():
    assert rebalance.count(["a", None, "b", "a", float("nan")]) == {"a": 2, "b": 1}
    assert rebalance.count(pd.array([1, 1, None], dtype="Int64")) == {1: 2}


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=40), TARGETS)
def test_every_image_gets_the_weight_of_its_class(labels, to):
    if not any(labels):
        with pytest.raises(UserError, match="no image"):
            rebalance.sampling_weights(labels, to)
        return
    weights = rebalance.sampling_weights(labels, to)
    table = rebalance.plan(rebalance.count(labels), to).set_index("class")["weight"]
    assert weights.tolist() == [table[name] if name else 0 for name in labels]


def test_a_weighted_sampler_of_torch_draws_the_plan():
    labels = ["a"] * 900 + ["b"] * 90 + ["c"] * 10
    weights = rebalance.sampling_weights(labels)
    sampler = torch.utils.data.WeightedRandomSampler(
        weights, 6000, generator=torch.Generator().manual_seed(0)
    )
    drawn = rebalance.count([labels[i] for i in sampler])
    assert all(drawn[name] == pytest.approx(2000, rel=0.1) for name in "abc")


@pytest.mark.parametrize("to", ["even", 0, -3, True, 2.5, None])
def test_a_target_that_is_none_is_one_sentence(to):
    with pytest.raises(UserError, match=r"^Rebalance to [^\n]*\.$"):
        rebalance.plan({"a": 3}, to)
