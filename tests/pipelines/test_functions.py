"""The functions take what names a run, do what the commands do, and show their results."""

import numpy as np
import pandas as pd
import pytest

import mincurate
from mincurate.errors import UserError


def test_a_run_is_named_by_what_people_have(own):
    run = mincurate.find_run("mincurate_1")
    result = mincurate.Result(run, None, run.path / "report.html")
    for name in (result, run, 1, "1", run.path, str(run.path)):
        assert mincurate.find_run(name).path.resolve() == run.path.resolve()
    assert mincurate.find_run().key == "mincurate_2"
    assert mincurate.find_run(kind="score").key == "mincurate_1"
    for wrong, words in ((9, "no run '9'"), ([], "not by list"), (True, "not by bool")):
        with pytest.raises(UserError, match=words):
            mincurate.find_run(wrong)
    with pytest.raises(UserError, match="Name the run"):
        mincurate.delete(None)
    with pytest.raises(UserError, match="holds generated images"):
        mincurate.score(mincurate.find_run())
    with pytest.raises(UserError, match="has no dataset"):
        mincurate.launch(result)


def test_from_a_result_more_is_generated_counted_and_exported(own, tmp_path):
    run = mincurate.find_run(1)
    result = mincurate.Result(run, None, run.path / "report.html")
    assert repr(result) == "<Result mincurate_1: 60 images scored>"
    rarest = result.rarest(3)
    assert rarest["rarity"].is_monotonic_decreasing and rarest["rarity"].iloc[0] == 1
    shown = result._repr_html_()
    assert rarest["rel_path"].iloc[0] in shown and "Trust in this ranking: " in shown

    steps = {"train_steps": 20, "guide_steps": 20, "steps": 3}
    images = mincurate.augment(result, n=4, **steps)
    assert len(images.frame) == 4 and images.dataset is None
    assert repr(images).startswith("<Augmented mincurate_3: ") and "of 4 images" in repr(images)

    plan = mincurate.rebalance(result, to=50, dry_run=True)
    have = plan.plan.set_index("class")["have"]
    assert have["disc"] >= 55 and plan.filled == [] and len(plan.weights) >= 60
    assert np.isclose(plan.weights["weight"].mean(), 1)
    filled = mincurate.rebalance(run.key, to=int(have["cross"]) + 2, cap=2, **steps).filled
    assert [(part.name, part.missing, part.run.key) for part in filled] == [
        ("cross", 2, "mincurate_4")
    ]

    written = mincurate.export(result, tmp_path / "out", format="csv")
    table = pd.read_csv(tmp_path / "out" / "dataset.csv")
    assert len(table) == written.real + written.synthetic and written.real == 60
    assert mincurate.verify(result) == [] and mincurate.verify(images) == []
    assert "No image is new" in repr(mincurate.score_new(result, fiftyone=False))
    assert mincurate.retry(result, fiftyone=False).tried == 0
    mincurate.delete(images)
    with pytest.raises(UserError, match="no run"):
        mincurate.find_run(images.run.key)


def test_a_dataset_names_its_images_and_its_run(database, pictures, tiny):
    import fiftyone as fo

    quick = {"train_steps": 3, "n_draws": 2, "num_classes": 4, "umap": False}
    dataset = fo.Dataset("from-python", persistent=True)
    paths = sorted(map(str, pictures.rglob("*.png")))
    dataset.add_samples([fo.Sample(filepath=path) for path in paths], progress=False)
    view = dataset.limit(12)
    result = mincurate.score(view, **quick)
    assert result.dataset == dataset.name and len(dataset.exists("rarity")) == 12
    for again in (mincurate.score(view, **quick), mincurate.score(result)):
        assert (again.run, again.dataset) == (result.run, dataset.name)
    dataset.name = "renamed"
    for name in (dataset, view, "fiftyone:renamed"):
        assert mincurate.find_run(name).path == result.run.path
    whole = mincurate.score(dataset, fiftyone=False, **quick)
    assert len(whole.frame) == 20 and whole.dataset is None
    assert len(dataset.exists("rarity")) == 12
    assert mincurate.sync(dataset).added == 0
    with pytest.raises(UserError, match="has no generated images"):
        mincurate.evaluate(dataset)
