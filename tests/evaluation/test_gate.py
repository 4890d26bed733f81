import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincurate.errors import UserError
from mincurate.evaluation import gate as gates


def cloud(n, d=6, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale).astype(np.float32)


def test_fresh_real_images_are_flagged_at_the_stated_rates():
    images = cloud(4000)
    real, fresh = images[:2000], images[2000:]
    believed = np.random.default_rng(1).beta(5, 2, 4000)
    gate = gates.calibrate(
        real, feature_space="test", probability=believed[:2000],
        near_copy_rate=0.02, off_manifold_rate=0.04, not_believed_rate=0.1,
    )  # fmt: skip
    found = gates.inspect(gate, real, fresh, believed[2000:])
    assert (found["nearest_distance"] <= gate.near_copy).mean() == pytest.approx(0.02, abs=0.01)
    assert (found["ball_ratio"] > gate.allowance).mean() == pytest.approx(0.04, abs=0.015)
    assert (found["probability"] < gate.floor).mean() == pytest.approx(0.1, abs=0.02)


def test_every_fault_is_named():
    real = cloud(500)
    gate = gates.calibrate(real, feature_space="test", probability=np.linspace(0.5, 1, 500))
    plain = cloud(500, seed=1)
    plain = plain[gates.inspect(gate, real, plain, np.ones(500))["reason"].isna()]
    made = np.concatenate([real[[42]] + 1e-4, np.full((1, 6), 30), plain[:2]])
    found = gates.inspect(gate, real, made, [0.9, 0.9, 0.1, 0.9])
    assert found["reason"].tolist() == ["near-copy", "off-manifold", "not-believed", None]
    assert found["nearest"][0] == 42
    assert gates.counts(found["reason"]) == {
        "accepted": 1, "near-copy": 1, "off-manifold": 1, "not-believed": 1,
    }  # fmt: skip


def test_an_image_with_several_faults_has_the_gravest():
    real = cloud(200)
    gate = gates.calibrate(real, feature_space="test", probability=np.ones(200))
    made = np.stack([real[0], np.full(6, 30)])
    assert gates.inspect(gate, real, made, [0, 0])["reason"].tolist() == [
        "near-copy",
        "off-manifold",
    ]


def test_a_gate_for_rare_images_lets_more_rare_images_through():
    real, rare = cloud(2000), cloud(4000, seed=1)
    far = np.linalg.norm(real, axis=1)
    edge = np.quantile(far, 0.9)
    rare = rare[np.linalg.norm(rare, axis=1) > edge]
    for_all = gates.calibrate(real, feature_space="test")
    for_rare = gates.calibrate(real, feature_space="test", like=far > edge)
    flagged = [
        (gates.inspect(gate, real, rare)["reason"] == "off-manifold").mean()
        for gate in (for_all, for_rare)
    ]
    assert flagged[0] > 0.1
    assert flagged[1] == pytest.approx(0.05, abs=0.03)


def test_without_a_classifier_nothing_is_disbelieved():
    real = cloud(100)
    gate = gates.calibrate(real, feature_space="test")
    found = gates.inspect(gate, real, cloud(50, seed=1))
    assert gate.floor is None and found["probability"].isna().all()
    assert "not-believed" not in set(found["reason"])


def test_probabilities_are_needed_exactly_where_there_is_a_floor():
    real = cloud(100)
    with pytest.raises(ValueError, match="floor"):
        gates.inspect(gates.calibrate(real, feature_space="test"), real, real, np.ones(100))
    gate = gates.calibrate(real, feature_space="test", probability=np.ones(100))
    with pytest.raises(ValueError, match="floor"):
        gates.inspect(gate, real, real)


def test_a_floor_from_images_the_classifier_knows_would_send_back_too_many_fresh_ones():
    real = cloud(2000)
    rng = np.random.default_rng(1)
    like, seen = rng.random(2000) < 0.5, rng.random(2000) < 0.8
    fresh = rng.beta(5, 2, 4000)
    believed = rng.beta(5, 2, 2000)
    believed[seen] = 1 - 0.3 * (1 - believed[seen])  # it believes what it was trained on more
    flagged = {}
    for name, known in (("all", believed), ("unseen", gates.unseen(believed, seen, like))):
        gate = gates.calibrate(real, feature_space="test", like=like, probability=known)
        flagged[name] = (fresh < gate.floor).mean()
    assert flagged["all"] > 0.1
    assert flagged["unseen"] == pytest.approx(0.05, abs=0.025)


def test_where_too_few_images_are_unseen_all_of_them_count():
    believed = np.linspace(0.1, 1, 100)
    like = np.arange(100) >= 50
    for left in (19, 20):  # 1 / 0.05 are needed
        known = gates.unseen(believed, np.arange(50, 100 - left), like)
        assert np.isnan(known[50:]).sum() == (50 - left if left == 20 else 0)
        assert not np.isnan(known[:50]).any()
    np.testing.assert_array_equal(gates.unseen(believed, np.zeros(100, bool)), believed)


def test_images_of_which_nothing_is_known_do_not_move_the_floor():
    real = cloud(200)
    believed = np.linspace(0.2, 1, 200)
    some = np.where(np.arange(200) % 2, believed, np.nan)
    floor = gates.calibrate(real, feature_space="test", probability=some).floor
    only = np.where(np.arange(200) % 2, believed, 0.0)
    like = np.arange(200) % 2 == 1
    assert floor == gates.calibrate(real, feature_space="test", probability=only, like=like).floor
    with pytest.raises(ValueError, match="no real image of the kind has a probability"):
        gates.calibrate(real, feature_space="test", probability=np.full(200, np.nan))


def test_a_probability_that_is_no_number_is_no_belief():
    real = cloud(100)
    gate = gates.calibrate(real, feature_space="test", probability=np.ones(100))
    made = cloud(20, seed=1)
    sure, unknown = (
        gates.inspect(gate, real, made, p)["reason"] for p in (np.ones(20), [np.nan] * 20)
    )
    assert sure.isna().any()
    assert (unknown[sure.isna()] == "not-believed").all()


@given(st.integers(0, 10**6), st.integers(5, 60), st.floats(0, 0.5))
@settings(max_examples=25)
def test_every_image_is_accepted_or_has_one_known_reason(seed, n, rate):
    real, made = cloud(n, 3, seed), cloud(20, 3, seed + 1, 2.0)
    gate = gates.calibrate(real, feature_space="test", off_manifold_rate=rate)
    reasons = gates.inspect(gate, real, made)["reason"]
    found = gates.counts(reasons)
    assert sum(found.values()) == 20 and set(found) == {"accepted", *gates.REASONS}
    assert gate.allowance >= 1 and gate.near_copy >= 0


def test_nothing_to_calibrate_on_is_one_sentence():
    with pytest.raises(UserError, match="no real image"):
        gates.calibrate(cloud(50), feature_space="test", like=np.zeros(50, dtype=bool))
    with pytest.raises(UserError, match="too few"):
        gates.calibrate(cloud(3), feature_space="test")
