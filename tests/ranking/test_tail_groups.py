"""Groups of similar images in the tail."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_tail import write

from mincurate.errors import UserError
from mincurate.ranking import tail as tails
from mincurate.ranking import tail_groups

GROUPS = (12, 8)
"""Two groups in a tail of 30; ten images of it are alone."""


@pytest.fixture
def tail(tmp_path):
    """300 images: the rarest 30 lie in two tight groups or anywhere; one common image is near
    each of the groups."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 64))
    score = np.linspace(3, 1, 300)
    labels = np.full(300, "common", object)
    start = 0
    for number, size in enumerate(GROUPS):
        centre = rng.normal(size=64)
        vectors[start : start + size] = centre + 0.1 * rng.normal(size=(size, 64))
        vectors[250 + number] = centre + 0.3 * rng.normal(size=64)
        labels[start : start + size] = f"label {number}"
        start += size
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    complexity = np.linspace(1, 2, 300)
    complexity[: GROUPS[0]] = 9
    run = write(tmp_path, score, list(labels), complexity=complexity)
    order = rng.permutation(300)  # vectors are found by hash, not by place
    np.save(tmp_path / "embeddings.npy", vectors[order].astype(np.float32))
    hashes = pd.DataFrame({"content_hash": [f"{i:04d}" for i in order]})
    hashes.to_parquet(tmp_path / "embeddings.parquet")
    return tails.look(run)


def test_groups_of_the_tail_are_found_and_the_rest_is_alone(tail):
    groups = tail_groups.find_groups(tail)
    assert [len(kind.members) for kind in groups] == [*GROUPS, 10]
    assert [kind.alone for kind in groups] == [False, False, True]
    assert set(groups[0].members) == set(range(12))
    assert set(groups[1].members) == set(range(12, 20))
    assert groups[2].members.tolist() == list(range(20, 30)), "the rarest first"


def test_each_kind_has_the_common_image_that_is_nearest(tail):
    groups = tail_groups.find_groups(tail)
    assert [kind.common for kind in groups] == [250, 251, None]


def test_what_sets_a_kind_apart_is_said(tail):
    first, second, alone = tail_groups.find_groups(tail)
    assert first.traits == (
        "100% are label 0 (4% of all)",
        "nearest to common",
        "busier than 98% of all",
    )
    assert second.traits[0] == "100% are label 1 (3% of all)"
    assert not any("label" in words for words in alone.traits)
    assert first.name == "Kind 1 (label 0, near common, busier)"
    assert second.name.startswith("Kind 2 (label 1") and alone.name == ""


def test_the_table_names_the_group_of_an_image_and_is_where_groups_are_read_again(tail):
    images = tail.images
    vectors, position = tail_groups.vectors_of(tail)
    frame = images.sample(frac=1, random_state=0)
    groups = tail_groups.rare_groups(frame, frame.sort_index(), vectors, position)
    first, second, _ = tail_groups.find_groups(tail)
    assert groups[groups == first.name].index.sort_values().tolist() == list(range(12))
    assert groups[groups == second.name].index.sort_values().tolist() == list(range(12, 20))
    assert groups.notna().sum() == sum(GROUPS)
    # Should the groups be others by now, those of the table are shown.
    stored = replace(tail, images=images.assign(rare_group=groups.where(groups != second.name)))
    again = tail_groups.find_groups(stored)
    assert [kind.name for kind in again] == [first.name, ""] and len(again[1].members) == 18
    assert again[0].members.tolist() == first.members.tolist()


def test_kinds_do_not_depend_on_the_run_being_looked_at_again(tail):
    first = [kind.members.tolist() for kind in tail_groups.find_groups(tail)]
    tail_groups.find_groups.cache_clear()
    assert [kind.members.tolist() for kind in tail_groups.find_groups(tail)] == first


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_points_are_all_alone(n):
    points = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    assert tail_groups.cluster(points).tolist() == [-1] * n


def test_equal_points_are_one_kind_or_none_but_no_error():
    groups = tail_groups.cluster(np.ones((20, 8), np.float32))
    assert len(groups) == 20


def test_vectors_that_are_gone_are_told_in_a_sentence(tmp_path):
    tail = tails.look(write(tmp_path, np.linspace(1, 2, 100), [None] * 100))
    with pytest.raises(UserError, match="embeddings of run mincurate_1"):
        tail_groups.find_groups(tail)
