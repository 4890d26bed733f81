"""A run is gone on with by what began it, or not at all."""

import pytest
import safetensors.torch as safetensors

from mincurate.errors import UserError
from mincurate.pipelines import score
from mincurate.runs import shards, store

PLAIN = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 2}


@pytest.fixture
def half(tiny, pictures, monkeypatch):
    """A run that was stopped after its first shard."""
    written = shards.write_shard

    def stop(run, kind, index, table, lost):
        if kind == "scores" and index == 1:
            raise KeyboardInterrupt
        written(run, kind, index, table, lost)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            score.score(pictures, **PLAIN)
    return store.all_runs()[-1]


def test_other_weights_are_refused_in_one_sentence(half, pictures, home):
    [file] = home.glob("models/*/unet/*.safetensors")
    weights = safetensors.load_file(file)
    safetensors.save_file({name: 1.01 * value for name, value in weights.items()}, file)
    with pytest.raises(UserError, match="or other weights; start anew with --fresh"):
        score.score(pictures, **PLAIN)
    assert score.score(pictures, resume=False, **PLAIN).run.finished


def test_other_versions_of_torch_or_pillow_are_refused_while_scores_are_missing(half, pictures):
    now = half.record["scored_with"]
    half.update(scored_with=now | {"torch": "2.1"})
    with pytest.raises(UserError, match=r"was begun with torch 2\.1 and pillow .* and here is"):
        score.score(pictures, **PLAIN)
    half.update(scored_with=now)
    done = score.score(pictures, **PLAIN).run
    assert done.path == half.path and done.finished
    done.update(scored_with=now | {"pillow": "9.0"})
    assert score.score(pictures, **PLAIN).run.path == half.path
    assert done.record["scored_with"]["pillow"] == "9.0"
