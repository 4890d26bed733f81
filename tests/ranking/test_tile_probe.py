"""Discs drawn into tiles tell whether tiles show small objects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mincurate
from mincurate.ranking import judging, tile_probe, vector_rarity

PLACES, PICTURES = 16, 24


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(32, 80), st.integers(32, 80), st.integers(0, 2**20))
def test_a_disc_is_whole_and_of_one_colour_and_leaves_the_rest(channels, height, width, seed):
    tile = np.full((1, channels, height, width), 7, np.uint8)
    drawn = tile_probe.with_discs(tile, seed)[0]
    changed = (drawn != 7).any(0)
    assert (tile == 7).all() and len(np.unique(drawn[:, changed].T, axis=0)) <= 1
    area = np.pi / 4 * (tile_probe.SIDE * min(height, width)) ** 2
    assert changed.sum() in (0, pytest.approx(area, rel=0.25))  # 0: of the colour of the tile


def tiles(spread):
    """Vectors of aligned pictures, a cluster for each place, and their content hashes."""
    rng = np.random.default_rng(0)
    places = np.tile(rng.normal(size=(PLACES, 32)), (PICTURES, 1))
    vectors = (places + spread * rng.normal(size=places.shape)).astype(np.float32)
    return vectors, pd.Series([f"{i * 7919 % 10007:05d}" for i in range(len(vectors))])


def found(spread, groups=None):
    """With discs that move a vector by about as much as places lie apart."""
    vectors, hashes = tiles(spread)
    rng = np.random.default_rng(1)
    picks = np.argsort(hashes)[: tile_probe.DISCS]
    moved = vectors[picks] + 0.8 * rng.normal(size=(len(picks), 32)).astype(np.float32)
    vector_of = dict(zip(hashes[picks], moved, strict=True))
    samples = judging.of_all(hashes, by_pattern)
    if groups is not None:
        samples = judging.of_labels(hashes, groups)
    return tile_probe.discs_found(vectors, hashes, samples, vector_of)


def by_pattern(vectors, among):
    return vector_rarity.measure(vectors, among).rarity


def test_discs_are_found_where_tiles_are_alike_and_not_where_they_differ_more_than_by_a_disc():
    assert found(0.05) > 0.95
    assert found(2.0) < 0.75


def test_tiles_are_ranked_within_their_groups_and_few_of_them_tell_nothing():
    halves = pd.Series(np.repeat(["a", "b"], PLACES * PICTURES // 2))
    assert found(0.05, halves) > 0.9
    assert np.isnan(found(0.05, pd.Series([f"{i // 16}" for i in range(PLACES * PICTURES)])))


def test_a_run_of_tiles_says_whether_discs_are_found(shapes, network, tmp_path):
    result = mincurate.score(
        shapes, tiles="8", quick=True, embedding=network, umap=False, fiftyone=False,
        labels=False, output=tmp_path / "run", progress=False,
    )  # fmt: skip
    record = result.run.record
    assert 0 < record["discs_found"] <= 1
    assert record["diagnostics"]["discs_found"] == record["discs_found"]
    assert f"{record['discs_found']:.0%} of the others" in record["trust"]["words"]
    assert "Discs are found" in (result.run.path / "report.html").read_text()
