import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from quantiles import class_tops

from mincurate.ranking.classes import ordinal_classes

FLOATS = st.floats(allow_infinity=False)
FEW = st.sampled_from([-1.5, -0.0, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2.0), np.nan])


@given(
    hnp.arrays(np.float64, st.integers(0, 40), elements=st.one_of(FLOATS, FEW)),
    st.integers(1, 12),
    st.integers(1, 7),
)
def test_classes_of_scores_in_pieces_are_those_of_all_at_once(scores, num_classes, size):
    pieces = [scores[i : i + size] for i in range(0, len(scores), size)]
    tops = class_tops(lambda: pieces, num_classes)
    assert tops.shape == (num_classes - 1,) and (tops[1:] >= tops[:-1]).all()
    known = ~np.isnan(scores)
    expected = ordinal_classes(scores, num_classes)[known]
    np.testing.assert_array_equal(np.searchsorted(tops, scores[known]), expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_many_scores_with_ties_across_edges_keep_their_classes(kind):
    scores = np.random.default_rng(0).gamma(3, 1, 50_000).round(2).astype(kind)
    tops = class_tops(lambda: np.array_split(scores, 9), 10)
    np.testing.assert_array_equal(np.searchsorted(tops, scores), ordinal_classes(scores, 10))
