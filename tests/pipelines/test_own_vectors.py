"""Vectors that users bring: read from whatever holds them, matched, and nothing embedded again."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import refused
from PIL import Image

import mincurate
from mincurate.errors import UserError
from mincurate.features import embedder as embedders
from mincurate.features import own_vectors, vector_files
from mincurate.features.own_vectors import OwnVectors
from mincurate.images.sources import Source
from mincurate.pipelines import score
from mincurate.runs.verify import verify

PLAIN = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 2, "image_size": 16}
NAMES = [f"{kind}/{i:03d}.png" for kind, n in (("cross", 4), ("disc", 16)) for i in range(n)]


@pytest.fixture
def vectors():
    """Twenty, of which the fourth is far from all others."""
    rows = np.random.default_rng(0).normal(0, 0.1, (20, 8)) + np.eye(8)[0]
    rows[3] = -10 * np.eye(8)[1]
    return rows.astype(np.float32)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever loads a network for vectors fails."""
    monkeypatch.setattr(embedders, "load_embedder", None)


def write(kind, folder, names, vectors):
    file = folder / f"mine.{kind}"
    if kind == "npy":
        np.save(file, vectors)
        (folder / "mine.txt").write_text("\n".join(names))
    elif kind == "npz":
        np.savez(file, paths=np.array(names), vectors=vectors)
    elif kind == "parquet":
        pd.DataFrame({"path": names, "vector": list(vectors)}).to_parquet(file)
    else:
        frame = pd.DataFrame(vectors.astype(float)).rename(columns=str)
        frame.insert(0, "file_name", names)
        frame.to_csv(file, index=False)
    return file


@pytest.mark.parametrize("keys", ["relative", "absolute", "beside the file"])
@pytest.mark.parametrize("kind", ["npy", "npz", "parquet", "csv"])
def test_every_kind_of_file_gives_the_same_vectors(tmp_path, vectors, kind, keys):
    root = tmp_path / "images"
    start = {"relative": "", "absolute": f"{root}/", "beside the file": "images/"}[keys]
    order = np.random.default_rng(1).permutation(20)
    file = write(kind, tmp_path, [start + NAMES[i] for i in order], vectors[order])
    own = OwnVectors(str(file), vector_files.read(file), str(tmp_path))
    files = [(name, Source(str(root / name), name)) for name in NAMES]
    table = own_vectors.match_vectors(own, files)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert list(table.rows) == NAMES and table.vectors.dtype == np.float16
    np.testing.assert_allclose(table.vectors, unit, atol=1e-3)


def test_rows_that_cannot_be_used_are_counted(tmp_path, vectors):
    rows = [*vectors.tolist(), vectors[5].tolist(), vectors[6].tolist()]
    names = [*NAMES, NAMES[5], NAMES[7]]  # the same again, and another vector of the same image
    rows[0], rows[1], rows[2], rows[4] = [1.0, 2.0], [np.nan] * 8, [0.0] * 8, None
    rows[8] = (1e30 * vectors[8]).tolist()  # whose square is beyond single precision
    file = write("parquet", tmp_path, names, rows)
    own = OwnVectors(str(file), vector_files.read(file))
    assert list(own.faults.values()) == [1, 1, 1, 2], "odd, not finite, zero, contradicting"
    usable = own_vectors.match_vectors(own, [(name, Source("", name)) for name in NAMES])
    assert sorted(set(NAMES) - set(usable.rows)) == sorted(NAMES[i] for i in (0, 1, 2, 4, 7))


def test_images_are_ranked_by_the_vectors_that_were_given(pictures, vectors, tmp_path):
    done = score.score(pictures, vectors=vectors, quick=True, output=tmp_path / "run", **PLAIN)
    frame = done.frame.sort_values("rarity")
    assert frame["rel_path"].iloc[-1] == NAMES[3] and frame["rarity"].notna().all()
    assert done.run.record["vectors"]["dimensions"] == 8 and verify(done.run) == []
    by_path = {pictures / name: row for name, row in zip(NAMES[:19], vectors, strict=False)}
    fewer = score.score(pictures, vectors=by_path, quick=True, output=tmp_path / "b", **PLAIN)
    [last] = fewer.frame.loc[fewer.frame["status"] != "ok", "rel_path"]
    assert last == NAMES[19] and fewer.frame["broken"].isna().all()


