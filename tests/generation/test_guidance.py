from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_denoiser import tiny_unet

from mincurate.diffusion import training_loop
from mincurate.diffusion.denoiser import Denoiser, check_all_levels, linear_alphas_cumprod
from mincurate.diffusion.training_loop import TrainingInterruptedError
from mincurate.errors import UserError
from mincurate.generation import classifier as classifiers
from mincurate.generation import guidance, held_out, train_classifier
from mincurate.generation.classifier import LOSSES, Classifier, ClassifierTraining, Head
from mincurate.generation.guidance import guided

RNG = np.random.default_rng(0)
CLASSES = np.arange(120) % 4
"""The class is the brightness; the label, the colour."""
LABELS = ["warm" if i % 3 else "cold" for i in range(120)]


def pictures():
    bright = 50 + 45 * CLASSES[:, None, None, None] + RNG.normal(0, 5, (120, 1, 1, 1))
    warm = np.array([label == "warm" for label in LABELS])[:, None, None, None]
    colour = np.where(warm, 30, -30) * np.array([1, 0, -1])[None, :, None, None]
    return (bright + colour + RNG.normal(0, 5, (120, 3, 16, 16))).clip(0, 255).astype(np.uint8)


IMAGES = pictures()
TINY = ClassifierTraining(num_classes=4, steps=12, batch_size=8, width=16)


def denoiser(**extra):
    unet = tiny_unet(**extra).requires_grad_(False)
    return Denoiser(unet, linear_alphas_cumprod(), "epsilon", "tiny", 16)


