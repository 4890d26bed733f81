"""A clock that is set while mincurate works."""

import threading
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY
from test_rivals import start

from mincurate.runs import store
from mincurate.runs.verify import verify

pytestmark = [pytest.mark.faults, pytest.mark.slow]

TIMES = ("@2041-03-01 12:00:00", "@2026-06-30 23:59:59")
EARLIER = "@2009-02-13 23:31:30"


class Clock:
    """The wall clock of a process, which is set again and again while it runs.

    The monotonic clock is left alone, as by the kernel when somebody sets the time.
    """

    def __init__(self, folder: Path) -> None:
        libfaketime = pytest.importorskip("libfaketime")
        library = Path(libfaketime.__file__).parent.joinpath(
            "vendor", "libfaketime", "src", "libfaketime.so.1"
        )
        self.file, self.stopped = folder / "clock", threading.Event()
        self.set(TIMES[0])
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, time: str) -> None:
        whole = self.file.with_suffix(".new")
        whole.write_text(time + "\n")
        whole.rename(self.file)

    def jump(self) -> None:
        """Set it to another year three times a second."""
        at = 0
        while not self.stopped.wait(0.3):
            at += 1
            self.set(TIMES[at % len(TIMES)])

    def __enter__(self) -> "Clock":
        self.thread = threading.Thread(target=self.jump)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


def run(home: Path, *arguments: object, **more: str) -> str:
    process = start(*arguments, MINCURATE_HOME=str(home), **more)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    return out + err


@pytest.mark.long
def test_a_clock_that_jumps_by_decades_changes_no_result_and_no_order(
    pictures, tmp_path, monkeypatch
):
    run(tmp_path / "calm", "score", pictures, *TINY)
    home = tmp_path / "wild"
    with Clock(tmp_path) as clock:
        run(home, "score", pictures, *TINY, **clock.environment)
    tables = []
    for place in (tmp_path / "calm", home):
        monkeypatch.setenv("MINCURATE_HOME", str(place))
        assert verify(store.find()) == []
        tables.append(store.find().frame())
    pd.testing.assert_frame_equal(*tables)

    clock.set(EARLIER)
    assert store.find().record["created"] > "2026"
    for seed, last in ((1, "mincurate_2"), (0, "mincurate_1")):
        run(home, "score", pictures, *TINY, "--seed", seed, **clock.environment)
        assert store.find().path.name == last
