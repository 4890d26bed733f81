"""The study's cases and measures: what it says of the rankings rests on these."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import planted
    import study

CLASSES = ("airplane", "bird", "cat", "deer", "dog", "frog")
SEED = st.integers(0, 1000)


def pool() -> planted.Pool:
    """Sixty images of each of six classes, and five blurred ones of each, without pixels."""
    labels = np.repeat([*CLASSES, *(f"{c}/blurred" for c in CLASSES)], [60] * 6 + [5] * 6)
    n = len(labels)
    return planted.Pool(np.zeros((n, 3, 1, 1), np.uint8), labels, np.eye(n), np.arange(n))


POOL = pool()


def found(case="frog in cat, 5%, seed 0", method="other", group="one common class", **values):
    """A line of the study."""
    usual = {"auroc": 0.8, "ap": 0.3, "precision_at_planted": 0.3, "looked_at": 0.5}
    usual |= {"spearman_complexity": 0.0, "auroc_matched": 0.8, "seconds": 1.0}
    return study.Found(case, group, method, **usual | values)


@given(st.sampled_from(planted.SHARES), SEED, st.integers(1, 3))
def test_so_many_are_hidden_as_is_said_and_no_image_is_there_twice(share, seed, several):
    case = planted.hide(POOL, CLASSES[:several], "frog", share, seed, 50)
    assert len(set(case.rows)) == len(case.rows)
    assert case.rare.sum() == round(50 * share)
    labels = POOL.labels[case.rows]
    assert set(labels[case.rare]) <= {"frog"}
    _, counts = np.unique(labels[~case.rare], return_counts=True)
    assert len(counts) == several and np.ptp(counts) == 0
    again = planted.hide(POOL, CLASSES[:several], "frog", share, seed, 50)
    assert again.rows.tolist() == case.rows.tolist() and again.rare.tolist() == case.rare.tolist()
    other = planted.hide(POOL, CLASSES[:several], "frog", share, seed + 1, 50)
    assert other.rows.tolist() != case.rows.tolist()


@given(SEED)
def test_the_tail_of_a_long_tail_is_its_rarest_classes_and_no_more_than_is_said(seed):
    case = planted.long_tail(POOL, seed, 100)
    assert len(set(case.rows)) == len(case.rows)
    assert 0 < case.rare.mean() <= planted.TAIL
    labels = POOL.labels[case.rows]
    tail, others = set(labels[case.rare]), set(labels[~case.rare])
    assert not tail & others and not any("/" in name for name in tail | others)
    count = {name: int((labels == name).sum()) for name in tail | others}
    assert max(count[name] for name in tail) <= min(count[name] for name in others)
    assert planted.long_tail(POOL, seed, 100).rows.tolist() == case.rows.tolist()


def mislabelled(seed, hidden=False):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "FREQUENT", 60)
        return planted.mislabel(POOL, seed, hidden)


@given(SEED, st.booleans())
def test_of_every_label_the_same_share_is_of_another_class_and_no_image_is_there_twice(
    seed, hidden
):
    case, size = mislabelled(seed, hidden), 60 - planted.TAKEN
    labels = 4 if hidden else 6
    assert len(set(case.rows)) == len(case.rows) == labels * size
    real = POOL.labels[case.rows]
    assert ((real != case.labels) == case.rare).all()
    assert (hidden and not np.isin(real[case.rare], case.labels).any()) or (
        not hidden and np.isin(real[case.rare], case.labels).all()
    )
    parts = list(case.by_label())
    assert [part.name.split(",")[0] for _, part in parts] == sorted(set(case.labels))
    for own, part in parts:
        assert len(part.rows) == own.sum() == size
        assert part.rare.sum() == max(2, round(size * planted.MISLABELLED))
    assert mislabelled(seed, hidden).rows.tolist() == case.rows.tolist()
    assert mislabelled(seed + 1, hidden).rows.tolist() != case.rows.tolist()


def test_a_case_without_labels_is_one_part():
    case = planted.hide(POOL, ("cat",), "frog", 0.05, 0, 50)
    [(own, part)] = case.by_label()
    assert own.all() and part is case


def test_all_is_what_is_reported_and_spoiled_and_mislabelled(monkeypatch):
    monkeypatch.setattr(planted, "REPORTED", [(("cat",), "frog"), (("airplane",), "bird")])
    monkeypatch.setattr(planted, "SEVERAL", [])
    monkeypatch.setattr(planted, "SPOILED", ["blurred"])
    monkeypatch.setattr(planted, "FREQUENT", 60)
    groups = ["one common class", "natural long tail", "blurred"]
    groups += ["wrong labels", "kinds without a label"]
    every = list(planted.cases(POOL, "all", 50, 1))
    assert list(dict.fromkeys(case.group for case in every)) == groups
    assert len({case.name for case in every}) == len(every)
    assert {c.name.split(",")[0] for c in every if c.overlaps} == {"bird in airplane"}


def test_no_reported_pair_is_one_for_choosing_and_five_come_near_one():
    reported = (*planted.REPORTED, *planted.SEVERAL)
    choosing = {(frozenset(common), rare) for common, rare in planted.CHOOSING}
    assert not choosing & {(frozenset(common), rare) for common, rare in reported}
    near = [rare for common, rare in reported if planted.overlaps(common, rare)]
    assert sorted(near) == ["automobile", "bird", "cat", "ship", "truck"]


def test_a_matched_auroc_is_blind_to_complexity_and_sees_all_else():
    rng = np.random.default_rng(0)
    rare = np.arange(2000) < 200
    complexity = rng.normal(size=2000) + 2 * rare
    assert roc_auc_score(rare, complexity) > 0.9
    # Within a tenth the rare ones are still a little more complex.
    assert study.matched_auroc(rare, complexity, complexity) < 0.7
    other = rng.normal(size=2000) + rare
    assert study.matched_auroc(rare, other, complexity) == pytest.approx(
        roc_auc_score(rare, other), abs=0.05
    )


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_a_matched_auroc_is_the_auroc_where_all_are_equally_complex(images):
    rare, scores = np.array(images).T.astype(float)
    rare = rare.astype(bool)
    matched = study.matched_auroc(rare, scores, np.ones(len(rare)))
    if rare.any() and not rare.all():
        assert matched == pytest.approx(roc_auc_score(rare, scores))
    else:
        assert np.isnan(matched)


def test_the_measures_of_a_ranking_are_those_counted_by_hand():
    case = planted.hide(POOL, ("cat",), "frog", 0.05, 0, 40)
    scores = np.where(case.rare, 2.0, np.arange(len(case.rows)) / 40)
    best = study.judge(case, "best", scores, np.arange(len(case.rows)), 3.0)
    assert best.auroc == best.ap == best.precision_at_planted == 1 and best.seconds == 3
    assert best.looked_at == pytest.approx(2 / len(case.rows))
    worst = study.judge(case, "worst", -scores, np.arange(len(case.rows)), 0.0)
    assert worst.auroc == worst.precision_at_planted == 0 and worst.looked_at == 1
    flat = study.judge(case, "flat", np.ones(len(case.rows)), np.arange(len(case.rows)), 0.0)
    assert flat.auroc == 0.5 and flat.spearman_complexity == 0


def test_a_paired_difference_is_over_pairs_however_many_seeds_each_has():
    rows = []
    for pair, seeds, difference in (("a in b", 1, 0.3), ("c in d", 5, 0.1)):
        for seed in range(seeds):
            case = f"{pair}, 5%, seed {seed}"
            rows += [found(case, ap=0.2), found(case, study.DEFAULT, ap=0.2 + difference)]
    mean, low, high = study.paired(rows, "other", "one common class", "ap")
    assert mean == pytest.approx(0.2) and low == pytest.approx(0.1) and high == pytest.approx(0.3)
    assert study.paired(rows, study.DEFAULT, "one common class", "ap") == (0, 0, 0)
    assert np.isnan(study.paired(rows, "other", "another group", "ap")).all()


def test_means_are_told_again_without_the_pairs_that_overlap():
    rows = [found("a in b, 5%", ap=0.1), found("c in d, 5%", ap=0.3, overlaps=True)]
    rows.append(found("e in f, 5%", group="several common classes"))
    lines = {line["group"]: line for line in study.summary(rows)}
    assert list(lines) == ["one common class", "one common class, disjoint", rows[-1].group]
    assert lines["one common class"]["ap"] == pytest.approx(0.2)
    assert lines["one common class, disjoint"]["ap"] == pytest.approx(0.1)


def test_rivals_see_one_label_at_a_time():
    case = mislabelled(0)
    seen = []

    def way(rows):
        seen.append(set(rows.tolist()))
        return rows.astype(float)

    assert study.label_by_label(way, case)(case.rows).tolist() == case.rows.tolist()
    labels = [set(case.rows[case.labels == c].tolist()) for c in CLASSES]
    assert seen == labels


def test_the_figure_has_a_panel_of_seconds(tmp_path):
    from PIL import Image

    lines = study.summary([found(), found(method=study.DEFAULT)])
    study.draw(lines, tmp_path / "study.png")
    assert [name for name, _ in study.PANELS] == ["auroc", "ap", "seconds"]
    assert Image.open(tmp_path / "study.png").width > 1000
