"""Real images are found in a pool, reviewed in FiftyOne, counted once kept, and gone if not."""

import shutil

import pytest
from conftest import draw_shapes, shorten_training

import mincurate
from mincurate.curation import mining
from mincurate.errors import UserError
from mincurate.pipelines import new_files, panel
from mincurate.ranking import vectors
from mincurate.runs import verify

pytestmark = pytest.mark.usefixtures("database")
NAME = "mine-test"


@pytest.fixture
def world(pictures, tiny, tmp_path, monkeypatch):
    """A scored dataset of discs and crosses, and a pool with copies of them."""
    shorten_training(monkeypatch)
    scored = mincurate.score(
        pictures, dataset=NAME, train_steps=3, n_draws=2, num_classes=4, umap=False
    )
    pool = tmp_path / "pool"
    draw_shapes(pool, discs=30, crosses=12)  # the first ones are those of the run
    shutil.copy(pool / "cross" / "011.png", pool / "again.png")
    yield scored.run, pool
    dataset = load()
    if dataset:
        dataset.delete()


def load():
    import fiftyone as fo

    if fo.dataset_exists(NAME):
        dataset = fo.load_dataset(NAME)
        dataset.reload()
        return dataset
    return None


def as_dataset(pool):
    """A FiftyOne dataset of the files of a folder."""
    import fiftyone as fo

    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(file)) for file in sorted(pool.rglob("*.png"))])
    return dataset


def test_mined_images_are_proposals_until_kept_and_leave_with_their_run(
    world, monkeypatch, tmp_path
):
    run, pool = world
    before = set(load().values("filepath"))
    for like, words in (("label:square", "labels: cross, disc"), ("tag:x", "No sample of")):
        with pytest.raises(UserError, match=words):
            mincurate.mine(pool, run, like=like)

    def killed(*arguments, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mining, "best", killed)
        with pytest.raises(KeyboardInterrupt):
            mincurate.mine(pool, run, like="label:cross", n=6)
    monkeypatch.setattr(vectors, "embed_files", killed)  # the shards are finished
    mined = mincurate.mine(pool, run, like="label:cross", n=6)
    frame = mined.frame
    assert len(frame) == frame["content_hash"].nunique() == 6
    assert not set(frame["content_hash"]) & set(run.frame()["content_hash"])
    assert frame["likeness"].is_monotonic_decreasing and set(frame["proposed_label"]) == {"cross"}
    assert set(load().match_tags("mined").values("filepath")) == set(frame["path"])
    assert load().load_saved_view("mined").values("filepath") == frame["path"].tolist()
    sample = load()[frame["path"].iloc[0]]
    assert load()[sample.nearest_example_id].filepath == sample.nearest_example
    assert sample.ground_truth is None and sample.mined_by == mined.run.key
    assert mincurate.mine(pool, run, like="label:cross", n=6).run == mined.run
    assert len(load()) == len(before) + 6

    def have():
        plan = mincurate.rebalance(run, to=8, dry_run=True).plan.set_index("class")
        return plan.loc["cross", ["have", "target", "add"]].tolist()

    assert have() == [4, 8, 4] and new_files.find_new(run, NAME) == []
    keep, drop = frame["path"].iloc[:2], frame["path"].iloc[2]
    panel.set_verdict(load(), panel.ids_of(load(), keep), "rare-keep")
    panel.set_verdict(load(), panel.ids_of(load(), [drop]), "outlier-drop")
    assert have() == [6, 8, 2]
    assert {source.path for source in new_files.find_new(run, NAME)} == set(keep)
    written = mincurate.export(run, tmp_path / "out", format="csv")
    assert written.notes == ("2 of the real images were mined.",)

    again = mincurate.mine(as_dataset(pool), run, n=3)
    assert not set(again.frame["content_hash"]) & set(frame["content_hash"])
    assert verify.verify(again.run) == []
    mincurate.delete(again)
    mincurate.delete(mined)
    assert not mined.run.path.exists()
    assert set(load().values("filepath")) == before | {*keep}
    assert load().distinct("tags") == ["rare-keep"] and not load().has_saved_view("mined")
    assert not {"mined_by", "proposed_label"} & set(load().get_field_schema())
