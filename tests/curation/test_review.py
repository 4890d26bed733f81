from mincurate.curation import export, review
from mincurate.curation.review import KEEP_TAG, MISLABELLED_TAG, SEEN_TAG


def test_a_verdict_counts_as_looked_at_once():
    found = review.review([[KEEP_TAG, SEEN_TAG], [MISLABELLED_TAG, KEEP_TAG], [SEEN_TAG], ["x"]])
    assert (found.images, found.seen, found.share) == (4, 3, 0.75)
    assert found.verdicts == {KEEP_TAG: 2, export.DROP_TAG: 0, MISLABELLED_TAG: 1}


def test_nothing_to_review_is_all_reviewed():
    assert review.review([]).share == 1
