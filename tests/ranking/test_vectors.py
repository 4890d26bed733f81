"""Vectors from files: at the network's own side, the same however many threads, and kept."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mincurate.errors import UserError
from mincurate.features.embedder import Embedder
from mincurate.pipelines import score, score_new
from mincurate.ranking import joining, reference, vectors
from mincurate.runs import shards
from mincurate.runs.verify import verify

PLAIN = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 2, "image_size": 16}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(12):
        pixels = rng.integers(0, 256, (9, 12, 3), np.uint8).repeat(12, 0).repeat(12, 1)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A pretrained network for vectors, as far as the pipeline can tell."""
    from torchvision.models import squeezenet1_0

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(squeezenet1_0(weights=None).state_dict(), file)
    return f"torchvision:squeezenet1_0@{file}"


@pytest.fixture
def sides(monkeypatch):
    """The sides of the images that networks for vectors are given."""
    seen = set()
    embed = Embedder.embed

    def watched(self, x):
        seen.add(tuple(x.shape[2:]))
        return embed(self, x)

    monkeypatch.setattr(Embedder, "embed", watched)
    return seen


def test_vectors_are_the_same_on_one_thread_and_on_two():
    net = Embedder("", "", lambda x: x.mean((2, 3)), 8, 8, weak=False)
    batches = [
        np.full((2, 3, 8, 8), i + np.arange(3)[None, :, None, None], np.uint8) for i in range(9)
    ]
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(np.concatenate(list(vectors.embed_batches(net, "cpu", None, iter(batches)))))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(np.linalg.norm(results[0].astype(float), axis=1), 1, atol=1e-3)


def test_quick_ranks_by_vectors_and_the_same_command_adds_the_scores(
    photographs, network, sides, tmp_path
):
    place = {"output": tmp_path / "run", "embedding": network, **PLAIN}
    quick = score.score(photographs, quick=True, **place)
    assert sides == {(108, 108)}, "the files' own side, not the denoiser's"
    frame = quick.frame
    assert frame["minority_score"].isna().all() and frame["minority_class"].isna().all()
    assert frame["rarity"].notna().all() and frame["rarity_class"].between(0, 9).all()
    assert verify(quick.run) == [] and quick.report.is_file()
    with pytest.raises(UserError, match="without --quick"):
        reference.open_base(quick.run)
    [shard] = (tmp_path / "run" / "shards").glob("vectors-*.parquet")
    written = shard.stat().st_mtime_ns
    whole = score.score(photographs, **place)
    assert whole.run.key == quick.run.key and shard.stat().st_mtime_ns == written
    assert whole.frame["minority_score"].notna().all()
    pd.testing.assert_series_equal(whole.frame["rarity"], frame["rarity"])
    again = score.score(photographs, quick=True, **place)
    assert again.frame["minority_score"].notna().all(), "what is there is not taken away"


def test_a_quick_run_is_shown_in_fiftyone_and_its_scores_join_it(
    photographs, network, tmp_path, database
):
    import fiftyone as fo

    place = {"output": tmp_path / "run", "embedding": network, "dataset": "quick", **PLAIN}
    place |= {"fiftyone": True}
    score.score(photographs, quick=True, **place)
    dataset = fo.load_dataset("quick")
    assert (
        None not in dataset.values("rarity_class") and "rarest-first" in dataset.list_saved_views()
    )
    assert not dataset.has_field("minority_score")
    score.score(photographs, **place)
    dataset.reload()
    assert len(dataset) == 12 and None not in dataset.values("minority_score")


def test_quick_needs_a_network_and_a_ranking_by_vectors(photographs):
    with pytest.raises(UserError, match=r"mincurate\[offline\]"):
        score.score(photographs, quick=True, embedding="unet", **PLAIN)
    with pytest.raises(UserError, match="--quick ranks by vectors alone"):
        score.score(photographs, quick=True, rank_by="minority", **PLAIN)


def test_a_first_look_is_there_before_the_training(photographs, network, tmp_path, monkeypatch):
    seen = {}

    def train(*arguments, **options):
        run = reference.Run(tmp_path / "run")
        seen["rarity"] = run.frame()["rarity"]
        seen["report"] = (run.path / "report.html").read_text()
        raise KeyboardInterrupt

    monkeypatch.setattr(score.models, "trained_model", train)
    place = {"output": tmp_path / "run", "embedding": network, **PLAIN, "train_steps": None}
    with pytest.raises(KeyboardInterrupt):
        score.score(photographs, train_minutes=1, **place)
    assert seen["rarity"].notna().all() and "Minority scores are not computed yet" in seen["report"]


