import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincurate.errors import UserError
from mincurate.evaluation import metric_table, metrics
from mincurate.evaluation.metric_table import Features, FeatureSpace
from mincurate.evaluation.metrics import intervals, manifold, vectors


def cloud(n, d, seed=0, scale=1.0, shift=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale + shift).astype(np.float32)


def with_moments(mean, covariance, n, seed=0):
    """Points whose sample mean and covariance are exactly these."""
    points = np.random.default_rng(seed).normal(size=(n, len(mean)))
    points -= points.mean(0)
    points = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T)).T)
    return points @ np.linalg.cholesky(covariance).T + mean


def distances(a, b):
    return np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=2)


# Against libraries that do the same


@pytest.mark.parametrize("k", [3, 5])
def test_precision_recall_density_coverage_are_those_of_their_authors(k, capsys):
    prdc = pytest.importorskip("prdc")
    for real, made in [
        (cloud(300, 8), cloud(200, 8, 1, 1.3)),
        (cloud(150, 64, 2), cloud(400, 64, 3, 0.8, 0.2)),
    ]:
        theirs = prdc.compute_prdc(real, made, nearest_k=k)
        for name, value in theirs.items():
            ours = getattr(metrics, name)(real, made, k=k)
            assert ours.mean() == pytest.approx(value, abs=1e-9), name


def test_local_outlier_factor_is_that_of_scikit_learn():
    from sklearn.neighbors import LocalOutlierFactor

    real, made = cloud(200, 6), cloud(50, 6, 1, 2.0)
    theirs = -LocalOutlierFactor(novelty=True).fit(real).score_samples(made)
    np.testing.assert_allclose(metrics.lof(real, made), theirs)
    among = -LocalOutlierFactor().fit(real).negative_outlier_factor_
    np.testing.assert_allclose(metrics.lof(real), among)
    assert metrics.lof(real, np.zeros((1, 6)))[0] < 1.1 < metrics.lof(real, np.full((1, 6), 4.0))[0]


# Against the definitions, written out


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
@settings(max_examples=25)
def test_rarity_is_the_radius_of_the_smallest_ball_around(seed, k):
    real, made = cloud(20, 2, seed), cloud(15, 2, seed + 1, 1.5)
    radii = np.sort(distances(real, real), axis=1)[:, k]  # the first one is the image itself
    far = distances(made, real)
    expected = [min((r for x, r in zip(row, radii, strict=True) if x <= r), default=np.nan)
                for row in far]  # fmt: skip
    found = metrics.rarity(real, made, k=k)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(found), metrics.off_manifold(real, made, k=k))
    np.testing.assert_allclose(
        metrics.ball_ratio(real, made, k=k), (far / radii).min(1), rtol=1e-4, atol=1e-5
    )


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
@settings(max_examples=15)
def test_real_images_are_judged_as_if_each_were_not_among_them(seed, k):
    real = cloud(14, 2, seed)
    left_out = [(np.delete(real, i, axis=0), real[i : i + 1]) for i in range(len(real))]

    def one_by_one(metric, **more):
        return [metric(rest, image, **more)[0] for rest, image in left_out]

    np.testing.assert_allclose(
        metrics.rarity(real, k=k), one_by_one(metrics.rarity, k=k), rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics.ball_ratio(real, k=k), one_by_one(metrics.ball_ratio, k=k), rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics.neighbor_distance(real), one_by_one(metrics.neighbor_distance), rtol=1e-5
    )
    np.testing.assert_array_equal(
        metrics.closer_than_real(real), one_by_one(metrics.closer_than_real)
    )


def test_a_sample_in_no_ball_has_no_rarity_and_does_not_lower_the_mean():
    real = cloud(100, 2)
    made = np.concatenate([np.zeros((10, 2)), np.full((10, 2), 50.0)])
    found = metrics.rarity(real, made)
    assert np.isnan(found[10:]).all() and (found[:10] > 0).all()
    assert metrics.interval(found, seed=0)[0] == pytest.approx(found[:10].mean())


