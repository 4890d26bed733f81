"""Guided images against plain ones: whole runs, the verdict's words, and the page."""

import dataclasses
import html
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SQUEEZENET, command, refused

from mincurate.cli import summaries
from mincurate.curation import gather
from mincurate.evaluation import (
    classifier_trial,
    classifier_trial_data,
    metric_table,
    students,
    training_arms,
)
from mincurate.evaluation import image_sets as image_sets
from mincurate.evaluation.verdict import conclude, look_up
from mincurate.generation import generate as generation
from mincurate.generation import solvers
from mincurate.pipelines import augment, evaluate, evaluate_folders, images_now
from mincurate.report import evaluation_page
from mincurate.runs import store
from mincurate.runs.manifest import read_manifest, read_png
from mincurate.terminal import Terminal

pytestmark = pytest.mark.slow  # a generation and its baseline


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The intervals of Fréchet distances take most of the time; their width is tested elsewhere."""
    monkeypatch.setattr(evaluate.image_sets.metric_table.judge, "__kwdefaults__", {
        **evaluate.image_sets.metric_table.judge.__kwdefaults__, "subsets": 3,
    })  # fmt: skip


@pytest.fixture
def evaluated(own):
    """The home of `own` after its generation was evaluated in this process."""
    evaluate.evaluate()
    return own


def test_the_command_makes_baseline_table_page_and_verdict(own):
    folder = own / "runs" / "mincurate_2"
    said = command(own, "evaluate")
    assert "Making 12 plain (ddpm) images" in said and "AvgkNN" in said
    assert str(folder / "evaluation.html") in said
    plain, guided = read_manifest(folder / "baseline"), read_manifest(folder)
    assert [e["seed"] for e in plain] == [e["seed"] for e in guided]
    assert {(e["sampler"], e["solver"], e["steps"]) for e in plain} == {("ddpm", "sde-dpm++", 3)}
    assert {e["model"] for e in plain} == {e["model"] for e in guided}
    assert [(e["start"], e["strength"]) for e in plain] == [(e["start"], 0.5) for e in guided]
    assert "from the same real images" in said

    table = pd.read_csv(folder / "evaluation.csv")
    assert set(table["reference"]) == {"all", "tail"}
    assert set(table["set"]) == {"real", "ddpm", "guided", "accepted"}  # all were accepted
    named = set(metric_table.READINGS) | set(image_sets.READINGS)
    assert set(table["metric"]) == named - {"fid", "sfid"}  # no features of Inception
    assert set(evaluation_page.NAMES) == named
    assert table["feature_space"].notna().all() and (table["n"][table["set"] == "ddpm"] == 12).all()
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    frame = pd.read_parquet(folder / "synthetic.parquet")
    score = look_up(table, "guided", "minority_score")[0]
    assert score == pytest.approx(frame["minority_score"].mean())
    assert look_up(table, "real", "rarity_percentile")[0] == pytest.approx(0.5)

    about = json.loads((folder / "evaluation.json").read_text())
    assert about["verdict"]["headline"] in said and about["n"] == 12
    assert about["feature_space"] == "unet at 16 px" and "layer" in about["spatial_feature_space"]
    spaces = dict(zip(table["metric"], table["feature_space"], strict=True))
    assert spaces["spatial_frechet_distance"] == about["spatial_feature_space"]
    assert spaces["rarity_percentile"] == about["tail"]["ranked_by"]
    assert about["circular"] and about["guided_by"] == "unet" and "--features FILE" in said
    assert about["tail"] == {"n": 6, "ranked_by": "ranking by embedding, unet at 16 px"}
    assert about["sets"] == {"ddpm": {"n": 12}, "guided": {"n": 12}}
    assert about["made"]["ddpm"]["model_hash"] == about["made"]["guided"]["model_hash"]
    assert about["made"]["guided"]["sampler"] == "minority" and about["by"] == "rarity"
    assert about["evaluate_settings"]["features"] == "auto" and about["source"]["kind"] == "folder"
    assert len(about["metrics"]) == len(table)
    assert {p.name for p in (folder / "figures").iterdir()} == {
        "rarity.png", "grids.png", "levels.png",
    }  # fmt: skip


def test_the_page_is_self_contained_and_escapes_what_it_is_given(own):
    folder = own / "runs" / "mincurate_2"
    record = json.loads((folder / "run.json").read_text())
    record["settings"]["label"] = "<script>alert(1)</script>"
    (folder / "run.json").write_text(json.dumps(record))
    page = evaluate.evaluate().page.read_text()
    assert "&lt;script&gt;" in page and "<script" not in page
    assert "default-src 'none'" in page
    addresses = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            addresses.extend(v for k, v in attrs if k in ("src", "href"))

    Reader().feed(page)
    assert len(addresses) == 3 and all(a.startswith("data:image/png;base64,") for a in addresses)


def test_again_nothing_is_generated_or_scored_and_the_numbers_are_the_same(evaluated, monkeypatch):
    folder = evaluated / "runs" / "mincurate_2"
    before = (folder / "evaluation.csv").read_bytes()
    page = (folder / "evaluation.html").read_bytes()
    monkeypatch.setattr(solvers.Sampler, "__call__", None)
    monkeypatch.setattr(evaluate.joining, "join", None)
    evaluate.evaluate()
    assert (folder / "evaluation.csv").read_bytes() == before
    assert (folder / "evaluation.html").read_bytes() == page
    evaluate.evaluate(preset="paper")
    tail = json.loads((folder / "evaluation.json").read_text())["tail"]
    assert tail == {"n": 6, "ranked_by": "minority score, unet at 16 px"}
    fewer = evaluate.evaluate(n=7)  # the first ones of both
    assert (fewer.table["n"][fewer.table["set"] == "guided"] == 7).all()


def test_plain_images_vary_the_same_real_images_as_the_guided_ones(own):
    """Without guidance nothing is left between them: the same starts, seeds and strength."""
    options = {"sampler": "minority", "guidance_scale": 0.0, "init": "real", "strength": 0.2}
    made = augment.augment(
        n=7, first=5, steps=3, batch_size=4, top_fraction=1.0, **options,
        train_steps=20, guide_steps=20,
    )  # fmt: skip
    evaluate.evaluate(made.run)
    for entry in read_manifest(made.run.path):
        one, two = (read_png(f / entry["file"]).astype(int) for f in
                    (made.run.path, made.run.path / "baseline"))  # fmt: skip
        assert abs(one - two).max() <= 1


def test_a_baseline_from_noise_of_an_earlier_version_is_made_anew(own):
    folder = own / "runs" / "mincurate_2" / "baseline"
    evaluate.evaluate()
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").open()]
    old = [{k: v for k, v in line.items() if k not in ("start", "strength")} for line in lines]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    evaluate.evaluate()
    assert [e["start"] for e in read_manifest(folder)] == [line["start"] for line in lines]


def test_without_guidance_the_start_itself_is_judged(own):
    run = store.find("2")
    run.update(settings=run.record["settings"] | {"sampler": "ddpm"})
    found = evaluate.evaluate()
    assert not any("start" in e for e in read_manifest(run.path / "baseline"))
    assert "starting from real images made" in found.verdict.headline.lower()
    assert "plain samples start from noise" in found.page.read_text()


def test_a_baseline_that_was_stopped_goes_on(own, monkeypatch):
    folder = own / "runs" / "mincurate_2" / "baseline"
    generate = solvers.Sampler.__call__

    def stop(self, seeds, **more):
        if (folder / "images" / "000003.png").exists():
            raise KeyboardInterrupt
        return generate(self, seeds, **more)

    monkeypatch.setattr(solvers.Sampler, "__call__", stop)
    with pytest.raises(generation.GenerationStoppedError):
        evaluate.evaluate()
    assert len(read_manifest(folder)) == 4
    monkeypatch.setattr(solvers.Sampler, "__call__", generate)
    evaluate.evaluate()
    assert len(read_manifest(folder)) == 12


def reject(home: Path, rows: list[int]) -> None:
    """Let the gate have sent back these images of the generation."""
    path = home / "runs" / "mincurate_2" / "synthetic.parquet"
    frame = pd.read_parquet(path)
    frame["reason"] = frame["reason"].astype(object)
    frame.loc[rows, "reason"], frame.loc[rows, "accepted"] = "off-manifold", False
    frame.to_parquet(path)


def test_accepted_images_are_compared_with_as_many_plain_ones(own):
    reject(own, [1, 3, 5])
    found = evaluate.evaluate()
    sizes = found.table[found.table["reference"] == "all"].groupby("set")["n"].unique()
    assert {name: n.tolist() for name, n in sizes.items()} == {
        "accepted": [9], "ddpm": [12], "ddpm-as-accepted": [9], "guided": [12], "real": [60],
    }  # fmt: skip
    assert "9 of 12 guided images" in found.verdict.points[-1][1]
    assert "ddpm at this number" in found.page.read_text()


def test_none_accepted_is_judged_all_the_same_and_the_cheap_remedies_are_compared(own, quick):
    reject(own, list(range(12)))
    found = evaluate.evaluate(downstream=True, seeds=3)
    assert "accepted" not in set(found.table["set"])
    assert found.advice.words.startswith("No generated image was accepted")
    assert set(found.downstream.table["arm"]) == {"nothing", "copies", "balanced loss"}
    assert "No generated image was accepted" in found.page.read_text()
    assert gather.gather(store.find("1"))["weight"].dropna().eq(1).all()


@pytest.fixture
def quick(monkeypatch):
    """Trainings of a trial take 12 steps."""
    for name in ("PROBE", "NETWORK"):
        shorter = dataclasses.replace(getattr(students, name), steps=12)
        monkeypatch.setattr(classifier_trial_data, name, shorter)


@pytest.mark.usefixtures("quick")
def test_classifiers_are_trained_with_and_without_the_accepted_images(own, monkeypatch, capsys):
    mined = dict.fromkeys(store.find("1").frame()["path"].head(2), "cross")
    monkeypatch.setattr(images_now, "mined_now", lambda run, reporter: mined)
    compare, given = classifier_trial.compare, {}

    def look(materials, *more, **options):
        given.update({student.name: material for student, material in materials.items()})
        return compare(materials, *more, **options)

    monkeypatch.setattr(classifier_trial, "compare", look)
    found = evaluate.evaluate(downstream=True, seeds=3)
    assert set(given) == {"linear probe", "small network"}
    for material in given.values():
        assert (len(material.real[1]), len(material.test[1])) == (45, 15)
        assert material.mined is not None and material.mined[1].tolist() == [0, 0]
    about = json.loads((found.run.path / "evaluation.json").read_text())["downstream"]
    assert about["rare"] == ["cross"] and about["advice"]["words"] == found.advice.words
    assert [row["label"] for row in about["labels"]] == ["cross", "disc"]
    assert {"recall", "change", "change_low", "change_high"} <= set(about["table"][0])
    assert about["weight"] in training_arms.WEIGHTS
    weights = gather.gather(store.find("1")).groupby("source")["weight"].unique()  # to export
    assert [weights["real"], weights["synthetic"]] == [[1], [about["weight"]]]
    frame = pd.read_parquet(found.run.path / "synthetic.parquet")
    assert about["near_held_out"] + len(given["linear probe"].generated[1]) == len(frame)
    page = found.page.read_text()
    assert "Does a classifier profit?" in page and html.escape(found.advice.words) in page
    summaries.evaluation(found, Terminal())
    said = " ".join(capsys.readouterr().out.split())
    assert "Rare are the third of the labels with the fewest images: cross." in said
    assert "The 15 held-out images are new to these trainings only" in said
    assert found.advice.words in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mincurate_1"], "mincurate augment"),
        (["mincurate_7"], "mincurate_7"),
        (["--n", 13], "12 images"),
        (["--n", 5], "6 at least"),
        (["--device", "quantum"], "quantum"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(own, monkeypatch, capsys, arguments, words):
    assert words in refused(monkeypatch, capsys, "evaluate", *arguments)
    assert not (own / "runs" / "mincurate_2" / "baseline").exists()


def test_recall_is_compared_over_three_trainings_at_least(own):
    with pytest.raises(evaluate.UserError, match="at least 3"):
        evaluate.evaluate(downstream=True, seeds=2)


def test_without_labels_there_is_no_classifier_to_train(own, monkeypatch, capsys):
    path = own / "runs" / "mincurate_1" / "scores.parquet"
    pd.read_parquet(path).assign(label=None).to_parquet(path)
    said = refused(monkeypatch, capsys, "evaluate", "--downstream")
    assert "at least 2 labels" in said


def test_a_run_that_was_ranked_again_or_is_gone_is_refused(own, monkeypatch, capsys):
    run = store.find("1")
    run.update(rank_by="neighbors")
    assert "ranked again" in refused(monkeypatch, capsys, "evaluate")
    shutil.rmtree(run.path)
    assert "mincurate_1" in refused(monkeypatch, capsys, "evaluate")


def test_an_unfinished_generation_is_refused(own, monkeypatch, capsys):
    (own / "runs" / "mincurate_2" / "synthetic.parquet").unlink()
    assert "not finished" in refused(monkeypatch, capsys, "evaluate")


@pytest.mark.skipif(not SQUEEZENET.is_file(), reason="needs the SqueezeNet weights")
def test_other_features_judge_and_rank_the_tail(own):
    spec = f"torchvision:squeezenet1_0@{SQUEEZENET}"
    found = evaluate.evaluate(features=spec)
    about = json.loads((found.run.path / "evaluation.json").read_text())
    assert about["feature_space"] == "torchvision:squeezenet1_0 at 16 px" and not about["circular"]
    assert about["tail"]["ranked_by"] == "rarity in torchvision:squeezenet1_0 at 16 px"
    spaces = found.table.set_index("metric")["feature_space"]
    assert set(spaces["avg_knn"]) == {about["feature_space"]}
    assert set(spaces["minority_score"]) == {"unet at 16 px"}
    assert "another feature space judges" in found.page.read_text()


def test_folders_are_judged_as_the_same_images_of_a_generation_are(own):
    """The generation's and the baseline's images as folders have the numbers of its evaluation."""
    whole = evaluate.evaluate().table
    folders = [own / "runs" / "mincurate_2" / part for part in ("images", "baseline/images")]
    (folders[0] / "broken.png").write_bytes(b"no image")
    said = []
    reporter = Terminal()
    reporter.warn = said.append
    found = evaluate_folders.evaluate_folders(folders, reporter=reporter)
    assert "1 of 13 files" in " ".join(said)
    names = {"guided": str(folders[0].resolve()), "ddpm": str(folders[1].resolve())}
    for name, folder in names.items():
        one, two = (t[t["set"] == s].set_index(["reference", "metric"])["value"].sort_index()
                    for t, s in ((whole, name), (found.table, folder)))  # fmt: skip
        pd.testing.assert_series_equal(one, two, check_exact=False, rtol=1e-6)
    about = json.loads((found.folder / "evaluation.json").read_text())
    assert {s["folder"] for s in about["sets"].values()} == set(names.values())
    assert about["guided_by"] == "" and not about["circular"] and about["n_real"] == 60
    page = found.page.read_text()
    assert "Images made elsewhere" in page and "<script" not in page
    assert found.folder.parent == own / "runs" / "mincurate_1" / "evaluations"


@pytest.mark.parametrize(
    ("folders", "changes", "words"),
    [
        ([], {}, "at least one folder"),
        (["nowhere"], {}, "is no folder"),
        (["pictures/cross"], {}, "4 images to judge; it takes 6"),
        (["pictures", "pictures"], {}, "twice"),
        (["pictures"], {"downstream": True}, "--downstream needs"),
    ],
)
def test_folders_that_cannot_be_judged_are_one_sentence(own, pictures, folders, changes, words):
    with pytest.raises(evaluate.UserError, match=words) as error:
        evaluate_folders.evaluate_folders([pictures.parent / f for f in folders], **changes)
    assert "\n" not in str(error.value)


VALUES = {
    "minority_score": (0.5, 0.4, 0.6),
    "avg_knn": (1.0, 0.9, 1.1),
    "lof": (1.2, 1.1, 1.3),
    "precision": (0.8, 0.7, 0.9),
    "near_copies": (0.01, 0.0, 0.02),
}


def figures(**changed):
    """A table in which the guided images differ from the plain ones by a factor per metric."""
    rows = []
    for name in ("real", "ddpm", "guided"):
        for metric, values in VALUES.items():
            factor = changed.get(metric, 1.0) if name == "guided" else 1.0
            value, low, high = (factor * np.array(values)).tolist()
            row = {"reference": "all", "set": name, "metric": metric}
            rows.append(row | {"value": value, "low": low, "high": high})
    return pd.DataFrame(rows)


RARER = {"minority_score": 2.0, "avg_knn": 2.0, "lof": 2.0}


@pytest.mark.parametrize(
    ("changed", "tone", "words"),
    [
        (RARER, "good", "Guidance made the images rarer, and they are as real"),
        (RARER | {"lof": 1.0}, "fair", "by some measures only"),
        (RARER | {"lof": 0.5}, "fair", "The measures disagree on whether guidance made"),
        ({}, "poor", "no difference"),
        (dict.fromkeys(RARER, 0.5), "poor", "less rare"),
        (RARER | {"precision": 0.5}, "poor", "rarer, but they are less real"),
        (RARER | {"near_copies": 100.0, "precision": 0.95}, "good", "as real"),
    ],
)
def test_the_verdict_follows_the_intervals(changed, tone, words):
    told = conclude(figures(**changed), 10, 10)
    assert (told.tone, words in told.headline) == (tone, True), told.headline


def test_copies_and_a_lost_manifold_are_said():
    table = figures(**RARER)
    copies = (table["set"] == "guided") & (table["metric"] == "near_copies")
    table.loc[copies, ["value", "low", "high"]] = 0.3, 0.2, 0.4
    told = conclude(table, 3, 10)
    assert told.copies and "copy the training images" in told.headline
    assert told.points[-1] == ("poor", "3 of 10 guided images pass the gate.")
    for plain in (0.0, 0.19):  # of real images 0.8
        table.loc[(table["set"] == "ddpm") & (table["metric"] == "precision"), "value"] = plain
        told = conclude(table, 3, 10)
        assert np.isnan(told.precision_ratio) and "samples are not real either" in told.headline
        assert f"{plain:.0%} of plain samples" in told.points[1][1]


def test_a_fall_of_precision_within_the_intervals_is_called_uncertain():
    told = conclude(figures(**RARER | {"precision": 0.89}), 10, 10)
    assert "the intervals overlap" in told.points[1][1]


@pytest.mark.parametrize(
    ("counts", "rare"),
    [
        ({"a": 9, "b": 3}, ["b"]),
        ({"a": 9, "b": 3, "c": 3, "d": 8}, ["b", "c"]),
        ({"a": 5, "b": 5, "c": 5}, []),
        ({"a": 9, "b": 8, "c": 7, "d": 6, "e": 5, "f": 4}, ["e", "f"]),
    ],
)
def test_rare_labels_are_those_with_the_fewest_images(counts, rare):
    assert classifier_trial_data.rare_labels(counts) == rare
