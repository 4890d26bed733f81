"""Images of strangers are decoded in processes of their own, within limits of time and memory.

A decoder that hangs, crashes or eats memory takes its process with it, and one file gets a reason.
The processes know Pillow and NumPy alone, stay for the next images, and end with this one. (They
are started by themselves and not through multiprocessing, which would run the user's script again
in each; pebble's pool does, and was no faster: docs/guide/image-files.md.)
"""

import atexit
import os
import pickle
import select
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice, repeat
from typing import Any, BinaryIO, TypeVar

import numpy as np

from mincurate.images.bit_depth import DEFAULT, Rendering
from mincurate.images.decode import (
    Fit,
    Identity,
    LastFile,
    Resampling,
    UnreadableImage,
    decode,
    identify,
    preview,
)
from mincurate.images.regions import FileOrRegion, path_of
from mincurate.images.sources import Source

SECONDS = float(os.environ.get("MINCURATE_DECODE_SECONDS") or 60)
"""For one file; the largest that is allowed takes some ten."""
MEMORY = 6 * 2**30
"""Address space of a process, in bytes; the largest image that is allowed takes half of it."""
GRACE = 10
"""Seconds after its end that a process which cannot even be stopped by the kernel is given up."""
GLIBC = {"MALLOC_MMAP_THRESHOLD_": str(4 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20)}
"""Memory of large images goes back to the system at once; that of small ones is used again."""
T = TypeVar("T")
R = TypeVar("R")
Job = tuple[Any, ...]
"""What `identify`, `decode` or `preview` of `images.decode` takes."""
TOGETHER = 8
"""Files that go to a process at once: one by one, small ones would cost twice their decoding."""
PARTS_TOGETHER = 256
"""Parts of one file that go to a process at once, at most: the file is decoded once for them."""


def identify_many(
    sources: Iterable[Source],
    *,
    size: int | None,
    fit: Fit = "crop",
    rendering: Rendering = DEFAULT,
    workers: int,
) -> Iterator[Identity]:
    """`images.decode.identify` for each source, in order, within the limits."""
    jobs = ((source, size, fit, rendering) for source in sources)
    with closing(_done("identify", jobs, workers, 16 * workers)) as answers:
        for answer in answers:
            died = isinstance(answer, UnreadableImage)
            yield Identity(reason=answer.reason) if died else answer


def decode_many(
    places: Sequence[FileOrRegion],
    *,
    size: int | Sequence[int],
    fit: Fit = "crop",
    rendering: Rendering = DEFAULT,
    resampling: Resampling = "lanczos",
    workers: int,
    batch_size: int,
) -> Iterator[list[np.ndarray | UnreadableImage]]:
    """`images.decode.decode` for each, in order, in lists of ``batch_size``, the last shorter.

    While the caller works on one list, the next two are decoded; never more than that is held, or
    than `PARTS_TOGETHER` for each process where they are parts of files.
    A file that costs a process its life has a reason like any other.

    Args:
        size: of all images, or of each.
    """
    sizes = repeat(size, len(places)) if isinstance(size, int) else size
    # Two processes would each hold the one large picture that all parts are of.
    workers = min(workers, len({path_of(place) for place in places}) or 1)
    jobs = (
        (place, side, fit, rendering, resampling) for place, side in zip(places, sizes, strict=True)
    )
    with closing(_done("decode", jobs, workers, 2 * batch_size)) as answers:
        while batch := list(islice(answers, batch_size)):
            yield batch


def preview_many(
    paths: Iterable[str], *, side: int, rendering: Rendering = DEFAULT, workers: int
) -> Iterator[bytes | UnreadableImage]:
    """`images.decode.preview` for each path, in order, within the limits."""
    jobs = ((path, side, rendering) for path in paths)
    with closing(_done("preview", jobs, workers, 4 * TOGETHER * workers)) as answers:
        yield from answers


def _done(what: str, jobs: Iterable[Job], workers: int, ahead: int) -> Generator[Any, None, None]:
    """The answer to each job, in order; several travel together, which a small image needs."""
    with closing(
        _ahead(lambda chunk: _together(what, chunk), _chunks(jobs), workers, ahead)
    ) as done:
        for answers in done:
            yield from answers


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs that go to a process at once: `TOGETHER`, and further parts of the last one's file."""
    chunk: list[Job] = []
    for job in jobs:
        full = len(chunk) >= TOGETHER and not (
            _is_part(job) and len(chunk) < PARTS_TOGETHER and _file(job) == _file(chunk[-1])
        )
        if full:
            yield chunk
            chunk = []
        chunk.append(job)
    if chunk:
        yield chunk


def _file(job: Job) -> str:
    return job[0].path if isinstance(job[0], Source) else path_of(job[0])


def _is_part(job: Job) -> bool:
    return not isinstance(job[0].place if isinstance(job[0], Source) else job[0], str)


