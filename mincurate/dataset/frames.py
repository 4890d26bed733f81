"""Frames of a FiftyOne dataset of videos as a dataset of images, which is scored in its place.

Frames that look like the one before are left out: what stands still counts once. The ranks are on
the frames; every video has the rarity of its rarest frame.
"""

import re
import shutil
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pymongo.errors import PyMongoError

from mincurate import paths
from mincurate.dataset import labels, ownership, reader
from mincurate.dataset.app_config import LABELS, RAREST, RUN
from mincurate.dataset.database import fiftyone, load, name_of, quiet, writing
from mincurate.errors import UnreadableImage, UserError
from mincurate.images import decode_pool, videos
from mincurate.progress import Reporter
from mincurate.text import short

VIDEO, NUMBER, COPIES = "sample_id", "frame_number", "near_copies"
"""Of a frame: the sample of its video, its place in it from 1, frames after it that look the same;
the first two are called as FiftyOne calls them."""
RAREST_FRAME, RAREST_NUMBER = "rarest_frame", "rarest_frame_number"
"""Of a video."""


def of_videos(value: str) -> bool:
    """Whether ``NAME[/VIEW]`` shows videos, or frames of them."""
    name, view = reader.split(value)
    samples = reader.open_view(load(name), view)
    return bool(samples._is_frames or samples.media_type == "video")


def dataset_of(value: str, reporter: Reporter) -> str:
    """The dataset with the frames of ``NAME[/VIEW]``, which is made, or gets those that it lacks.

    Args:
        value: a dataset or saved view of videos, of which a frame a second is taken; or a saved
            view of frames whose pictures are there.

    Raises:
        UserError: there are no frames, or another dataset has the name.
    """
    name, view = reader.split(value)
    source = load(name)
    samples = reader.open_view(source, view)
    if conflicts := ownership.conflicts(source, fields=[RAREST_FRAME, RAREST_NUMBER]).get("fields"):
        raise UserError(
            f"The dataset {name!r} has fields ({', '.join(conflicts)}) of yours that mincurate "
            "would overwrite: rename them."
        )
    own = f"{name}-{view}-frames" if view else f"{name}-frames"
    key = f"{source._doc.id}/{view or ''}"
    try:
        with writing(own, reporter), quiet():
            dataset = _open(own, key, value)
            if samples._is_frames:
                _add_frames(dataset, samples, reporter)
            else:
                _restore(dataset, samples)
                _add_videos(dataset, samples, reporter)
    except PyMongoError as error:
        raise UserError(
            f"FiftyOne's database was lost while frames were taken ({type(error).__name__}): give "
            "the same command again; the frames that were taken are kept."
        ) from error
    if not len(dataset):
        dataset.delete()
        raise UserError(f"There are no frames in {value!r} that can be read.")
    shown = dataset.count_values(VIDEO)
    reporter.say(
        f"Frames: {len(dataset):,} of {len(shown):,} videos in the dataset {own}; "
        f"{sum(filter(None, dataset.values(COPIES))):,} that look like the one before are left out."
    )
    return own


def _open(name: str, key: str, value: str) -> Any:
    """The dataset of frames, perhaps empty.

    Raises:
        UserError: it is another dataset.
    """
    fo = fiftyone()
    if fo.dataset_exists(name):
        dataset = load(name)
        if ownership.read(dataset).frames_of != key:
            raise UserError(
                f"There is a dataset {name!r} already, which is not of these frames: rename it "
                f"(fiftyone.load_dataset({name!r}).name = ...)."
            )
        return dataset
    dataset = fo.Dataset(name, persistent=True)
    dataset.media_type = "image"
    own = {"created": True, "source": f"fiftyone:{value}", "name": name, "frames_of": key}
    ownership.change(dataset, fields=[VIDEO, NUMBER, COPIES], **own)
    dataset.add_sample_field(VIDEO, fo.ObjectIdField, description="Sample of the video")
    dataset.add_sample_field(NUMBER, fo.FrameNumberField, description="Frame of the video, from 1")
    words = "Frames after this one that look the same and are left out"
    dataset.add_sample_field(COPIES, fo.IntField, description=words)
    return dataset


def folder_of(dataset: Any) -> Path:
    """Where the pictures of a dataset of frames are, as far as mincurate has written them."""
    return paths.home() / "frames" / str(dataset._doc.id)


def _folder_of_video(dataset: Any, video: Any) -> Path:
    stem = re.sub(r"[^\w-]+", "_", Path(video.filepath).stem)[:60]
    return folder_of(dataset) / f"{stem}-{video.id[-8:]}"


def _restore(dataset: Any, samples: Any) -> None:
    """Take the pictures again that are gone: deleted, or in another `paths.home`."""
    rows = zip(*dataset.values(["id", "filepath", VIDEO, NUMBER]), strict=True)
    gone = {
        (str(video), number): key for key, file, video, number in rows if not Path(file).is_file()
    }
    present = set(samples.values("id"))
    for video in samples.select(sorted({name for name, _ in gone} & present)).iter_samples():
        with suppress(UnreadableImage):  # its frames are then files that are not there
            frames = videos.sample(video.filepath, _folder_of_video(dataset, video))
            files = {gone.get((video.id, frame.number)): frame.path for frame in frames}
            files.pop(None, None)
            dataset.set_values("filepath", files, key_field="id", progress=False)


