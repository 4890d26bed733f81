"""Generating on top of a scored run, through the command line and from Python."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import GENERATE, VARY, command, refused

from mincurate.curation import gather
from mincurate.errors import UserError
from mincurate.evaluation import gate
from mincurate.generation import generate, samplers, training_time
from mincurate.generation.networks import plan_trainings
from mincurate.pipelines import augment, estimates
from mincurate.pipelines.augment_settings import AugmentSettings
from mincurate.ranking import reference
from mincurate.runs import store
from mincurate.runs.manifest import read_manifest, read_png

BUDGET = {"train_steps": 20, "guide_steps": 20}
QUICK = {"n": 12, "steps": 3} | BUDGET


def images(home: Path, run: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (home / "runs" / run / "images").iterdir()}


def test_a_generation_leaves_images_manifest_and_table(generated):
    folder = generated / "runs" / "mincurate_2"
    frame = pd.read_parquet(folder / "synthetic.parquet")
    manifest = [json.loads(line) for line in (folder / "manifest.jsonl").open()]
    assert [e["index"] for e in manifest] == list(range(12)) == frame["index"].tolist()
    assert frame["seed"].is_unique and frame["content_hash"].is_unique
    assert all(Path(path).is_file() for path in frame["path"])
    assert frame["rarity"].between(0, 1).all() and frame["rarity_class"].between(0, 4).all()
    assert frame["label_confidence"].between(0, 1).all()
    assert all(Path(path).is_file() for path in (*frame["nearest_real"], *frame["start"]))
    real = pd.read_parquet(generated / "runs" / "mincurate_1" / "scores.parquet")
    label_of = real.set_index("path")["label"]
    assert frame["label"].tolist() == label_of[frame["start"]].tolist()  # that of what it varies
    assert len(np.load(folder / "embeddings.npy")) == 12
    record = json.loads((folder / "run.json").read_text())
    assert record["kind"] == "augment" and record["base"] == "mincurate_1" and record["finished"]
    assert record["counts"]["images"] == 12
    assert {"sigma", "accuracy", "macro_f1"} <= set(record["guidance"]["levels"][0])


def test_every_column_of_the_table_is_documented(generated):
    said = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
    frame = pd.read_parquet(generated / "runs" / "mincurate_2" / "synthetic.parquet")
    assert [name for name in frame if f"`{name}`" not in said] == []


@pytest.mark.slow
@pytest.mark.long
def test_on_ray_the_same_images_are_made(own):
    pytest.importorskip("ray")
    folder = own / "runs" / "mincurate_2"
    whole = {path.name: read_png(path).astype(int) for path in (folder / "images").iterdir()}
    lines = read_manifest(folder)
    shutil.rmtree(folder)
    on_ray = ("--ray", "local", "--workers", 2)
    assert "Ray: 2 workers on 1 node." in command(own, "augment", *GENERATE, *VARY, *on_ray)
    assert {path.name for path in (folder / "images").iterdir()} == set(whole)
    for name, pixels in whole.items():  # a worker has one thread, which may round otherwise
        assert abs(read_png(folder / "images" / name) - pixels).max() <= 1
    again = read_manifest(folder)
    for one, other in zip(lines, again, strict=True):
        assert {**one, "content_hash": ""} == {**other, "content_hash": ""}


def test_a_killed_generation_goes_on_to_the_same_images(own):
    """`kill -9` after the images of the second batch, within the line that says they are there."""
    whole = images(own, "mincurate_2")
    shutil.rmtree(own / "runs" / "mincurate_2")
    arguments = ["augment", *map(str, GENERATE), *map(str, VARY)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        env=os.environ | {"MINCURATE_HOME": str(own)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    manifest = own / "runs" / "mincurate_2" / "manifest.jsonl"
    assert not manifest.read_text().endswith("\n")
    assert len(read_manifest(manifest.parent)) == 4
    kept = {p: p.stat().st_mtime_ns for p in (manifest.parent / "images").glob("00000[0-3].png")}
    said = command(own, *arguments)
    assert "Resuming run mincurate_2" in said and "Training" not in said
    assert kept == {p: p.stat().st_mtime_ns for p in kept}
    assert images(own, "mincurate_2") == whole
    lines = [json.loads(line) for line in manifest.open()]
    assert [line["index"] for line in lines] == list(range(12))


KILLED = """
import json, os, signal
from mincurate.runs import manifest

