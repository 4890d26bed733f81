import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincurate.ranking import classes, judging, outliers, within_labels


def kinds(counts, spread=0.3, seed=0):
    """Vectors of kinds that lie apart, and of which kind each is."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(counts)), counts)
    middles = rng.normal(size=(len(counts), 16))
    return (middles[of] + spread * rng.normal(size=(len(of), 16))).astype(np.float32), of


def hashes(count):
    return [f"{i * 7919 % 10007:08d}" for i in range(count)]


def by_label(vectors, labels):
    """Rarity within the label and mismatch, of every image."""
    columns = np.full((2, len(vectors)), np.nan)
    read = within_labels.labelling(hashes(len(vectors)), labels)
    for label, measured in within_labels.measure_all(vectors, read):
        columns[:, label.members] = measured.rarity, measured.evidence[-1]
    return columns


def test_images_of_another_label_are_the_rarest_of_theirs_and_nearer_to_it():
    vectors, of = kinds([120, 80, 40])
    labels = np.array(["cat", "dog", "ship"], object)[of]
    wrong = [0, 1, 125]
    labels[wrong] = ["ship", "dog", "cat"]
    rarity, mismatch = by_label(vectors, labels)
    assert (np.flatnonzero(mismatch > 0.5) == wrong).all()
    for row in wrong:
        assert rarity[row] == rarity[labels == labels[row]].max()


def test_what_stands_out_of_its_label_and_resembles_no_other_ranks_high_too():
    vectors, of = kinds([150, 150])
    vectors[7] += 3.0
    rarity, mismatch = by_label(vectors, np.array(["a", "b"], object)[of])
    assert rarity[7] > np.quantile(rarity[of == 0], 0.9)
    assert mismatch[7] == pytest.approx(0.5, abs=0.1)  # as far from both


@pytest.mark.parametrize("labels", [["one"] * 90, [""] * 90, ["one"] * 50 + [""] * 40])
def test_without_other_labels_an_image_is_compared_with_those_of_its_own_alone(labels):
    vectors, _ = kinds([50, 40])
    rarity, mismatch = by_label(vectors, labels)
    assert np.isnan(mismatch).all()
    for name in set(labels):
        here = np.flatnonzero(np.array(labels) == name)
        own = outliers.reference(np.array(hashes(90))[here])
        assert rarity[here] == pytest.approx(outliers.rarity(vectors[here], own))


def test_labels_that_say_nothing_about_what_images_look_like_do_not_count():
    vectors, of = kinds([150, 150])
    vectors[7] += 3.0
    halves = np.where(np.random.default_rng(0).random(300) < 0.5, "a", "b").astype(object)

    def weights(names):
        read = within_labels.labelling(hashes(300), names)
        return {measured.weights for _, measured in within_labels.measure_all(vectors, read)}

    assert weights(of.astype(str)) == {within_labels.WEIGHTS}
    assert weights(halves) == {within_labels.WITHOUT_OTHERS}
    rarity, _ = by_label(vectors, halves)
    assert rarity[7] == rarity[halves == halves[7]].max()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**16), st.sampled_from([0, 1, 7.0]))
def test_mismatch_is_a_share_whatever_the_scale_and_the_number_of_images(few, others, seed, scale):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(few + others, 4)).astype(np.float32)
    labels = ["a"] * few + ["b"] * others
    _, mismatch = by_label(scale * vectors, labels)
    assert np.isnan(mismatch[:few]).all() == (few < 2)
    known = mismatch[~np.isnan(mismatch)]
    assert ((known >= 0) & (known <= 1)).all()
    again = by_label(2 * scale * vectors, labels)[1]
    assert again == pytest.approx(mismatch, abs=1e-3, nan_ok=True)
    if scale == 0:
        assert (known == 0.5).all()  # copies of one another are as near


def test_joining_images_rank_as_those_of_the_label_do_and_as_the_run_counts():
    vectors, of = kinds([200, 150])
    names = np.array(["a", "b"], object)[of]
    read = within_labels.labelling(hashes(350), names)
    label = read.labels[0]
    joining = np.stack([vectors[0] + 0.001, vectors[300], vectors[0] + 9])
    ranks, mismatch = within_labels.measure_among(vectors, read, label, joining)
    assert mismatch[1] > 0.5 > mismatch[0] and ranks[0] < 0.9 < ranks[1:].min()
    before, _ = within_labels.measure_among(vectors, read, label, joining, before=True)
    own = vectors[label.members]
    among = own[label.reference]
    of_old_runs = classes.mean_rank_among(
        outliers.evidence(own, among, label.reference),
        outliers.evidence(joining, among),
        outliers.WEIGHTS,
    )
    assert before == pytest.approx(of_old_runs)


def test_a_sample_of_a_label_ranks_its_images_as_the_label_does(monkeypatch):
    vectors, of = kinds([130, 60, 20])
    names = np.array(["a", "b", "c"], object)[of]
    rarity, _ = by_label(vectors, names)
    for size in (judging.SAMPLE, 100):
        monkeypatch.setattr(judging, "SAMPLE", size)
        samples = list(judging.of_labels(hashes(210), names))
        assert [(s.ranked, s.size) for s in samples] == [(min(130, size), 130), (60, 60)]
        for sample in samples:
            ranks = sample.rank(vectors[sample.rows])
            alike = np.corrcoef(ranks, rarity[sample.rows[: sample.ranked]])[0, 1]
            assert alike > 0.95 if sample.ranked < sample.size else alike == pytest.approx(1)


def test_every_label_is_compared_with_all_others_however_large_it_is():
    labels = ["a"] * 6000 + ["b"] * 10 + ["c"] * 300 + [""] * 500
    read = within_labels.labelling(hashes(6810), labels)
    of = {label.name: np.array(labels)[read.others(label)] for label in read.labels}
    assert len(read.sample) == outliers.REFERENCE
    assert (of["a"] == "b").sum() == 10 and (of["a"] == "c").sum() == 300 and len(of["a"]) == 310
    assert len(of["b"]) == outliers.REFERENCE - 10 and len(of[""]) == 0
    assert within_labels.labelling([], []).labels == []
