"""w means one thing: what guidance climbs is the true p(class | x), whatever the loss."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from mincurate.generation import classifier as classifiers
from mincurate.generation.classifier import LOSSES, ClassifierTraining, soft_targets
from mincurate.generation.classifier_loss import class_loss
from mincurate.generation.held_out import temperature

DECILES = 10
RNG = np.random.default_rng(0)


def true_probabilities(x, correlation):
    """p(decile of the score | x), where x has this correlation with the score; both normal."""
    edges = norm.ppf(np.linspace(0, 1, DECILES + 1))
    spread = (1 - correlation**2) ** 0.5
    return np.diff(norm.cdf((edges - correlation * x[:, None]) / spread), axis=1)


def top_share(log_probs, truth, scale):
    """Share of the top decile among x drawn as p(x) p(top | x)^w, for x of equal weight."""
    tilted = np.exp(scale * log_probs[:, -1])
    return float((tilted * truth[:, -1]).sum() / tilted.sum())


def learned(truth, loss):
    """Log-probabilities of the lowest loss: a table of logits, on counts in true proportion."""
    counts = np.round(truth * 300).astype(int)
    rows, classes = (np.concatenate(part) for part in zip(*(
        (np.full(n, x), np.full(n, k)) for (x, k), n in np.ndenumerate(counts)
    ), strict=True))  # fmt: skip
    logits = torch.zeros(truth.shape, dtype=torch.float64, requires_grad=True)
    targets = soft_targets(DECILES, loss).double()
    optimizer = torch.optim.LBFGS([logits], max_iter=400, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = class_loss(logits.log_softmax(1)[rows], classes, targets) / len(rows)
        value.backward()
        return value

    optimizer.step(closure)
    return logits.detach().log_softmax(1).numpy()


@pytest.mark.parametrize(
    ("correlation", "ideal"), [(0.6, 0.370), pytest.param(0.9, 0.737, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_scale_of_two_makes_the_same_share_of_the_top_decile_with_either_loss(
    loss, correlation, ideal
):
    x = norm.ppf((np.arange(120) + 0.5) / 120)
    truth = true_probabilities(x, correlation)
    share = top_share(learned(truth, loss), truth, 2.0)
    assert share == pytest.approx(ideal, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(factor):
    p = RNG.dirichlet(np.ones(6), 4000)
    truth = np.array([RNG.choice(6, p=row) for row in p])
    assert temperature(factor * np.log(p), truth) == pytest.approx(factor, rel=0.1)


def test_few_images_leave_the_temperature_near_one():
    log_probs = np.log(np.full((4, 5), 0.2) + np.eye(4, 5) * 0.01)
    assert temperature(log_probs, np.arange(4)) == pytest.approx(1, abs=0.1)
    assert temperature(np.log(RNG.dirichlet(np.ones(5), 3)), np.arange(3)) > 0.2


def test_temperatures_lie_between_those_of_the_levels_and_divide_the_log_probabilities():
    from test_guidance import denoiser, noised, random_classifier

    model = denoiser()
    sigmas = model.sigmas
    levels = [
        {"sigma": float(sigmas[0]), "temperature": 1.0},
        {"sigma": float(sigmas[999]), "temperature": 4.0},
    ]
    temperatures = classifiers._temperatures(levels, model)
    assert temperatures[0] == 1 and temperatures[999] == pytest.approx(4)
    assert (temperatures.diff() >= 0).all()
    assert classifiers._temperatures([{"sigma": 1.0}], model) is None
    plain = random_classifier(model)
    encoded = model.encode(noised(), torch.tensor([0, 500, 999]))
    before, _ = plain.log_probs(encoded)
    object.__setattr__(plain, "temperatures", temperatures)
    after, _ = plain.log_probs(encoded)
    at = temperatures[torch.tensor([0, 500, 999])][:, None]
    torch.testing.assert_close(after, (before / at).log_softmax(1))


def test_only_the_ordinal_loss_fits_temperatures(tmp_path):
    from dataclasses import replace

    from test_guidance import CLASSES, IMAGES, TINY, denoiser

    from mincurate.generation import train_classifier

    for loss in LOSSES:
        found = train_classifier.train(
            denoiser(), IMAGES, CLASSES, tmp_path / loss, replace(TINY, loss=loss)
        )
        fitted = ["temperature" in level for level in found.record["levels"]]
        assert fitted == [loss == "ordinal"] * len(fitted)
        assert (found.temperatures is not None) == (loss == "ordinal")
    assert ClassifierTraining(num_classes=4).loss == "ordinal"