append, calls = manifest.append, []

def half(path, entries):
    calls.append(path)
    if len(calls) < 2:
        return append(path, entries)
    with (path / "manifest.jsonl").open("a") as file:
        file.write(json.dumps(entries[0])[:20])
    os.kill(os.getpid(), signal.SIGKILL)

manifest.append = half
import mincurate.generation.generate
mincurate.generation.generate.append = half
from mincurate.cli import main
main()
"""


def test_an_image_does_not_depend_on_its_batch(own):
    made = [augment.augment(**QUICK, batch_size=size) for size in (12, 5)]
    for a, b in zip(*(sorted((m.run.path / "images").iterdir()) for m in made), strict=True):
        difference = read_png(a).astype(int) - read_png(b).astype(int)
        assert abs(difference).max() <= 1


def test_what_the_gate_sends_back_has_a_reason(own, monkeypatch):
    calibrate = gate.calibrate

    def strict(*args, **kwargs):
        return calibrate(*args, **kwargs, near_copy_rate=0.6, off_manifold_rate=0.9)

    monkeypatch.setattr(gate, "calibrate", strict)
    made = augment.augment(**QUICK | {"n": 30}, init="real", strength=0.3, top_fraction=1)
    frame = made.frame
    flagged = frame["reason"].notna()
    assert flagged.any() and (frame["accepted"] == ~flagged).all()
    assert frame["reason"].dropna().isin(gate.REASONS).all()
    assert made.counts == gate.counts(frame["reason"])
    assert made.run.record["counts"] == {"images": 30} | made.counts


def test_further_images_of_a_seed_are_others(own):
    first = augment.augment(**QUICK)
    more = augment.augment(**QUICK, first=12)
    both = pd.concat([first.frame, more.frame])
    assert both["seed"].is_unique and both["content_hash"].is_unique
    table = gather.gather(store.find("1"))
    assert (table["source"] == "synthetic").sum() == 12 + 24  # the fixture's are there as well


def test_a_label_can_be_asked_for_and_the_rest_of_a_run_is_varied(own):
    made = augment.augment(**QUICK, label="disc", top_fraction=1.0)
    assert made.run.record["settings"]["label"] == "disc"
    base = store.find("1").frame()
    chosen = base.loc[base["label"] == "cross", "content_hash"].tolist()
    varied = augment.augment(**QUICK, like=chosen, strength=0.4)
    assert set(varied.frame["start"]) == set(base.loc[base["label"] == "cross", "path"])


def test_a_run_that_is_ranked_anew_is_generated_for_anew(own):
    made = augment.augment(**QUICK)
    again = augment.augment(**QUICK)
    base = store.find("1")
    frame = base.frame()
    turned = 4 - frame["rarity_class"]
    frame.assign(rarity_class=turned).to_parquet(base.path / "scores.parquet")
    other = augment.augment(**QUICK)
    assert made.run.key == again.run.key != other.run.key


def test_the_generation_of_another_run_of_the_same_images_is_another(own):
    made = augment.augment(**QUICK)
    other = shutil.copytree(own / "runs" / "mincurate_1", own / "runs" / "mincurate_9")
    store.Run(other).update(key="mincurate_9")
    again = augment.augment("mincurate_9", **QUICK)
    assert again.run.key != made.run.key and made.run.record["base"] == "mincurate_1"


def test_seeds_of_images_all_differ():
    found = {generate.image_seed(3, i) for i in range(50_000)}
    assert len(found) == 50_000 and all(0 <= seed < 2**32 for seed in found)
    assert generate.image_seed(3, 2**32 - 1) not in {generate.image_seed(4, 0), 0}


def test_a_dry_run_makes_nothing(own):
    def there():
        return {str(p): p.stat().st_mtime_ns for p in own.rglob("*")}

    before = there()
    said = command(own, "augment", "--dry-run", "--n", 500, "--no-fiftyone")
    assert "Would generate 500 images of class 4 of run mincurate_1" in said
    assert "generate 500 images" in said and there() == before


@pytest.mark.slow
def test_a_dry_run_tells_every_part_of_the_work(own):
    def parts(*options):
        said = command(own, "augment", "--dry-run", "--no-fiftyone", "--n", 8, *options)
        return [line.strip().split(":")[0] for line in said.splitlines() if line.startswith("  ")]

    classifier = "train the classifier, if it is not there yet"
    end = ["generate 8 images", "score and inspect them"]
    longer, training = ("--train-minutes", 5), "train on to all noise levels"
    assert parts() == [classifier, *end]  # it was trained on for the fixture
    assert parts(*longer) == [training, classifier, *end]
    plain = parts("--sampler", "ddpm", *longer)
    assert plain == [training, classifier, *end]  # the classifier gives the images their labels
    without_labels()
    assert parts("--sampler", "self-guided", *longer) == [training, *end]


def without_labels():
    base = store.find("1")
    base.frame().assign(label=pd.Series(dtype="string")).to_parquet(base.path / "scores.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ddpm", "self-guided", "boost-and-skip"])
def test_every_sampler_makes_images_and_says_how(own, sampler):
    made = augment.augment(**QUICK | {"n": 4}, sampler=sampler)
    line = read_manifest(made.run.path)[0]
    assert len(made.frame) == 4 and made.frame["content_hash"].is_unique
    assert line["guidance_scale"] == samplers.GUIDANCE_SCALES.get(sampler)
    assert line["solver"] == ("ancestral" if sampler == "self-guided" else "sde-dpm++")
    assert made.frame["label"].isin(["disc", "cross"]).all()


def test_the_scale_that_an_image_was_made_with_is_recorded(generated):
    line = read_manifest(generated / "runs" / "mincurate_2")[0]
    assert line["guidance_scale"] == samplers.GUIDANCE_SCALES["minority"]


def test_the_settings_of_a_generation_are_recorded_as_they_are(generated):
    settings = store.Run(generated / "runs" / "mincurate_2").record["settings"]
    assert set(settings) == {field.name for field in fields(AugmentSettings)} | {"target_classes"}
    # What readers of runs made by earlier versions take.
    assert settings["target_classes"] == [0, 1, 2, 3, 4] and settings["solver"] == "sde-dpm++"
    assert (settings["n"], settings["init"], settings["strength"]) == (12, "real", 0.5)


def test_where_a_generation_computes_is_no_other_request():
    """The settings that earlier versions asked with, and no others."""
    there = AugmentSettings(device="cuda", num_workers=2, engine="ray", resume=False, dataset="d")
    here = AugmentSettings()
    assert there.settled().identity([4]) == here.settled().identity([4])
    assert here.settled().identity([4]) == {
        **{"n": 1000, "first": 0, "target_classes": [4], "label": None, "like": None},
        **{"sampler": "minority", "solver": "sde-dpm++", "steps": 25, "guidance_scale": 2.0},
        **{"init": "noise", "strength": 0.6, "loss": "ordinal", "seed": 0, "batch_size": 64},
        **{"precision": "auto"},
    }


def test_without_labels_a_sampler_that_needs_no_classifier_trains_none(own):
    shutil.rmtree(own / "runs" / "mincurate_1" / "guidance")
    without_labels()
    made = augment.augment(**QUICK | {"n": 4}, sampler="boost-and-skip")
    assert not (own / "runs" / "mincurate_1" / "guidance").exists()
    assert made.run.record["gate"]["floor"] is None
    assert made.frame["label"].isna().all() and made.frame["target_probability"].isna().all()
    assert "not-believed" not in set(made.frame["reason"])


def test_what_was_trained_for_a_run_serves_further_generations_whatever_their_seed(own):
    trained = {path: path.stat().st_mtime_ns for path in own.rglob("*.safetensors")}
    assert estimates.trained(store.find("1"))
    for seed in (0, 1):
        augment.augment(n=4, steps=3, seed=seed)
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*.safetensors")} == trained
    augment.guide(train_steps=20, guide_steps=8, seed=5)
    assert training_time.last_guidance(store.find("1"))["steps"] == 8
    base = reference.open_base(store.find("1"))
    guidance = plan_trainings(base).guidance
    assert guidance.seed == 5 and guidance.steps == 8


@pytest.mark.slow
def test_a_model_of_the_users_generates_as_it_is(own):
    shutil.rmtree(own / "runs" / "mincurate_2")
    said = command(own, "augment", *GENERATE, "--n", 4)
    generator = Path(store.find("2").record["model"]["name"])
    before = {p: p.stat().st_mtime_ns for p in generator.rglob("*")}
    assert "knows only the noise levels" not in said  # it was trained on for the fixture
    copied = shutil.copytree(generator, own / "mine")
    untrained = ("--no-fiftyone", "--guide-steps", 20, "--steps", 3, "--model", copied)
    said = command(own, "augment", *untrained, "--n", 4, "--seed", 1)
    assert "knows only" not in said and store.find("3").record["model"]["name"] == str(copied)
    assert before == {p: p.stat().st_mtime_ns for p in generator.rglob("*")}
    score_model = store.find("1").record["model"]["name"]
    with pytest.raises(UserError, match="noise levels"):
        augment.augment(**QUICK, model=score_model)


def test_guide_shows_its_held_out_figures_and_draws_them(own):
    said = command(own, "guide", "--train-steps", 20, "--guide-steps", 20)
    assert "accuracy of labels" in " ".join(said.split()) and "accuracy by chance: 0.20" in said
    plot = Path(said.split("Plot: ")[1].split(" (and in")[0].replace("\n", ""))
    assert plot.read_bytes()[:4] == b"\x89PNG" and plot.parent.parent.name == "guidance"
    assert 'id="guidance"' in (own / "runs" / "mincurate_1" / "report.html").read_text()


def test_runs_are_listed_with_their_kind_and_deleted_whole(own):
    listed = command(own, "runs", "list")
    assert "score" in listed and "augment" in listed
    assert store.find(None, kind=store.SCORE).key == "mincurate_1"
    assert store.find(None, kind=store.AUGMENT).key == "mincurate_2"
    store.delete(store.find("2"))
    assert not (own / "runs" / "mincurate_2").exists()
    assert [run.key for run in store.all_runs()] == ["mincurate_1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["augment", "--n", 0], "--n"),
        (["augment", "--target-class", 5], "no class 5"),
        (["augment", "--target-class", 1, "--top-decile"], "not several"),
        (["augment", "--top-fraction", 2], "--top-fraction"),
        (["augment", "--label", "ghost"], "ghost"),
        (["augment", "--label", "disc", "--sampler", "ddpm"], "--sampler minority"),
        (["augment", "--sampler", "self-guided", "--solver", "ddim"], "ancestral"),
        (["augment", "--dry-run", "--n", 0], "--n"),
        (["augment", "--dry-run", "--sampler", "self-guided", "--solver", "ddim"], "ancestral"),
        (["augment", "--dry-run", "--label", "disc", "--sampler", "ddpm"], "--sampler minority"),
        (["augment", "--sampler", "ddpm", "--guidance-scale", 2], "--guidance-scale"),
        (["augment", "--init", "real", "--strength", 0], "--strength is above"),
        (["augment", "--like", "tag:x"], "has none"),
        (["augment", "mincurate_2"], "mincurate_1"),
        (["augment", "mincurate_9"], "mincurate_9"),
        (["guide", "--device", "quantum"], "quantum"),
        (["report", "mincurate_2"], "mincurate evaluate mincurate_2"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(own, monkeypatch, capsys, arguments, words):
    quick = GENERATE if arguments[0] == "augment" else ()
    assert words in refused(monkeypatch, capsys, *arguments, *quick)
    assert len(store.all_runs()) == 2


def test_without_a_scored_run_there_is_nothing_to_generate_for(monkeypatch, capsys):
    assert "mincurate score" in refused(monkeypatch, capsys, "augment", "--no-fiftyone")
    assert "mincurate augment" in refused(monkeypatch, capsys, "evaluate")
