"""What a run will do is decided, and its cost said, before it is done."""

from PIL import Image

from mincurate.images import collection
from mincurate.pipelines import scoring_plan, scoring_time
from mincurate.pipelines.score_settings import ScoreSettings
from mincurate.pipelines.scoring_plan import Networks


def test_the_cost_of_a_larger_side_is_said_where_images_are_larger(tmp_path):
    lines = {}
    for side in (40, 64):
        (tmp_path / str(side)).mkdir()
        for color in ("red", "blue"):
            Image.new("RGB", (side, side), color).save(tmp_path / str(side) / f"{color}.png")
        images = collection.open_collection(tmp_path / str(side), workers=1)
        settings = ScoreSettings().settled()
        plan = scoring_plan.make(images, Networks(None, None, None), settings, "cpu")
        lines[side] = scoring_time.larger_side(images, plan, seconds=10.0)
    assert lines[40] is None
    assert "64 px at 32 px" in lines[64] and "--image-size 64" in lines[64]
    assert "about 40 s" in lines[64]