def test_generated_images_are_compared_with_real_ones_of_their_size(
    photographs, network, tmp_path, sides
):
    done = score.score(photographs, output=tmp_path / "run", embedding=network, **PLAIN)
    base = reference.open_base(done.run)
    scorer = reference.scorer_of(done.run, "cpu")
    assert (base.vector_side, base.size) == (108, 16)
    sides.clear()
    small = joining.at_score_size(base, scorer)
    assert sides == {(16, 16)} and small.vector_side == 16
    files = list(zip(base.frame["content_hash"], base.frame["path"], strict=True))
    _, joined = joining.join(small, scorer, files)
    np.testing.assert_allclose(joined, small.vectors, atol=1e-3)
    sides.clear()
    np.testing.assert_array_equal(joining.at_score_size(base, scorer).vectors, small.vectors)
    assert not sides, "they are kept"


def test_a_run_begun_with_another_filter_goes_on_with_it(
    photographs, network, tmp_path, monkeypatch
):
    from mincurate.pipelines import fingerprints
    from mincurate.ranking import shard_loop

    used = []
    read = shard_loop.read_batches

    def watched(files, **options):
        used.append(options["resampling"])
        return read(files, **options)

    monkeypatch.setattr(shard_loop, "read_batches", watched)
    place = {"embedding": network, **PLAIN}
    new = score.score(photographs, output=tmp_path / "new", quick=True, **place)
    assert set(used) == {"hamming"} and new.run.record["vector_resampling"] == "hamming"
    with monkeypatch.context() as patch:
        patch.setattr(fingerprints, "vector_resampling", lambda *_: "lanczos")
        old = score.score(photographs, output=tmp_path / "old", quick=True, **place)
    old.run.update(vector_resampling=None)  # as runs of before have it
    shutil.rmtree(old.run.path / "shards")
    used.clear()
    old = score.score(photographs, output=tmp_path / "old", **place)
    assert set(used) == {"lanczos"}, "the vectors, then the scores"
    base = reference.open_base(old.run)
    assert base.vector_reading(8).resampling == "lanczos"
    assert reference.open_base(score.score(photographs, output=tmp_path / "new", **place).run)
    assert used.count("hamming") == 0, "scores are of sharp images"


def test_killed_while_embedding_goes_on(photographs, network, tmp_path, monkeypatch):
    from mincurate.ranking import shard_loop

    monkeypatch.setattr(shard_loop, "SHARD_IMAGES", 4)
    written = shards.write_shard

    def stop(run, kind, index, table, lost):
        if index == 1:
            raise KeyboardInterrupt
        written(run, kind, index, table, lost)

    place = {"output": tmp_path / "run", "embedding": network, "quick": True, **PLAIN}
    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            score.score(photographs, **place)
    [first] = (tmp_path / "run" / "shards").glob("*.parquet")
    mtime = first.stat().st_mtime_ns
    done = score.score(photographs, **place)
    assert first.stat().st_mtime_ns == mtime and done.frame["rarity"].notna().all()
    other = score.score(photographs, **{**place, "output": tmp_path / "b"})
    pd.testing.assert_series_equal(done.frame["rarity"], other.frame["rarity"])


def test_new_images_join_a_run_that_is_ranked_by_vectors_alone(
    photographs, network, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "home"))
    shutil.copytree(photographs, tmp_path / "set")
    how = {"quick": True, "embedding": network, "num_classes": 3, "fiftyone": False}
    run = score.score(tmp_path / "set", output=tmp_path / "run", **how).run
    first = run.frame().iloc[[3]]
    with Image.open(first["path"].item()) as image:
        image.save(tmp_path / "set" / "again.png", compress_level=0)
    new = score_new.score_new(run, fiftyone=False).frame
    place = ["map_x", "map_y"]
    np.testing.assert_allclose(new[place].astype(float), first[place].astype(float), atol=0.1)
    assert new["rarity"].between(0, 1).all() and new["rarity_class"].between(0, 2).all()
    assert new[["minority_score", "minority_class"]].isna().all(axis=None)
    assert len(run.frame()) == 13
