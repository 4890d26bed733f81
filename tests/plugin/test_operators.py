"""Every operator of the plugin, run as FiftyOne runs it, on a real mongod with tiny real models."""

import asyncio
import re
import shutil
import subprocess
import sys
import threading
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pandas as pd
import pytest
from conftest import accept_all, draw_shapes
from fiftyone.core.view import DatasetView
from fiftyone.operators.executor import (
    ExecutionContext,
    ExecutionError,
    execute_or_delegate_operator,
)
from panel_client import Client

import mincurate
from mincurate.dataset import plugin, worker
from mincurate.features import perceptual
from mincurate.ranking import tail
from mincurate.runs import digests, store
from mincurate.runs.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("database", "linked")]
URI = "@mincurate/mincurate/"
QUICK = {"train_steps": 6, "n_draws": 2, "num_classes": 5}
GENERATE = {"n": 6, "steps": 3, "train_steps": 6, "guide_steps": 6}


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """FiftyOne finds the plugin, and so do the processes that are started."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("plugins"))
        patch.setenv("FIFTYONE_PLUGINS_DIR", folder)
        patch.setattr(fo.config, "plugins_dir", folder)
        plugin.install()
        yield


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory):
    """One home for the module: what is trained once serves all tests."""
    return tmp_path_factory.mktemp("module-home")


@pytest.fixture(autouse=True)
def module_home(module_folder, monkeypatch):
    monkeypatch.setenv("MINCURATE_HOME", str(module_folder))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "set"
    draw_shapes(folder, discs=36, crosses=8)
    return folder


@pytest.fixture(scope="module")
def dataset(images, module_folder, database):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(module_folder))
        mincurate.score(images, dataset="plugin", umap=True, **QUICK)
    return fo.load_dataset("plugin")


@pytest.fixture
def bare(images):
    """A dataset that mincurate has never seen."""
    made = fo.Dataset("bare", overwrite=True, persistent=True)
    for path in sorted(images.rglob("*.png")):
        label = fo.Classification(label=path.parent.name)
        made.add_sample(fo.Sample(filepath=str(path), kind=label))
    yield made
    made.delete()


def run(name, samples, selected=(), **params):
    scope = "dataset" if samples is samples._root_dataset else "view"
    executed = foo.execute_operator(
        URI + name, {scope: samples}, params=params, selected=list(selected)
    )
    samples._root_dataset.reload()
    return executed.result


def form(name, dataset, selected=(), app=True, **params):
    """The form as the App would show it."""
    operator = foo.get_operator(URI + name)
    request = {"dataset_name": dataset.name, "params": params, "selected": list(selected)}
    request |= {"operator_uri": URI + name} if app else {}
    ctx = ExecutionContext(request, operator_uri=URI + name)
    return operator.resolve_input(ctx).type.properties


def wrong(properties):
    return {name: p.error_message for name, p in properties.items() if p.invalid}


def refusal(name, dataset, **fields):
    problems = wrong(form(name, dataset, **fields))
    assert list(problems) == ["refusal"]
    return problems["refusal"]


def last_run():
    return store.all_runs()[-1]


def newest(kind):
    return [run for run in store.all_runs() if store.kind_of(run) == kind][-1]


@pytest.fixture(scope="module")
def generated(dataset, linked, module_folder):
    """The key of a generation whose images are in the dataset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(module_folder))
        return run("augment", dataset, **GENERATE)["run"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("score_new", "score it first"),
        ("augment", "score it first"),
        ("more_like_these", "score it first"),
        ("rebalance_plan", "score it first"),
        ("export", "score it first"),
        ("open_ranked_view", "score it first"),
        ("evaluate", "no generated images"),
        ("compare_runs", "are none"),
        ("delete_run", "no run"),
        ("stop", "Nothing is running or scheduled"),
    ],
)
def test_what_cannot_run_is_not_offered_but_explained(bare, name, words):
    assert words in refusal(name, bare)
    with pytest.raises(ExecutionError, match=words):
        foo.execute_operator(URI + name, {"dataset": bare}, params={})


