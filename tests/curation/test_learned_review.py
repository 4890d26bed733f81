"""A few verdicts re-rank the rest and tell how many are left; the first page shows the kinds."""

import numpy as np
import pytest

from mincurate.curation import first_page, learned_review


def crowd(seed, kinds, of_each, common=1200):
    """Vectors of common images and of small kinds, the number of each kind, and a weak ranking."""
    rng = np.random.default_rng(seed)
    numbers = np.concatenate([np.full(common, -1), np.arange(kinds).repeat(of_each)])
    centers = np.concatenate([rng.normal(size=(kinds, 48)), np.zeros((1, 48))])
    vectors = 2 + centers[numbers] * 0.8 + rng.normal(size=(len(numbers), 48))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rarity = (numbers >= 0) * 0.8 + rng.normal(size=len(numbers))
    order = np.argsort(-rarity)
    return vectors[order].astype(np.float32), numbers[order]


@pytest.fixture(scope="module")
def reviews():
    """Ten reviews of one kind of eighty after ten keeps and ten drops, and the truth."""
    states = []
    for seed in range(10):
        vectors, numbers = crowd(seed, kinds=1, of_each=80)
        truth = numbers == 0
        keep, drop = (np.zeros(len(truth), bool) for _ in range(2))
        keep[np.flatnonzero(truth)[:10]] = True
        drop[np.flatnonzero(~truth)[:10]] = True
        states.append((learned_review.learn(vectors, keep, drop), truth, keep | drop))
    return states


def test_ten_keeps_and_ten_drops_lift_the_precision_of_the_next_hundred(reviews):
    learned, by_rank = [], []
    for state, truth, seen in reviews:
        learned.append(truth[state.order(~seen)[:100]].mean())
        by_rank.append(truth[np.flatnonzero(~seen)[:100]].mean())
    assert np.mean(learned) >= 1.5 * np.mean(by_rank)


def test_the_interval_of_what_is_left_holds(reviews):
    held = [s.left.low <= (truth & ~seen).sum() <= s.left.high for s, truth, seen in reviews]
    assert sum(held) >= 8
    for state, _, seen in reviews:
        assert 0 <= state.left.low <= state.left.about <= state.left.high <= (~seen).sum()
        assert (state.low <= state.probability).all() and (state.probability <= state.high).all()


def test_a_single_keep_and_a_single_drop_are_enough_to_begin():
    vectors, numbers = crowd(0, kinds=1, of_each=80)
    keep, drop = (np.zeros(len(numbers), bool) for _ in range(2))
    keep[np.flatnonzero(numbers == 0)[0]] = drop[np.flatnonzero(numbers < 0)[0]] = True
    state = learned_review.learn(vectors, keep, drop)
    assert np.isfinite(state.probability).all() and state.left.high > state.left.low


def test_the_first_page_shows_small_kinds_beside_a_large_one():
    shares = []
    for seed in range(5):
        vectors, numbers = crowd(seed, kinds=8, of_each=12, common=0)
        large, _ = crowd(seed + 50, kinds=1, of_each=200, common=0)  # all of one kind, and rarer
        page = first_page.diverse(np.concatenate([large, vectors]))
        assert len(page) == len(set(page)) == first_page.PAGE
        kinds = np.concatenate([np.full(200, -1), numbers])[page]
        shares.append(len(set(kinds) - {-1}) / 8)
    assert np.mean(shares) >= 0.8
    assert first_page.diverse(vectors[:7]).tolist() == list(range(7))
