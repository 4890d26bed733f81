"""Whole runs through the command line, in processes of their own, on real small models."""

import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import draw_shapes
from PIL import Image
from scipy.stats import spearmanr
from test_decode import BROKEN, NO_FILES, furnish, good

from mincurate.pipelines import score as pipeline

QUICK = ["--train-steps", "30", "--n-draws", "3", "--num-classes", "5"]


def mincurate(*arguments, code=0, **environment):
    """Run the command and return what it printed on both streams."""
    done = subprocess.run(
        [sys.executable, "-c", "from mincurate.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "120", **environment},
        timeout=240,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def score(folder, output, *more, **options):
    more = more if "--umap" in more else ("--no-umap", *more)  # which compiles for ten seconds
    quick = QUICK[2:] if "--model" in more else QUICK  # whose first two train a model
    return mincurate("score", folder, "--no-fiftyone", "--output", output, *quick, *more, **options)


def table(output):
    return pd.read_parquet(Path(output) / "scores.parquet")


@pytest.fixture(scope="module")
def scored(shapes, tmp_path_factory):
    """One finished run without FiftyOne, shared by tests that only look at it."""
    output = tmp_path_factory.mktemp("scored") / "my run"
    os.environ["MINCURATE_HOME"] = str(tmp_path_factory.mktemp("scored-home"))
    printed = score(shapes, output, "--umap")
    return output, printed, os.environ["MINCURATE_HOME"]


def test_a_run_without_database_leaves_table_pictures_and_report(scored):
    output, printed, _ = scored
    frame = table(output)
    assert len(frame) == 60 and (frame["status"] == "ok").all()
    assert frame["rarity"].between(0, 1).all()
    ranked = frame.sort_values("embedding_rarity")
    assert ranked["rarity"].is_monotonic_increasing
    assert ranked["rarity_class"].is_monotonic_increasing
    alone = ~ranked["embedding_rarity"].duplicated(keep=False)  # those that tie share a class
    assert (ranked["rarity_class"] == np.arange(60) // 12)[alone].all()
    assert (ranked.groupby("embedding_rarity")["rarity_class"].nunique() == 1).all()
    assert sorted(frame["label"].unique()) == ["cross", "disc"]
    for label, of_a_class in (("disc", 11), ("cross", 1)):
        within = frame[frame["label"] == label].sort_values("embedding_rarity_within_label")
        rank, found = within["embedding_rarity_within_label"], within["rarity_class_within_label"]
        expected = np.arange(5 * of_a_class) // of_a_class
        assert (found == expected)[~rank.duplicated(keep=False)].all()
        assert (found.groupby(rank).nunique() == 1).all() and set(found) == set(range(5))
    draws = np.stack(frame["minority_score_draws"])
    np.testing.assert_allclose(draws.mean(1), frame["minority_score"], rtol=1e-5)
    assert {p.name for p in (output / "figures").iterdir()} == {
        "map.png", "histogram.png", "rarest.png", "commonest.png",
    }  # fmt: skip
    assert (output / "report.html").stat().st_size > 20_000
    csv = pd.read_csv(output / "scores.csv")
    np.testing.assert_allclose(csv["minority_score"], frame["minority_score"])
    assert np.load(output / "embeddings.npy").shape[0] == 60
    for line in ("Found 60 files", "Training the denoiser", "scores.csv", "report.html"):
        assert line in printed


@pytest.mark.slow
def test_the_command_in_the_report_goes_on_without_computing_again(scored):
    output, _, home = scored
    before = table(output)
    shards = {p: p.stat().st_mtime_ns for p in (output / "shards").iterdir()}
    command = re.findall(
        "<pre><code>(mincurate score .*)</code>", (output / "report.html").read_text()
    )
    [program, *arguments] = shlex.split(html.unescape(command[0]))
    printed = mincurate(*arguments, MINCURATE_HOME=home)
    assert program == "mincurate" and str(output) in arguments
    assert "Using the model trained on these images before" in printed
    assert shards == {p: p.stat().st_mtime_ns for p in (output / "shards").iterdir()}
    pd.testing.assert_frame_equal(table(output), before)


def test_other_settings_do_not_overwrite_a_run(scored):
    output, _, home = scored
    shapes = json.loads((output / "run.json").read_text())["source"]["value"]
    printed = score(shapes, output, "--sigma", "0.3", code=1, MINCURATE_HOME=home)
    assert "holds a run of other images or settings" in printed and "--fresh" in printed


def test_whole_numbers_ask_for_the_same_as_others(scored, shapes, monkeypatch):
    """Budgets and noise levels name a model and a run: 10 minutes from Python are 10.0 here."""
    output, _, home = scored
    monkeypatch.setenv("MINCURATE_HOME", home)
    told = {"train_steps": 30, "n_draws": 3, "num_classes": 5, "train_minutes": 10}
    result = pipeline.score(shapes, output=output, fiftyone=False, **told)
    assert len(result.frame) == len(table(output))


def test_a_run_can_be_ranked_otherwise_without_scoring_again(scored, tmp_path):
    output, _, home = scored
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    shapes = json.loads((output / "run.json").read_text())["source"]["value"]
    score(shapes, copy, "--rank-by", "neighbors", "--num-classes", "3", MINCURATE_HOME=home)
    frame = table(copy).sort_values("neighbor_distance")
    assert frame["rarity"].is_monotonic_increasing
    assert frame["rarity_class"].max() == 2
    np.testing.assert_allclose(
        table(copy)["minority_score"], table(output)["minority_score"], rtol=0, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batch_size_and_workers_do_not_change_scores(scored, tmp_path, precision):
    _, _, home = scored
    draw_shapes(tmp_path / "images", discs=570, crosses=30)
    [model] = (Path(home) / "models").iterdir()
    plain = ["--model", model, "--precision", precision]
    score(tmp_path / "images", tmp_path / "a", *plain, MINCURATE_HOME=home)
    other = ["--batch-size", "7", "--workers", "1"]
    score(tmp_path / "images", tmp_path / "b", *plain, *other, MINCURATE_HOME=home)
    a, b = table(tmp_path / "a"), table(tmp_path / "b")
    if precision == "float32":
        np.testing.assert_allclose(a["minority_score"], b["minority_score"], atol=1e-5)
    assert spearmanr(a["minority_score"], b["minority_score"]).statistic >= 0.9999
    assert (a["rarity_class"] != b["rarity_class"]).mean() <= 0.002
    settings = json.loads((tmp_path / "b" / "run.json").read_text())["settings"]
    assert settings["precision"] == precision


def test_adaptive_draws_are_spent_at_the_edge_of_the_rarest_class(scored, tmp_path):
    output, _, home = scored
    shapes = json.loads((output / "run.json").read_text())["source"]["value"]
    more = ["--adaptive", "--n-draws", "8", "--rank-by", "minority"]
    printed = score(shapes, tmp_path / "run", *more, MINCURATE_HOME=home)
    assert "Scoring 2 to 8 draws of 60 images" in printed and "at most" in printed
    frame, record = table(tmp_path / "run"), json.loads((tmp_path / "run/run.json").read_text())
    draws = frame["minority_score_draws"].map(len)
    assert set(draws) == {2, 8}
    assert record["diagnostics"]["draws_per_image"] == pytest.approx(draws.mean())
    away = (frame["minority_score"] / record["edge"]["score"] - 1).abs()
    assert away[draws == 8].mean() < away[draws == 2].mean()
    assert frame["minority_score_se"].notna().all()
    page = (tmp_path / "run/report.html").read_text()
    assert "2 draws per image, 8 near the edge" in page and "--adaptive" in page


def test_duplicates_are_scored_once_and_odd_files_are_named(tmp_path):
    folder = tmp_path / "images"
    draw_shapes(folder, discs=20, crosses=3)
    shutil.copy(folder / "disc" / "000.png", folder / "cross" / "copy.png")
    (folder / "disc" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    (folder / "disc" / "text.png").write_text("not an image")
    (folder / "disc" / "empty.gif").touch()
    printed = score(folder, tmp_path / "run")
    frame = table(tmp_path / "run").set_index("rel_path")
    assert frame.loc["disc/000.png", "duplicate_of"] == "cross/copy.png"
    same = frame.loc[["disc/000.png", "cross/copy.png"]]
    assert same["minority_score"].nunique() == 1 and same["rarity"].nunique() == 1
    bad = frame[frame["status"] == "unscorable"]
    assert set(bad.index) == {"disc/broken.jpg", "disc/text.png", "disc/empty.gif"}
    assert bad["reason"].notna().all() and bad["minority_score"].isna().all()
    assert bad["rarity_class"].isna().all()
    assert "1 exact duplicates" in printed and "3 that cannot be read" in printed
    page = (tmp_path / "run" / "report.html").read_text()
    assert "disc/broken.jpg" in page and "empty file" in page


@pytest.fixture(scope="module")
def strange(database, tmp_path_factory):
    """A run into FiftyOne over 200 good pictures and a folder full of what people have, too."""
    folder = tmp_path_factory.mktemp("strange") / "images"
    draw_shapes(folder, discs=180, crosses=20)
    (folder / "found").mkdir()
    furnish(folder / "found", tmp_path_factory.mktemp("outside"))
    output, home = folder.parent / "run", tmp_path_factory.mktemp("strange-home")
    into = ["--dataset", "strange", "--output", output, "--no-umap"]
    printed = mincurate("score", folder, *into, *QUICK, MINCURATE_HOME=str(home))
    return output, printed


REASONS = {f"found/{name}": reason for name, (_, reason) in BROKEN.items()}
REASONS |= {f"found/{name}": reason for name, reason in NO_FILES.items()}


def told(reasons):
    """Whether everything that cannot be scored, and nothing else, has its reason."""
    return reasons.keys() == REASONS.keys() and all(
        reasons[name].startswith(reason) for name, reason in REASONS.items()
    )


def test_among_broken_and_odd_files_all_good_ones_are_scored_and_every_bad_one_named(strange):
    output, printed = strange
    for frame in (table(output), pd.read_csv(output / "scores.csv")):
        bad = frame["status"] == "unscorable"
        assert told(frame[bad].set_index("rel_path")["reason"].to_dict())
        fine = frame[~bad]
        assert len(fine) == 200 + len(good()) and (fine["status"] == "ok").all()
        numbers = ["minority_score", "minority_score_se", "rarity", "rarity_class"]
        assert fine[numbers].notna().all(axis=None) and fine["reason"].isna().all()
        assert frame[bad][[*numbers, "neighbor_distance"]].isna().all(axis=None)
    assert f"{len(REASONS)} that cannot be read (listed in the report)" in printed


def test_the_report_names_every_bad_file_under_its_reason(strange):
    page = BeautifulSoup((strange[0] / "report.html").read_text(), "html.parser")
    listed = {}
    for group in page.select("#unscorable details"):
        reason = group.summary.get_text().partition(" × ")[2]
        listed |= {item.get_text(): reason for item in group.select("li")}
    assert told(listed)


def test_the_dataset_holds_every_file_with_its_numbers_or_its_reason(strange):
    import fiftyone as fo

    output, printed = strange
    frame, dataset = table(output).set_index("path"), fo.load_dataset("strange")
    assert len(dataset) == len(frame) and f"({len(frame)} samples added, 0 updated)" in printed
    bad = dataset.match_tags("unscorable")
    names = frame["rel_path"].loc[bad.values("filepath")]
    assert told(dict(zip(names, bad.values("unscorable_reason"), strict=True)))
    numbers = ["minority_score", "rarity", "rarity_class", "neighbor_distance"]
    numbers.append("minority_score_calibrated")
    for field in numbers:
        assert set(bad.values(field)) == {None}
        fine = dataset.exists(field)
        assert len(fine) == len(frame) - len(REASONS)
        expected = frame[field].loc[fine.values("filepath")].to_numpy(float)
        np.testing.assert_allclose(fine.values(field), expected)
    labels = dict(zip(*dataset.values(["filepath", "ground_truth.label"]), strict=True))
    assert labels == frame["label"].to_dict()
    top = dataset.load_saved_view("rarest-first").values("rarity")
    assert top == sorted(top, reverse=True) and len(dataset.load_saved_view("unscorable")) == len(
        bad
    )


def test_a_run_ends_with_what_to_think_of_it_and_where_it_is(strange):
    output, printed = strange
    frame, record = table(output), json.loads((output / "run.json").read_text())
    known = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    follows = spearmanr(known["minority_score"], known["complexity"]).statistic
    ends = [
        f"Spearman of minority score and image complexity: {follows:.2f}",
        f"Trust in this ranking: {record['trust']['words']}",
        f"Table:   {output / 'scores.csv'} (and scores.parquet)",
        f"Report:  {output / 'report.html'}",
        "Dataset: strange (",
        "Browse:  mincurate launch strange",
        "Done in ",
    ]
    places = [printed.index(line) for line in ends]
    assert places == sorted(places)
    assert record["trust"]["level"] in ("weak", "fair", "strong")
    warned = [line.removeprefix("! ") for line in printed.splitlines() if line.startswith("! ")]
    assert warned == record["warnings"] and len(warned) >= 1


@pytest.mark.slow
def test_wide_pictures_are_padded_and_seen_by_the_network_of_a_file(tmp_path):
    """A backbone with weights from a file, for distance and vectors: as on an offline machine."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    from mincurate.diffusion.denoiser import to_tensor
    from mincurate.features import embedder
    from mincurate.images.decode import decode

    torch.manual_seed(0)
    save_file(squeezenet1_0(weights=None).state_dict(), tmp_path / "squeezenet.safetensors")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        wide = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
        Image.fromarray(wide).save(tmp_path / "images" / f"{i}.png")
    net = f"torchvision:squeezenet1_0@{tmp_path / 'squeezenet.safetensors'}"
    more = ["--fit", "pad", "--perceptual", net, "--embedding", net, "--image-size", "16"]
    score(tmp_path / "images", tmp_path / "run", *more)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["perceptual"] == record["embedding"] == "torchvision:squeezenet1_0"
    assert record["rank_by"] == "embedding" and record["settings"]["fit"] == "pad"
    frame = table(tmp_path / "run").set_index("content_hash")
    hashes = pd.read_parquet(tmp_path / "run" / "embeddings.parquet")["content_hash"]
    paths, found = frame["path"].loc[hashes], np.load(tmp_path / "run" / "embeddings.npy")
    embed = embedder.load_embedder(net, None).embed

    def vectors(fit):
        pixels = np.stack([decode(path, size=96, fit=fit) for path in paths])
        with torch.no_grad():
            return embed(to_tensor(pixels, "cpu")).numpy()

    np.testing.assert_allclose(found, vectors("pad"), atol=5e-3)  # bfloat16 where it is fast
    assert abs(found - vectors("crop")).max() > 0.01


@pytest.mark.slow
def test_where_fiftyone_cannot_be_imported_files_are_written_all_the_same(shapes, tmp_path):
    (tmp_path / "broken" / "fiftyone").mkdir(parents=True)
    (tmp_path / "broken" / "fiftyone" / "__init__.py").write_text("raise ImportError('no mongo')")
    broken = {"PYTHONPATH": str(tmp_path / "broken")}
    said = mincurate("score", shapes, "--output", tmp_path / "no", code=1, **broken)
    assert "FiftyOne cannot be imported (no mongo)" in said and "--no-fiftyone" in said
    assert not (tmp_path / "no").exists()
    printed = score(shapes, tmp_path / "run", **broken)
    assert (table(tmp_path / "run")["status"] == "ok").all()
    assert (tmp_path / "run" / "report.html").is_file() and "Dataset:" not in printed


def test_a_table_of_paths_is_a_source(shapes, tmp_path):
    rows = [{"image": str(p), "class": "odd" if i % 2 else "even"}
            for i, p in enumerate(sorted(shapes.rglob("*.png"))[:12])]  # fmt: skip
    rows.append({"image": str(tmp_path / "gone.png"), "class": "odd"})
    pd.DataFrame(rows).to_csv(tmp_path / "list.csv", index=False)
    score(tmp_path / "list.csv", tmp_path / "run")
    frame = table(tmp_path / "run")
    assert frame["label"].value_counts().to_dict() == {"odd": 7, "even": 6}
    assert (frame["status"] == "unscorable").sum() == 1


@pytest.mark.slow
def test_output_inside_the_folder_that_is_scored_spoils_nothing(tmp_path):
    folder = tmp_path / "images"
    draw_shapes(folder, discs=14, crosses=4)
    (folder / "notes.txt").touch()
    said = [score(folder, folder / "results", "--max-images", "18") for _ in range(2)]
    for printed in said:
        assert "Found 18 files" in printed
        assert "Labels: 2 (cross, disc) from the names of the folders." in printed
        assert "Passed over: 1 other files (1 .txt)." in printed
    assert "What mincurate has written is no input: results/." in said[1]
    source = json.loads((folder / "results" / "run.json").read_text())["source"]
    assert source["labels"] == "2 (cross, disc) from the names of the folders"
    assert source["passed_over"] == {".txt": 1} and len(table(folder / "results")) == 18


@pytest.mark.slow
def test_a_glob_is_scored_without_a_home_and_on_any_terminal(scored, tmp_path):
    from mincurate.pipelines import new_files
    from mincurate.runs import command as commands
    from mincurate.runs.store import Run

    [model] = (Path(scored[2]) / "models").iterdir()
    folder = tmp_path / "images"
    draw_shapes(folder, discs=5, crosses=4)
    files = sorted(folder.rglob("*.png"))
    for i, name in enumerate(("中.png", "a\x1b[31mred.png", "b\nc.png")):
        files[i] = files[i].rename(files[i].with_name(name))
    (tmp_path / "file").touch()
    broken = {"MINCURATE_HOME": str(tmp_path / "file" / "home"), "PYTHONIOENCODING": "ascii"}
    given = ["--no-fiftyone", "--no-umap", "--n-draws", "1", "--model", model]
    printed = mincurate("score", *files, *given, "--output", tmp_path / "run", **broken)
    assert "2 (cross, disc)" in printed and "Done in" in printed and "\x1b" not in printed
    assert len(table(tmp_path / "run")) == 9
    run = Run(tmp_path / "run")
    words = shlex.split(commands.command(run))
    assert words[:2] == ["mincurate", "score"] and len(run.record["source"]["paths"]) == 9
    assert words[5] == str(files[3]) and not new_files.find_new(run)


@pytest.mark.slow
def test_a_home_that_cannot_be_used_is_named_where_it_is_needed(shapes, tmp_path):
    (tmp_path / "file").touch()
    broken = {"MINCURATE_HOME": str(tmp_path / "file" / "home")}
    printed = score(shapes, tmp_path / "run", code=1, **broken)
    assert "MINCURATE_HOME" in printed and "--output" not in printed.splitlines()[-1]
    printed = mincurate("score", shapes, "--no-fiftyone", *QUICK, code=1, **broken)
    assert "MINCURATE_HOME" in printed


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_run_goes_on_to_the_same_table(shapes, tmp_path):
    """`kill -9` while training, while scoring and before the map; then once more to the end."""

    def run(name, kill_at=""):
        command = [sys.executable, "-c", KILLABLE, "score", str(shapes), "--no-fiftyone"]
        command += ["--output", str(tmp_path / name), *QUICK, "--max-images", "50"]
        places = {"MINCURATE_HOME": str(tmp_path / f"home-{name}"), "KILL_AT": kill_at}
        done = subprocess.run(
            command, env=os.environ | places, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == (-signal.SIGKILL if kill_at else 0), done.stdout + done.stderr

    run("whole")
    for place in ("training step 17", "after shard 1", "map"):
        run("parts", place)
    marks = {p: p.stat().st_mtime_ns for p in (tmp_path / "parts" / "shards").glob("*.parquet")}
    assert len(marks) == 5
    run("parts")
    assert marks == {p: p.stat().st_mtime_ns for p in marks}  # nothing is scored twice
    columns = ["rel_path", "minority_score", "rarity_class", "rarity", "map_x", "map_y"]
    whole, parts = table(tmp_path / "whole"), table(tmp_path / "parts")
    pd.testing.assert_frame_equal(whole[columns], parts[columns])


KILLABLE = """
import os, signal
from mincurate.diffusion import train_denoiser, trainer
from mincurate.ranking import shard_loop, umap_map
from mincurate.runs import shards

shard_loop.SHARD_IMAGES = 10
trainer.CHECKPOINT_SECONDS = 0.0
where = os.environ.get("KILL_AT", "")

def die_at(module, name, matches):
    original = getattr(module, name)
    def wrapped(*args, **kwargs):
        if matches(*args):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(module, name, wrapped)

if where.startswith("training"):
    late = lambda self, step: step == 17 and self.planned > 1
    die_at(train_denoiser.DenoiserTrainer, "update", late)
elif where.startswith("after"):
    die_at(shards, "write_shard", lambda run, index, table, lost: index == 2)
elif where == "map":
    die_at(umap_map, "fit_map", lambda *args: True)
from mincurate.cli import main
main()
"""


def test_ctrl_c_while_training_says_how_to_go_on(shapes, tmp_path):
    command = [sys.executable, "-c", "from mincurate.cli import main; main()", "score", str(shapes),
               "--no-fiftyone", "--output", str(tmp_path / "r"), "--train-steps=9999"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    models = Path(os.environ["MINCURATE_HOME"]) / "models"
    waited = time.monotonic()
    while not list(models.glob("*/checkpoint.pt")) and time.monotonic() - waited < 120:
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 130, printed
    assert "give the same command again" in printed and "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "no-such-folder"], "no-such-folder"),
        (["score", ""], "An argument is empty"),
        (["score", " "], "An argument is empty"),
        (["score", ".", "--output", ""], "--output is empty"),
        (["score", ".", "--output="], "--output is empty"),
        (["score", ".", "no-such-file.png"], "no-such-file.png"),
        (["score", ".", "s3://bucket/a.png"], "alone"),
        (["score", "https://example.org/x"], "https:// is not read"),
        (["score", ".", "--path-column", "file"], "--path-column names a column of a table"),
        (["score", ".", "--model", "./no-such-model"], "no-such-model"),
        (["score", ".", "--rank-by", "luck"], "rank-by"),
        (["score", ".", "--adaptive", "--n-draws", "3"], "4 or more --n-draws"),
        (["score", ".", "--adaptive", "--within-label"], "not with --within-label"),
        (["score", ".", "--n-draws", "0"], "--n-draws"),
        (["score", ".", "--sigma", "-1"], "--sigma"),
        (["score", ".", "--device", "quantum"], "quantum"),
        (["score", ".", "--perceptual", "psnr"], "psnr"),
        (["score", ".", "--image-size", "33"], "--image-size"),
        (["report"], "no run yet"),
        (["runs", "show", "mincurate_7"], "mincurate_7"),
        (["launch"], "mincurate score"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    from mincurate.cli import main

    monkeypatch.chdir(tmp_path)
    more = ["--no-fiftyone"] if arguments[0] == "score" else []
    monkeypatch.setattr(sys, "argv", ["mincurate", *arguments, *more])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code in (1, 2)
    assert words in said and "Traceback" not in said
    assert len(said.strip().splitlines()) <= 4


@pytest.mark.slow
def test_an_empty_folder_and_a_folder_of_broken_files(tmp_path):
    (tmp_path / "none").mkdir()
    assert "image" in score(tmp_path / "none", tmp_path / "run", code=1)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("no")
    assert "readable" in score(tmp_path / "bad", tmp_path / "run", code=1)


@pytest.mark.slow
def test_one_image_alone_cannot_train_a_model(tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "one" / "a.png")
    assert "at least 2" in score(tmp_path / "one", tmp_path / "run", code=1)


def test_runs_are_listed_shown_reported_and_deleted(scored):
    output, _, home = scored
    key = json.loads((output / "run.json").read_text())["key"]
    assert key in mincurate("runs", "list", MINCURATE_HOME=home)
    shown = json.loads(mincurate("runs", "show", key, MINCURATE_HOME=home))
    assert shown["n_draws"] == 3 and shown["folder"] == str(output)
    page = (output / "report.html").read_bytes()
    assert "report.html" in mincurate("report", key, MINCURATE_HOME=home)
    assert (output / "report.html").read_bytes() == page


@pytest.mark.slow
def test_train_makes_a_model_that_score_takes(shapes, tmp_path):
    model = tmp_path / "my model"
    printed = mincurate("train", shapes, "--output", model, "--train-steps", "20")
    assert f"--model '{model}'" in printed
    score(shapes, tmp_path / "run", "--model", model, "--max-images", "8")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["model"]["name"] == str(model) and not record["model"]["trained_here"]
    score(shapes, tmp_path / "again", "--model", record["key"], "--max-images", "8")
    again = json.loads((tmp_path / "again" / "run.json").read_text())
    assert again["model"]["hash"] == record["model"]["hash"]
    assert "other images or settings" in mincurate(
        "train", shapes, "--output", model, "--train-steps", "21", code=1
    )


def test_python_api_in_three_lines(shapes, tmp_path):
    import mincurate

    result = mincurate.score(
        shapes, output=tmp_path / "run", fiftyone=False, train_steps=20, n_draws=2
    )
    assert len(result.frame) == 60 and result.report.is_file() and result.dataset is None
