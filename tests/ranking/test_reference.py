"""Images that join a run get what they would have got in it."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mincurate
from mincurate.errors import UserError
from mincurate.ranking import classes, evidence, joining, joining_labels, outliers, ranks, reference
from mincurate.runs import store
from mincurate.runs.store import Run


@pytest.fixture(scope="module", params=["minority", "embedding"])
def base(request, shapes, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(tmp_path_factory.mktemp("home")))
        result = mincurate.score(
            shapes,
            output=tmp_path_factory.mktemp("joined") / "run",
            fiftyone=False,
            train_steps=20,
            n_draws=4 if request.param == "minority" else 2,
            adaptive=request.param == "minority",
            num_classes=5,
            rank_by=request.param,
            umap=request.param == "minority",
        )
    return reference.open_base(result.run)


def test_an_image_of_the_run_joins_where_it_is(base):
    scorer = reference.scorer_of(base.run, "cpu")
    chosen = base.frame.iloc[[0, 7, 30, 59]].reset_index(drop=True)
    files = list(zip(chosen["content_hash"], chosen["path"], strict=True))
    joined, vectors = joining.join(base, scorer, files)
    assert joined["content_hash"].tolist() == chosen["content_hash"].tolist()
    np.testing.assert_allclose(joined["minority_score"], chosen["minority_score"], rtol=1e-4)
    assert joined["nearest_real"].tolist() == chosen["content_hash"].tolist()
    assert (joined["nearest_real_distance"] < 1e-2).all()
    points = ["map_x", "map_y"]
    if base.column == "minority_score":
        np.testing.assert_allclose(joined[points], chosen[points].astype(float), atol=0.2)
        np.testing.assert_allclose(joined["rarity"], chosen["rarity"], atol=1e-3)
        assert joined["rarity_class"].tolist() == chosen["rarity_class"].tolist()
    assert len(vectors) == 4 and vectors.shape[1] == base.vectors.shape[1]


def test_what_joins_a_run_is_weighed_as_the_run_is(base):
    assert reference.weights_of(base.run) == tuple(base.run.record["outlying_weights"])
    own = [base.frame[name].to_numpy(float) for name in outliers.NAMES]
    for weights in (outliers.WEIGHTS, outliers.OF_SEVERAL):
        files = [(f"x{i}", f"x{i}") for i in range(len(base.vectors))]
        placed = joining.place(replace(base, weights=weights), files, base.vectors, None, None)
        expected = classes.mean_rank_among(
            own, [placed[name].to_numpy(float) for name in outliers.NAMES], weights
        )
        np.testing.assert_array_equal(placed["outlying"], expected)
    base.run.update(outlying_weights=None)  # a run of before
    assert reference.weights_of(base.run) == outliers.WEIGHTS
    base.run.update(outlying_weights=list(base.weights))


def test_ranks_stay_within_bounds_and_follow_the_ranking_in_force(base):
    rng = np.random.default_rng(0)
    n, width = 20, len(base.frame["layer_distances"].iloc[0])
    ranked = np.stack(base.frame["layer_distances"].tolist())
    layers = ranked[rng.integers(0, len(ranked), n)] * rng.uniform(0.1, 10, (n, width))
    vectors = rng.normal(size=(n, base.vectors.shape[1])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    draws = np.repeat(layers.sum(1)[:, None], 2, axis=1).astype(np.float32)
    names = [f"x{i}" for i in range(n)]
    placed = joining.place(
        base, list(zip(names, names, strict=True)), vectors, draws, layers.astype(np.float32)
    )
    assert placed["rarity"].between(0, 1).all()
    assert placed["rarity_class"].between(0, base.num_classes - 1).all()
    order = placed.sort_values(base.column)
    assert order["rarity"].is_monotonic_increasing
    assert order["rarity_class"].is_monotonic_increasing


def test_calibrated_scores_of_the_run_itself_are_reproduced(base):
    from mincurate.ranking.evidence import calibrated_among

    np.testing.assert_allclose(
        calibrated_among(base.frame, base.frame), base.frame["minority_score_calibrated"], atol=1e-9
    )


def test_a_changed_model_is_refused(base, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(base.run.path, copy)
    run = store.Run(copy)
    run.update(model=run.record["model"] | {"hash": "another"})
    with pytest.raises(UserError, match="has changed since run"):
        reference.scorer_of(run, "cpu")


def test_a_missing_image_is_said(base, tmp_path):
    frame = base.frame.assign(path=[str(tmp_path / "gone.png"), *base.frame["path"][1:]])
    with pytest.raises(UserError, match="cannot be read any more"):
        reference.Base(base.run, frame, base.vectors, base.size, base.fit, base.size).pixels()


def test_an_unfinished_run_and_one_of_another_kind_are_refused(tmp_path):
    run = store.create(tmp_path / "run")
    with pytest.raises(UserError, match="not finished"):
        reference.open_base(run)
    run.update(kind="augment", finished="now")
    with pytest.raises(UserError, match="generated images"):
        reference.open_base(run)


def test_percentiles_among_known_scores_are_theirs():
    ranked = np.array([3.0, 1.0, np.nan, 2.0, 2.0])
    placed = classes.percentile_among(ranked, [1.0, 2.0, 3.0, 0.0, 9.0, 2.5])
    mine = classes.percentile(ranked)
    np.testing.assert_allclose(placed[:3], [mine[1], mine[3], mine[0]])
    assert placed[3] == 0 and placed[4] == 1 and mine[3] < placed[5] < 1
    assert np.isnan(classes.percentile_among([], [1.0])).all()


def test_vectors_that_join_a_ranking_within_labels_are_compared_with_their_label(tmp_path):
    """Two kinds of images, of which each has a label: one of the other kind is the rarest there."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(2, 16))

    def like(kind, n):
        placed = kinds[kind] + 0.2 * rng.normal(size=(n, 16))
        return (placed / np.linalg.norm(placed, axis=1, keepdims=True)).astype(np.float32)

    vectors, hashes = np.concatenate([like(0, 40), like(1, 40)]), [f"{i:02d}" for i in range(80)]
    frame = pd.DataFrame(
        {
            "label": np.repeat(["a", "b"], 40),
            "content_hash": hashes,
            "duplicate_of": None,
            "status": "ok",
            **evidence.summary(rng.normal(size=(80, 2)).astype(np.float32)),
            "embedding_rarity": rng.permutation(80) / 80,
        }
    )
    ranks.rank_vectors_within_labels(frame, vectors, pd.Series(np.arange(80), index=hashes))
    edges = ranks.rank(frame, "embedding_rarity", 4, True)
    run = Run(tmp_path)
    run.update(rank_by="embedding", num_classes=4, **edges)
    base = reference.Base(run, frame, vectors, 32, "crop", 32)
    draws = evidence.summary(rng.normal(size=(4, 2)).astype(np.float32))
    new = pd.DataFrame(draws | {"embedding_rarity": 0.5, "rarity": 0.5, "rarity_class": 1})
    joined = np.concatenate([like(1, 1), vectors[:1], like(1, 1), like(1, 1)])
    joining_labels.rank_by_label(base, new, joined, ["a", "a", "b", None])
    assert new["rarity"][0] > 0.95 and new["rarity_class"][0] == 3
    assert new["rarity_class_within_label"].tolist()[0] == 3
    assert new["label_mismatch"][0] > 0.5 > new["label_mismatch"][2]
    # One of the run's own stands no higher than it stood: it is among its own neighbours now.
    assert new["rarity"][1] <= frame["rarity"][0]
    assert new["rarity"][2] < 1
    assert new["rarity"][3] == 0.5 and np.isnan(new["embedding_rarity_within_label"][3])