def test_copies_among_the_real_images_have_balls_without_a_size():
    real = np.repeat(cloud(5, 2), 6, axis=0)
    assert metrics.ball_ratio(real, real[:1])[0] == 0
    assert metrics.ball_ratio(real, real[:1] + 1)[0] == np.inf
    assert metrics.near_copy_distance(real) == 0


@given(st.floats(0.125, 100), st.integers(0, 10**6))
@settings(max_examples=15)
def test_scaling_the_features_scales_distances_and_changes_no_share(factor, seed):
    real, made = cloud(40, 3, seed), cloud(30, 3, seed + 1, 1.3)
    for name in ("rarity", "neighbor_distance"):
        metric = getattr(metrics, name)
        np.testing.assert_allclose(
            metric(real * factor, made * factor), factor * metric(real, made), rtol=1e-3
        )
    assert metrics.frechet_distance(real * factor, made * factor) == pytest.approx(
        factor**2 * metrics.frechet_distance(real, made), rel=1e-3
    )
    for name in ("density", "coverage", "recall"):
        metric = getattr(metrics, name)
        near = np.mean(metric(real * factor, made * factor))
        assert near == pytest.approx(np.mean(metric(real, made)), abs=0.05)


# Fréchet distance in closed form


def test_frechet_distance_of_gaussians_in_closed_form():
    mean = np.array([1.0, -2.0, 0.5])
    one = with_moments(np.zeros(3), np.diag([1.0, 4.0, 9.0]), 50)
    two = with_moments(mean, np.diag([4.0, 1.0, 16.0]), 70, seed=1)
    expected = mean @ mean + (1 - 2) ** 2 + (2 - 1) ** 2 + (3 - 4) ** 2
    assert metrics.frechet_distance(one, two) == pytest.approx(expected, rel=1e-5)
    turned = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    assert metrics.frechet_distance(one @ turned, two @ turned) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_is_that_of_the_matrix_root():
    from scipy.linalg import sqrtm

    one = cloud(400, 12) @ cloud(12, 12, 5)
    two = cloud(300, 12, 1, 1.4, 0.3) @ cloud(12, 12, 6)
    a, b = np.cov(one.T), np.cov(two.T)
    between = np.square(one.mean(0, dtype=float) - two.mean(0, dtype=float)).sum()
    expected = between + np.trace(a + b - 2 * sqrtm(a @ b)).real
    assert metrics.frechet_distance(one, two) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    import torch

    features = torch.nn.Flatten()
    features.num_features = 12
    theirs = fid.FrechetInceptionDistance(feature=features, normalize=True).set_dtype(torch.float64)
    one, two = cloud(400, 12) @ cloud(12, 12, 5), cloud(300, 12, 1, 1.4, 0.3) @ cloud(12, 12, 6)
    for points, real in ((one, True), (two, False)):
        theirs.update(torch.from_numpy(points).view(-1, 3, 2, 2).double(), real=real)
    assert metrics.frechet_distance(one, two) == pytest.approx(float(theirs.compute()), rel=1e-5)


def test_frechet_distance_holds_for_fewer_images_than_dimensions():
    points = cloud(20, 300)
    assert metrics.frechet_distance(points, points) == pytest.approx(0, abs=1e-3)
    moved = points + np.float32(0.5)
    assert metrics.frechet_distance(points, moved) == pytest.approx(0.25 * 300, rel=1e-4)


def test_spatial_vectors_see_where_things_are():
    maps = np.arange(2 * 9 * 2 * 3).reshape(2, 9, 2, 3)
    assert metrics.spatial_vectors(maps).shape == (2, 42)
    np.testing.assert_array_equal(metrics.spatial_vectors(maps, 1)[1], maps[1, 0].ravel())


# Memorisation