def noised(n=3, sigma=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.from_numpy(IMAGES[:n]).float() / 127.5 - 1
    return x0 + sigma * torch.randn(x0.shape, generator=generator)


def random_classifier(model, loss="ordinal", labels=()):
    plan = replace(TINY, loss=loss)
    head = classifiers.new_head(model, plan, len(labels)).eval()
    with torch.no_grad():  # an untrained head says nearly nothing
        for weights in head.parameters():
            weights.mul_(1.5)
    return Classifier(head, 4, tuple(labels), model.content_hash())


class StopAt:
    """A reporter that raises after so many steps."""

    def __init__(self, steps, stop=KeyboardInterrupt):
        self.left, self.stop = steps + 1, stop  # the first call tells where the task begins

    def say(self, text):
        pass

    warn = say

    def task(self, title, total, unit="images"):
        def advance(n, note="", total=None):
            self.left -= 1
            if self.left == 0:
                raise self.stop

        return nullcontext(advance)


def same_weights(a, b):
    pair = zip(a.head.state_dict().values(), b.head.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pair)


# The denoiser in two halves


@pytest.mark.parametrize("kind", ["plain", "attention", "blocks", "learned variance", "centred"])
def test_the_halves_of_the_network_are_the_whole(kind):
    extra = {
        "blocks": {"channels": 12, "size": 8},
        "learned variance": {"out": 6},
        "centred": {"center_input_sample": True},
    }.get(kind, {})
    model = denoiser(**extra)
    if kind == "attention":
        from diffusers import UNet2DModel

        unet = UNet2DModel(
            sample_size=16,
            block_out_channels=(16, 32),
            layers_per_block=2,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
        model = replace(model, unet=unet.eval().requires_grad_(False))
    x, timesteps = noised(), torch.tensor([3, 400, 990])
    encoded = model.encode(x, timesteps)
    torch.testing.assert_close(model.decode(encoded), model.predict(x, timesteps))
    for i, t in enumerate(timesteps):  # each image at a noise level of its own
        alone = model.encode(x[i : i + 1], t[None])
        torch.testing.assert_close(alone.maps[-1][0], encoded.maps[-1][i], atol=1e-5, rtol=1e-4)


# Guidance


@pytest.mark.parametrize("loss", LOSSES)
def test_the_shared_pass_gives_what_separate_passes_give(loss):
    model = denoiser()
    classifier = random_classifier(model, loss, ("a", "b"))
    sigma = model.nearest_sigma(0.5)
    x, timesteps = noised(sigma=sigma), torch.full((3,), model.timestep(sigma))
    w = 0.3

    y = x.clone().requires_grad_()
    classes, labels = classifier.log_probs(model.encode(y, timesteps))
    (classes[:, 3] + labels[:, 1]).sum().backward()
    x0 = model.to_x0(x, model.predict(x, timesteps), timesteps)
    expected = (x0 + sigma**2 * w * y.grad).clamp(-1, 1)

    steered = guided(model, classifier, target_class=3, label="b", guidance_scale=w)
    torch.testing.assert_close(steered.denoise(x, sigma), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, model.denoise(x, sigma), atol=1e-4)
    with torch.inference_mode():
        torch.testing.assert_close(steered.denoise(x, sigma), expected, atol=1e-5, rtol=1e-4)


def test_guiding_costs_one_encoder_pass_and_one_decoder_pass():
    model = denoiser()
    passes = {"encoder": 0, "decoder": 0}

    def count(half):
        def hook(*_):
            passes[half] += 1

        return hook

    model.unet.conv_in.register_forward_hook(count("encoder"))
    model.unet.conv_out.register_forward_hook(count("decoder"))
    steered = guided(model, random_classifier(model), target_class=3, guidance_scale=1.0)
    passes.update(encoder=0, decoder=0)
    steered.denoise(noised(), model.nearest_sigma(0.5))
    assert passes == {"encoder": 1, "decoder": 1}


def test_guidance_of_scale_zero_is_the_denoiser():
    model = denoiser()
    steered = guided(model, random_classifier(model), target_class=3, guidance_scale=0.0)
    sigma = model.nearest_sigma(0.5)
    torch.testing.assert_close(
        steered.denoise(noised(), sigma), model.denoise(noised(), sigma), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_finite_differences(loss):
    model = denoiser()
    classifier = random_classifier(model, loss)
    model.unet.double()
    classifier.head.double()
    timesteps = torch.tensor([300])
    x, direction = noised(1).double(), noised(1, seed=1).double()

    def log_prob(y):
        encoded = model.encode(y, timesteps)
        return classifier.head(encoded.maps, encoded.embedded)[0][:, 2]

    gradient = guidance.gradient_of(log_prob, x)
    step = 1e-4
    with torch.no_grad():
        slope = (log_prob(x + step * direction) - log_prob(x - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-3)


@given(st.integers(2, 40), st.sampled_from(LOSSES))
def test_targets_are_probabilities_that_peak_at_the_class_and_fall_with_the_distance(n, loss):
    targets = classifiers.soft_targets(n, loss).double()
    torch.testing.assert_close(targets.sum(1), torch.ones(n).double(), atol=1e-5, rtol=0)
    assert torch.equal(targets.argmax(1), torch.arange(n))
    torch.testing.assert_close(targets, targets.flip(0, 1))  # rare and common are treated alike
    for k, row in enumerate(targets):
        assert (row[k:].diff() <= 0).all() and (row[: k + 1].diff() >= 0).all()


def test_the_papers_loss_is_the_cross_entropy_of_the_class():
    assert torch.equal(classifiers.soft_targets(7, "cross_entropy"), torch.eye(7))


def test_an_untrained_head_thinks_all_classes_equally_likely():
    head = Head(8, 4, 8, 5, 0)
    torch.nn.init.zeros_(head.classes.outputs.weight)
    torch.nn.init.zeros_(head.classes.outputs.bias)
    found, _ = head([torch.randn(3, 8, 2, 2)], torch.randn(3, 4))
    torch.testing.assert_close(found.exp(), torch.full((3, 5), 0.2), atol=1e-4, rtol=0)


# Training


@pytest.mark.parametrize("loss", LOSSES)
def test_the_classifier_learns_classes_and_labels(tmp_path, loss):
    model = denoiser()
    plan = replace(TINY, steps=150, batch_size=32, learning_rate=5e-3, width=64, loss=loss)
    classifier = train_classifier.train(model, IMAGES, CLASSES, tmp_path, plan, labels=LABELS)
    levels = classifier.record["levels"]
    assert [level["timestep"] for level in levels] == sorted(level["timestep"] for level in levels)
    lowest, highest = levels[0], levels[-1]
    assert lowest["accuracy"] > 0.8 and lowest["macro_f1"] > 0.8
    assert lowest["mean_absolute_error"] < 0.3
    assert lowest["label_accuracy"] > 0.7
    assert highest["log_loss"] > 0.85 * np.log(4)  # pure noise says nothing
    x0 = torch.from_numpy(IMAGES).float() / 127.5 - 1
    classes, labels = classifiers.classify(model, classifier, x0)
    assert classes.shape == (120, 4) and labels.shape == (120, 2)
    assert (classes.argmax(1) == CLASSES).mean() > 0.8
    named = [classifier.label_names[i] for i in labels.argmax(1)]
    assert np.mean([a == b for a, b in zip(named, LABELS, strict=True)]) > 0.8
    np.testing.assert_allclose(classes.sum(1), 1, atol=1e-4)


def test_classes_and_labels_each_keep_the_weights_that_were_best_for_them(tmp_path):
    plan = replace(TINY, steps=60, batch_size=32, learning_rate=2e-2, width=64)
    noisy = RNG.permutation(CLASSES)  # nothing can be learned: soon they are known by heart
    found = train_classifier.train(denoiser(), IMAGES, noisy, tmp_path, plan, labels=LABELS)
    record, curve = found.record, found.record["curve"]
    for key in ("log_loss", "label_log_loss"):
        errors = [point[f"held_out_{key}"] for point in curve]
        assert record["best_held_out"][key] == min(errors)
        assert np.mean([level[key] for level in record["levels"]]) == pytest.approx(min(errors))
    first, last = (
        int(np.argmin([p[f"held_out_{k}"] for p in curve])) for k in ("log_loss", "label_log_loss")
    )
    assert first < last


@pytest.mark.parametrize("stop", ["ctrl-c", "kill"])
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, stop):
    model = denoiser()
    whole = train_classifier.train(model, IMAGES, CLASSES, tmp_path / "whole", TINY)

    class Killed(BaseException):
        pass

    monkeypatch.setattr(training_loop, "CHECKPOINT_SECONDS", 1e9 if stop == "ctrl-c" else 0.0)
    expected = TrainingInterruptedError if stop == "ctrl-c" else Killed
    reporter = StopAt(5, KeyboardInterrupt if stop == "ctrl-c" else Killed)
    with pytest.raises(expected):
        train_classifier.train(model, IMAGES, CLASSES, tmp_path / "parts", TINY, reporter=reporter)
    assert not classifiers.finished(tmp_path / "parts")
    parts = train_classifier.train(model, IMAGES, CLASSES, tmp_path / "parts", TINY)
    assert same_weights(whole, parts)
    assert parts.record["curve"] == whole.record["curve"]
    assert parts.record["levels"] == whole.record["levels"]
    assert not list(tmp_path.rglob("*checkpoint*"))


def test_a_finished_classifier_is_not_trained_again(tmp_path):
    model = denoiser()
    first = train_classifier.train(model, IMAGES, CLASSES, tmp_path, TINY)
    stamp = (tmp_path / "classifier.json").stat().st_mtime_ns
    assert same_weights(first, train_classifier.train(model, IMAGES, CLASSES, tmp_path, TINY))
    assert (tmp_path / "classifier.json").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="other settings"):
        train_classifier.train(model, IMAGES, CLASSES, tmp_path, replace(TINY, seed=1))


def test_the_denoiser_is_left_as_it_was(tmp_path):
    model = denoiser()
    before = model.content_hash()
    train_classifier.train(model, IMAGES, CLASSES, tmp_path, TINY)
    assert model.content_hash() == before
    assert all(p.grad is None for p in model.unet.parameters())


def test_the_global_random_state_is_left_alone(tmp_path):
    model = denoiser()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_classifier.train(model, IMAGES, CLASSES, tmp_path, TINY)
    assert torch.equal(torch.rand(3), expected)


def test_minutes_become_steps(tmp_path, monkeypatch):
    """By a clock on which an update takes 1 s, and half of that from the eleventh on."""
    clock, updates = [0.0], []

    def update(self, step, whole=train_classifier.HeadTrainer.update):
        updates.append(step)
        clock[0] += 1.0 if step < 10 else 0.5
        return whole(self, step)

    monkeypatch.setattr(training_loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(train_classifier.HeadTrainer, "update", update)
    plan = replace(TINY, steps=None, minutes=40 / 60)
    record = train_classifier.train(denoiser(), IMAGES, CLASSES, tmp_path, plan).record
    assert updates[:6] == [0] * 6  # timed on a head that is thrown away
    assert updates[6:] == list(range(record["steps"]))
    # 40 by the rate of the start, 70 by that of the end; the last fifth is not planned anew.
    assert 60 < record["steps"] <= 70
    assert record["minutes"] * 60 == pytest.approx(40, rel=0.05)


@pytest.fixture
def float32(monkeypatch):
    """Rounding of bfloat16 would hide the differences that are tested."""
    monkeypatch.setattr(train_classifier, "reduced_precision", lambda device: None)


def small_memory(monkeypatch, room):
    """Let the encoder fail as the allocator does for more than ``room`` images; what it took."""
    sizes = []

    def encode(self, x, timesteps, encode=Denoiser.encode):
        if len(x) > room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        sizes.append(len(x))
        return encode(self, x, timesteps)

    monkeypatch.setattr(Denoiser, "encode", encode)
    return sizes


def gradients(folder, parts=1, size=8):
    """Loss and gradients of a first step that begins with so many parts."""
    plan = replace(TINY, batch_size=size)
    training = train_classifier.HeadTrainer(
        denoiser(), IMAGES, CLASSES, folder, plan, [*LABELS[:60], *[None] * 60], StopAt(0)
    )
    training.planned, training.parts.number = 1, parts
    training.optimizer.zero_grad = lambda set_to_none: None
    loss = training.update(0)
    return loss, torch.cat([p.grad.flatten() for p in training.head.parameters()])


@pytest.mark.parametrize(("size", "rows"), [(8, [3, 3, 2]), (5, [3, 2])])
def test_parts_add_up_to_the_gradient_of_the_batch(float32, tmp_path, monkeypatch, size, rows):
    loss, whole = gradients(tmp_path, size=size)
    sizes = small_memory(monkeypatch, room=size)
    other, together = gradients(tmp_path, len(rows), size)
    assert sizes[1:] == rows and other == pytest.approx(loss, rel=1e-5)  # the first is a probe
    torch.testing.assert_close(together, whole, rtol=1e-3, atol=1e-6)


def test_a_batch_that_does_not_fit_into_memory_gives_the_weights_of_one_that_does(
    float32, tmp_path, monkeypatch
):
    plan = replace(TINY, batch_size=8)
    whole = train_classifier.train(denoiser(), IMAGES, CLASSES, tmp_path / "whole", plan)
    sizes = small_memory(monkeypatch, room=4)
    parts = train_classifier.train(denoiser(), IMAGES, CLASSES, tmp_path / "parts", plan)
    assert max(sizes) == 4
    for one, other in zip(*(c.head.state_dict().values() for c in (whole, parts)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_memory_for_not_even_one_image_is_a_sentence(tmp_path, monkeypatch):
    model = denoiser()
    probe = classifiers.new_head(model, TINY, 0)
    monkeypatch.setattr(train_classifier, "new_head", lambda *_: probe)
    small_memory(monkeypatch, room=0)
    with pytest.raises(UserError, match="more memory for the classifier's training than cpu has"):
        train_classifier.train(model, IMAGES, CLASSES, tmp_path, TINY)


def test_a_classifier_belongs_to_its_denoiser(tmp_path):
    model = denoiser()
    classifier = train_classifier.train(model, IMAGES, CLASSES, tmp_path, TINY)
    other = denoiser()
    with torch.no_grad():
        other.unet.conv_in.bias.add_(0.01)
    with pytest.raises(UserError, match="another model"):
        classifiers.load(tmp_path, other)
    with pytest.raises(UserError, match="another model"):
        guided(other, classifier, target_class=3, guidance_scale=1.0)
    again = classifiers.load(tmp_path, model)
    assert same_weights(classifier, again) and again.record == classifier.record


def test_a_missing_classifier_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no classifier"):
        classifiers.load(tmp_path, denoiser())


@pytest.mark.parametrize(
    "classes",
    [
        [0, 1],
        [0] * 9 + [1],
        [0, 1, -1, -1, 1],
        [0, 0, 3, 3, 3],
    ],
    ids=["two images", "a class of one", "unscored images", "empty classes"],
)
@pytest.mark.parametrize("loss", LOSSES)
def test_few_images_are_enough(tmp_path, classes, loss):
    plan = replace(TINY, steps=3, loss=loss, num_classes=max(classes) + 1)
    images = IMAGES[: len(classes)]
    found = train_classifier.train(denoiser(), images, classes, tmp_path, plan)
    assert found.num_classes == max(classes) + 1
    assert all(np.isfinite(level["log_loss"]) for level in found.record["levels"])
    x0 = torch.from_numpy(images).float() / 127.5 - 1
    classes_, _ = classifiers.classify(denoiser(), found, x0)
    assert np.isfinite(classes_).all()


@pytest.mark.parametrize("classes", [[], [1, 1, 1], [-1, -1], [0, -1]])
def test_one_class_is_too_few(tmp_path, classes):
    with pytest.raises(UserError, match="at least 2 classes"):
        train_classifier.train(denoiser(), IMAGES[: len(classes)], classes, tmp_path, TINY)


def test_unknown_labels_are_not_learned(tmp_path):
    labels = [None if i % 2 else label for i, label in enumerate(LABELS)]
    found = train_classifier.train(denoiser(), IMAGES, CLASSES, tmp_path / "a", TINY, labels=labels)
    assert found.label_names == ("cold", "warm")
    same = train_classifier.train(
        denoiser(), IMAGES, CLASSES, tmp_path / "b", TINY, labels=["x"] * 120
    )
    assert same.label_names == ()


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=60), st.integers(0, 5))
def test_the_held_out_split_is_stratified(classes, seed):
    members = np.array(classes)
    train_index, test_index = held_out.split(members, seed, share=0.2)
    assert np.array_equal(test_index, held_out.split(members, seed, share=0.2)[1])
    known = np.flatnonzero(members >= 0)
    if all(np.sum(members == k) == 1 for k in np.unique(members[known])):
        assert np.array_equal(train_index, known) and np.array_equal(test_index, known)
        return
    assert np.array_equal(np.sort(np.concatenate([train_index, test_index])), known)
    for k in np.unique(members[known]):
        n = np.sum(members == k)
        out = np.sum(members[test_index] == k)
        assert out == (0 if n == 1 else min(max(1, round(0.2 * n)), n - 1))


def test_the_figures_are_their_definitions():
    from sklearn.metrics import f1_score

    truth = RNG.integers(0, 4, 200)
    log_probs = np.log(RNG.dirichlet(np.ones(5), 200))
    predicted = log_probs.argmax(1)
    found = held_out.figures(log_probs, truth)
    assert found["accuracy"] == np.mean(predicted == truth)
    assert found["mean_absolute_error"] == np.abs(predicted - truth).mean()
    expected = f1_score(truth, predicted, average="macro", labels=np.unique(truth))
    assert found["macro_f1"] == pytest.approx(expected)


# What is refused


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"target_class": 4}, "no class 4"),
        ({"target_class": [1, -1]}, "no class"),
        ({"target_class": 3, "label": "horse"}, "no label"),
        ({"target_class": None}, "a class or a label"),
    ],
)
def test_guidance_to_nowhere_is_refused(wish, word):
    model = denoiser()
    with pytest.raises(UserError, match=word):
        guided(model, random_classifier(model), guidance_scale=1.0, **wish)


def test_a_loss_nobody_knows_is_refused(tmp_path):
    with pytest.raises(UserError, match="hinge"):
        train_classifier.train(denoiser(), IMAGES, CLASSES, tmp_path, replace(TINY, loss="hinge"))


def test_a_model_trained_for_scoring_alone_is_told_from_one_of_all_levels():
    model = denoiser()
    check_all_levels(model)
    sigmas = model.sigmas
    check_all_levels(replace(model, trained_sigmas=(float(sigmas[0]), float(sigmas[-1]))))
    with pytest.raises(UserError, match=r"0\.1 to 1\.5") as error:
        check_all_levels(replace(model, trained_sigmas=(0.1, 1.5)))
    assert "\n" not in str(error.value)
