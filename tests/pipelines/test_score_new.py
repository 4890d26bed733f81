"""Images that came after a run was scored join it, and change nothing else."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import command, draw_shapes

import mincurate
from mincurate.curation import gather
from mincurate.errors import StoppedError, UserError
from mincurate.pipelines import new_files, score_new
from mincurate.progress import SILENT
from mincurate.ranking import compare, reference
from mincurate.runs import store

pytestmark = pytest.mark.slow  # a scored world of its own

QUICK = {"train_steps": 6, "n_draws": 2, "num_classes": 3, "fiftyone": False, "umap": False}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A folder, a home, and a run that ranks within labels."""
    place = tmp_path_factory.mktemp("newcomers")
    draw_shapes(place / "set", discs=20, crosses=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(place / "home"))
        mincurate.score(place / "set", within_label=True, **QUICK)
    return place


@pytest.fixture
def place(scored, tmp_path, monkeypatch):
    """The same, to change: the images alone, because a model's hash holds where it was read."""
    monkeypatch.setenv("MINCURATE_HOME", str(scored / "home"))
    kept = shutil.copytree(scored / "home" / "runs", tmp_path / "runs")
    images = shutil.copytree(scored / "set", tmp_path / "set")
    draw_shapes(tmp_path / "more", discs=24, crosses=12)
    for kind, numbers in (("disc", (20, 21, 22)), ("cross", (10, 11))):
        for i in numbers:
            name = f"{kind}/{i:03d}.png"
            shutil.copy(tmp_path / "more" / name, scored / "set" / name)
    yield scored
    for folder, before in ((scored / "home" / "runs", kept), (scored / "set", images)):
        shutil.rmtree(folder)
        shutil.copytree(before, folder)


def test_a_new_image_is_ranked_among_its_own_label_by_the_stored_edges(place):
    run = store.find("1")
    before, identity = run.frame(), gather.identity(run)
    base = reference.open_base(run)
    done = score_new.score_new(run, fiftyone=False)
    assert len(done.frame) == 5 and "5 new images joined" in done.words
    frame = run.frame()
    assert frame["rarity_class"].tolist()[:30] == before["rarity_class"].tolist()
    edges = run.record["class_edges_by_label"]
    for row in done.frame.itertuples():
        mine = np.searchsorted(edges[row.label], row.embedding_rarity_within_label)
        assert row.rarity_class == row.rarity_class_within_label == mine
        assert 0 <= row.rarity <= 1 and row.denoising_error > 0
    # What is generated from the run rests on the images that it was scored with.
    assert gather.identity(run) == identity
    assert len(reference.open_base(run).frame) == len(base.frame) == 30
    hashes, vectors = score_new.read_vectors(run)
    assert hashes == done.frame["content_hash"].tolist() and len(vectors) == 5
    assert run.record["counts"]["images"] == 35 and run.record["counts"]["joined"] == 5
    assert len(gather.gather(run)) == 35
    assert new_files.find_new(run) == [] and not len(score_new.score_new(run, fiftyone=False).frame)


def test_a_label_the_run_does_not_know_is_ranked_among_all(place):
    (place / "set" / "square").mkdir()
    (place / "set" / "disc" / "022.png").rename(place / "set" / "square" / "a.png")
    said = []

    class Reporter(type(SILENT)):
        def warn(self, text):
            said.append(text)

    done = score_new.score_new("1", fiftyone=False, reporter=Reporter())
    row = done.frame.set_index("label").loc["square"]
    assert 0 <= row["rarity"] <= 1 and row["rarity_class"] >= 0
    assert len(said) == 1 and "no image of square" in said[0]


def test_stopped_it_keeps_what_is_scored_and_goes_on(place, monkeypatch):
    monkeypatch.setattr(score_new, "PORTION", 2)

    class Reporter(type(SILENT)):
        portions = 0

        @contextmanager
        def task(self, title, total, unit="images"):
            self.portions += title == "Scoring"
            if self.portions == 3:
                raise KeyboardInterrupt
            yield lambda n, note="", total=None: None

    with pytest.raises(StoppedError, match="4 of 5 new images are scored"):
        score_new.score_new("1", fiftyone=False, reporter=Reporter())
    assert len(score_new.score_new("1", fiftyone=False).frame) == 1
    hashes, _ = score_new.read_vectors(store.find("1"))
    assert len(set(hashes)) == 5


def test_what_is_new_in_a_sample_of_files_is_not_known(place):
    run = store.find("1")
    run.update(settings=run.record["settings"] | {"max_images": 30})
    with pytest.raises(UserError, match="random sample"):
        score_new.score_new(run, fiftyone=False)


def test_scoring_the_first_images_again_takes_nothing_from_what_joined(place):
    new = score_new.score_new("1", fiftyone=False).frame["path"]
    for path in new:
        Path(path).unlink()
    again = mincurate.score(place / "set", within_label=True, **QUICK).run
    assert (again.key, len(again.frame())) == ("mincurate_2", 30)
    assert len(store.find("1").frame()) == 35


def test_the_commands_say_what_joined_and_compare_two_runs(place):
    said = command(place / "home", "score-new", "--no-fiftyone")
    assert "5 new images joined run mincurate_1" in said
    other = mincurate.score(place / "set", model="mincurate_1", seed=1, **QUICK).run
    found = compare.compare("mincurate_1", other)
    ranks = [run.frame().set_index("content_hash")["rarity"] for run in (store.find("1"), other)]
    assert len(found.frame) == 35
    assert found.correlation == pytest.approx(ranks[0].corr(ranks[1], method="spearman"))
    assert found.frame["change"].abs().is_monotonic_decreasing
    said = command(place / "home", "runs", "compare", 1, other.key)
    assert f"rank correlation {found.correlation:.3f}" in said
    with pytest.raises(UserError, match="same run twice"):
        compare.compare(other, other)
