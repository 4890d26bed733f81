from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from test_denoiser import tiny_unet

from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.diffusion.space import Pixels
from mincurate.features import perceptual
from mincurate.features.perceptual import Perceptual
from mincurate.ranking import minority_score
from mincurate.ranking.minority_score import Scorer

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (10, 3, 16, 16), dtype=np.uint8)
NAMES = [f"image-{i}" for i in range(10)]


def scorer(n_draws=3, dtype=None, **changes):
    model = Denoiser(tiny_unet(), linear_alphas_cumprod(), "epsilon", "tiny", 16)
    return Scorer(
        denoiser=changes.get("denoiser", model),
        perceptual=changes.get("perceptual", perceptual.load_perceptual("unet", model)),
        sigma=model.nearest_sigma(0.16),
        n_draws=n_draws,
        seed=changes.get("seed", 0),
        dtype=dtype,
    )


def test_the_score_is_the_formula_of_the_paper():
    """Recomputed here from the definition: one image, one draw, one term at a time."""
    found = scorer()(PIXELS, NAMES)
    unet, schedule = tiny_unet(), linear_alphas_cumprod()
    own = perceptual.load_perceptual("unet", Denoiser(unet, schedule, "epsilon", "tiny", 16))
    t = int((((1 - schedule) / schedule).sqrt().log() - np.log(0.16)).abs().argmin())
    a = schedule[t]
    with torch.no_grad():
        for i in range(3):
            x0 = torch.tensor(PIXELS[i : i + 1]) / 127.5 - 1
            draws = []
            for k in range(3):
                eps = minority_score.noise([NAMES[i]], 3, (3, 16, 16), 0)[:, k]
                x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
                x0hat = (x_t - (1 - a).sqrt() * unet(x_t, t).sample) / a.sqrt()
                layers = []
                pair = zip(own.trunk(x0), own.trunk(x0hat.clamp(-1, 1)), strict=True)
                for f, g in pair:
                    f, g = (v / v.norm(dim=1, keepdim=True) for v in (f, g))
                    layers.append(((f - g) ** 2).sum(1).mean())
                draws.append(float(sum(layers)))
            np.testing.assert_allclose(found.draws[i], draws, rtol=2e-3)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_batch_size_does_not_change_the_scores(batch):
    together = scorer()(PIXELS, NAMES)
    apart = [scorer()(PIXELS[i : i + batch], NAMES[i : i + batch]) for i in range(0, 10, batch)]
    np.testing.assert_allclose(np.concatenate([s.draws for s in apart]), together.draws, atol=1e-5)


def test_order_does_not_change_the_scores():
    together = scorer()(PIXELS, NAMES).draws
    backwards = scorer()(PIXELS[::-1], NAMES[::-1]).draws
    np.testing.assert_allclose(backwards[::-1], together, atol=1e-5)


def test_another_seed_gives_other_draws_and_more_draws_keep_the_first():
    three, five = scorer(3)(PIXELS, NAMES).draws, scorer(5)(PIXELS, NAMES).draws
    np.testing.assert_allclose(five[:, :3], three, atol=1e-5)
    assert not np.allclose(scorer(3, seed=1)(PIXELS, NAMES).draws, three, rtol=1e-3)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True), st.integers(0, 2**40))
@settings(max_examples=25)
def test_noise_depends_on_seed_image_and_draw_alone(names, seed):
    drawn = minority_score.noise(names, 3, (3, 4, 4), seed)
    for i, name in enumerate(names):
        assert torch.equal(minority_score.noise([name], 3, (3, 4, 4), seed)[0], drawn[i])
    assert (
        len({tuple(row.flatten().tolist()) for image in drawn for row in image})
        == drawn[:, :, 0, 0, 0].numel()
    )


def test_noise_is_standard_normal():
    drawn = minority_score.noise([str(i) for i in range(50)], 3, (3, 16, 16), 0)[:, ::2]
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01
    assert abs(np.corrcoef(drawn[:, 0].flatten(), drawn[:, 1].flatten())[0, 1]) < 0.02