def test_the_form_tells_the_cost_and_checks_what_is_typed(dataset):
    shown = form("score", dataset)
    assert "44 images, 6 draws each: about" in shown["cost"].view.label
    assert "training" in shown["cost"].view.label and wrong(shown) == {}
    assert wrong(form("score", dataset, model="mincurate_99")) == {
        "model": "There is no run mincurate_99."
    }
    more = {"more": True, "adaptive": True}
    shown = form("score", dataset, **more)
    assert "adaptive" in shown and "44 images, 2 to 6 draws each" in shown["cost"].view.label
    for too_few in ({"n_draws": 3}, {"num_classes": 1}, {"within_label": True}):
        shown = form("score", dataset, **more | too_few)
        assert "adaptive" not in shown and "2 to" not in shown["cost"].view.label
    ids = dataset.limit(4).values("id")
    shown = form("score", dataset, selected=ids, target="selection", n_draws=2)
    assert "4 images, 2 draws" in shown["cost"].view.label
    assert "other 40 images" in shown["rest"].view.label


def test_what_is_ranked_is_chosen_and_checked_with_the_sentences_of_the_command(bare):
    shown = form("score", bare)
    assert {"tiles", "vectors", "quick"} <= set(shown) and not {"objects", "context"} & set(shown)
    shown = form("score", bare, quick=True, more=True)
    assert "bands" in shown and not {"model", "n_draws", "sigma", "train_steps"} & set(shown)
    assert "without a training" in shown["cost"].view.label
    for typed, words in (
        ({"tiles": "4"}, "--tiles is SIZE or SIZE/STRIDE"),
        ({"vectors": "fiftyone:clip"}, "The dataset 'bare' has no field 'clip'."),
        ({"vectors": "/no.npy"}, "There is no file of vectors /no.npy."),
        ({"more": True, "bands": "red"}, "--bands is all, or numbers"),
        ({"quick": True, "rank_by": "minority"}, "--quick ranks by vectors alone"),
    ):
        problems = wrong(form("score", bare, **typed))
        assert list(problems) == [list(typed)[-1]], typed
        assert next(iter(problems.values())).startswith(words)
    bare.add_sample_field("clip", fo.VectorField)
    box = fo.Detection(label="a", bounding_box=[0, 0, 1, 1])
    bare.set_values("one", {bare.first().id: box}, key_field="id")
    shown = form("score", bare, vectors="fiftyone:clip")
    assert wrong(shown) == {}
    assert [c.value for c in shown["vectors"].view.choices] == ["fiftyone:clip"]
    both = wrong(form("score", bare, vectors="fiftyone:clip", tiles="32"))
    assert both == {"vectors": "--vectors does not go with --tiles: leave one of them out."}
    shown = form("score", bare, objects="one", context=11)
    assert list(wrong(shown)) == ["context"] and not {"tiles", "vectors"} & set(shown)


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("perceptual", "vgg", "There is no perceptual distance 'vgg'"),
        ("perceptual", "torchvision:", "There is no perceptual distance"),
        ("perceptual", "lpips-vgg@/nowhere.pth", "There is no weights file /nowhere.pth."),
        ("embedding", "torchvision:vgg16@/nowhere.pth", "There is no weights file /nowhere.pth."),
        ("embedding", "resnet18", "There is no embedding 'resnet18'"),
        ("embedding", "/nowhere/model", "There is no embedding '/nowhere/model'"),
    ],
)
def test_a_network_that_cannot_be_is_marked_as_it_is_typed(dataset, field, typed, words):
    problems = wrong(form("score", dataset, more=True, **{field: typed}))
    assert list(problems) == [field] and problems[field].startswith(words)