def _together(what: str, jobs: list[Job]) -> list[Any]:
    """The answers to some jobs; where a process does not live through them, to each alone."""
    try:
        return _apart(what, jobs)
    except _DiedError as end:
        if len(jobs) == 1:
            return [UnreadableImage(str(end))]
    return [answer for job in jobs for answer in _together(what, [job])]


def _apart(what: str, jobs: list[Job]) -> list[Any]:
    """Do it in an idle process, or in a new one.

    Raises:
        _DiedError: the process did not live through it.
    """
    worker = _take()
    try:
        answers = worker.ask(what, jobs)
    except BaseException:
        worker.end()  # half an answer may lie in its pipe
        raise
    _IDLE.append(worker)
    if isinstance(answers, BaseException):
        raise answers
    return answers


class _DiedError(Exception):
    """A process ended instead of answering; says why."""


class _Process:
    """One decoding process and the pipes to it."""

    def __init__(self) -> None:
        path = os.pathsep.join(p for p in sys.path if p)
        self.environment = dict(os.environ)
        # -P: a file called numpy.py in the folder that the user is in must not be imported.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**self.environment, **GLIBC, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us
        )

    def ask(self, what: str, jobs: list[Job]) -> Any:
        """The answers to jobs, or a bug.

        Raises:
            _DiedError: the process took too long, or ended.
        """
        inbox, outbox = self.process.stdin, self.process.stdout
        assert inbox and outbox
        try:
            pickle.dump((what, jobs), inbox)
            inbox.flush()
            if not select.select([outbox], [], [], SECONDS * len(jobs) + GRACE)[0]:
                raise _DiedError(_too_long())
            return pickle.load(outbox)  # written by our own process below
        except (OSError, EOFError, pickle.UnpicklingError):
            self.process.kill()
            code = self.process.wait()
            raise _DiedError(_too_long() if code == -signal.SIGALRM else _CRASHED) from None

    def end(self) -> None:
        """Stop it; one that hangs in the kernel ends when it can."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)


def _too_long() -> str:
    return f"decoding it takes longer than {SECONDS:g} seconds"


_CRASHED = "it crashes the decoder"
_IDLE: list[_Process] = []


def _take() -> _Process:
    """An idle process, or a new one."""
    while _IDLE:
        with suppress(IndexError):  # another thread was faster
            worker = _IDLE.pop()
            # Whoever sets a variable, an address of object storage perhaps, means it for these too.
            if worker.process.poll() is None and worker.environment == dict(os.environ):
                return worker
            worker.end()
    return _Process()


@atexit.register
def _end_all() -> None:
    while _IDLE:
        _IDLE.pop().end()


def _forget() -> None:
    """A fork must not talk into its parent's pipes."""
    _IDLE.clear()


os.register_at_fork(after_in_child=_forget)


def _ahead(
    function: Callable[[list[T]], R], chunks: Iterable[list[T]], workers: int, ahead: int
) -> Generator[R, None, None]:
    """``map`` in threads (Pillow decodes without the interpreter's lock), in order, with at most
    ``ahead`` items, or a chunk for each worker, begun and not yet taken."""
    pending: deque[tuple[int, Future[R]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mincurate-decode") as pool:
        try:
            for chunk in chunks:
                pending.append((len(chunk), pool.submit(function, chunk)))
                while len(pending) >= workers and sum(n for n, _ in pending) > ahead - len(chunk):
                    yield pending.popleft()[1].result()
            while pending:
                yield pending.popleft()[1].result()
        finally:
            for _, future in pending:
                future.cancel()


def serve(inbox: BinaryIO, outbox: BinaryIO) -> None:
    """Answer jobs until the pipe ends."""
    functions: dict[str, Callable[..., Any]] = {
        "identify": lambda last, source, size, fit, rendering: identify(
            source, size=size, fit=fit, rendering=rendering, last=last
        ),
        "decode": lambda last, place, size, fit, rendering, resampling: decode(
            place, size=size, fit=fit, rendering=rendering, resampling=resampling, last=last
        ),
        "preview": lambda last, path, side, rendering: preview(
            path, side=side, rendering=rendering
        ),
    }
    while True:
        try:
            what, jobs = pickle.load(inbox)
        except EOFError:
            return
        answers: Any = []
        last = LastFile()
        try:
            for job in jobs:
                # The kernel ends this process at the alarm, whatever it is in.
                signal.setitimer(signal.ITIMER_REAL, SECONDS)
                try:
                    answers.append(functions[what](last, *job))
                except UnreadableImage as error:
                    answers.append(error)
        except Exception as error:  # a bug, which keeps its traceback
            error.add_note(traceback.format_exc())
            answers = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        last.drawn = None
        pickle.dump(answers, outbox, protocol=pickle.HIGHEST_PROTOCOL)
        outbox.flush()


def limit_memory() -> None:
    """Let this process have no more than `MEMORY`, and leave no picture of it when it crashes."""
    import resource

    with suppress(ValueError, OSError):  # a lower limit of the user's is fine, too
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    limit_memory()
    # Whatever else is printed, by libraries in C too, must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
