import json
import shutil

import numpy as np
import pytest

from mincurate.report import evaluation_figures, run_page
from mincurate.runs import store

RNG = np.random.default_rng(0)


def test_a_curve_ends_below_one_by_the_share_off_the_manifold():
    scores = {"real": RNG.gamma(5, 1, 100), "guided": np.r_[RNG.gamma(8, 1, 75), [np.nan] * 25]}
    axes = evaluation_figures.rarity_plot(scores, feature_space="test space").axes[0]
    ends = {
        line.get_label(): line.get_ydata()[-1] for line in axes.lines if ":" in line.get_label()
    }
    assert ends == {
        "real: 100 images, 0.0% off the manifold": 1,
        "guided: 100 images, 25.0% off the manifold": 0.75,
    }
    assert "test space" in axes.get_xlabel()


@pytest.mark.parametrize("values", [[], [np.nan], [1.0]])
def test_few_scores_or_none_can_be_drawn(values, tmp_path):
    evaluation_figures.save(
        evaluation_figures.rarity_plot({"a": values}, feature_space="x"), tmp_path / "a.png"
    )
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_the_classifier_is_drawn_over_the_noise_levels():
    levels = [
        {"sigma": s, "accuracy": 0.5, "macro_f1": 0.4, "mean_absolute_error": 1.2}
        for s in (0.01, 0.1, 1.0)
    ]
    left, right = evaluation_figures.levels_plot(levels, num_classes=5).axes
    assert left.get_xscale() == right.get_xscale() == "log"
    names = {line.get_label(): line.get_ydata()[0] for line in left.lines}
    assert names == {"accuracy": 0.5, "macro F1": 0.4, "chance": 0.2}
    told = [level | {"label_accuracy": 0.7} for level in levels]
    left, _ = evaluation_figures.levels_plot(told, num_classes=5).axes
    assert {line.get_label(): line.get_ydata()[0] for line in left.lines} == names | {
        "accuracy of labels": 0.7
    }


def test_the_classifier_trained_last_or_the_one_that_is_named_is_drawn(own):
    run = store.find("1")
    (first,) = run.path.glob("guidance/*")
    about = json.loads((first / "classifier.json").read_text())
    later = first.with_name("abc")
    later.mkdir()
    (later / "classifier.json").write_text(json.dumps(about | {"fingerprint": "another"}))
    other = first.with_name("real-abc")  # tells fakes from real images
    other.mkdir()
    (other / "classifier.json").write_text(json.dumps(about | {"fingerprint": "fakes"}))
    assert evaluation_figures.guidance_plot(run) == later / "levels.png"
    assert evaluation_figures.guidance_plot(run, about["fingerprint"]) == first / "levels.png"
    assert (first / "levels.png").read_bytes()[:4] == b"\x89PNG"
    assert evaluation_figures.guidance_plot(run, "fakes") is None
    shutil.rmtree(run.path / "guidance")
    assert evaluation_figures.guidance_plot(run) is None


def test_the_report_shows_the_classifier_once_there_is_one(own):
    run = store.find("1")
    assert "The classifier that guides" in run_page.write_report(run).read_text()
    shutil.rmtree(run.path / "guidance")
    assert "The classifier that guides" not in run_page.write_report(run).read_text()


def test_grids_show_every_picture_and_give_the_same_bytes_again(tmp_path):
    pictures = {
        name: [RNG.integers(0, 255, (4, 6, 3), dtype=np.uint8) for _ in range(n)]
        for name, n in (("ddpm", 7), ("guided", 2), ("none", 0))
    }
    for place in (tmp_path / "a.png", tmp_path / "b.png"):
        figure = evaluation_figures.grids(pictures, {"ddpm": "w = 0"})
        evaluation_figures.save(figure, place)
    assert len(figure.axes[0].images) == 9
    assert {"ddpm", "guided", "w = 0"} <= {text.get_text() for text in figure.axes[0].texts}
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
