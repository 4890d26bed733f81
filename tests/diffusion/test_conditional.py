"""Class-conditional models: every image is denoised, ranked and generated under its own label."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_denoiser import tiny_unet

from mincurate.diffusion import conditions, denoiser, train_denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
from mincurate.features.perceptual import Perceptual
from mincurate.generation import samplers
from mincurate.generation.free_guidance import FreeGuided
from mincurate.ranking.minority_score import Edge, Scorer
from mincurate.runs.manifest import read_manifest
from mincurate.runs.store import Run

SCHEDULE = denoiser.linear_alphas_cumprod()


def conditional(**more):
    return Denoiser(tiny_unet(num_class_embeds=4), SCHEDULE, "epsilon", "cars", 16, **more)


def test_the_network_gets_the_classes_and_without_any_the_null_class():
    model = conditional(null_class=3)
    x, timesteps = torch.randn(3, 3, 16, 16), torch.tensor([5, 300, 800])
    classes, null = torch.tensor([2, 0, -1]), torch.tensor([3, 3, 3])
    assert model.num_classes == 3
    with torch.no_grad():
        folded = model._fold(x, timesteps)
        given = model.unet(folded, timesteps, class_labels=torch.tensor([2, 0, 3])).sample
        none = model.unet(folded, timesteps, class_labels=null).sample
        under = model.under(classes)
        torch.testing.assert_close(under.predict(x, timesteps), given)
        torch.testing.assert_close(under.decode(under.encode(x, timesteps)), given)
        torch.testing.assert_close(model.predict(x, timesteps), none)
        # A network without a null class gets the embedding of the noise level alone.
        alone = conditional()
        zero = torch.zeros_like(alone.unet.class_embedding.weight)
        before = alone.predict(x, timesteps)
        alone.unet.class_embedding.weight.data = zero
        torch.testing.assert_close(before, alone.under(null).predict(x, timesteps))


def test_free_guidance_goes_on_from_no_label_through_the_label():
    model = conditional(null_class=3)
    x, classes, sigma = torch.randn(2, 3, 16, 16) / 10, torch.tensor([2, 0]), model.nearest_sigma(2)
    with torch.no_grad():
        none, given = model.reconstruct(x, sigma), model.under(classes).reconstruct(x, sigma)
        for scale in (0, 1, 2.5):
            guided = FreeGuided(model, scale).under(classes).denoise(x, sigma)
            expected = (none + scale * (given - none)).clamp(-1, 1)
            torch.testing.assert_close(guided, expected, atol=1e-4, rtol=0)
        assert not torch.equal(none, given)
    with pytest.raises(UserError, match="class-conditional model"):
        samplers.check_model("ddpm", conditional(), None, 2.0)
    with pytest.raises(UserError, match="--label needs"):
        samplers.check_model("ddpm", Denoiser(tiny_unet(), SCHEDULE, "epsilon", "a", 16), "7", None)


def test_labels_are_names_numbers_or_all_of_them_in_order():
    named = conditional(null_class=3, class_names=("ant", "bee", "cat"))
    assert conditions.of_labels(named, ["cat", "ant", None, "dog"]) == {
        "ant": 0,
        "cat": 2,
        "dog": conditions.NULL,
    }
    assert conditions.of_labels(conditional(), ["3", "01"]) == {"01": 1, "3": 3}
    assert conditions.of_labels(conditional(), list("zxyw")) == {"w": 0, "x": 1, "y": 2, "z": 3}
    with pytest.raises(UserError, match="numbers of the classes, 0 to 3"):
        conditions.of_labels(conditional(), ["ant"])
    with pytest.raises(UserError, match="images without a label"):
        conditions.of_labels(conditional(), ["1", None])
    with pytest.raises(UserError, match="does not know the label 'dog'"):
        conditions.of_labels(conditional(class_names=tuple("abcd")), ["dog"])


@pytest.mark.parametrize("edge", [None, Edge(score=0.0, error=10.0)])
def test_every_image_is_scored_under_its_own_class(edge):
    model = conditional()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 3, 16, 16), dtype=np.uint8)
    names = [str(i) for i in range(70)]  # more than go through the network at once
    own = conditions.Conditions({}, {name: int(name) % 4 for name in names})
    plain = Perceptual("plain", "", lambda x: [x])
    scorer = Scorer(model, plain, model.nearest_sigma(0.5), 4, 0, edge=edge, conditions=own)
    together = scorer(pixels, names)
    for k in range(4):
        alone = conditions.Conditions({}, dict.fromkeys(names, k))
        expected = Scorer(model, plain, scorer.sigma, 4, 0, edge=edge, conditions=alone)
        rows = range(k, 70, 4)
        of_class = expected(pixels[rows], [names[i] for i in rows])
        np.testing.assert_allclose(together.draws[rows], of_class.draws, rtol=1e-4)
        torch.testing.assert_close(
            torch.from_numpy(scorer.reconstruct(pixels[rows], [names[i] for i in rows])),
            torch.from_numpy(expected.reconstruct(pixels[rows], [names[i] for i in rows])),
        )


def test_a_conditional_model_is_trained_scores_and_generates(pictures, home, say, tiny, tmp_path):
    """From the labels of the folders to images under the labels of the rare."""
    code, printed = say(
        *("train", pictures, "-o", tmp_path / "model", "--conditional", "--all-levels"),
        *("--train-steps", 3, "--image-size", 16, "--tail-weight", 0.5),
    )
    assert train_denoiser.record(tmp_path / "model")["training"]["tail_weight"] == 0.5
    assert code == 0 and "conditional on 2 classes (cross, disc), also without one" in printed
    model = load_denoiser(str(tmp_path / "model"))
    assert (model.class_names, model.null_class, model.num_classes) == (("cross", "disc"), 2, 2)
    _, printed = say(
        *("score", pictures, "--model", tmp_path / "model", "--no-fiftyone", "--no-umap"),
        *("--n-draws", 2, "--num-classes", 2, "--perceptual", "unet", "--embedding", "unet"),
    )
    assert "denoised under its label; images are ranked within their labels" in printed
    run = Run(home / "runs" / "mincurate_1")
    assert run.record["label_classes"] == {"cross": 0, "disc": 1}
    frame = run.frame()
    assert (frame.groupby("label")["rarity_class"].nunique() == 2).all()  # ranked within them
    code, _ = say(
        *("augment", "--no-fiftyone", "--guide-steps", 2, "--steps", 2, "--n", 6),
        *("--batch-size", 4, "--top-fraction", 1),
    )
    assert code == 0
    generation = home / "runs" / "mincurate_2"
    labels = [entry["label"] for entry in read_manifest(generation)]
    assert set(labels) <= {"cross", "disc"} and len(labels) == 6
    table = pd.read_parquet(generation / "synthetic.parquet")
    assert table["minority_score"].notna().all()
    draw = (pictures / "disc" / "000.png").read_bytes()
    (pictures / "disc" / "new.png").write_bytes(draw + b" ")
    assert "1 new images joined" in say("score-new", "--no-fiftyone")[1]
    assert "It was trained on all" in say("doctor", tmp_path / "model")[1]