def _add_videos(dataset: Any, samples: Any, reporter: Reporter) -> None:
    """Take frames of the videos that have none yet."""
    fo = fiftyone()
    present = set(dataset.distinct(VIDEO))
    missing = samples.select([i for i in samples.values("id") if i not in present])
    field = labels.choose(missing)
    names = labels.read(missing, field) if field else [None] * len(missing)
    inside = [*missing.get_frame_field_schema()] if len(missing) else []
    inside = [f for f in inside if f not in fo.Frame(filepath="/").field_names]
    failed = {}
    with reporter.task("Taking frames", len(missing), "videos") as advance:
        for video, label in zip(missing.iter_samples(), names, strict=True):
            try:
                frames = videos.sample(video.filepath, _folder_of_video(dataset, video))
            except UnreadableImage as error:
                failed[Path(video.filepath).name] = error.reason
                frames = []
            documents = []
            for frame in frames:
                facts = {VIDEO: video._id, NUMBER: frame.number, COPIES: frame.copies}
                if label is not None and LABELS not in inside:
                    facts[LABELS] = fo.Classification(label=label)
                if inside and frame.number in video.frames:
                    there = video.frames[frame.number]
                    facts |= {f: there[f] for f in inside if there.has_field(f)}
                documents.append(fo.Sample(filepath=frame.path, tags=video.tags, **facts))
            dataset.add_samples(documents, progress=False)
            advance(1, "")
    if failed:
        name, reason = next(iter(failed.items()))
        share = f"{len(failed):,} of {len(missing):,} videos"
        reporter.say(f"{share} cannot be read ({short(name, 60)}: {reason}).")


def _add_frames(dataset: Any, view: Any, reporter: Reporter) -> None:
    """Take the pictures of a view of frames, of the videos that have none here yet."""
    from fiftyone import ViewField as F

    fo = fiftyone()
    present = [fo.core.odm.ObjectId(i) for i in dataset.distinct(VIDEO)]
    missing = view.match(~F(VIDEO).is_in(present)).sort_by([(VIDEO, 1), (NUMBER, 1)])
    if not len(missing):
        return
    ids, files, of_video = missing.values(["id", "filepath", VIDEO])
    copies = _copies(files, of_video, reporter)
    first = {i: n for i, n in zip(ids, copies, strict=True) if n is not None}
    dataset.add_collection(missing.select(list(first)), include_info=False, progress=False)
    dataset.set_values(COPIES, first, key_field="id", progress=False)


def _copies(files: list[str], of_video: list[str], reporter: Reporter) -> list[int | None]:
    """How many frames after each look the same; ``None`` for those.

    Args:
        files: the pictures, in the order of their videos; one that cannot be read stays.
    """
    copies: list[int | None] = []
    last: Any = None
    first = 0
    batches = decode_pool.decode_many(
        files, size=videos.CELLS, fit="stretch", workers=2, batch_size=64
    )
    before = [None, *of_video]
    with reporter.task("Comparing frames", len(files)) as advance:
        pictures = (picture for batch in batches for picture in batch)
        for (old, new), picture in zip(pairwise(before), pictures, strict=True):
            pixels = picture if isinstance(picture, np.ndarray) else None
            cells = None if pixels is None else np.asarray(pixels / 255, np.float32)
            if old == new and cells is not None and last is not None and videos.alike(cells, last):
                copies.append(None)
                copies[first] = (copies[first] or 0) + 1
            else:
                first, last = len(copies), cells
                copies.append(0)
            advance(1, "")
    return copies


def summarise(dataset: Any) -> None:
    """Write to every video the rarity of its rarest frame, and which one that is."""
    source = _videos(dataset)
    if source is None:
        return
    fo = fiftyone()
    rarity = RAREST if dataset.has_field(RAREST) else "rarity"
    current = ownership.read(dataset).current
    shown = dataset.exists(rarity)
    if rarity != RAREST:
        shown = shown.match(fo.ViewField(RUN) == current)
    rows = sorted(zip(*shown.values([rarity, NUMBER, VIDEO]), strict=True), reverse=True)
    rarest: dict[str, tuple[float, int]] = {}
    for value, number, video in rows:
        rarest.setdefault(str(video), (float(value), int(number)))
    ownership.claim(source, fields=[RAREST_FRAME, RAREST_NUMBER])
    declared = {
        RAREST_FRAME: (fo.FloatField, "Rarity of the rarest frame: 0 commonest, 1 rarest"),
        RAREST_NUMBER: (fo.IntField, "The rarest frame, from 1"),
    }
    for place, (name, (kind, words)) in enumerate(declared.items()):
        if not source.has_field(name):
            source.add_sample_field(name, kind, description=words)
        values = {i: rarest[i][place] if i in rarest else None for i in source.values("id")}
        source.set_values(name, values, key_field="id", progress=False)
    source.create_index(RAREST_FRAME)


def clear(dataset: Any) -> None:
    """Remove what `summarise` has written."""
    source = _videos(dataset)
    if source is None:
        return
    ours = set(ownership.read(source).fields) & {RAREST_FRAME, RAREST_NUMBER}
    source.delete_sample_fields([name for name in sorted(ours) if source.has_field(name)])
    left = ownership.change(
        source, fields=[name for name in ownership.read(source).fields if name not in ours]
    )
    if left == ownership.Footprint(dataset_id=left.dataset_id):
        ownership.forget(source)


def delete_pictures(dataset: Any) -> None:
    """Delete the pictures that mincurate has written for a dataset of frames."""
    shutil.rmtree(folder_of(dataset), ignore_errors=True)


def _videos(dataset: Any) -> Any:
    """The dataset with the videos of a dataset of frames; ``None`` of other datasets."""
    key = ownership.read(dataset).frames_of
    name = name_of(key.split("/")[0]) if key else None
    return None if name is None else load(name)