def test_real_images_come_as_close_to_others_as_held_out_ones_do():
    images = cloud(3000, 8)
    real, held_out = images[:2000], images[2000:]
    near = metrics.near_copy_distance(real, rate=0.05)
    assert (metrics.nearest(real, held_out)[0] <= near).mean() == pytest.approx(0.05, abs=0.02)
    own = metrics.closer_than_real(real).mean()
    assert metrics.closer_than_real(real, held_out).mean() == pytest.approx(own, abs=0.05)
    assert (metrics.nearest(real, real[:50] + 1e-3)[0] <= near).all()
    assert metrics.closer_than_real(real, real[:50] + 1e-3).all()


def test_the_nearest_real_image_is_named():
    real = cloud(50, 4)
    far, index = metrics.nearest(real, real[[7, 3]] + 1e-4)
    assert index.tolist() == [7, 3] and (far < 1e-3).all()


# Intervals


def test_intervals_hold_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    held = 0
    for i in range(200):
        _, low, high = metrics.interval(rng.normal(size=80), seed=i, resamples=300)
        held += low <= 0 <= high
    assert 180 <= held <= 198


def test_an_interval_is_the_same_for_the_same_seed_and_leaves_out_what_has_no_value():
    values = np.array([1.0, np.nan, 3.0, 2.0])
    assert metrics.interval(values, seed=1) == metrics.interval(values, seed=1)
    mean, low, high = metrics.interval(values, seed=1)
    assert mean == 2 and 1 <= low <= mean <= high <= 3
    assert np.isnan(metrics.interval([np.nan], seed=0)).all()


@pytest.mark.parametrize(("n", "d"), [(200, 6), (40, 60)])
def test_the_frechet_interval_is_as_wide_as_fresh_images_scatter(n, d):
    real = cloud(600, d)
    fresh = [metrics.frechet_distance(real, cloud(n, d, seed, 1.2, 0.3)) for seed in range(1, 81)]
    deviations = []
    for seed in range(1, 9):
        made = cloud(n, d, seed, 1.2, 0.3)
        value, low, high = metrics.frechet_interval(real, made, seed=0)
        assert value == metrics.frechet_distance(real, made) and low < value < high
        deviations.append((high - low) / 2 / 1.96)
    assert 0.8 < np.mean(deviations) / np.std(fresh) < 1.5


@pytest.mark.parametrize("n", [128, pytest.param(512, marks=pytest.mark.slow)])
@pytest.mark.parametrize("metric", ["recall", "coverage"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.7, 0.3)])
def test_intervals_of_recall_and_coverage_hold_what_fresh_images_have(metric, n, scale, shift):
    """The same real images, 100 times fresh generated ones; at least 90 intervals hold the mean."""
    real = cloud(300, 6)
    fresh = [cloud(n, 6, seed, scale, shift) for seed in range(1, 101)]
    truth = np.mean([getattr(metrics, metric)(real, made).mean() for made in fresh])
    held = 0
    for made in fresh:
        value, low, high = getattr(metrics, f"{metric}_interval")(real, made, seed=0)
        held += low <= truth <= high
        assert value == getattr(metrics, metric)(real, made).mean()
    assert held >= 90


def test_a_subset_of_generated_images_has_the_recall_that_it_has_alone():
    real, made = cloud(80, 3), cloud(40, 3, 1, 0.8)
    rows = intervals.subsets(40, seed=5, resamples=12, share=manifold.SHARE, least=4)
    for metric in ("recall", "coverage"):
        alone = [getattr(metrics, metric)(real, made[chosen]).mean() for chosen in rows]
        value = getattr(metrics, metric)(real, made).mean()
        expected = intervals.jackknife(value, alone, rows, 40)
        found = getattr(metrics, f"{metric}_interval")(real, made, seed=5, resamples=12)
        np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-6)


# All of them