def test_networks_that_there_are_can_be_typed(dataset, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    scoring = import_module(type(foo.get_operator(URI + "score")).__module__)
    assert set(scoring.DISTANCES) == {*perceptual.LPIPS_NETS, "unet", "latent"}
    specs = ["auto", *scoring.DISTANCES, "torchvision:resnet18", f"lpips-vgg@{weights}"]
    for spec in specs:
        assert wrong(form("score", dataset, more=True, perceptual=spec)) == {}
    for spec in ("auto", "unet", f"torchvision:resnet18@{weights}"):
        assert wrong(form("score", dataset, more=True, embedding=spec)) == {}
    for spec in (str(tmp_path), "facebook/dinov2-small"):
        problems = wrong(form("score", dataset, more=True, embedding=spec))
        assert (
            problems == {}
            if find_spec("transformers")
            else "mincurate[hub]" in problems["embedding"]
        )


@pytest.fixture(scope="module")
def unlabelled(images, module_folder, dataset):
    """The same images without labels, scored with the same model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINCURATE_HOME", str(module_folder))
        model = dataset.info["mincurate"]["current"]
        mincurate.score(images, dataset="unlabelled", labels=False, model=model, **QUICK)
    return fo.load_dataset("unlabelled")


def test_what_needs_labels_is_offered_only_where_there_are_some(dataset, unlabelled, tmp_path):
    assert "within_label" in form("score", dataset)
    assert "within_label" not in form("score", unlabelled)
    assert form("export", dataset)["by"].type.values == ["label", "class"]
    assert form("export", unlabelled)["by"].type.values == ["class"]
    run("export", unlabelled, folder=str(tmp_path / "out"))
    assert {place.name for place in (tmp_path / "out").iterdir() if place.is_dir()} == set("01234")


def test_scoring_a_dataset_from_python_immediately(bare):
    done = foo.get_operator(URI + "score")(bare, **QUICK)
    bare.reload()
    assert len(bare.exists("rarity")) == 44 and done["dataset"] == "bare"
    assert "44 images scored" in done["message"] and done["run"] == last_run().key
    assert bare.has_saved_view("rarest-first") and bare.load_brain_results("minority_umap")


def test_scoring_a_view_and_a_selection_ranks_these_alone(bare, dataset):
    view = bare.match(fo.ViewField("kind.label") == "disc")
    model = {"model": dataset.info["mincurate"]["current"]}
    run("score", view, **QUICK, **model)
    assert len(bare.exists("rarity")) == 36
    ids = bare.limit(12).values("id")
    done = run("score", bare, selected=ids, target="selection", **QUICK, **model)
    ours = bare.match(fo.ViewField("minority_run") == done["run"])
    assert set(ours.values("id")) == set(ids)  # the others keep the ranks they have
    value = store.find(done["run"]).record["source"]["value"]
    assert len(bare.load_saved_view(value.partition("/")[2])) == 12


def test_a_scheduled_operation_runs_in_a_worker_and_tells_how_far_it_is(bare):
    operator = foo.get_operator(URI + "score")
    waiting = operator(bare, delegate=True, **QUICK)
    assert waiting["run_state"] == "queued" and not bare.has_field("rarity")
    assert worker.work(until_idle=True) == 1
    done = worker.service().get(waiting["id"])
    assert done.run_state == "completed", done.result.error
    assert done.result.result["message"].startswith("Run mincurate_")
    assert done.status.label.partition(":")[0] in ("Writing dataset", "Neighbours and map")
    bare.reload()
    assert len(bare.exists("rarity")) == 44


def test_new_images_join_with_the_stored_edges_and_the_map(dataset, images, tmp_path):
    shutil.copytree(images, tmp_path / "set")
    grown = fo.Dataset("grown", persistent=True, overwrite=True)
    done = mincurate.score(tmp_path / "set", dataset="grown", **QUICK)
    draw_shapes(tmp_path / "more", discs=40, crosses=10)
    for i in (37, 38):
        shutil.copy(tmp_path / "more" / "disc" / f"{i:03d}.png", tmp_path / "set" / "disc")
    shutil.copy(tmp_path / "set" / "disc" / "000.png", tmp_path / "set" / "disc" / "copy.png")
    (tmp_path / "set" / "cross" / "broken.png").write_text("broken")
    grown.add_sample(fo.Sample(filepath=str(tmp_path / "more" / "cross" / "009.png")))
    before = done.run.frame()
    assert form("score_new", grown)["cost"].view.label.startswith("5 new images")
    assert run("score_new", grown)["added"] == 5
    frame = done.run.frame()
    older = frame[frame["joined"].isna()].drop(columns="joined")
    assert older["rarity_class"].tolist() == before["rarity_class"].tolist()
    new = frame[frame["joined"].notna()].set_index("rel_path")
    assert new.loc["cross/broken.png", "status"] == "unscorable"
    copy, first = new.loc["disc/copy.png"], before.set_index("rel_path").loc["disc/000.png"]
    assert copy["duplicate_of"] == "disc/000.png" and copy["rarity"] == first["rarity"]
    scored = new[(new["status"] == "ok") & new["duplicate_of"].isna()]
    edges = done.run.record["class_edges"]
    classes = np.searchsorted(edges, scored["embedding_rarity"].to_numpy(float))
    assert len(scored) == 3 and scored["rarity_class"].tolist() == classes.tolist()
    assert len(grown) == 49 and len(grown.exists("rarity")) == 48
    assert len(grown.load_brain_results("minority_umap").sample_ids) == 48
    assert "No image is new" in refusal("score_new", grown)


def test_generating_of_the_tail_adds_images(dataset, generated):
    synthetic = dataset.match_tags(["synthetic", generated], all=True)
    assert len(synthetic) == 6 and dataset.has_saved_view("synthetic")


def test_the_form_of_augment_offers_what_there_is(dataset, generated):
    shown = form("augment", dataset, of="class")
    assert len(shown["target_class"].type.values) == 5
    assert "first generation" not in shown["cost"].view.label
    shown = form("augment", dataset, of="label", n=300)
    assert shown["label"].type.values == ["cross", "disc"]
    assert shown["cost"].view.label.startswith("300 images: about")
    operator = URI + "augment"
    with pytest.raises(ExecutionError, match="Invalid enum value"):
        foo.execute_operator(operator, {"dataset": dataset}, params={"of": "label", "label": "x"})


def test_generating_of_a_class_and_of_a_label(dataset, generated):
    generation = run("augment", dataset, of="class", target_class="3", **GENERATE | {"n": 2})
    assert store.find(generation["run"]).record["settings"]["target_classes"] == [3]
    generation = run("augment", dataset, of="label", label="cross", **GENERATE | {"n": 2})
    assert store.find(generation["run"]).record["settings"]["label"] == "cross"


def test_the_form_and_the_images_are_of_whose_classes_are_chosen(dataset, generated):
    shown = form("augment", dataset, of="class", by="minority")
    assert shown["by"].type.values == ["rarity", "minority"]
    made = run("augment", dataset, of="class", target_class="4", by="minority", **GENERATE)
    record = store.find(made["run"]).record
    assert record["settings"]["by"] == "minority" and record["settings"]["target_classes"] == [4]
    sample = dataset.match_tags(made["run"]).first()
    assert sample["generation"]["by"] == "minority" and sample["minority_class"] is not None


def test_more_like_the_selected_and_the_tagged(dataset, generated):
    assert "Select scored images" in refusal("more_like_these", dataset)
    ids = dataset.match_tags("synthetic", bool=False).limit(3).values("id")
    generation = run("more_like_these", dataset, selected=ids, strength=0.5, **GENERATE | {"n": 3})
    settings = store.find(generation["run"]).record["settings"]
    assert set(settings["like"]) == set(dataset.select(ids).values("content_hash"))
    assert settings["strength"] == 0.5 and settings["init"] == "real"
    dataset.select(ids[:1]).tag_samples("rare-keep")
    shown = form("more_like_these", dataset)
    assert shown["like"].type.values == ["tag:rare-keep"]
    generation = run("more_like_these", dataset, like="tag:rare-keep", **GENERATE | {"n": 1})
    assert len(store.find(generation["run"]).record["settings"]["like"]) == 1


def test_real_images_are_mined_from_a_pool_and_the_form_says_where_there_is_none(dataset, tmp_path):
    said = wrong(form("mine_images", dataset, pool="/nowhere/at/all"))
    assert said["pool"].startswith("/nowhere/at/all does not exist")
    shown = form("mine_images", dataset, pool=str(tmp_path))
    assert wrong(shown) == {} and "label:cross" in shown["like"].type.values
    draw_shapes(tmp_path, discs=40, crosses=14)  # the first ones are those of the run
    before = len(dataset)
    done = run("mine_images", dataset, pool=str(tmp_path), like="label:cross", n=3)
    assert done["images"] == 3 and "saved view mined" in done["message"]
    assert len(dataset) == before + 3 and len(dataset.load_saved_view("mined")) == 3
    run("delete_run", dataset, run=done["run"])
    assert len(dataset) == before


def test_the_plan_shows_what_is_missing_and_writes_weights(dataset, tmp_path):
    shown = form("rebalance_plan", dataset, by="label", to="uniform")
    row = re.search(
        r"^\| cross \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", shown["plan"].default, re.M
    )
    have, target, missing, generate = map(int, row.groups())
    assert target - have == missing == generate > 0
    done = run("rebalance_plan", dataset, by="label", to="number", number=10,
               weights=str(tmp_path / "weights.csv"))  # fmt: skip
    rows = {row["class"]: row for row in done["plan"]}
    assert rows["cross"]["target"] == 10 and (tmp_path / "weights.csv").is_file()
    said = wrong(form("rebalance_plan", dataset, weights="/nowhere/at/all.csv"))
    assert said == {"weights": "There is no folder /nowhere/at."}


def test_what_is_missing_is_generated_if_asked_for(dataset, generated):
    counted = dict(GENERATE)
    counted.pop("n")
    done = run("rebalance_plan", dataset, by="label", to="uniform", cap=1, generate=True, **counted)
    assert len(done["runs"]) == sum(row["generate"] > 0 for row in done["plan"])
    assert "missing images were generated" in done["message"] or not done["runs"]


def test_evaluating_gives_a_verdict_and_a_page(dataset, generated):
    assert "plain images" in form("evaluate", dataset, run=generated)["cost"].view.label
    done = run("evaluate", dataset, run=generated)
    assert done["run"] == generated and done["points"] and done["message"]
    assert (store.find(generated).path / "evaluation.html").is_file()


def test_a_classifier_is_offered_where_there_is_something_to_train_it_with(
    dataset, unlabelled, generated
):
    made = store.find(generated)
    before = pd.read_parquet(made.path / "synthetic.parquet")

    def table(**columns):
        with digests.held(made):
            before.assign(**columns).to_parquet(made.path / "synthetic.parquet")
        return form("evaluate", dataset, run=generated, downstream=True)

    fit = {"accepted": True, "reason": None, "label": "disc"}
    shown = table(**fit)
    assert "downstream" in shown and "small classifiers" in shown["cost"].view.label
    assert "classifiers" not in form("evaluate", dataset, run=generated)["cost"].view.label
    for useless in ({"accepted": False}, {"label": None}, {"label": "unknown"}):
        shown = table(**fit | useless)
        assert "downstream" not in shown and "classifiers" not in shown["cost"].view.label
    table()
    # With a seed of its own: the same images with the same model and seed are one generation.
    bare = run("augment", unlabelled, **GENERATE, seed=5)["run"]
    accept_all(store.find(bare).path)
    assert "downstream" not in form("evaluate", unlabelled, run=bare)


def test_exporting_as_folders_keeps_the_splits_of_a_field_apart(dataset, generated, tmp_path):
    real = dataset.match_tags("synthetic", bool=False)
    paths = sorted(real.values("filepath"))
    split_of = {path: "train" if i % 4 else "test" for i, path in enumerate(paths)}
    real.set_values("part", [split_of[path] for path in real.values("filepath")])
    asked = {"folder": str(tmp_path / "out"), "split_field": "part", "include_rejected": True}
    words = form("export", dataset, **asked)["cost"].view.label
    done = run("export", dataset, **asked)
    dataset.delete_sample_field("part")
    table = pd.read_csv(tmp_path / "out" / "provenance.csv")
    assert all((tmp_path / "out" / file).is_file() for file in table["file"])
    real_rows, generated_rows = (
        table[table["provenance"] == kind] for kind in ("real", "synthetic")
    )
    assert words.startswith(f"{len(real_rows)} real and {len(generated_rows)} generated images.")
    assert (len(real_rows), len(generated_rows)) == (done["real"], done["synthetic"]) and done[
        "real"
    ] == 44
    for original, file in zip(real_rows["original"], real_rows["file"], strict=True):
        label, name = Path(original).parts[-2:]
        assert file == f"{split_of[original]}/{label}/{name}"
    assert all(file.startswith("train/") for file in generated_rows["file"])
    assert all(split_of[path] == "train" for path in generated_rows["nearest_real"])
    assert len(generated_rows) + sum(done["excluded"].values()) == len(
        dataset.match_tags("synthetic")
    )


def test_exporting_leaves_out_what_is_tagged(dataset, tmp_path):
    real = dataset.match_tags("synthetic", bool=False)
    one = real.limit(1)
    one.tag_samples("outlier-drop")
    shown = form("export", dataset, folder=str(tmp_path / "out"))
    assert shown["cost"].view.label.startswith("43 real")
    done = run("export", dataset, folder=str(tmp_path / "out"), format="csv", copy=True)
    one.untag_samples("outlier-drop")
    assert done["real"] == 43 and done["excluded"]["tagged outlier-drop"] == 1
    assert (tmp_path / "out" / "dataset.csv").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    assert (
        "not an export" in wrong(form("export", dataset, folder=str(tmp_path / "mine")))["folder"]
    )
    assert "absolute path" in wrong(form("export", dataset, folder="out"))["folder"]


def test_two_runs_are_compared_and_one_is_deleted(dataset, images):
    first = store.find(dataset.info["mincurate"]["current"])
    assert "there is one" in refusal("compare_runs", dataset)
    other = {"model": first.key, "rank_by": "minority"}
    second = mincurate.score(images, dataset="plugin", **other, **QUICK).run
    dataset.reload()
    asked = {"first": first.key, "second": second.key, "top": 5}
    executed = foo.execute_operator(URI + "compare_runs", {"dataset": dataset}, params=asked)
    done, [request] = executed.result, executed.executor.to_json()["requests"]
    assert request["operator_uri"] == "set_view"
    view = DatasetView._build(dataset, request["params"]["view"])
    assert view.values("id") == done["moved"]
    assert [row["path"] for row in done["rows"]] == view.values("filepath"), "most moved first"
    assert -1 <= done["correlation"] <= 1 and len(done["moved"]) == 5 and done["images"] == 44
    changes = [abs(row["change"]) for row in done["rows"]]
    assert changes == sorted(changes, reverse=True)
    assert "another run" in str(wrong(form("compare_runs", dataset, first=second.key)))
    shown = form("delete_run", dataset, run=second.key)
    assert second.key in shown["what"].view.label and wrong(shown) == {}
    done = run("delete_run", dataset, run=second.key)
    assert done["dataset_remains"] and not second.path.exists()
    assert dataset.info["mincurate"]["current"] == first.key


@pytest.mark.parametrize("kept", [False, True])
def test_a_generation_is_deleted_and_its_images_unless_they_are_to_stay(dataset, generated, kept):
    made = run("augment", dataset, **GENERATE | {"n": 2, "seed": 20 + kept})["run"]
    folder = store.find(made).path
    asked = {"run": made, "keep_dataset": kept}
    told = form("delete_run", dataset, **asked)["what"].view.label
    assert ("FiftyOne dataset plugin" in told) is not kept
    assert len(dataset.match_tags(made)) == 2
    done = run("delete_run", dataset, **asked)
    assert done["dataset_remains"] and not folder.exists()
    assert len(dataset.match_tags(made)) == (2 if kept else 0)
    assert len(dataset.match_tags(generated)) == 6
    assert len(dataset.match_tags("synthetic", bool=False).exists("rarity")) == 44
    dataset.delete_samples(dataset.match_tags(made))


def test_every_operator_but_the_one_that_shows_can_be_scheduled(images, tmp_path):
    """Together, in one worker; `score` and what the App shows of it have tests of their own."""
    shutil.copytree(images, tmp_path / "set")
    first = mincurate.score(tmp_path / "set", dataset="later", **QUICK).run
    other = {"model": first.key, "rank_by": "minority"}
    second = mincurate.score(tmp_path / "set", dataset="later", **other, **QUICK).run
    dataset = fo.load_dataset("later")
    draw_shapes(tmp_path / "set", discs=37, crosses=9)
    draw_shapes(tmp_path / "pool", discs=45, crosses=9)
    ids = dataset.limit(2).values("id")
    asked = {
        "compare_runs": {"first": first.key, "second": second.key, "top": 3},
        "augment": GENERATE,
        "evaluate": {},
        "more_like_these": {**GENERATE, "n": 2},
        "rebalance_plan": {"by": "label", "weights": str(tmp_path / "weights.csv")},
        "export": {"folder": str(tmp_path / "out"), "format": "csv", "include_rejected": True},
        "mine_images": {"pool": str(tmp_path / "pool"), "n": 3},
        "score_new": {},
        "delete_run": {"run": first.key},
    }
    registered = {op.name for op in foo.list_operators(enabled=True) if op.plugin_name == URI[:-1]}
    shown_only = {
        "score",
        "open_ranked_view",
        "stop",
        "watch",
        "get_ready",
        "long_tail",
        "mincurate_work",
    }
    assert set(asked) == registered - shown_only
    results = {}
    for name, params in asked.items():
        view = dataset.select(ids) if name == "more_like_these" else dataset
        request = {"dataset_name": dataset.name, "params": params, "delegated": True}
        request |= {"selected": ids} if name == "more_like_these" else {}
        request |= {"view": view._serialize()} if view is not dataset else {}
        scheduled = worker.service().queue_operation(
            operator=URI + name, context={"request_params": request, "params": params}
        )
        assert worker.work(until_idle=True) == 1
        done = state(scheduled.id)
        assert done.run_state == "completed", (name, done.result.error)
        results[name] = done.result.result
        assert results[name]["message"]
    dataset.reload()
    assert len(results["compare_runs"]["moved"]) == 3
    assert len(dataset.match_tags(results["augment"]["run"])) == 6
    assert set(store.find(results["more_like_these"]["run"]).record["settings"]["like"]) == set(
        dataset.select(ids).values("content_hash")
    )
    assert (store.find(results["evaluate"]["run"]).path / "evaluation.html").is_file()
    assert (tmp_path / "weights.csv").is_file() and (tmp_path / "out" / "dataset.csv").is_file()
    assert results["score_new"]["added"] == 2 and not first.path.exists()


def test_the_panel_finds_read_what_was_opened_with_the_dataset(dataset):
    tail._look.cache_clear()
    foo.execute_operator(URI + "get_ready", dataset=dataset)
    read = tail._look.cache_info().misses
    Client(dataset)
    assert read == tail._look.cache_info().misses == 1


def test_a_dataset_without_scores_is_opened_all_the_same(bare):
    assert foo.execute_operator(URI + "get_ready", dataset=bare).error is None


def test_a_ranked_view_is_opened(dataset):
    assert "rarest-first" in form("open_ranked_view", dataset)["view"].type.values
    executed = foo.execute_operator(URI + "open_ranked_view", {"dataset": dataset}, params={})
    assert executed.result == {"view": "rarest-first", "images": 44}
    [request] = executed.executor.to_json()["requests"]
    assert request["operator_uri"] == "set_view" and request["params"]["name"] == "rarest-first"


def until(what, seconds=150):
    """Wait for something that another thread or process does."""
    ends = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.2)
    return result


def state(key):
    return worker.service().get(key)


def training(key):
    """What a scheduled operation says, once it trains."""
    label = (state(key).status.label if state(key).status else None) or ""
    return label if label.startswith("Training: ") and " left" in label else None


def last_scheduled(dataset):
    operations = worker.service().list_operations(dataset_id=dataset._doc.id)
    return max(operations, key=lambda op: op.queued_at).id


def test_the_app_sends_long_work_off_and_can_stop_it_without_loss(bare, module_folder):
    """The App's own process stays free: what it asked for runs in another one."""
    request = {"operator_uri": URI + "score", "dataset_name": bare.name}
    request |= {"params": {"train_minutes": 30.0, "seed": 7, "n_draws": 2}}
    done = asyncio.run(execute_or_delegate_operator(URI + "score", request))
    assert done.error is None and done.result is None
    assert [r.operator_uri for r in done.executor._requests] == ["open_panel"]
    key = last_scheduled(bare)
    until(lambda: training(key))
    assert str(key) in form("stop", bare)["operation"].type.values
    assert run("stop", bare, operation=str(key))["stopped"] == [str(key)]
    until(lambda: "Stopped" in (module_folder / "worker.log").read_text())
    [checkpoint] = module_folder.glob("models/*/checkpoint.pt")
    assert (checkpoint.parent / "mincurate.json").is_file()  # a model as of now, to look at
    assert state(key).run_state == "failed"
    assert "kept" in state(key).result.error and "Nothing" in refusal("stop", bare)


def test_ctrl_c_in_the_worker_keeps_what_is_done(bare, module_folder):
    foo.get_operator(URI + "score")(bare, delegate=True, train_minutes=30.0, seed=8, n_draws=2)
    key = last_scheduled(bare)
    working = threading.Thread(target=worker.work, kwargs={"until_idle": True})
    working.start()
    until(lambda: training(key))
    worker.STOPPING.set()  # as the signal does, which only a main thread gets
    working.join(60)
    assert not working.is_alive() and state(key).run_state == "failed"
    assert "give the same command again to go on" in state(key).result.error


def test_fiftyones_own_command_runs_what_is_scheduled(dataset, tmp_path):
    weights = tmp_path / "weights.csv"
    operator = foo.get_operator(URI + "rebalance_plan")
    key = operator(dataset, delegate=True, by="label", weights=str(weights))["id"]
    fiftyone = Path(sys.executable).with_name("fiftyone")
    service = subprocess.Popen([fiftyone, "delegated", "launch"], stdout=subprocess.DEVNULL)
    try:
        until(lambda: state(key).run_state in ("completed", "failed"))
    finally:
        service.terminate()
        service.wait(30)
    done = state(key)
    assert done.run_state == "completed", done.result.error
    assert done.result.result["message"].startswith("To generate") and weights.is_file()


def event(method, dataset, **params):
    """What the panel Work does, asked by the App: the panel, and what it calls in the App."""
    request = {"__method__": method, "panel_id": "p", "panel_state": {}, **params}
    executor, uri = foo.executor.Executor(), URI + "mincurate_work"
    ctx = ExecutionContext(
        {"dataset_name": dataset.name, "params": request}, executor=executor, operator_uri=uri
    )
    foo.get_operator(uri).execute(ctx)
    return [asked.operator_uri for asked in executor._requests]


def test_stop_in_the_panel_keeps_the_images_that_are_made(dataset, generated):
    many = {**GENERATE, "n": 40, "steps": 40, "batch_size": 2, "seed": 9}
    foo.get_operator(URI + "augment")(dataset, delegate=True, **many)
    key = last_scheduled(dataset)
    working = threading.Thread(target=worker.work, kwargs={"until_idle": True})
    working.start()
    until(lambda: newest(store.AUGMENT).record.get("settings", {}).get("n") == 40)
    generation = newest(store.AUGMENT)
    until(lambda: len(read_manifest(generation.path)) >= 4)
    event("on_stop", dataset, operation=str(key))
    working.join(60)
    assert not working.is_alive() and state(key).run_state == "failed"
    assert "kept" in state(key).result.error
    files = [generation.path / image["file"] for image in read_manifest(generation.path)]
    times = {file: file.stat().st_mtime_ns for file in files}
    assert 4 <= len(times) < 40
    done = run("augment", dataset, **many)
    assert (
        done["run"] == generation.key
        and done["images"] == len(dataset.match_tags(generation.key)) == 40
    )
    assert {file: file.stat().st_mtime_ns for file in files} == times, "none was made again"


def test_the_panel_shows_what_runs_and_reloads_when_it_ends(dataset, unlabelled):
    foo.get_operator(URI + "rebalance_plan")(dataset, delegate=True)
    key = str(last_scheduled(dataset))
    for opened in ("on_load", "on_change_dataset"):
        assert URI + "watch" in event(opened, dataset)
        assert URI + "watch" not in event(opened, unlabelled)
    event("on_stop", dataset, operation="none of these")
    request = {"dataset_name": dataset.name, "params": {"panel_id": "p", "panel_state": {}}}
    executor = foo.executor.Executor()
    ctx = ExecutionContext(request, executor=executor, operator_uri=URI + "watch")
    panel = foo.get_operator(URI + "mincurate_work")
    shown = panel.render(ctx).type.properties
    assert "waiting for a worker" in shown[f"words_{key}"].default and f"stop_{key}" in shown
    button = shown[f"stop_{key}"].view.to_json()
    assert button["operator"] == URI + "mincurate_work#on_stop"
    threading.Thread(target=worker.work, kwargs={"until_idle": True}).start()
    messages = list(foo.get_operator(URI + "watch").execute(ctx))
    names = [message.body.operator_uri for message in messages]
    assert {"notify", "reload_dataset", "show_panel_output"} <= set(names)
    assert "None/" not in str([message.body.to_json() for message in messages])
    shown = panel.render(ctx).type.properties
    assert "To generate" in shown[f"words_{key}"].default and f"stop_{key}" not in shown
