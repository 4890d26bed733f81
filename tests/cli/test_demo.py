"""`mincurate demo`, which finds planted digits."""

import re
from pathlib import Path

import pytest
from conftest import command

COUNT = r"(\d+) of the 12 planted images are in the top decile \((\d+) of 191 images; chance"


@pytest.mark.slow
def test_the_demo_counts_the_planted_images_and_says_how_to_see_them(database, tmp_path):
    import fiftyone as fo

    printed = command(tmp_path / "home", "demo", "--train-steps", 20)
    _, top = re.search(COUNT, printed).groups()
    assert 15 <= int(top) <= 25
    assert "See them: mincurate launch mincurate-demo" in printed
    dataset = fo.load_dataset("mincurate-demo")
    assert len(dataset) == 191 and len(dataset.exists("rarity")) == 191
    dataset.delete()


@pytest.mark.slow
@pytest.mark.long
def test_the_demo_finds_most_of_the_planted_images(tmp_path, say, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, printed = say("demo", "--no-fiftyone", "--folder", tmp_path / "digits")
    assert code == 0
    planted, _ = re.search(COUNT, printed).groups()
    assert int(planted) > 6
    [report] = re.findall("See them: open (.*)", printed)
    assert Path(report).is_file()
    assert len(list((tmp_path / "digits").rglob("*.png"))) == 191
