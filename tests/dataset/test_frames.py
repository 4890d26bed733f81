"""Videos in FiftyOne are scored by their frames; each video has the rank of its rarest frame."""

from pathlib import Path

import cv2
import fiftyone as fo
import numpy as np
import pytest

import mincurate
from mincurate.dataset import frames, ownership
from mincurate.errors import UserError
from mincurate.images import sources, videos
from mincurate.progress import SILENT

pytestmark = pytest.mark.usefixtures("database")
RED, BLUE = (30, 40, 220), (230, 30, 20)
LEFT, RIGHT, BELOW = (8, 8), (56, 8), (8, 56)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two videos of 5 frames/s, and a damaged one: a square moves once a second, or stays."""
    folder = tmp_path_factory.mktemp("videos")
    shown = {
        "one.avi": [(LEFT, RED)] * 3 + [(RIGHT, RED), (BELOW, BLUE)],
        "two.avi": [(RIGHT, RED), (LEFT, RED), (BELOW, RED), (BELOW, RED)],
    }
    rng = np.random.default_rng(0)
    for name, seconds in shown.items():
        code = cv2.VideoWriter_fourcc(*"MJPG")
        video = cv2.VideoWriter(str(folder / name), code, 5, (96, 96))
        for (x, y), color in seconds:
            for _ in range(5):
                picture = rng.integers(90, 110, (96, 96, 3), dtype=np.uint8)
                picture[y : y + 32, x : x + 32] = color
                video.write(picture)
        video.release()
    (folder / "broken.avi").write_bytes((folder / "one.avi").read_bytes()[:300])
    return folder


def test_frames_are_ranked_once_and_videos_by_their_rarest(place, network, home):
    dataset = fo.Dataset("films", persistent=True)
    dataset.add_samples([fo.Sample(filepath=str(place / f"{n}.avi")) for n in ("one", "two")])
    dataset.add_sample(fo.Sample(filepath=str(place / "broken.avi")))
    sample = dataset.first()
    box = fo.Detection(label="square", bounding_box=[0.1, 0.6, 0.3, 0.3])
    sample.frames[21] = fo.Frame(boxes=fo.Detections(detections=[box]))
    sample.save()
    how = {"quick": True, "embedding": network, "umap": False}
    result = mincurate.score(dataset, **how)
    shown = fo.load_dataset("films-frames")
    assert [Path(p).parent.name.split("-")[0] for p in shown.values("filepath")] == [
        *["one"] * 3,
        *["two"] * 3,
    ]
    assert shown.values("frame_number") == [1, 16, 21, 1, 6, 11]
    assert shown.values("near_copies") == [2, 0, 0, 0, 0, 1]
    assert shown.values("boxes.detections.label")[2] == ["square"]
    rarest = shown.sort_by("rarity", reverse=True).first()
    assert rarest.frame_number == 21 and rarest.rarity == 1
    dataset.reload()
    assert dataset.values("rarest_frame_number")[:1] == [21]
    assert dataset.values("rarest_frame")[0] == 1 > dataset.values("rarest_frame")[1]
    assert dataset.values("rarest_frame")[2] is None, "a broken one has no rank"

    Path(shown.first().filepath).unlink()
    again = mincurate.score("fiftyone:films", **how)
    assert Path(shown.first().filepath).is_file(), "a picture that is gone is taken again"
    assert again.run.key == result.run.key and len(fo.load_dataset("films-frames")) == 6

    # The user's labels were copied: the dataset stays, and is used again.
    mincurate.delete(result.run)
    dataset.reload()
    assert "rarest_frame" not in dataset.get_field_schema()
    assert ownership.KEY not in dataset.info
    shown.reload()
    assert len(shown) == 6 and "rarity" not in shown.get_field_schema()
    assert frames.dataset_of("films", SILENT) == "films-frames"


def test_a_view_of_frames_with_pictures_is_scored_and_nothing_is_left_of_it(
    place, network, home, tmp_path
):
    dataset = fo.Dataset("clips", persistent=True)
    for name in ("one", "two"):
        sample = fo.Sample(filepath=str(place / f"{name}.avi"))
        for second, picture in enumerate(_pictures(place / f"{name}.avi", tmp_path / name)):
            sample.frames[1 + 5 * second] = fo.Frame(filepath=picture)
        dataset.add_sample(sample)
    dataset.save_view("stills", dataset.to_frames())
    result = mincurate.score("fiftyone:clips/stills", quick=True, embedding=network, umap=False)
    shown = fo.load_dataset("clips-stills-frames")
    assert shown.values("frame_number") == [1, 16, 21, 1, 6, 11]
    assert shown.values("near_copies") == [2, 0, 0, 0, 0, 1]
    dataset.reload()
    assert dataset.values("rarest_frame_number")[0] == 21
    mincurate.delete(result.run)
    assert not fo.dataset_exists("clips-stills-frames")
    assert len(list(tmp_path.rglob("*.jpg"))) == 9, "the user's pictures stay"
    taken = fo.Dataset("clips-frames", persistent=True)
    with pytest.raises(UserError, match="is not of these frames: rename it"):
        frames.dataset_of("clips", SILENT)
    assert len(taken) == 0


def _pictures(video: Path, folder: Path) -> list[str]:
    """A picture of every second, near copies too."""
    folder.mkdir()
    paths = []
    for number, pixels in videos._frames(str(video)):
        paths.append(str(folder / f"{number:06d}.jpg"))
        cv2.imwrite(paths[-1], pixels)
    return paths


def test_a_folder_of_videos_is_one_sentence(place):
    for where in (place, place / "one.avi"):
        with pytest.raises(UserError, match=r"VideoDirectory.*score fiftyone:") as error:
            sources.read_place(where)
        assert str(error.value).count("\n") == 0
