"""Runs what the App schedules: FiftyOne's delegated operations, one after the other.

FiftyOne's own ``fiftyone delegated launch`` does so too. This one runs the oldest first, and Ctrl-C
lets what is running keep what it has done, as on the command line.
"""

import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from types import FrameType
from typing import Any

from mincurate import paths
from mincurate.dataset.database import check_database
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter

STOPPING = threading.Event()
"""Set when this process is asked to stop; long work in it checks it."""
PAUSE = 1.0
"""Seconds between two checks of an empty queue."""


def work(*, until_idle: bool = False, reporter: Reporter = SILENT) -> int:
    """Run scheduled operations until Ctrl-C.

    Args:
        until_idle: end when the queue is empty.

    Returns:
        How many operations were run.
    """
    check_database()
    done = 0
    with _ctrl_c(reporter):
        while not STOPPING.is_set():
            operation = _oldest()
            if operation is not None:
                done += _run(operation, reporter)
            elif until_idle:
                break
            else:
                STOPPING.wait(PAUSE)
    return done


def work_on(key: str, reporter: Reporter = SILENT) -> bool:
    """Run the operation ``key``, if it is still queued.

    Returns:
        Whether this process ran it, and no other worker.

    Raises:
        UserError: there is no such operation.
    """
    check_database()
    from bson import ObjectId
    from bson.errors import InvalidId

    try:
        operation = service().get(ObjectId(key))
    except (InvalidId, AttributeError, TypeError):  # FiftyOne fails on what it does not find
        raise UserError(f"There is no scheduled operation {key!r}.") from None
    with _ctrl_c(reporter):
        return bool(_run(operation, reporter))


def start(key: str) -> "subprocess.Popen[bytes]":
    """Run an operation in a separate process, which outlives this one and logs to ``worker.log``.

    The App's process stays responsive, and its memory is free again when the work is done.
    """
    log = paths.home() / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    code = "from mincurate.cli import main; main()"
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", code, "worker", key],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def service() -> Any:
    """FiftyOne's list of delegated operations."""
    return import_module("fiftyone.operators.delegated").DelegatedOperationService()


def _oldest() -> Any:
    factory = import_module("fiftyone.factory")
    paging = factory.DelegatedOperationPagingParams(
        limit=1, sort_direction=factory.SortDirection.ASCENDING
    )
    return next(iter(service().list_operations(run_state="queued", paging=paging)), None)


def _run(operation: Any, reporter: Reporter) -> int:
    reporter.say(f"Running {operation.label or operation.operator} ({operation.id}).")
    started = time.monotonic()
    result = service().execute_operation(operation)
    if result is None:
        reporter.say("Another worker took it.")
        return 0
    if "state changed externally" in (result.error or ""):
        reporter.say("Stopped in the App; what is finished is kept.")
    elif result.error:
        # FiftyOne keeps a traceback, whose last line says what happened.
        reporter.warn(result.error.strip().splitlines()[-1])
    else:
        reporter.say(f"Done in {time.monotonic() - started:.0f} s.")
    return 1


class _ctrl_c:  # noqa: N801
    """While it lasts, the first Ctrl-C asks what is running to stop; the second ends at once.

    asyncio, in which FiftyOne runs operations, would leave them running in their thread.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.before: Any = None

    def __enter__(self) -> None:
        STOPPING.clear()
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._stop)

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if STOPPING.is_set():
            raise KeyboardInterrupt
        STOPPING.set()
        self.reporter.say("Stopping; what is finished is kept. Ctrl-C again ends at once.")
