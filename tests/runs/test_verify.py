"""What a run keeps is read again, and each damage has a name and a cure."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import GENERATE, VARY, command, draw_shapes

from mincurate.compute import device
from mincurate.runs import digests, schema, store
from mincurate.runs.verify import verify

pytestmark = pytest.mark.slow  # many whole runs
QUICK = ("--train-steps", 20, "--n-draws", 2, "--num-classes", 5, "--no-umap")


def flip(path: Path) -> None:
    """Change one bit in the middle, as a failing disk does: the clock of the file stands still."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def kept_files(home: Path) -> list[Path]:
    """Everything whose damage would cost something; pictures and pages are made from it."""
    return [
        path
        for path in sorted(home.rglob("*"))
        if path.is_file()
        and "figures" not in path.parts
        and path.suffix in (*digests.SUFFIXES, ".png", ".done")
        and path.name not in (schema.RECORD, device.MEASURED)
    ]


def test_a_run_nobody_damaged_is_whole(own):
    assert "mincurate_1 is whole" in command(own, "verify", "1")
    output = command(own, "verify", "--all")
    assert "mincurate_1 is whole" in output and "mincurate_2 is whole" in output


def test_a_flipped_bit_is_found_in_every_file_that_is_kept(own):
    both = store.find("1"), store.find("2")
    files = kept_files(own)
    assert len(files) > 30
    for path in files:
        before = path.read_bytes()
        flip(path)
        named = {damage.path.resolve() for run in both for damage in verify(run)}
        place = path.with_suffix(".parquet") if path.suffix == ".done" else path
        assert place.resolve() in named, path
        path.write_bytes(before)
    assert [d.words for run in both for d in verify(run)] == []


def test_a_file_that_is_gone_is_named_with_its_cure(own, capsys):
    run = store.find("1")
    for name in ("scores.parquet", "embeddings.npy", "report.html"):
        (run.path / name).unlink()
    output = command(own, "verify", "1", code=1)
    assert output.count("is missing") == 3
    assert "`mincurate report mincurate_1` writes it again" in output
    assert "mincurate score" in output and "keeps the rest" in output


def test_the_cure_that_is_named_mends(own):
    run = store.find("1")
    before = {name: (run.path / name).read_bytes() for name in ("scores.parquet", "embeddings.npy")}
    flip(run.path / "scores.parquet")
    flip(run.path / "embeddings.npy")
    flip(run.path / "shards" / "scores-000000.parquet")
    [cure] = {d.repair for d in verify(run)}
    words = shlex.split(cure.split("`")[1])
    output = command(own, *words[1:])
    assert "Shard 0 of the scores of mincurate_1 is damaged and is made again." in output
    assert verify(run) == []
    assert {name: (run.path / name).read_bytes() for name in before} == before


def test_a_damaged_image_is_made_again_with_the_same_bytes(own):
    run = store.find("2")
    image = run.path / "images" / "000005.png"
    before = image.read_bytes()
    flip(image)
    [damage] = verify(run)
    assert damage.path == image and "mincurate augment" in damage.repair
    command(own, "augment", *GENERATE, *VARY)
    assert image.read_bytes() == before and verify(run) == []


def test_while_a_command_works_only_what_it_did_not_touch_is_held_to_its_digest(own):
    run = store.find("1")
    with digests.held(run):
        (run.path / "scores.csv").write_text((run.path / "scores.csv").read_text())
        (run.path / "embeddings.npy").write_bytes((run.path / "embeddings.npy").read_bytes())
        assert verify(run) == []
        flip(run.path / "embeddings.parquet")
        assert [d.path.name for d in verify(run)] == ["embeddings.parquet"]
    # Nor does the end of a command believe what a failing disk made of a file meanwhile.
    assert [d.path.name for d in verify(run)] == ["embeddings.parquet"]


def test_a_damaged_record_is_found(own):
    (own / "runs" / "mincurate_1" / schema.RECORD).write_text("{")
    output = command(own, "verify", "--all", code=1)
    assert "run.json cannot be read. Delete the folder" in output
    assert "mincurate_2 is whole" in output


def test_what_a_killed_process_began_to_write_is_swept_away(own):
    run = store.find("1")
    left = run.path / "shards" / ".scores-000000.parquet.4711.partial"
    left.write_bytes(b"half")
    with digests.held(run):
        assert not left.exists()


