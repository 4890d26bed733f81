"""A run of images of bands, from the command to the App."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

import mincurate
from mincurate.dataset import delete
from mincurate.errors import UserError

pytestmark = pytest.mark.usefixtures("database")


def test_a_run_of_bands_is_scored_shown_and_deleted(tmp_path, home):
    import fiftyone as fo

    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for i in range(8):
        values = rng.integers(100, 4000, (24, 24, 4), np.uint16)
        tifffile.imwrite(
            tmp_path / "set" / f"{i}.tif", values, photometric="minisblack", planarconfig="contig"
        )
    result = mincurate.score(
        tmp_path / "set",
        dataset="of-bands",
        embedding="unet",
        perceptual="unet",
        train_steps=2,
        n_draws=2,
        num_classes=2,
    )
    assert result.run.record["rendering"]["bands"] == [1, 2, 3, 4]
    assert result.frame["minority_score"].notna().all()
    dataset = fo.load_dataset("of-bands")
    previews = dataset.values("image_preview")
    assert all(Path(path).is_relative_to(result.run.path) for path in previews)
    assert all(Path(path).read_bytes()[:3] == b"\xff\xd8\xff" for path in previews)
    config = dataset.app_config
    assert config.media_fields == ["filepath", "image_preview"]
    assert (config.grid_media_field, config.modal_media_field) == ("image_preview",) * 2
    assert config.media_fallback
    with pytest.raises(UserError, match="scored by their bands: images are generated"):
        mincurate.augment(result.run, n=1)
    dataset.add_sample_field("notes", fo.StringField)  # so that the dataset stays
    delete.delete_run(result.run)
    dataset.reload()
    assert not Path(previews[0]).exists() and not dataset.has_field("image_preview")
    config = dataset.app_config
    assert config.media_fields == ["filepath"] and not config.media_fallback
    assert (config.grid_media_field, config.modal_media_field) == ("filepath",) * 2
