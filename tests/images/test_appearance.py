import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mincurate.images import appearance


def picture(seed=0, side=64):
    """Soft shapes with hard edges in colours, as photographs have them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.NEAREST).filter(ImageFilter.GaussianBlur(1))


@given(st.integers(0, 1000), st.floats(1, 4))
def test_blur_lowers_sharpness_and_nothing_else_much(seed, radius):
    image = picture(seed)
    sharp = appearance.measure(image)
    soft = appearance.measure(image.filter(ImageFilter.GaussianBlur(radius)))
    assert soft.sharpness < sharp.sharpness
    assert soft.brightness == pytest.approx(sharp.brightness, abs=0.02)


@given(st.integers(0, 1000), st.floats(0.3, 1))
def test_sharpness_does_not_follow_contrast(seed, share):
    image = picture(seed)
    grey = Image.new("RGB", image.size, (128, 128, 128))
    flat = appearance.measure(Image.blend(grey, image, share))
    assert flat.contrast == pytest.approx(share * appearance.measure(image).contrast, rel=0.05)
    assert flat.sharpness == pytest.approx(appearance.measure(image).sharpness, rel=0.1)


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_one_colour_has_no_contrast_and_no_sharpness(color):
    found = appearance.measure(Image.new("RGB", (40, 30), color))
    assert found.contrast < 1e-4 and found.sharpness is None
    assert 0 <= found.brightness <= 1


def test_grey_has_no_colour_and_stripes_of_colours_have_much():
    grey = picture().convert("L").convert("RGB")
    assert appearance.measure(grey).colorfulness == pytest.approx(0, abs=1e-6)
    assert appearance.measure(picture()).colorfulness > 0.3


def test_colours_of_equal_luma_are_not_blank():
    """Half of it red, half of it the green that a grey film shows alike."""
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, :10, 0], pixels[:, 10:, 1] = 200, 102
    assert appearance.measure(Image.fromarray(pixels)).contrast > appearance.BLANK


@pytest.mark.parametrize("size", [(1, 1), (2, 50), (700, 3), (600, 900)])
def test_every_size_can_be_measured(size):
    found = appearance.measure(picture().resize(size))
    assert 0 <= found.contrast <= 0.5 and 0 <= found.brightness <= 1


def table(**columns):
    n = len(next(iter(columns.values())))
    usual = {"status": ["ok"] * n, "duplicate_of": [None] * n, "contrast": [0.2] * n}
    usual["reason"] = [None] * n
    return pd.DataFrame(usual | {"sharpness": [1.0] * n} | columns)


def test_what_is_broken_is_said_and_the_worst_first():
    frame = table(
        status=["ok", "ok", "ok", "ok", "unscorable"],
        duplicate_of=[None, None, None, "a.png", None],
        contrast=[0.2, 0.2, 0.001, 0.001, np.nan],
        sharpness=[1.0, 0.2, np.nan, np.nan, np.nan],
    )
    assert appearance.broken(frame, 0.5).tolist() == [
        *(None, "blurred", "blank", "copy", "unreadable"),
    ]


def test_a_set_that_is_soft_as_a_whole_is_not_blurred():
    soft = [
        appearance.measure(picture(i).filter(ImageFilter.GaussianBlur(2))).sharpness
        for i in range(40)
    ]
    floor = appearance.sharpness_floor(np.array(soft))
    assert 0 < floor < min(soft)
    hard = [appearance.measure(picture(i)).sharpness for i in range(40)]
    assert appearance.sharpness_floor(np.array(hard)) > max(soft)


def test_few_images_have_no_floor():
    assert appearance.sharpness_floor(np.array([1.0, 0.1, np.nan])) == 0
    assert appearance.sharpness_floor(np.array([])) == 0


@pytest.mark.parametrize(
    ("color", "name"),
    [
        ((200, 20, 30), "red"),
        ((220, 120, 20), "orange"),
        ((220, 210, 40), "yellow"),
        ((40, 160, 60), "green"),
        ((30, 190, 200), "cyan"),
        ((40, 70, 200), "blue"),
        ((180, 40, 190), "magenta"),
        ((190, 30, 60), "red"),
        ((120, 122, 121), "grey"),
    ],
)
def test_hues_have_the_names_that_people_give_them(color, name):
    found = appearance.measure(Image.new("RGB", (20, 20), color))
    assert (found.hue is None) == (name == "grey")
    assert appearance.hue_names(np.array([found.hue], np.float64)).tolist() == [name]


def test_the_hue_is_that_of_the_mean_colour_over_red_too():
    """Half of it a red on one side of 0 degrees and half on the other."""
    picture = Image.new("RGB", (20, 20), (200, 0, 40))
    picture.paste((200, 40, 0), (0, 0, 10, 20))
    hue = appearance.measure(picture).hue
    assert min(hue, 360 - hue) < 1
