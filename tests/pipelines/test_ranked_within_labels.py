"""A run that ranks within labels, of the user's own vectors."""

import numpy as np
import pandas as pd
import pytest
from conftest import command, draw_shapes

from mincurate.report import run_page
from mincurate.runs.store import Run


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Crosses and discs, of which one of each is in the other's folder: the run, and its words."""
    place = tmp_path_factory.mktemp("swapped")
    draw_shapes(place / "set", discs=60, crosses=60)
    for kind, other in (("disc", "cross"), ("cross", "disc")):
        (place / "set" / kind / "000.png").rename(place / "set" / other / "wrong.png")
    files = sorted((place / "set").rglob("*.png"))
    kinds = np.array([(file.parent.name == "disc") != (file.stem == "wrong") for file in files])
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2, 32))[kinds.astype(int)] + 0.3 * rng.normal(size=(len(files), 32))
    pd.DataFrame({"path": map(str, files), "vector": list(vectors)}).to_parquet(place / "v.parquet")
    how = ("--vectors", place / "v.parquet", "--quick", "--no-fiftyone", "--no-umap")
    words = command(
        place / "home", "score", place / "set", "--within-label", *how, "--output", place / "run"
    )
    return Run(place / "run"), words


def test_images_in_the_wrong_folder_come_first_and_lie_nearer_to_the_other(printed):
    run, _ = printed
    frame = run.frame()
    wrong = frame["rel_path"].str.endswith("wrong.png")
    assert ((frame["label_mismatch"] > 0.5) == wrong).all()
    assert (frame["rarity"][wrong] == 1).all()


def test_table_and_report_show_the_value_that_ranks(printed):
    run, words = printed
    first = next(line for line in words.splitlines() if "wrong.png" in line)
    frame = run.frame().set_index("rel_path")
    value = frame["embedding_rarity_within_label"][frame.index.str.endswith("wrong.png")].max()
    assert f"{value:.4f}" in first and "within label" in words
    page = run_page.write_report(run).read_text()
    assert "ranked by the embedding rarity within label" in page