def test_other_vectors_are_refused_and_further_ones_join(
    pictures, vectors, tmp_path, tiny, monkeypatch, capsys
):
    file = write("npz", tmp_path, NAMES, vectors)
    place = {"output": tmp_path / "run", "vectors": file, **PLAIN}
    run = score.score(pictures, **place).run
    write("npz", tmp_path, NAMES, vectors[::-1])
    with pytest.raises(UserError, match="vectors of another network"):
        score.score(pictures, **place)
    write("npz", tmp_path, NAMES, vectors)
    with pytest.raises(UserError, match="none of generated or other images"):
        mincurate.augment(run)
    sentence = refused(monkeypatch, capsys, "evaluate", pictures, "--run", run.path)
    assert "none of generated or other images" in sentence
    for name in ("a", "b"):
        Image.new("RGB", (16, 16), (name == "a" and "red") or "blue").save(pictures / f"{name}.png")
    write("npz", tmp_path, [*NAMES, "a.png"], np.vstack([vectors, vectors[3]]))
    joined = mincurate.score_new(run, fiftyone=False).frame
    assert joined["rel_path"].tolist() == ["a.png"], "the other one waits for its vector"
    assert joined["rarity"].item() > 0.9
    write("npz", tmp_path, NAMES, vectors[::-1])
    with pytest.raises(UserError, match="other vectors of the images"):
        mincurate.score_new(run, fiftyone=False)


def test_a_function_gives_vectors_of_images(pictures, tmp_path):
    seen = set()

    def colours(x: torch.Tensor):
        seen.add(tuple(x.shape[1:]))
        return x.mean((2, 3)).numpy() + 2

    colours.side = 24
    done = score.score(pictures, vectors=colours, quick=True, output=tmp_path / "run", **PLAIN)
    assert seen == {(3, 24, 24)} and done.run.record["vectors"]["source"].startswith("function:")
    own_vectors._FUNCTIONS.clear()
    with pytest.raises(UserError, match="give it again"):
        score.score(done.run)
    with pytest.raises(UserError, match="must give finite vectors"):
        score.score(pictures, vectors=lambda x: x, quick=True, **PLAIN)


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ("nowhere.npy", "There is no file of vectors"),
        ("brain:clip", "score fiftyone:NAME"),
        (np.ones((3, 2)), "3 vectors without paths for 20 files"),
        (np.ones(20), r"vectors are numbers of shape"),
        ({"other.png": [1, 2]}, "No image has a vector"),
    ],
)
def test_what_holds_no_vectors_is_refused_in_one_sentence(pictures, vectors, words):
    with pytest.raises(UserError, match=words):
        score.score(pictures, vectors=vectors, quick=True, **PLAIN)


def test_vectors_of_a_field_and_of_a_brain_run(pictures, vectors, tmp_path, database):
    import fiftyone as fo
    import fiftyone.brain as brain

    dataset = fo.Dataset("own-vectors")
    dataset.add_samples([fo.Sample(str(pictures / name), order=i) for i, name in enumerate(NAMES)])
    dataset.set_values("clip", list(vectors))
    brain.compute_similarity(dataset, embeddings=vectors, brain_key="external")
    brain.compute_similarity(dataset, embeddings="clip", brain_key="of_field")
    brain.compute_visualization(dataset, points=vectors[:, :2], method="manual", brain_key="points")
    ranks = []
    for i, source in enumerate(("fiftyone:clip", "brain:external", "brain:of_field")):
        done = score.score(dataset, vectors=source, quick=True, output=tmp_path / str(i), **PLAIN)
        ranks.append(done.frame.set_index("rel_path")["rarity"])
    assert ranks[0].idxmax() == NAMES[3]
    pd.testing.assert_series_equal(ranks[0], ranks[1])
    pd.testing.assert_series_equal(ranks[0], ranks[2])
    for source, words in (("brain:points", "keeps no embeddings"), ("fiftyone:no", "no field")):
        with pytest.raises(UserError, match=words):
            score.score(dataset, vectors=source, quick=True, **PLAIN)
