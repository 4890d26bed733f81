"""Generated images in a real database: added once, linked, on the map, and gone without a trace."""

import numpy as np
import pandas as pd
import pytest
from conftest import draw_shapes

import mincurate
from mincurate.pipelines import augment
from mincurate.runs import store

pytestmark = pytest.mark.slow  # a world of its own: a minute and a half before the first test
BUDGET = {"train_steps": 20, "guide_steps": 20}


@pytest.fixture(scope="module")
def world(database, tmp_path_factory):
    """A scored dataset and eight images generated from it."""
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, discs=40, crosses=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(tmp_path_factory.mktemp("home")))
        scored = mincurate.score(
            folder, dataset="synthetic-test", train_steps=20, n_draws=2, num_classes=5
        )
        made = generate(scored.run)
    return scored, made


@pytest.fixture(autouse=True)
def at_home(world, home, monkeypatch):
    """The home in which the runs of `world` are."""
    monkeypatch.setenv("MINCURATE_HOME", str(world[0].run.path.parents[1]))


def generate(run, **more):
    settings = {"n": 8, "steps": 4, "batch_size": 8} | BUDGET | more
    return augment.augment(run, dataset="synthetic-test", **settings)


def load():
    import fiftyone as fo

    dataset = fo.load_dataset("synthetic-test")
    dataset.reload()
    return dataset


def test_every_image_is_a_sample_with_all_that_is_known_of_it(world):
    _, made = world
    samples = load().match_tags("synthetic")
    assert len(samples) == 8 and len(load()) == 46 + 8
    frame = made.frame.set_index("path")
    for sample in samples:
        row = frame.loc[sample.filepath]
        assert sample.tags == ["synthetic", made.run.key]
        assert sample.source == "synthetic" and sample.target_class == 4
        assert sample.minority_score == pytest.approx(row["minority_score"])
        assert sample.rarity == pytest.approx(row["rarity"])
        assert sample.rarity_class == row["rarity_class"]
        assert sample.flagged == (row["reason"] if not row["accepted"] else None)
        assert sample.generation["seed"] == str(row["seed"]) and sample.generation["steps"] == 4
        assert load()[sample.nearest_real_id].filepath == sample.nearest_real
        assert sample.predicted_label.label in ("cross", "disc")
    assert load().list_saved_views().count("synthetic") == 1


def test_the_map_holds_real_and_generated_images(world):
    dataset = load()
    results = dataset.load_brain_results("minority_umap")
    assert len(results.points) == len(dataset)
    assert np.isfinite(results.points).all()


def test_ranked_views_and_a_later_scoring_leave_generated_images_out(world):
    assert len(load().load_saved_view("rarest-first")) == 46
    from mincurate.dataset import reader

    assert len(reader.read_sources("synthetic-test", None)) == 46


def test_doing_it_again_changes_nothing(world):
    scored, made = world
    before = load().values(["id", "filepath", "rarity", "tags"])
    again = generate(scored.run)
    assert again.run.key == made.run.key
    assert load().values(["id", "filepath", "rarity", "tags"]) == before


def test_writing_the_scored_run_again_keeps_the_ranks_of_generated_images(world):
    from mincurate.dataset import writer

    scored, _ = world
    before = load().match_tags("synthetic").values("rarity")
    writer.write_run(scored.run, "synthetic-test")
    assert load().match_tags("synthetic").values("rarity") == before
    assert len(load().load_brain_results("minority_umap").points) == 46 + 8


def test_more_like_these_starts_from_the_tagged_images(world):
    from mincurate.dataset import generated

    scored, _ = world
    picked = load().match_tags("synthetic", bool=False).take(3, seed=0)
    picked.tag_samples("rare-keep")
    hashes = generated.selection("synthetic-test", "tag:rare-keep")
    assert sorted(hashes) == sorted(picked.values("content_hash"))
    assert generated.selection("synthetic-test", ",".join(picked.values("id"))) == hashes
    made = generate(scored.run, n=6, like=hashes, strength=0.3)
    assert set(made.frame["start"]) == set(picked.values("filepath"))
    assert made.frame["start"].value_counts().tolist() == [2, 2, 2]
    assert len(load().match_tags(made.run.key)) == 6


def test_more_like_these_takes_a_saved_view_without_what_was_generated(world):
    from mincurate.dataset import generated

    dataset = load()
    picked = dataset.match_tags("synthetic", bool=False).take(4, seed=1)
    both = [*picked.values("id"), *dataset.match_tags("synthetic").take(2, seed=1).values("id")]
    dataset.save_view("keep-these", dataset.select(both))
    dataset.save_view("nothing-real", dataset.match_tags("synthetic"))
    found = generated.selection("synthetic-test", "view:keep-these")
    assert sorted(found) == sorted(picked.values("content_hash"))
    for like, words in (
        ("view:keep-those", "no saved view 'keep-those'; its views are: .*keep-these"),
        ("view:nothing-real", "None of the images of 'view:nothing-real'"),
        ("view:", "--like is tag:NAME, view:NAME"),
    ):
        with pytest.raises(mincurate.UserError, match=words):
            generated.selection("synthetic-test", like)


def test_deleting_the_run_removes_exactly_its_samples_and_files(world):
    from typer.testing import CliRunner

    from mincurate.cli import app

    scored, made = world
    other = generate(scored.run, n=5, seed=7)
    assert len(load().match_tags(other.run.key)) == 5
    done = CliRunner().invoke(app, ["runs", "delete", other.run.key, "--yes"])
    assert done.exit_code == 0, done.output
    assert len(load().match_tags(other.run.key)) == 0 and not other.run.path.exists()
    assert len(load().match_tags(made.run.key)) == 8 and (made.run.path / "images").is_dir()
    assert not load().has_run(other.run.key)
    for run in store.all_runs():
        if store.kind_of(run) == store.AUGMENT:
            assert CliRunner().invoke(app, ["runs", "delete", run.key, "--yes"]).exit_code == 0
    dataset = load()
    assert len(dataset) == 46 and not dataset.has_field("generation")
    assert "synthetic" not in dataset.list_saved_views()
    assert len(dataset.load_brain_results("minority_umap").points) == 46
    assert pd.Series(dataset.values("rarity")).notna().all()
