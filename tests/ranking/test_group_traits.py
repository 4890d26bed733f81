"""What sets a group of images apart from all images."""

import numpy as np
import pandas as pd
import pytest

from mincurate.ranking import group_traits


@pytest.fixture
def images():
    """300 images, all alike; the 251st is labelled."""
    label = pd.Series([None] * 300, dtype=object)
    label[250] = "common"
    columns = {"sharpness": 1.0, "brightness": 0.5, "contrast": 0.2, "colorfulness": 0.3}
    return pd.DataFrame({"label": label, "width": 32, "height": 32, "complexity": 1.0} | columns)


def test_the_measures_that_are_extreme_in_a_group_are_traits_and_what_is_broken(images):
    members = np.arange(5)
    images.loc[members, ["sharpness", "brightness"]] = [0.1, 0.9]
    images["broken"] = pd.Series(["blurred"] * 4 + [None] * 296, dtype=object)
    words = [trait.words for trait in group_traits.traits(images, members, near=250)]
    assert words[:2] == ["80% are blurred", "nearest to common"]
    assert any(trait.startswith("blurrier than") for trait in words)
    assert any(trait.startswith("brighter than") for trait in words)


def test_what_two_images_of_a_group_share_is_no_trait_and_what_three_share_is(images):
    images["broken"] = pd.Series(["blurred"] * 2 + [None] * 298, dtype=object)
    images["label"] = pd.Series(["tie"] * 2 + ["cup"] * 3 + ["person"] * 295, dtype=object)
    words = [trait.words for trait in group_traits.traits(images, np.arange(6))]
    assert words == ["50% are cup (1% of all)"]


def test_of_a_group_like_all_others_nothing_is_a_trait(images):
    assert group_traits.traits(images, np.arange(50)) == ()


def test_the_hue_that_is_frequent_in_a_group_is_a_trait_and_greys_count(images):
    hue = np.where(np.arange(300) % 10 < 2, 120.0, 230.0)
    hue[:5], hue[5:8] = np.nan, 120
    images["hue"] = hue
    [trait] = (t for t in group_traits.traits(images, np.arange(8)) if "grey" in t.words)
    assert trait == ("grey", "62% are grey (2% of all)")
    assert not any("blue" in t.words for t in group_traits.traits(images, np.arange(100, 200)))
