"""Runs and datasets of the version of 2026-11-26 keep everything, under the names of now."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mincurate.errors import UserError
from mincurate.pipelines.sync import sync
from mincurate.ranking import migrate, reference
from mincurate.ranking.classes import ordinal_classes
from mincurate.runs import store

BEFORE = Path(__file__).parents[1] / "data" / "run-of-2026-11-26"
"""A run of 40 drawn images ranked by embedding, and 8 images generated from it."""


@pytest.fixture
def old(home):
    shutil.copytree(BEFORE, home / "runs")
    return store.find("1")


def test_a_run_of_before_asks_for_sync_in_one_sentence(old):
    with pytest.raises(UserError, match="`mincurate sync mincurate_1` renames its fields"):
        reference.open_base(old)


def test_classes_get_the_names_that_say_what_they_follow(old):
    before = old.frame()
    made = pd.read_parquet(old.path.parent / "mincurate_2" / "synthetic.parquet")
    migrate.rename_classes(old, [store.find("2")])
    after = reference.open_base(old).frame.set_index("rel_path").loc[before["rel_path"]]
    assert after["rarity_class"].tolist() == before["minority_class"].tolist()
    scores = after["minority_score"].to_numpy(np.float64)
    assert after["minority_class"].tolist() == ordinal_classes(scores, 5).tolist()
    assert after["minority_class"].tolist() != after["rarity_class"].tolist()
    for name in ("minority_score", "rarity", "embedding_rarity", "map_x", "minority_percentile"):
        assert after[name].tolist() == before[name].tolist()
    generated = pd.read_parquet(old.path.parent / "mincurate_2" / "synthetic.parquet")
    assert generated["rarity_class"].tolist() == made["minority_class"].tolist()
    edges = old.record["minority_class_edges"]
    assert generated["minority_class"].tolist() == [
        int(np.searchsorted(edges, score)) for score in made["minority_score"]
    ]


def test_a_dataset_of_before_is_renamed_and_what_is_the_users_stays(old, database):
    import fiftyone as fo

    frame = old.frame()
    dataset = fo.Dataset("of-before", persistent=True)
    dataset.info = {"mincurate": {"created": True, "runs": ["mincurate_1"], "source": "x"}}
    dataset.info["notes"] = "mine"
    dataset.add_samples([fo.Sample(filepath=path) for path in frame["path"]], progress=False)
    dataset.set_values("minority_class", [int(c) for c in frame["minority_class"]])
    dataset.set_values("my_field", [f"note {i}" for i in range(len(frame))])
    dataset.tag_samples("mine")
    dataset.save()
    done = sync(old, "of-before")
    assert (done.added, done.updated) == (0, len(frame))
    dataset.reload()
    classes = dict(zip(*dataset.values(["filepath", "rarity_class"]), strict=True))
    assert classes == dict(zip(frame["path"], frame["minority_class"], strict=True))
    ours = dict(zip(*dataset.values(["filepath", "minority_class"]), strict=True))
    assert ours == dict(zip(frame["path"], old.frame()["minority_class"], strict=True))
    assert "embedding" in dataset.get_field("rarity_class").description
    assert "minority score" in dataset.get_field("minority_class").description
    assert dataset.info["notes"] == "mine" and dataset.count_sample_tags() == {"mine": 40}
    assert dataset.values("my_field") == [f"note {i}" for i in range(len(frame))]
    assert sync(old, "of-before").added == 0
