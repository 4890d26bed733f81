from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from test_denoiser import tiny_unet

from mincurate.diffusion import (
    denoiser,
    lora,
    new_network,
    noise_levels,
    tail_weights,
    train_denoiser,
    training_loop,
    training_plan,
)
from mincurate.diffusion.draws import Draws
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.train_denoiser import Training
from mincurate.diffusion.training_loop import TrainingInterruptedError
from mincurate.errors import UserError

RNG = np.random.default_rng(0)
BASE = RNG.integers(0, 256, (1, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
IMAGES = np.clip(BASE + RNG.normal(0, 12, (40, 3, 16, 16)), 0, 255).astype(np.uint8)
TINY = Training(image_size=16, sigmas=(0.2, 0.5), steps=12, batch_size=4, channels=(32, 32))


class StopAt:
    """A reporter that presses Ctrl-C after so many steps."""

    def __init__(self, steps):
        self.left = steps + 1  # the first call tells where the task begins

    def say(self, text):
        pass

    warn = say

    def task(self, title, total, unit="images"):
        from contextlib import nullcontext

        def advance(n, note="", total=None):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        return nullcontext(advance)


def same_weights(a, b):
    pair = zip(a.unet.state_dict().values(), b.unet.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pair)


def test_a_model_has_as_many_bands_as_its_images(tmp_path):
    images = np.concatenate([IMAGES, IMAGES[:, :2]], axis=1)
    model = train_denoiser.train(images, tmp_path / "m", replace(TINY, steps=2, bands=5))
    again = load_denoiser(str(tmp_path / "m"))
    assert (again.bands, again.patch, again.image_size) == (5, 2, 16)
    x = torch.rand(2, 5, 16, 16)
    torch.testing.assert_close(again.denoise(x, 0.3), model.denoise(x, 0.3))


def test_training_makes_a_diffusers_pipeline_that_denoises_better(tmp_path):
    plan = Training(image_size=16, sigmas=(0.2, 0.5), steps=250, batch_size=8, channels=(32, 32))
    model = train_denoiser.train(IMAGES, tmp_path / "m", plan)
    assert DDPMPipeline.from_pretrained(tmp_path / "m").unet.config.in_channels == 3
    x0 = torch.tensor(IMAGES).float() / 127.5 - 1
    sigma = model.nearest_sigma(0.3)
    x = x0 + sigma * torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        error = (model.denoise(x, sigma) - x0).square().mean()
    assert error < 0.5 * (x.clamp(-1, 1) - x0).square().mean()
    curve = train_denoiser.record(tmp_path / "m")["curve"]
    assert curve[-1][2] < curve[0][2]


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    whole = train_denoiser.train(IMAGES, tmp_path / "whole", TINY)
    with pytest.raises(TrainingInterruptedError) as stop:
        train_denoiser.train(IMAGES, tmp_path / "parts", TINY, reporter=StopAt(5))
    assert (stop.value.steps, stop.value.planned) == (5, 12)
    assert "at step 5 of 12, with its best weights so far as a model; give" in str(stop.value)
    assert not train_denoiser.finished(tmp_path / "parts")
    load_denoiser(str(tmp_path / "parts"))  # the best weights so far are a usable model
    parts = train_denoiser.train(IMAGES, tmp_path / "parts", TINY)
    assert same_weights(whole, parts)
    assert train_denoiser.record(tmp_path / "parts")["steps"] == 12


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    whole = train_denoiser.train(IMAGES, tmp_path / "whole", TINY)
    monkeypatch.setattr(training_loop, "CHECKPOINT_SECONDS", 0.0)

    class Killed(BaseException):
        pass

    def kill(self, step, update=train_denoiser.DenoiserTrainer.update):
        if step == 7:
            raise Killed
        return update(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(train_denoiser.DenoiserTrainer, "update", kill)
        with pytest.raises(Killed):
            train_denoiser.train(IMAGES, tmp_path / "parts", TINY)
    parts = train_denoiser.train(IMAGES, tmp_path / "parts", TINY)
    assert same_weights(whole, parts)


@pytest.fixture
def float32(monkeypatch):
    """Rounding of bfloat16 would hide what is looked at."""
    monkeypatch.setattr(train_denoiser, "reduced_precision", lambda device: None)


def apart(a, b):
    """Difference of the weights, relative to their length."""
    a, b = (torch.cat([w.flatten() for w in m.unet.parameters()]).double() for m in (a, b))
    return float((a - b).norm() / a.norm())


def small_memory(monkeypatch, room):
    """Let the network fail as the allocator does for more than ``room`` images; what it took."""
    seen = []

    def predict(self, x, timesteps, predict=denoiser.Denoiser.predict):
        if torch.is_grad_enabled():
            if len(x) > room:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            seen.append(len(x))
        return predict(self, x, timesteps)

    monkeypatch.setattr(denoiser.Denoiser, "predict", predict)
    return seen


def test_a_batch_that_does_not_fit_into_memory_gives_the_weights_of_one_that_does(
    float32, tmp_path, monkeypatch
):
    plan = replace(TINY, batch_size=8)
    whole = train_denoiser.train(IMAGES, tmp_path / "whole", plan)
    seen = small_memory(monkeypatch, room=4)
    parts = train_denoiser.train(IMAGES, tmp_path / "parts", plan)
    assert seen == [4] * 2 * plan.steps
    # The rounding of a step grows in the steps that follow.
    assert apart(whole, parts) < 0.01 * apart(whole, new_network.untrained(plan))


def gradients(plan, folder, parts=1):
    """Loss and gradients of a first step that begins with so many parts."""
    training = train_denoiser.DenoiserTrainer(IMAGES, folder, plan, None, "cpu", StopAt(0))
    training.planned, training.parts.number = 1, parts
    training.optimizer.zero_grad = lambda set_to_none: None
    training.limit.clip = lambda parameters: None
    loss = training.update(0)
    return loss, torch.cat([p.grad.flatten() for p in training.denoiser.unet.parameters()])


@pytest.mark.parametrize(("size", "rows"), [(8, [3, 3, 2]), (5, [3, 2])])
def test_parts_add_up_to_the_gradient_of_the_batch(float32, tmp_path, monkeypatch, size, rows):
    plan = replace(TINY, batch_size=size)
    loss, whole = gradients(plan, tmp_path)
    seen = small_memory(monkeypatch, room=size)
    other, together = gradients(plan, tmp_path, len(rows))
    assert seen == rows and other == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(together, whole, rtol=1e-3, atol=1e-6)


def test_what_a_part_left_when_memory_ran_out_is_not_counted_twice(float32, tmp_path, monkeypatch):
    plan = replace(TINY, batch_size=8)
    _, whole = gradients(plan, tmp_path)
    seen = []

    def predict(self, x, timesteps, predict=denoiser.Denoiser.predict):
        seen.append(len(x))
        if len(seen) == 2:
            raise torch.OutOfMemoryError
        return predict(self, x, timesteps)

    monkeypatch.setattr(denoiser.Denoiser, "predict", predict)
    _, again = gradients(plan, tmp_path, 2)
    assert seen == [4, 4, 2, 2, 2, 2]
    torch.testing.assert_close(again, whole, rtol=1e-3, atol=1e-6)


def test_memory_for_not_even_one_image_is_a_sentence(tmp_path, monkeypatch):
    small_memory(monkeypatch, room=0)
    with pytest.raises(UserError, match="more memory for the training than cpu has"):
        train_denoiser.train(IMAGES, tmp_path, TINY)


def test_another_seed_gives_another_model(tmp_path):
    from dataclasses import replace

    first = train_denoiser.train(IMAGES, tmp_path / "a", TINY)
    other = train_denoiser.train(IMAGES, tmp_path / "b", replace(TINY, seed=1))
    assert not same_weights(first, other)


def test_a_finished_training_is_not_repeated(tmp_path):
    first = train_denoiser.train(IMAGES, tmp_path, TINY)
    stamp = (tmp_path / "mincurate.json").stat().st_mtime_ns
    assert same_weights(first, train_denoiser.train(IMAGES, tmp_path, TINY))
    assert (tmp_path / "mincurate.json").stat().st_mtime_ns == stamp


def test_training_goes_on_from_a_given_model(tmp_path):
    start = train_denoiser.train(IMAGES, tmp_path / "a", TINY)
    more = Training(image_size=16, sigmas=None, steps=3, batch_size=4, learning_rate=1e-9)
    after = train_denoiser.train(IMAGES, tmp_path / "b", more, start=start)
    for x, y in zip(
        start.unet.state_dict().values(), after.unet.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)
    assert after.trained_sigmas is None
    assert (start.prediction_type, after.prediction_type) == ("epsilon", "v_prediction")


@pytest.mark.slow
def test_adapters_alone_are_trained_and_merge_into_a_plain_model_of_the_same_outputs(
    float32, tmp_path, monkeypatch
):
    """Of a network with attention, as published ones have."""
    pytest.importorskip("peft")
    unet = tiny_unet(
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    start = denoiser.Denoiser(unet, denoiser.linear_alphas_cumprod(), "epsilon", "s", 16)
    before = {name: weights.clone() for name, weights in unet.state_dict().items()}
    adapted = []
    monkeypatch.setattr(lora, "merged", lambda u, merge=lora.merged: adapted.append(u) or merge(u))
    plan = replace(TINY, lora=2)
    with pytest.raises(TrainingInterruptedError):
        train_denoiser.train(IMAGES, tmp_path, plan, start=start, reporter=StopAt(5))
    trained = train_denoiser.train(IMAGES, tmp_path, plan, start=start)
    assert before.keys() == trained.unet.state_dict().keys()
    after = trained.unet.state_dict().items()
    changed = {name for name, weights in after if not torch.equal(weights, before[name])}
    layers = (".to_q.", ".to_k.", ".to_v.", ".to_out.0.", ".conv1.", ".conv2.", ".time_emb_proj.")
    layers += (".conv_shortcut.",)
    assert all(
        name.endswith("weight") and any(layer in name for layer in layers) for name in changed
    )
    assert all(any(layer in name for name in changed) for layer in layers)
    x, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([100, 700])
    with torch.no_grad():
        merged = trained.predict(x, timesteps)
        beside = replace(start, unet=adapted[-1].eval()).predict(x, timesteps)
    torch.testing.assert_close(merged, beside, rtol=1e-4, atol=1e-5)
    assert (merged - start.predict(x, timesteps)).abs().max() > 1e-3
    assert train_denoiser.record(tmp_path)["training"]["lora"] == 2


def test_training_for_a_score_draws_the_levels_around_it():
    sigmas = ((1 - denoiser.linear_alphas_cumprod()) / denoiser.linear_alphas_cumprod()).sqrt()
    low, high = training_plan.around(0.16)
    weights = noise_levels.level_weights(sigmas, (low, high))
    drawn = sigmas[weights > 0]
    assert drawn.min() == pytest.approx(low, rel=0.03)
    assert drawn.max() == pytest.approx(high, rel=0.03)
    assert set(weights.tolist()) == {0.0, 1.0}


def test_training_for_generation_draws_every_level_and_mostly_those_where_images_take_shape():
    sigmas = new_network.untrained(TINY).sigmas
    weights = noise_levels.level_weights(sigmas, None)
    assert (weights > 0).all()
    cumulated = weights.cumsum(0) / weights.sum()
    center, spread = noise_levels.GENERATING_LEVELS
    for z, below in ((-1, 0.159), (0, 0.5), (1, 0.841)):
        level = sigmas[torch.searchsorted(cumulated, below)]
        assert level.log().item() == pytest.approx(center + z * spread, abs=0.05)


@pytest.mark.parametrize(("sigmas", "mirrored"), [((0.2, 0.5), True), (None, False)])
def test_only_a_model_for_scores_sees_mirrored_images(tmp_path, monkeypatch, sigmas, mirrored):
    lit_left = np.zeros((40, 3, 16, 16), np.uint8)
    lit_left[..., :8] = 255
    seen = []
    loss = train_denoiser.DenoiserTrainer._loss
    monkeypatch.setattr(
        train_denoiser.DenoiserTrainer,
        "_loss",
        lambda self, x0, *a: seen.append(x0) or loss(self, x0, *a),
    )
    train_denoiser.train(lit_left, tmp_path, replace(TINY, sigmas=sigmas, steps=6))
    assert bool((torch.cat(seen)[..., 0] < 0).any()) is mirrored


@pytest.mark.parametrize(("tail_weight", "share"), [(0, 0.1), (0.5, 0.25), (1, 0.5)])
def test_images_of_a_rare_label_are_drawn_oftener(tail_weight, share):
    labels = ["rare" if i % 10 == 0 else "common" for i in range(200)]  # 1 : 9, their roots 1 : 3
    weights = tail_weights.by_label(labels, tail_weight)
    draws = Draws(200, 0, torch.ones(1), weights)
    picks = [draws.images(64, torch.Generator().manual_seed(step)) for step in range(100)]
    assert (np.concatenate(picks) % 10 == 0).mean() == pytest.approx(share, abs=0.05)
    assert not np.isin(draws.held_out, np.concatenate(picks)).any()


def test_rare_images_are_drawn_oftener_where_none_has_a_label():
    """The rarest share s is s ** (1 - w) of what is drawn, and what has no rank is common."""
    rarity = np.random.default_rng(0).permutation(np.linspace(0, 1, 2000))
    for tail_weight, share in [(0, 0.1), (0.5, 0.1**0.5)]:
        weights = tail_weights.by_rarity(rarity, tail_weight)
        assert weights[rarity >= 0.9].sum() / weights.sum() == pytest.approx(share, abs=0.02)
    rarity[:3] = np.nan
    assert tail_weights.by_rarity(rarity, 0.5)[:3] == pytest.approx(2000**-0.5, rel=0.01)


def test_minutes_become_steps(tmp_path, monkeypatch):
    """By a clock on which an update takes 1 s, and half of that from the eleventh on."""
    clock, updates = [0.0], []

    def update(self, step, whole=train_denoiser.DenoiserTrainer.update):
        updates.append(step)
        clock[0] += 1.0 if step < 10 else 0.5
        return whole(self, step)

    monkeypatch.setattr(training_loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(train_denoiser.DenoiserTrainer, "update", update)
    train_denoiser.train(IMAGES, tmp_path, replace(TINY, steps=None, minutes=40 / 60))
    record = train_denoiser.record(tmp_path)
    assert updates[-record["steps"] :] == list(range(record["steps"]))
    # 40 by the rate of the start, 70 by that of the end; the last fifth is not planned anew.
    assert 60 < record["steps"] <= 70
    assert record["minutes"] * 60 == pytest.approx(40, rel=0.05)


def test_one_image_is_too_few(tmp_path):
    with pytest.raises(UserError, match="at least 2"):
        train_denoiser.train(IMAGES[:1], tmp_path, TINY)


def test_the_global_random_state_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_denoiser.train(IMAGES, tmp_path, TINY)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_a_training_that_runs_away_goes_on_from_its_best_weights(tmp_path, monkeypatch):
    """At step 100 all weights are thrown far off, as one bad update in a thousand once did."""
    said = []

    class Listener(StopAt):
        def say(self, text):
            said.append(text)

    def throw(self, step, update=train_denoiser.DenoiserTrainer.update):
        if step == 100:
            with torch.no_grad():
                for weights in self.denoiser.unet.parameters():
                    weights.mul_(8)
        return update(self, step)

    monkeypatch.setattr(train_denoiser.DenoiserTrainer, "update", throw)
    plan = Training(image_size=16, sigmas=(0.2, 0.5), steps=250, batch_size=8, channels=(32, 32))
    train_denoiser.train(IMAGES, tmp_path, plan, reporter=Listener(10**6))
    curve = train_denoiser.record(tmp_path)["curve"]
    assert len([text for text in said if "unstable" in text]) >= 1
    before = min(error for images, _, error in curve if images <= 100 * 8)
    assert max(error for images, _, error in curve if images > 100 * 8) > 1.3 * before
    assert curve[-1][2] < before


@pytest.mark.slow
def test_memorising_is_no_instability(tmp_path):
    said = []

    class Listener(StopAt):
        def say(self, text):
            said.append(text)

    plan = Training(image_size=16, sigmas=(0.2, 0.5), steps=200, batch_size=8, channels=(32, 32))
    train_denoiser.train(IMAGES, tmp_path, plan, reporter=Listener(10**6))
    assert said == []
