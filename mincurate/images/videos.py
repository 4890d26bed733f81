"""Frames of videos: one a second, written as JPEG; what looks like the frame before counts once.

A video may come from a stranger: it is decoded in a process of its own, within limits of time and
memory.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mincurate.errors import UnreadableImage, UserError

SECONDS_APART = 1.0
"""Between the frames that are looked at."""
CELLS, SAME = 32, 0.1
"""A frame looks like another one when in a grid of so many cells a side no cell differs by more,
as a share of the range from black to white: a small thing that appears is seen."""
SECONDS = float(os.environ.get("MINCURATE_DECODE_SECONDS") or 60)
"""For the frames of one second of a video."""
INDEX = "frames.json"
"""Written when all frames are."""
UNWRITTEN = 3
"""Exit code of the process when the folder cannot be written."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        number: its place in the video, from 1.
        path: its picture.
        copies: frames looked at after it that look the same.
    """

    number: int
    path: str
    copies: int


def sample(video: str, folder: Path) -> list[Frame]:
    """The frames of a video, written to a folder; those that are there already are taken.

    Raises:
        UnreadableImage: it has no frame that can be decoded.
        UserError: the folder cannot be written.
    """
    try:
        about = os.stat(video)
    except OSError as error:
        raise UnreadableImage(error.strerror or "cannot be opened") from None
    stamp = [about.st_size, about.st_mtime_ns]
    pairs = _written(folder, stamp)
    if pairs is None:
        _decode(video, folder, stamp)
        pairs = _written(folder, stamp)
    if not pairs:
        raise UnreadableImage("no frame of it can be decoded")
    return [Frame(number, str(folder / _name(number)), copies) for number, copies in pairs]


def _name(number: int) -> str:
    return f"{number:06d}.jpg"


def _written(folder: Path, stamp: list[int]) -> list[list[int]] | None:
    """Number and copies of the frames of a video; ``None`` where they are not all there."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        whole = all((folder / _name(number)).is_file() for number, _ in index["frames"])
        return list(index["frames"]) if whole and index["video"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(video: str, folder: Path, stamp: list[int]) -> None:
    """Write the frames in a process of its own."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        # -P: a file called numpy.py in the folder that the user is in must not be imported.
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, video, str(folder), json.dumps(stamp)],
            capture_output=True,
            text=True,
            errors="replace",  # decoders print what stands in the file
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            check=False,
        )
    except OSError as error:
        raise UserError(_unwritten(folder, error.strerror or str(error))) from error
    if done.returncode == -signal.SIGALRM:
        raise UnreadableImage(f"decoding a second of it takes longer than {SECONDS:g} seconds")
    if done.returncode == UNWRITTEN:
        raise UserError(_unwritten(folder, done.stderr.splitlines()[-1]))
    if done.returncode:
        raise UnreadableImage("it crashes the decoder")


def _unwritten(folder: Path, reason: str) -> str:
    return (
        f"The frames of the videos cannot be written to {folder} ({reason}): make room, or set "
        "MINCURATE_HOME to a folder that can be written."
    )


def write_frames(video: str, folder: Path) -> list[list[int]]:
    """Write the frames of a video that do not look like the one before.

    Returns:
        The number of each, from 1, and how many frames after it look the same.

    Raises:
        OSError: the folder cannot be written.
    """
    written: list[list[int]] = []
    last = None
    for number, pixels in _frames(video):
        cells = reduced(pixels)
        if last is not None and alike(cells, last):
            written[-1][1] += 1
            continue
        import cv2

        coded, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
        if coded:
            (folder / _name(number)).write_bytes(jpeg.tobytes())
            written.append([number, 0])
            last = cells
    return written


def _frames(video: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames `SECONDS_APART` with their numbers, ``(H, W, 3)`` in the order of OpenCV."""
    import cv2

    capture = cv2.VideoCapture(video)
    rate = capture.get(cv2.CAP_PROP_FPS)
    step = max(1, round(rate * SECONDS_APART)) if 0 < rate <= 1000 else 25
    number = 0
    while True:
        if number % step == 0:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)  # the kernel ends this process
        if not capture.grab():
            break
        number += 1
        if (number - 1) % step == 0:
            whole, pixels = capture.retrieve()
            if whole:
                yield number, np.asarray(pixels, np.uint8)
    signal.setitimer(signal.ITIMER_REAL, 0)


def reduced(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean of every cell of an image ``(H, W, 3)``, 0 to 1, as `alike` compares them."""
    import cv2

    cells = cv2.resize(pixels, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32) / np.float32(255)


def alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether one frame is a near copy of another."""
    return bool(np.abs(one - other).max() <= SAME)


def main() -> None:
    """``VIDEO FOLDER STAMP``: write the frames, and last the index."""
    from mincurate.images import decode_pool

    decode_pool.limit_memory()
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    video, folder, stamp = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    try:
        index = {"video": stamp, "frames": write_frames(video, folder)}
        (folder / ".partial").write_text(json.dumps(index))
        os.replace(folder / ".partial", folder / INDEX)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(UNWRITTEN)


if __name__ == "__main__":
    main()
