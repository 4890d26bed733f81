"""Rebalancing and exporting through the command line."""

import io
import json
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import GENERATE, refused

from mincurate.curation import export, gather, rebalance
from mincurate.dataset import current_state
from mincurate.errors import UserError
from mincurate.pipelines import rebalance as pipeline
from mincurate.runs import store


def say(monkeypatch, capsys, *arguments, code=0):
    """What a command prints, in this process."""
    from mincurate.cli import main

    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.argv", ["mincurate", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    assert end.value.code == code, printed.err
    return printed.out + printed.err


def test_a_plan_is_shown_and_weights_are_written_without_generating(
    own, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "weights.csv"
    said = say(monkeypatch, capsys, "rebalance", "--dry-run", "--weights", file)
    table = gather.in_use(gather.gather(store.find("1")))
    counts = Counter(table["label"])
    most = max(Counter(table.loc[table["source"] == "real", "label"]).values())
    assert f"To generate: {most - min(counts.values())} images." in said
    weights = pd.read_csv(file)
    assert weights["path"].tolist() == table["path"].tolist()
    drawn = weights.assign(label=table["label"].tolist()).groupby("label")["weight"].sum()
    assert drawn["cross"] == pytest.approx(drawn["disc"])
    assert [run.key for run in store.all_runs()] == ["mincurate_1", "mincurate_2"]


def test_nothing_is_generated_before_it_was_confirmed(own, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    said = say(monkeypatch, capsys, "rebalance", "--to", 60, *GENERATE, code=1)
    assert "nothing was done" in said and len(store.all_runs()) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = say(monkeypatch, capsys, "rebalance", "--to", 60, *GENERATE, code=1)
    assert "add --yes" in said and len(store.all_runs()) == 2


def test_what_is_missing_is_generated_and_what_was_made_is_not_made_again(own, monkeypatch, capsys):
    images = gather.in_use(gather.gather(store.find("1")))
    have = Counter(images["rarity_class"])
    goal = max(have.values()) + 1
    options = ["rebalance", "--to", goal, "--by", "class", "--cap", 2, *GENERATE, "--yes"]
    said = say(monkeypatch, capsys, *options)
    lacking = [k for k in range(5) if have[k] < goal]
    made = [run for run in gather.generations(store.find("1")) if run.key != "mincurate_2"]
    assert [run.record["settings"]["target_classes"] for run in made] == [[k] for k in lacking]
    sizes = [len(pd.read_parquet(run.path / "synthetic.parquet")) for run in made]
    assert sizes == [min(2, goal - have[k]) for k in lacking]
    total = sum(goal - have[k] for k in lacking)
    assert f"To generate: {sum(sizes)} images" in said
    assert sum(sizes) == total or f"of {total}" in said
    again = rebalance.plan_for(images, "class", goal, 1)
    filled = pipeline.fill(
        store.find("1"), again.head(1), by="class", steps=3,
        train_steps=20, guide_steps=20,
    )  # fmt: skip
    assert filled[0].run.record["settings"]["first"] == sizes[lacking.index(0)]
    seeds = [
        pd.read_parquet(run.path / "synthetic.parquet")["seed"] for run in (made[0], filled[0].run)
    ]
    assert not set(seeds[0]) & set(seeds[1])


def test_a_label_is_filled_up_with_images_that_were_made_for_it(own, monkeypatch, capsys):
    scored = store.find("1")
    have = Counter(gather.in_use(gather.gather(scored))["label"])
    goal = have["disc"] + 2  # both labels lack some, and the rare one more than the cap
    said = say(monkeypatch, capsys, "rebalance", "--to", goal, "--cap", 3, *GENERATE, "--yes")
    made = [run for run in gather.generations(scored) if run.key != "mincurate_2"]
    settings = [run.record["settings"] for run in made]
    assert [(s["label"], s["n"], s["sampler"]) for s in settings] == [
        ("cross", 3, "minority"), ("disc", 2, "minority"),
    ]  # fmt: skip
    assert all(s["target_classes"] == [0, 1, 2, 3, 4] for s in settings)
    assert "To generate: 5 images of" in said and "(--cap 3 per class)" in said
    landed = 0
    for run, wanted in zip(made, ("cross", "disc"), strict=True):
        frame = pd.read_parquet(run.path / "synthetic.parquet")
        landed += int((frame["accepted"] & (frame["label"] == wanted)).sum())
        row = next(line for line in said.splitlines() if run.key in line and wanted in line)
        assert str(int(frame["accepted"].sum())) in row
    assert (f"{5 - landed} images were rejected" in said) == (landed < 5)
    after = Counter(gather.in_use(gather.gather(scored))["label"])
    assert sum(after.values()) - sum(have.values()) == sum(
        pd.read_parquet(run.path / "synthetic.parquet")["accepted"].sum() for run in made
    )


def test_real_and_accepted_images_are_exported_with_where_they_are_from(
    own, tmp_path, monkeypatch, capsys
):
    path = own / "runs" / "mincurate_2" / "synthetic.parquet"
    frame = pd.read_parquet(path)
    frame["reason"] = frame["reason"].astype(object)
    frame.loc[[0, 1], "reason"], frame.loc[[0, 1], "accepted"] = "near-copy", False
    frame.to_parquet(path)
    said = say(monkeypatch, capsys, "export", tmp_path / "a")
    assert "60 real and 10 synthetic" in said and "2 not accepted: near-copy" in said
    table = pd.read_csv(tmp_path / "a" / "provenance.csv")
    assert table["provenance"].value_counts().to_dict() == {"real": 60, "synthetic": 10}
    assert set(table["run"].dropna()) == {"mincurate_2"}
    files = list((tmp_path / "a").rglob("*.png"))
    assert len(files) == 70 and {p.parent.name for p in files} == {"cross", "disc"}
    more = ["--format", "coco", "--by", "class", "--copy", "--include-rejected"]
    assert "60 real and 12" in say(monkeypatch, capsys, "export", tmp_path / "b", *more)
    about = json.loads((tmp_path / "b" / "annotations.json").read_text())
    assert len(about["images"]) == 72
    assert "other images or settings" in refused(monkeypatch, capsys, "export", tmp_path / "b")


def test_images_dropped_in_fiftyone_are_left_out(own, tmp_path, monkeypatch, capsys):
    run = store.find("1")
    run.update(dataset="shapes")
    dropped = run.frame()["path"].iloc[0]
    state = SimpleNamespace(
        tags={dropped: [export.DROP_TAG]},
        frame=run.frame(),
        differences="2 labels were corrected.",
        boxes={},
        several={},
        mined=None,
    )
    monkeypatch.setattr(current_state, "read", lambda run, reporter: state)
    said = say(monkeypatch, capsys, "export", tmp_path / "a")
    assert "59 real" in said and f"1 tagged {export.DROP_TAG}" in said
    assert "2 labels were corrected." in said
    assert "   60 " not in say(monkeypatch, capsys, "rebalance", "--dry-run")

    def unreachable(run, reporter):
        raise UserError("FiftyOne's database does not answer.")

    monkeypatch.setattr(current_state, "read", unreachable)
    said = say(monkeypatch, capsys, "export", tmp_path / "b")
    assert "60 real" in said and "Tags and corrected labels are not taken into account" in said


def test_a_split_column_keeps_neighbours_of_test_images_out(own, tmp_path, monkeypatch, capsys):
    run = store.find("1")
    paths = run.frame()["path"].tolist()
    near = pd.read_parquet(own / "runs" / "mincurate_2" / "synthetic.parquet")["nearest_real"]
    splits = ["test" if path == near.iloc[0] else "train" for path in paths]
    pd.DataFrame({"image": paths, "part": splits}).to_csv(tmp_path / "list.csv", index=False)
    run.update(source={"kind": "table", "value": str(tmp_path / "list.csv")})
    said = say(monkeypatch, capsys, "export", tmp_path / "a", "--split", "part")
    assert "near an image of another split" in said
    assert {p.name for p in (tmp_path / "a").iterdir() if p.is_dir()} == {"train", "test"}
    wrong = refused(monkeypatch, capsys, "export", tmp_path / "b", "--split", "x")
    assert "no column 'x'" in wrong


def test_a_copy_in_the_test_folder_keeps_its_neighbours_out_of_training(
    own, tmp_path, monkeypatch, capsys
):
    run = store.find("1")
    near = pd.read_parquet(own / "runs" / "mincurate_2" / "synthetic.parquet")["nearest_real"]
    frame = run.frame()
    frame["rel_path"] = "train/" + frame["rel_path"]
    copied = frame["path"] == near.iloc[0]
    twin = frame[copied].assign(rel_path="test/disc/twin.png", duplicate_of="x")
    twin["path"] = shutil.copy(near.iloc[0], str(tmp_path / "twin.png"))
    pd.concat([frame, twin]).to_parquet(run.path / "scores.parquet")
    said = say(monkeypatch, capsys, "export", tmp_path / "a", "--split", "folders")
    left_out = (near == near.iloc[0]).sum()
    assert f"{left_out} near an image of another split" in said
    exported = pd.read_csv(tmp_path / "a" / "provenance.csv")
    assert exported["split"].value_counts().to_dict() == {"train": 72 - left_out, "test": 1}


def test_an_image_of_two_generations_counts_once_and_old_classes_are_forgotten(own):
    scored = store.find("1")
    folder = store.find("2").path
    twin = store.create()
    twin.update(**{k: v for k, v in store.find("2").record.items() if k != "key"})
    frame = pd.read_parquet(folder / "synthetic.parquet")
    frame.to_parquet(twin.path / "synthetic.parquet")
    table = gather.gather(scored)
    assert (table["source"] == "synthetic").sum() == 12
    assert table["rarity_class"].notna().all()
    scored.update(rank_by="neighbors")
    table = gather.gather(scored)
    assert table["rarity_class"].isna().sum() == 12 and table["label"].notna().all()
    scored.update(created="2020-01-01T00:00:00Z")  # another run that got the same name
    assert (gather.gather(scored)["source"] == "real").all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rebalance", "--to", "most"], "'most'"),
        (["rebalance", "--to", 0], "at least 1"),
        (["rebalance", "--cap", 0], "--cap"),
        (["rebalance", "mincurate_2"], "mincurate_1"),
        (["export", "x", "--run", "mincurate_2"], "mincurate_1"),
        (["export", "x", "--split", "part"], "--split"),
        (["export", "x", "--split", "folders"], "no such folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    own, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    assert words in refused(monkeypatch, capsys, *arguments)


def test_without_labels_there_is_nothing_to_rebalance_by(own, monkeypatch, capsys):
    for path in own.glob("runs/*/s*.parquet"):
        pd.read_parquet(path).assign(label=None).to_parquet(path)
    assert "has a label" in refused(monkeypatch, capsys, "rebalance")
    assert np.isfinite(
        rebalance.weights_for(gather.gather(store.find("1")), "class", "sqrt")["weight"]
    ).all()