def test_judge_tells_a_rare_set_from_a_common_one_and_a_copying_one():
    real = np.concatenate([cloud(360, 6), cloud(40, 6, 9, 1.5, 4)])
    rare = np.arange(400) >= 360
    sets = {
        "common": Features(cloud(150, 6, 1)),
        "rare": Features(cloud(120, 6, 2, 1.2, 4)),
        "copies": Features(real[:130] + np.float32(1e-3)),
    }
    steps = []
    table = metric_table.judge(
        Features(real), sets, space=FeatureSpace("test"), tail=rare, resamples=100,
        subsets=5, advance=steps.append,
    )  # fmt: skip
    assert sum(steps) == 8
    assert set(table["n"][table["set"] != "real"]) == {120}
    assert set(table["feature_space"]) == {"test"}
    assert table["reading"].notna().all()
    known = table.dropna()  # no common image lies in a ball of the tail: it has no rarity there
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all()
    assert set(table["metric"][table["value"].isna()]) <= {"rarity"}
    wide = table[table["reference"] == "all"].pivot(index="metric", columns="set", values="value")
    for metric in ("avg_knn", "rarity"):
        assert wide.loc[metric, "rare"] > wide.loc[metric, "common"], metric
    assert wide.loc["lof", "real"] == pytest.approx(metrics.lof(real).mean())
    assert wide.loc["frechet_distance", "rare"] > wide.loc["frechet_distance", "common"]
    assert wide.loc["near_copies", "copies"] == 1 > 0.1 > wide.loc["near_copies", "common"]
    tail = table[table["reference"] == "tail"].pivot(index="metric", columns="set", values="value")
    for metric in ("precision", "recall", "coverage"):
        assert tail.loc[metric, "rare"] > tail.loc[metric, "common"], metric
    assert tail.loc["frechet_distance", "rare"] < tail.loc["frechet_distance", "common"]
    assert table[table["reference"] == "tail"]["n_real"].eq(40).all()


@pytest.mark.parametrize(
    ("inception", "names"),
    [(False, ("frechet_distance", "spatial_frechet_distance")), (True, ("fid", "sfid"))],
)
def test_frechet_distances_are_called_fid_and_sfid_in_features_of_inception_alone(inception, names):
    real = Features(cloud(60, 4), cloud(60, 9))
    made = {"a": Features(cloud(50, 4, 1), cloud(50, 9, 1))}
    space = FeatureSpace("vectors", "maps", inception)
    table = metric_table.judge(real, made, space=space, resamples=10, subsets=3)
    spaces = table[table["set"] == "a"].set_index("metric")["feature_space"]
    assert [spaces[name] for name in names] == ["vectors", "maps"]
    assert set(spaces.index) == set(metric_table.READINGS) - (
        {"fid", "sfid", "frechet_distance", "spatial_frechet_distance"} - set(names)
    )


def test_nothing_is_judged_without_naming_the_feature_space():
    with pytest.raises(ValueError, match="must have a name"):
        metric_table.judge(
            Features(cloud(60, 4)), {"a": Features(cloud(50, 4))}, space=FeatureSpace("")
        )


def test_too_few_images_are_one_sentence():
    with pytest.raises(UserError, match="3 images are too few") as error:
        metrics.rarity(cloud(3, 2), cloud(5, 2))
    assert "\n" not in str(error.value)


def test_features_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="dimensions"):
        metrics.precision(cloud(30, 2), cloud(30, 3))
    with pytest.raises(ValueError, match="finite"):
        metrics.nearest(cloud(30, 2), np.full((5, 2), np.nan))


def test_memory_stays_bounded_however_many_images_there_are(monkeypatch):
    real, made = cloud(3000, 8), cloud(3000, 8, 1)
    whole = metrics.rarity(real, made), metrics.density(real, made)
    monkeypatch.setattr(vectors, "PIECE", 1)
    tracemalloc.start()
    for metric, expected in zip((metrics.rarity, metrics.density), whole, strict=True):
        np.testing.assert_allclose(metric(real, made), expected)
    metrics.ball_ratio(real), metrics.coverage(real, made), metrics.neighbor_distance(real, made)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20  # one float64 matrix of all distances would be 69 MiB