def test_features_cost_k_plus_one_passes():
    images = []

    def trunk(x):
        images.append(len(x))
        return [x]

    scorer(5, perceptual=Perceptual("counted", "", trunk))(PIXELS, NAMES)
    assert sum(images) == 10 * (5 + 1)


def test_a_mixture_known_in_closed_form_ranks_its_rare_mode_above_the_common_one():
    """95 % of the images lie around one point and 5 % around another; the denoiser is exact."""
    size, s = 4, 0.15
    generator = torch.Generator().manual_seed(0)
    centers = torch.stack([torch.full((3, size, size), v) for v in (-0.3, 0.3)])
    weights = torch.tensor([0.95, 0.05])

    class Exact:
        device, space = torch.device("cpu"), Pixels(3, size)

        def denoise(self, x, sigma):
            variance = s**2 + sigma**2
            near = ((x[:, None] - centers) ** 2).sum((2, 3, 4))
            posterior = torch.softmax(weights.log() - near / (2 * variance), dim=1)
            means = (s**2 * x[:, None] + sigma**2 * centers) / variance
            return (posterior[:, :, None, None, None] * means).sum(1)

    kind = (torch.rand(400, generator=generator) < 0.05).long()
    x0 = centers[kind] + s * torch.randn(400, 3, size, size, generator=generator)
    pixels = ((x0.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    raw = Perceptual("squared", "", lambda x: [x])
    object.__setattr__(raw, "features", lambda x: [x])
    exact = scorer(8, denoiser=Exact(), perceptual=raw)
    exact = Scorer(exact.denoiser, raw, 2.0, 8, 0)
    found = exact(pixels, [str(i) for i in range(400)]).draws.mean(1)
    assert found[kind == 1].min() > np.quantile(found[kind == 0], 0.9)


def test_noises_come_in_opposite_pairs():
    drawn = minority_score.noise(["a", "b"], 5, (3, 4, 4), 0)
    assert torch.equal(drawn[:, 1], -drawn[:, 0]) and torch.equal(drawn[:, 3], -drawn[:, 2])
    assert not torch.equal(drawn[:, 2], drawn[:, 0])
    assert torch.equal(minority_score.noise(["a"], 3, (3, 4, 4), 0)[0], drawn[0, :3])


@pytest.mark.parametrize("rho", [-0.9, -0.4, 0.0, 0.6])
@pytest.mark.parametrize("k", [3, 4, 5, 8])
def test_a_standard_error_is_the_spread_of_the_mean_of_paired_draws(rho, k):
    rng = np.random.default_rng(0)
    n, scale = 20_000, 0.7
    draws = rng.normal(scale=scale, size=(n, k))
    for j in range(1, k, 2):
        draws[:, j] = rho * draws[:, j - 1] + (1 - rho**2) ** 0.5 * draws[:, j]
    truth = draws.mean(1).std()
    shifted = draws + rng.normal(size=(n, 1))
    assert minority_score.pair_correlation(shifted) == pytest.approx(rho, abs=0.03)
    found = minority_score.standard_error(shifted)
    assert np.sqrt((found**2).mean()) == pytest.approx(truth, rel=0.03)


def test_a_standard_error_of_two_draws_takes_them_to_be_independent():
    draws = np.array([[1.0, 2.0], [3.0, 3.0]])
    np.testing.assert_allclose(minority_score.standard_error(draws), [0.5, 0.0])
    assert np.isnan(minority_score.standard_error(draws[:, :1])).all()
    assert (minority_score.standard_error(np.ones((4, 5))) == 0).all()


def test_draws_that_were_spared_do_not_count_in_a_standard_error():
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(200, 6))
    draws[:, 1::2] = -0.5 * draws[:, ::2] + 0.75**0.5 * draws[:, 1::2]
    spared = draws.copy()
    spared[::2, 2:] = np.nan
    found = minority_score.standard_error(spared)
    np.testing.assert_allclose(found[1::2], minority_score.standard_error(draws[1::2]))
    # The correlation of a pair is that of the others, and two draws differ by sqrt(2) sigma.
    rho = minority_score.pair_correlation(draws[1::2])
    apart = np.abs(draws[::2, 0] - draws[::2, 1])
    np.testing.assert_allclose(found[::2], apart / 2 * np.sqrt((1 + rho) / (1 - rho)))


@given(st.floats(0.02, 0.2), st.integers(2, 20), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_edge_of_the_rarest_class_and_the_error_of_a_pair_are_found(error, classes, seed):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 2, 4000)
    draws = truth[:, None] * (1 + error * rng.normal(size=(4000, 4)) * 2**0.5)
    edge = minority_score.find_edge(draws, classes)
    assert edge.error == pytest.approx(error, rel=0.1)
    assert edge.score == pytest.approx(np.quantile(draws.mean(1), 1 - 1 / classes))
    undecided = edge.undecided(draws[:, :2])
    wrong = (draws[:, :2].mean(1) > edge.score) != (truth > edge.score)
    assert not wrong.any() or undecided[wrong].mean() > 0.85
    assert undecided.mean() < 0.9


def test_images_far_from_the_edge_are_spared_draws_and_the_others_get_them_all():
    plain = scorer(6)(PIXELS, NAMES)
    order = np.argsort(plain.draws[:, :2].mean(1))
    edge = minority_score.Edge(score=float(plain.draws[order[6], :2].mean()), error=1e-3)
    found = replace(scorer(6), edge=edge)(PIXELS, NAMES)
    whole = np.isfinite(found.draws).all(1)
    assert whole[order[6]] and 0 < whole.sum() < 10
    assert np.isnan(found.draws[~whole, 2:]).all()
    np.testing.assert_allclose(found.draws[whole], plain.draws[whole], atol=1e-5)
    np.testing.assert_allclose(found.draws[~whole, :2], plain.draws[~whole, :2], atol=1e-5)
    np.testing.assert_allclose(found.layers[whole], plain.layers[whole], atol=1e-5)
    np.testing.assert_allclose(
        found.layers[~whole].sum(1), plain.draws[~whole, :2].mean(1), rtol=1e-3
    )
    assert np.isfinite(found.denoising_error).all()


def test_rank_stability_foretells_the_correlation_of_a_second_run():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=3000)
    first, second = (truth[:, None] + rng.normal(size=(3000, 4)) for _ in range(2))
    again = spearmanr(first.mean(1), second.mean(1)).statistic
    assert minority_score.rank_stability(first) == pytest.approx(again, abs=0.03)