def test_files_that_failed_are_tried_again_and_everything_else_is_kept(tmp_path, home):
    folder, output = tmp_path / "images", tmp_path / "run"
    draw_shapes(folder, discs=24, crosses=4)
    whole = (folder / "disc" / "003.png").read_bytes()
    (folder / "disc" / "003.png").write_bytes(whole[:80])
    (folder / "disc" / "004.png").write_text("no image")
    (folder / "disc" / "out.png").symlink_to(tmp_path / "secret.png")
    shutil.copy(folder / "disc" / "000.png", tmp_path / "secret.png")
    command(home, "score", folder, "--no-fiftyone", "--output", output, *QUICK)
    before = pd.read_parquet(output / "scores.parquet").set_index("rel_path")
    assert set(before.index[before["status"] != "ok"]) == {
        *("disc/003.png", "disc/004.png", "disc/out.png")
    }
    (folder / "disc" / "003.png").write_bytes(whole)
    text = command(home, "retry", "--no-fiftyone")
    assert "1 of 2 files that could not be read joined run" in text
    after = pd.read_parquet(output / "scores.parquet").set_index("rel_path")
    others = before.index.drop("disc/003.png")
    pd.testing.assert_frame_equal(after.loc[others, before.columns], before.loc[others])
    assert after.loc["disc/003.png", "status"] == "ok" and after["rarity"].notna().sum() == 27
    assert not after.index.duplicated().any()
    assert json.loads((output / "run.json").read_text())["counts"]["unscorable"] == 2
    assert verify(store.Run(output)) == []
    assert "0 of 1 files" in command(home, "retry", "--no-fiftyone")


def test_without_a_run_there_is_nothing_to_try_again(home):
    assert "no run yet" in command(home, "retry", "--no-fiftyone", code=1)


def test_a_dataset_is_made_again_from_the_files(own, database):
    """Values, labels, map and generated images; a second time adds nothing."""
    import fiftyone as fo

    from mincurate.pipelines.sync import sync

    run = store.find("1")
    store.find("2").update(dataset="synced")

    def state(name):
        dataset = fo.load_dataset(name)
        fields = ["filepath", "minority_score", "rarity", "rarity_class", "ground_truth.label"]
        return sorted(zip(*dataset.values([*fields, "flagged"]), strict=True), key=str)

    first = sync(run, "synced")
    assert (first.added, first.generations) == (72, ["mincurate_2"])
    before = state("synced")
    again = sync(run)
    assert (again.name, again.added) == ("synced", 0) and state("synced") == before
    fo.delete_dataset("synced")
    assert sync(store.find("2")).added == 72 and state("synced") == before
    fo.delete_dataset("synced")


def test_a_dataset_that_was_scored_and_lost_is_made_again(own, database, tmp_path):
    import fiftyone as fo

    from mincurate.pipelines.score import score
    from mincurate.pipelines.sync import sync

    draw_shapes(tmp_path / "images", discs=20, crosses=4)
    paths = sorted((tmp_path / "images").rglob("*.png"))
    dataset = fo.Dataset("lost", persistent=True)
    dataset.add_samples(
        [fo.Sample(str(p), ground_truth=fo.Classification(label=p.parent.name)) for p in paths]
    )
    run = score("fiftyone:lost", train_steps=20, n_draws=2, umap=False).run
    scores = dict(zip(*dataset.values(["filepath", "minority_score"]), strict=True))
    fo.delete_dataset("lost")
    assert sync(run).added == 24
    restored = fo.load_dataset("lost")
    assert dict(zip(*restored.values(["filepath", "minority_score"]), strict=True)) == scores
    assert restored.count_values("ground_truth.label") == {"disc": 20, "cross": 4}
    assert sync(run).added == 0
    fo.delete_dataset("lost")


def test_an_unfinished_run_is_not_synced(own, monkeypatch, capsys):
    from conftest import refused

    store.find("1").update(finished=None)
    assert "is not finished" in refused(monkeypatch, capsys, "sync", "1")
    assert "what it has is whole" in command(own, "verify", "1")


def test_verifying_imports_nothing_that_computes(own):
    code = (
        "import sys\nfrom mincurate.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = ('torch', 'diffusers', 'umap', 'fiftyone', 'sklearn')\n"
        "print(*(m for m in heavy if m in sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "2"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1].strip() == "", done
