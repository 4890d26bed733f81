"""What a run says of itself: numbers against closed forms, and words against the numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import spearmanr
from test_denoiser import Exact
from test_minority_score import scorer

from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.features.embedder import Embedder
from mincurate.ranking import diagnostics, judging, outliers
from mincurate.runs import store

SPREAD, SIGMA = 0.2, 0.16
WIENER = SPREAD**2 * SIGMA**2 / (SPREAD**2 + SIGMA**2)
"""Error of the best filter on images that are white noise of deviation `SPREAD`."""


def white_noise(n, size=16, seed=0):
    """Images ``(n, 3, size, size)`` uint8 that are white noise of deviation `SPREAD`."""
    x = SPREAD * np.random.default_rng(seed).normal(size=(n, 3, size, size))
    return ((x.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.05, SIGMA, 1.0])
def test_the_filters_error_on_white_noise_is_the_one_of_shrinking_every_pixel(sigma):
    result = diagnostics.linear_filter_error(white_noise(600) / 127.5 - 1, sigma)
    assert result == pytest.approx(SPREAD**2 * sigma**2 / (SPREAD**2 + sigma**2), rel=0.01)


def test_the_exact_denoiser_of_white_noise_gains_nothing_over_the_filter():
    schedule = linear_alphas_cumprod()
    model = Denoiser(Exact("epsilon", schedule, SPREAD), schedule, "epsilon", "exact", 16)
    sigma, pixels = model.nearest_sigma(SIGMA), white_noise(300)
    x = torch.tensor(pixels).float() / 127.5 - 1
    noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    error = (model.denoise(noisy, sigma) - x).square().mean()
    assert diagnostics.linear_filter_error(x.numpy(), sigma) / error == pytest.approx(1, rel=0.02)


def test_the_filter_leaves_of_waves_only_what_lies_at_their_frequency():
    """Waves of one frequency and any phase: two of the frequencies hold all of the power."""
    size, amplitude = 16, 0.8
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (200, 3, 1, 1))
    waves = amplitude * np.cos(2 * np.pi * 3 * np.arange(size) / size + phase)
    x = np.broadcast_to(waves, (200, 3, size, size))
    power = amplitude**2 * size**2 / 4
    expected = 2 * power * SIGMA**2 / (power + SIGMA**2) / size**2
    assert diagnostics.linear_filter_error(x, SIGMA) == pytest.approx(expected, rel=0.05)


def test_images_that_are_all_one_colour_leave_the_filter_no_error():
    grey = np.full((5, 3, 8, 8), -0.4)
    assert diagnostics.linear_filter_error(grey, SIGMA) == pytest.approx(0, abs=1e-9)


@given(st.floats(0.5, 1), st.sampled_from([20, 40]))
def test_a_steady_fall_is_told_over_the_last_quarter(rate, n):
    errors = [rate**i for i in range(n)]
    assert diagnostics.still_improving(errors) == pytest.approx(1 - rate ** (n // 4 - 1))


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([0.5**i for i in range(7)], id="too few"),
        pytest.param([1.0] * 20, id="level"),
        pytest.param([1.1**i for i in range(20)], id="rising"),
        pytest.param([0.0] * 20, id="nothing"),
        pytest.param([1.0] * 10 + [0.5] * 10, id="fell before"),
    ],
)
def test_what_did_not_fall_in_the_end_is_not_still_improving(errors):
    assert diagnostics.still_improving(errors) == 0


WELL = {
    "denoising_gain": 1.1, "still_improving": 0.03, "spearman_complexity": 0.5,
    "rank_stability": 0.9,
}  # fmt: skip
"""As bad as it may be without a word."""
SENTENCES = [
    ({"denoising_gain": 1.09}, "removes noise no better than a linear filter (gain 1.09)"),
    ({"still_improving": 0.04}, "training ended (held-out error fell by 4% in the last quarter)"),
    ({"spearman_complexity": 0.51}, "(Spearman 0.51): complex images rank high"),
    ({"spearman_complexity": -0.51}, "(Spearman -0.51): simple images rank high"),
    ({"rank_stability": 0.89}, "(rank correlation 0.89): raise --n-draws"),
    ({"trained": (0.2, 0.5)}, "trained for noise levels 0.2 to 0.5 and scored at 0.16"),
    ({"trained": (0.01, 0.1)}, "trained for noise levels 0.01 to 0.1 and scored at 0.16"),
    ({"weak": True}, "use a weak embedding"),
    ({"images": 199}, "Few different images (199): a class of a tenth holds 19"),
]  # fmt: skip


def words(rank_by="minority", images=200, trained=(0.1, 1.0), weak=False, **numbers):
    """The warnings of a run with these numbers."""
    run = store.create()
    run.update(settings={"rank_by": rank_by})
    ours = scorer()
    ours = replace(ours, denoiser=replace(ours.denoiser, trained_sigmas=trained))
    embedder = Embedder("some", "", lambda x: x, 16, 16, weak=weak)
    return diagnostics.in_words(WELL | numbers, run, images, ours, embedder)


def test_when_all_is_well_nothing_is_said():
    assert words() == []
    assert words(trained=None, spearman_complexity=-0.5) == []


@pytest.mark.parametrize(("change", "sentence"), SENTENCES)
def test_a_number_that_is_too_bad_is_one_sentence(change, sentence):
    [warnings] = words(**change)
    assert sentence in warnings and warnings.endswith((".", "(mincurate train --sigma)."))


def test_all_that_is_wrong_is_said_and_too_little_training_once():
    wrong = {name: value for change, _ in SENTENCES for name, value in change.items()}
    warnings = words(**wrong)
    assert len(warnings) == 6 and not any("still improving" in s for s in warnings)


def test_a_ranking_by_vectors_does_not_follow_the_complexity_of_the_score():
    assert words("embedding", spearman_complexity=0.9) == []


def test_numbers_that_are_not_known_are_not_complained_of():
    run = store.create()
    run.update(settings={"rank_by": "minority"})
    embedder = Embedder("some", "", lambda x: x, 16, 16, weak=False)
    assert diagnostics.in_words({}, run, 200, scorer(), embedder) == []


def finished(folder, rank_by="minority", gain=2.0, draw_noise=0.01, texture=False):
    """A run of sixty images that are white noise, a copy, and a file that cannot be read.

    Args:
        gain: of the model over the filter.
        draw_noise: deviation of the draws of an image, whose scores are 1 to 2.
        texture: the score follows the complexity.
    """
    rng, n = np.random.default_rng(0), 60
    paths = [folder / f"{i}.png" for i in range(n)]
    for path, pixels in zip(paths, white_noise(n), strict=True):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    score = rng.permutation(np.linspace(1, 2, n))
    draws = score[:, None] + draw_noise * rng.normal(size=(n, 4))
    scored = pd.DataFrame(
        {
            "path": [str(p) for p in paths], "content_hash": [f"{i:03d}" for i in range(n)],
            "status": "ok", "duplicate_of": None, "minority_score": score,
            "minority_score_draws": list(draws), "minority_score_se": 0.05 * score,
            "complexity": score**2 if texture else rng.permutation(score),
            "neighbor_distance": rng.permutation(score), "denoising_error": WIENER / gain,
            "label": None, "rarity": np.linspace(0, 1, n),
        }
    )  # fmt: skip
    wild = {"minority_score": 99.0, "minority_score_se": 99.0, "denoising_error": 99.0}
    wild |= {"complexity": -99.0, "neighbor_distance": -99.0}
    copy = scored.iloc[[0]].assign(duplicate_of="1.png", **wild)
    broken = scored.iloc[[1]].assign(
        status="unscorable", content_hash=None, minority_score_draws=None, **dict.fromkeys(wild)
    )
    run = store.create()
    pd.concat([scored, copy, broken]).to_parquet(run.path / "scores.parquet")
    vectors = rng.normal(size=(n, 16)).astype(np.float32)
    np.save(run.path / "embeddings.npy", vectors)
    scored[["content_hash"]].to_parquet(run.path / "embeddings.parquet")
    run.update(settings={"rank_by": rank_by}, images_per_second=12.5)
    return run, scored, vectors


def examined(run):
    ours = replace(scorer(), sigma=SIGMA)
    embedder = Embedder("some", "", lambda x: x, 16, 16, weak=False)
    return diagnostics.examine(run, ours, embedder, size=16, fit="crop")


def test_a_run_is_judged_by_its_different_readable_images(tmp_path):
    run, scored, vectors = finished(tmp_path)
    curve = [(i, 0.0, 0.9**i) for i in range(20)]
    run.update(model={"curve": curve, "trained_here": False})
    numbers = examined(run)["diagnostics"]
    score = scored["minority_score"]
    expected = {
        "draws_per_image": 4,
        "spearman_complexity": spearmanr(score, scored["complexity"]).statistic,
        "agreement_neighbors": spearmanr(score, scored["neighbor_distance"]).statistic,
        "mean_relative_se": 0.05,
        "tail_agreement": outliers.tail_agreement(vectors, np.arange(60)),
        "denoising_error": WIENER / 2,
        "denoising_gain": 2,
        "still_improving": 1 - 0.9**4,
        "images_per_second": 12.5,
    }
    assert numbers.pop("rank_stability") > 0.99
    assert numbers == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("change", "level", "why"),
    [
        ({}, "fair", "The model's error is 2."),
        ({"gain": 1.0}, "weak", "no better than a linear filter"),
        ({"texture": True}, "weak", "image complexity (Spearman 1.00)"),
        ({"draw_noise": 3.0}, "weak", "Other noise would change the order"),
        ({"rank_by": "embedding"}, "weak", "half of the embedding's features"),
    ],
)
def test_trust_follows_from_what_was_measured(tmp_path, change, level, why):
    run, _, _ = finished(tmp_path, **change)
    trust = examined(run)["trust"]
    assert trust["level"] == level and why in trust["words"]


def test_a_rare_label_among_the_common_images_is_missed(tmp_path):
    run, _, _ = finished(tmp_path, rank_by="embedding")
    frame = run.frame()
    frame["label"] = ["few"] * 10 + ["many"] * (len(frame) - 10)  # the lowest ranks
    frame.to_parquet(run.path / "scores.parquet")
    numbers = examined(run)["diagnostics"]
    assert (numbers["rare_labels"], numbers["missed_labels"]) == (1, 1)
    frame["rarity"] = 1 - frame["rarity"]
    frame.to_parquet(run.path / "scores.parquet")
    assert examined(run)["diagnostics"]["missed_labels"] == 0


def test_minutes_count_only_for_a_model_that_was_trained_here(tmp_path):
    run, _, _ = finished(tmp_path)
    run.update(model={"trained_here": True, "trained_minutes": 10.0})
    assert "trained for 10 minutes" in examined(run)["trust"]["words"]
    run.update(model={"trained_here": False, "trained_minutes": 10.0})
    assert examined(run)["trust"]["level"] == "fair"


def test_a_run_without_a_readable_image_has_nothing_to_say_but_that(tmp_path):
    run, _, _ = finished(tmp_path)
    frame = run.frame()
    frame[frame["status"] != "ok"].to_parquet(run.path / "scores.parquet")
    np.save(run.path / "embeddings.npy", np.zeros((0, 1), np.float32))
    result = examined(run)
    assert result["diagnostics"] == {"images_per_second": 12.5}
    assert result["trust"]["level"] == "weak"


def test_agreement_of_a_ranking_within_labels_is_that_of_each_label_by_its_size():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 32)).astype(np.float32)
    vectors[:12] += 2  # a group that differs in every feature, within the first label
    hashes = [f"{i:032x}" for i in range(200)]
    labels = ["a"] * 140 + ["b"] * 60

    def agreement(names, rows=slice(None)):
        samples = judging.of_labels(hashes[rows], names[rows])
        return diagnostics.agreement(vectors[rows], samples)

    few = labels[:140] + [str(i) for i in range(60)]
    of_a, of_b = agreement(few), agreement([str(i) for i in range(140)] + labels[140:])
    assert of_a == pytest.approx(outliers.tail_agreement(vectors[:140], np.arange(140)))
    assert of_b == pytest.approx(outliers.tail_agreement(vectors[140:], np.arange(60)))
    assert of_a > of_b and agreement(labels) == pytest.approx(0.7 * of_a + 0.3 * of_b)
    assert np.isnan(agreement(labels, slice(40)))
