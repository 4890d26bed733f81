"""What is asked for: the classes that come nearest to the wanted share of the images."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincurate.errors import UserError
from mincurate.generation import guided_classes as targets
from mincurate.ranking import classes
from mincurate.ranking.reference import Base
from mincurate.runs import store

FRACTIONS = st.one_of(st.just(0.1), st.floats(0.001, 1))


@given(st.integers(2, 200), FRACTIONS)
def test_the_rarest_classes_make_up_the_fraction_within_one_class(num_classes, fraction):
    found = targets.rarest_classes(num_classes, fraction)
    assert found == tuple(range(num_classes - len(found), num_classes)) and found
    assert abs(len(found) / num_classes - fraction) <= 1 / num_classes


@pytest.mark.parametrize(
    ("num_classes", "wanted"), [(2, 1), (5, 1), (10, 1), (15, 2), (20, 2), (36, 4), (100, 10)]
)
def test_the_rarest_tenth_of_a_run_with_any_number_of_classes(home, num_classes, wanted):
    """Of its images, not only of its classes."""
    scores = np.random.default_rng(0).gamma(3, 1, 503)
    frame = pd.DataFrame({"content_hash": [str(i) for i in range(503)], "label": None})
    frame["rarity_class"] = classes.ordinal_classes(scores, num_classes)
    run = store.create()
    run.update(num_classes=num_classes)
    base = Base(run, frame, np.zeros((503, 2), np.float32), 16, "crop")
    target, members = targets.choose_target(
        base, target_class=None, top_fraction=0.1, label=None, like=None
    )
    assert target.classes == tuple(range(num_classes - wanted, num_classes))
    assert abs(members.mean() - 0.1) <= 1 / num_classes
    assert scores[members].min() > scores[~members].max()


def test_a_label_without_images_in_the_tail_is_made_of_its_own_rarest_class(home):
    frame = pd.DataFrame({"content_hash": list("abcdef"), "label": ["disc"] * 3 + ["cross"] * 3})
    frame["rarity_class"] = [0, 2, 4, 0, 1, 2]
    run = store.create()
    run.update(num_classes=5)
    base = Base(run, frame, np.zeros((6, 2), np.float32), 16, "crop")
    wanted = {"top_fraction": 0.1, "like": None}
    for label, rarest in (("disc", 4), ("cross", 2)):
        target, members = targets.choose_target(base, target_class=None, label=label, **wanted)
        assert target.classes == (rarest,) and target.label == label
        assert frame["content_hash"][members].tolist() == ["c" if label == "disc" else "f"]
    with pytest.raises(UserError, match="no image of class 4, label 'cross'"):
        targets.choose_target(base, target_class=4, label="cross", **wanted)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_one_sentence(fraction):
    with pytest.raises(UserError, match=r"^--top-fraction[^\n]*$"):
        targets.rarest_classes(10, fraction)
