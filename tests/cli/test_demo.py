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
    planted, top = map(int, re.search(COUNT, printed).groups())
    assert "See them: mincurate launch mincurate-demo" in printed
    dataset = fo.load_dataset("mincurate-demo")
    assert len(dataset) == 191 and len(dataset.exists("rarity")) == 191
    rarest = dataset.match(fo.ViewField("rarity") >= 0.9).values("filepath")
    assert len(rarest) == top and sum("/rare/" in path for path in rarest) == planted
    dataset.delete()


@pytest.mark.slow
@pytest.mark.long
def test_the_demo_finds_most_of_the_planted_images(home, say, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, printed = say("demo", "--no-fiftyone")
    assert code == 0
    planted, _ = re.search(COUNT, printed).groups()
    assert int(planted) > 6
    [report] = re.findall("See them: open (.*)", printed)
    assert Path(report).is_file()
    assert len(list((home / "demo").rglob("*.png"))) == 191