def test_semantic_surprise_is_what_the_first_layer_does_not_explain():
    rng = np.random.default_rng(2)
    texture, meaning = rng.normal(size=(2, 500))
    layers = np.exp(np.stack([texture, texture + 0.1 * meaning, 2 * texture + 0.1 * meaning], 1))
    found = minority_score.semantic_surprise(layers)
    assert abs(spearmanr(found, texture).statistic) < 0.2
    assert spearmanr(found, meaning).statistic > 0.6


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_images_do_not_break_the_formulas(n):
    assert len(minority_score.semantic_surprise(np.ones((n, 4)))) == n
    assert np.isnan(minority_score.rank_stability(np.ones((n, 4))))


def test_a_batch_that_does_not_fit_into_memory_is_scored_in_parts():
    from mincurate.errors import UserError
    from mincurate.ranking import score_shards

    whole = scorer()

    class Small:
        denoiser, n_draws = whole.denoiser, whole.n_draws

        def __init__(self, room):
            self.room = room

        def __call__(self, pixels, names):
            if len(names) > self.room:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return whole(pixels, names)

    parts = score_shards._score_batch(Small(3), PIXELS, NAMES)
    assert max(len(part.draws) for part in parts) <= 3
    draws = np.concatenate([part.draws for part in parts])
    np.testing.assert_allclose(draws, whole(PIXELS, NAMES).draws, atol=1e-5)
    with pytest.raises(UserError, match="memory"):
        score_shards._score_batch(Small(0), PIXELS, NAMES)
