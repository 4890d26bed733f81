"""Training in workers of a real Ray cluster on this machine: what dies, dies."""

import importlib
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from test_denoiser import tiny_unet
from typer.testing import CliRunner

from mincurate.compute import ray_map, ray_train
from mincurate.compute.ray_map import Cluster
from mincurate.diffusion import new_network, train_denoiser
from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.diffusion.train_denoiser import Training
from mincurate.diffusion.training_loop import TrainingInterruptedError
from mincurate.errors import UserError
from mincurate.generation import train_classifier
from mincurate.generation.classifier import ClassifierTraining

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RNG = np.random.default_rng(0)
BASE = RNG.integers(0, 256, (1, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
IMAGES = np.clip(BASE + RNG.normal(0, 12, (40, 3, 16, 16)), 0, 255).astype(np.uint8)
TINY = Training(image_size=16, sigmas=(0.2, 0.5), steps=14, batch_size=5, channels=(32, 32))
TWO = Cluster(num_workers=2)


@pytest.fixture(scope="module", autouse=True)
def functions_of_this_file_travel_whole():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield
        ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    """One that is joined, so that not every test starts its own."""
    joined, ours = ray_map.connect(TWO)
    assert ours
    yield TWO
    joined.shutdown()


def in_float32(module, *given, **more):
    """A team's work on a machine without bfloat16, whose rounding would hide what is looked at."""
    module = importlib.import_module(module)
    module.reduced_precision = lambda device: None
    module._work(*given, **more)


@pytest.fixture
def float32(monkeypatch):
    """Both trainings compute in float32, here and in the workers."""
    for module in (train_denoiser, train_classifier):
        monkeypatch.setattr(module, "reduced_precision", lambda device: None)
        monkeypatch.setattr(module, "_work", partial(in_float32, module.__name__))


class At:
    """A reporter that does something after so many steps."""

    def __init__(self, steps, do):
        self.steps, self.do, self.done, self.said = steps, do, 0, []

    def say(self, text):
        self.said.append(text)

    warn = say

    @contextmanager
    def task(self, title, total, unit="images"):
        self.total = total

        def advance(n, note="", total=None):
            before, self.done = self.done, self.done + n
            if self.do and before < self.steps * TINY.batch_size <= self.done:
                do, self.do = self.do, None
                do()

        yield advance


def press_ctrl_c():
    raise KeyboardInterrupt


def difference(a, b):
    """Of two lists of weights, relative to the length of the first."""
    a, b = (torch.cat([w.flatten().double() for w in weights]) for weights in (a, b))
    return float((a - b).norm() / a.norm())


def apart(a, b):
    return difference(a.unet.parameters(), b.unet.parameters())


def test_an_address_where_no_cluster_is_becomes_a_sentence(tmp_path):
    train = partial(train_denoiser.train, IMAGES, tmp_path, TINY)
    with pytest.raises(UserError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        train(cluster=Cluster("127.0.0.1:1"))


def test_without_ray_there_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    train = partial(train_denoiser.train, IMAGES, tmp_path, TINY)
    with pytest.raises(UserError, match="needs the package ray"):
        train(cluster=TWO)


def test_two_workers_give_the_weights_of_one(float32, tmp_path):
    train = partial(train_denoiser.train, weights=np.linspace(0.1, 1, len(IMAGES)))
    here = train(IMAGES, tmp_path / "here", TINY)
    listener = At(1, None)
    there = train(IMAGES, tmp_path / "there", TINY, cluster=TWO, reporter=listener)
    start = new_network.untrained(TINY)
    assert apart(here, there) < 0.01 * apart(here, start)
    assert listener.done == listener.total == TINY.steps * TINY.batch_size
    curves = [train_denoiser.record(tmp_path / name)["curve"] for name in ("here", "there")]
    np.testing.assert_allclose(*curves, rtol=1e-3)
    assert not ray.is_initialized()
    names = {p.name for p in (tmp_path / "here").iterdir()}
    assert names == {p.name for p in (tmp_path / "there").iterdir()}


@pytest.mark.long
def test_workers_that_always_die_end_the_training_with_a_sentence(tmp_path, monkeypatch):
    """On a cluster of its own, and before the shared one: Ray may leave its CPUs taken."""
    monkeypatch.setattr(ray_train, "MAX_FAILURES", 1)
    with pytest.raises(UserError, match="Ray workers died 2 times"):
        on_two(dies, tmp_path)


@pytest.mark.long
def test_a_training_begun_here_is_finished_on_ray_and_the_other_way_round(
    float32, cluster, tmp_path
):
    whole = train_denoiser.train(IMAGES, tmp_path / "whole", TINY)
    for name, first, then in (("a", None, TWO), ("b", TWO, None)):
        folder, plan = tmp_path / name, TINY
        if first:  # long enough for the wish to stop to arrive
            plan = replace(TINY, steps=200)
        reporter = At(5, press_ctrl_c)
        with pytest.raises(TrainingInterruptedError, match="is kept in"):
            train_denoiser.train(IMAGES, folder, plan, cluster=first, reporter=reporter)
        listener = At(1, None)
        done = train_denoiser.train(IMAGES, folder, plan, cluster=then, reporter=listener)
        assert any("Going on with the training at step" in text for text in listener.said)
        if first:
            whole = train_denoiser.train(IMAGES, tmp_path / "longer", plan)
        # The rounding of a step grows in the steps that follow: measured, 4e-5 and 7e-4.
        assert apart(whole, done) < (5e-4 if plan.steps < 20 else 5e-3)


def kill_a_worker():
    import psutil
    from ray._private.utils import get_system_memory  # noqa: F401  (puts psutil on the path)

    ours = psutil.Process().children(recursive=True)
    trainers = [p for p in ours if "RayTrainWorker" in " ".join(p.cmdline())]
    trainers[-1].kill()


@pytest.mark.long
def test_a_worker_that_is_killed_does_not_end_the_training(tmp_path):
    plan = replace(TINY, steps=300)
    reporter = At(20, kill_a_worker)
    train_denoiser.train(IMAGES, tmp_path / "m", plan, cluster=TWO, reporter=reporter)
    assert reporter.do is None
    assert any("Going on with the training" in text for text in reporter.said)
    assert reporter.done == plan.steps * plan.batch_size
    assert train_denoiser.record(tmp_path / "m")["steps"] == plan.steps


def refuses(images, device, reporter, team):
    raise UserError("There is no such model.")


def refuses_in_worker_0(images, device, reporter, team):
    team.agree(partial(refuses, images, device, reporter, team))


def dies(images, device, reporter, team):
    if team.rank == 1:
        os._exit(1)
    team.agree(lambda: 0)
    team.add_up(torch.zeros(()), [])


def on_two(work, tmp_path, cluster=TWO):
    ray_train.on_ray(work, IMAGES, tmp_path, cluster, batch_size=4)


@pytest.mark.long
@pytest.mark.parametrize("work", [refuses, refuses_in_worker_0])
def test_an_error_in_a_worker_is_the_trainings_own(cluster, work, tmp_path):
    with pytest.raises(UserError, match=r"^There is no such model\.$"):
        on_two(work, tmp_path)


def test_more_workers_than_the_cluster_has_become_a_sentence(tmp_path):
    many = Cluster(num_workers=(os.cpu_count() or 1) + 1)
    with pytest.raises(UserError, match="take fewer --workers"):
        ray_train.on_ray(refuses, IMAGES, tmp_path, many, batch_size=10**6)


@pytest.mark.long
def test_two_workers_give_the_classifier_of_one(float32, cluster, tmp_path):
    unet = tiny_unet().requires_grad_(False)
    model = Denoiser(unet, linear_alphas_cumprod(), "epsilon", "tiny", 16)
    classes = np.arange(40) % 3
    labels = [("warm", "cold", None)[i % 7 % 3] for i in range(40)]
    plan = ClassifierTraining(num_classes=3, steps=15, batch_size=5)
    classifiers = [
        train_classifier.train(
            model, IMAGES, classes, tmp_path / str(i), plan, labels=labels, cluster=cluster
        )
        for i, cluster in enumerate((None, TWO))
    ]
    here, there = (list(c.head.parameters()) for c in classifiers)
    assert difference(here, there) < 1e-4
    keys = ("held_out_loss", "train_loss")
    for a, b in zip(*(c.record["curve"] for c in classifiers), strict=True):
        assert [a[k] for k in keys] == pytest.approx([b[k] for k in keys], rel=1e-3)


def run(*arguments):
    from mincurate.cli import app

    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.long
def test_the_commands_train_and_guide_on_ray(cluster, shapes, tmp_path):
    on_ray = ("--ray", "local", "--workers", "2")
    out = run("train", shapes, "-o", tmp_path / "m", "--train-steps", 12, "--all-levels", *on_ray)
    assert "Ray: training in 2 workers." in out
    plain = ("--no-fiftyone", "--no-umap", "--n-draws", "1", "--num-classes", "3")
    run("score", shapes, "--model", tmp_path / "m", "--output", tmp_path / "run", *plain)
    out = run("guide", tmp_path / "run", "--guide-steps", 12, *on_ray)
    assert "Ray: training in 2 workers." in out and "Held-out images" in out


def test_the_options_of_the_engine_have_to_fit():
    for wrong in (("local", "auto", None), ("local", None, 2), ("ray", None, 0), ("dask",) * 2):
        with pytest.raises(UserError):
            ray_map.choose_engine(*wrong[:2], wrong[2] if len(wrong) > 2 else None, "cpu")
