"""Train data-parallel in the workers of a Ray cluster (`ray.train.torch.TorchTrainer`).

Every worker draws the whole batch of a step from ``(seed, step)`` and computes its own rows of it;
the gradients are added up over the workers. So many workers give the weights of one, except for
rounding. Worker 0 decides what depends on the clock or on files, and it alone writes: checkpoint,
model and record are those of a training on one machine, which can be resumed either way.
"""

import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute import ray_map
from mincurate.compute.ray_map import Cluster
from mincurate.errors import StoppedError, UserError
from mincurate.progress import SILENT, Advance, Reporter

T = TypeVar("T")
MAX_FAILURES = 8
"""How often a training resumes from its checkpoint after workers died."""
NEWS_SECONDS = 0.2
"""How often worker 0 and the caller exchange messages."""


class Team:
    """The processes that train together; here just this one.

    Attributes:
        rank: number of this process; 0 decides and writes.
        world: number of processes.
    """

    rank, world = 0, 1

    def rows(self) -> slice:
        """The rows of a batch that this process computes."""
        return slice(self.rank, None, self.world)

    def agree(self, decide: Callable[[], T]) -> T:
        """What ``decide`` returns or raises in process 0; the others do not call it."""
        return decide()

    def add_up(self, loss: Tensor, parameters: Iterable[Tensor]) -> float:
        """Add up the gradients of ``parameters`` over the processes; returns the sum of the losses.

        Raises:
            KeyboardInterrupt: in all processes at the same step, after Ctrl-C.
        """
        return loss.item()


ALONE = Team()
Work = Callable[[NDArray[Any], str, Reporter, Team], None]
"""Trains on images, on a device, as one of a team."""


def on_ray(
    work: Work,
    images: NDArray[Any],
    folder: Path,
    cluster: Cluster,
    *,
    batch_size: int,
    reporter: Reporter = SILENT,
) -> None:
    """Do ``work`` in the workers of a team; it resumes from its checkpoint when one dies.

    Args:
        work: called in every worker, and again after each death; a `UserError` or `StoppedError`
            that it raises is raised here.
        images: ``(N, 3, S, S)`` uint8, or latents; every node keeps one copy, which its workers
            share.
        folder: where worker 0 writes; all nodes must see it under the same path.
        batch_size: images per step, which is also the largest number of workers.

    Raises:
        UserError: no Ray, no such cluster, fewer CPUs or GPUs than workers, or workers die again
            and again.
        StoppedError: on Ctrl-C, after worker 0 has written the checkpoint.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # Ray's default, a minute, is short for importing torch on a busy machine.
    patience = str(ray_map.WAIT_SECONDS)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", patience)
    ray, ours = ray_map.connect(cluster, images.nbytes)
    storage = folder.resolve() / ".ray"  # required, although our checkpoints are not Ray's
    try:
        size, gpus = _size(ray, cluster, batch_size)
        reporter.say(f"Ray: training in {size} worker{'s' if size > 1 else ''}.")
        # Takes no CPU: the caller's node may have none free.
        desk = ray.remote(num_cpus=0)(_Desk).remote()
        shared = ray.put(np.ascontiguousarray(images))
        loop = _Loop(work, shared, desk, "cuda" if gpus else "cpu")
        trainer = _trainer(loop, size, gpus, storage)
        _listen(ray, trainer, desk, reporter)
    finally:
        if ours:
            ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _size(ray: Any, cluster: Cluster, batch_size: int) -> tuple[int, bool]:
    """Number of workers, and whether each has a GPU; TorchTrainer would wait for too many."""
    total = ray.cluster_resources()
    cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0)) if cluster.gpus else 0
    room, what = (gpus, "GPU") if gpus else (cpus, "CPU")
    size = min(cluster.num_workers or max(1, room), batch_size)
    if size > min(room, cpus):
        raise UserError(
            f"{size} workers need a {what} each, and the Ray cluster has {min(room, cpus)}: take "
            "fewer --workers, or add nodes."
        )
    return size, bool(gpus)


def _trainer(loop: "_Loop", size: int, gpus: bool, storage: Path) -> Any:
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise UserError(
            f"Training with --ray needs more packages ({error}): pip install 'mincurate[ray]'."
        ) from None
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # errors are reported below
    return TorchTrainer(
        loop,
        scaling_config=ScalingConfig(num_workers=size, use_gpu=gpus),
        run_config=RunConfig(
            name="mincurate",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )


def _listen(ray: Any, trainer: Any, desk: Any, reporter: Reporter) -> None:
    """Run the trainer and pass the messages of worker 0 to the reporter, until the end."""
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failure.append(error)

    # In the main thread TorchTrainer would handle Ctrl-C itself and save nothing.
    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    news: deque[tuple[Any, ...]] = deque()
    stopping = False
    with ExitStack() as tasks:
        relay = _Relay(reporter, tasks)
        over = False
        while not over or news:
            try:
                if not news:
                    thread.join(NEWS_SECONDS)
                    over = not thread.is_alive()
                    news.extend(ray.get(desk.read.remote()))
                while news:
                    relay.hear(*news.popleft())
            except KeyboardInterrupt:
                if stopping:
                    raise
                stopping = True
                desk.stop.remote()
        if relay.error is not None:
            raise relay.error
        if failure:
            raise _translated(failure[0]) from failure[0]


def _translated(failure: BaseException) -> BaseException:
    """The failure as a `UserError` if the user can fix it."""
    from ray.exceptions import RayError

    causes = list(getattr(failure, "worker_failures", {}).values())
    ours = [cause for cause in causes if isinstance(cause, UserError | OSError)]
    # Ray reports a lost worker with an exception class that is not public.
    if any(isinstance(getattr(c, "health_check_failure", c), RayError) for c in causes):
        return UserError(
            f"Ray workers died {MAX_FAILURES + 1} times, perhaps because memory ran out: take "
            "fewer --workers, then give the same command again; finished work is kept."
        )
    return next(iter(ours or causes), failure)


class _Desk:
    """The actor between worker 0 and the caller: messages one way, a request to stop the other."""

    def __init__(self) -> None:
        self.news: list[tuple[Any, ...]] = []
        self.stopped = False

    def tell(self, news: list[tuple[Any, ...]]) -> bool:
        self.news += news
        return self.stopped

    def read(self) -> list[tuple[Any, ...]]:
        news, self.news = self.news, []
        return news

    def stop(self) -> None:
        self.stopped = True


class _Wire:
    """Worker 0's end: a `Reporter` whose messages reach the caller a moment later."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.news, self.stopped = desk, list[tuple[Any, ...]](), False
        self.answer: Any = None
        self.sent = 0.0

    def say(self, text: str) -> None:
        self.news.append(("say", text))

    def warn(self, text: str) -> None:
        self.news.append(("warn", text))

    @contextmanager
    def _task(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        self.news.append(("task", title, total, unit))

        def advance(n: int, note: str = "", total: int | None = None) -> None:
            self.news.append(("advance", n, note, total))

        yield advance

    def task(self, title: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        return self._task(title, total, unit)

    def asked_to_stop(self) -> bool:
        """Send new messages; a step never waits for the answer."""
        import ray

        if time.monotonic() - self.sent > NEWS_SECONDS:
            if self.answer is not None and ray.wait([self.answer], timeout=0)[0]:
                self.stopped, self.answer = ray.get(self.answer), None
            if self.answer is None:
                self.answer, self.news = self.desk.tell.remote(self.news), []
            self.sent = time.monotonic()
        return self.stopped

    def close(self, error: BaseException | None) -> None:
        """Send the remaining messages and the error, if any."""
        import ray

        ray.get(self.desk.tell.remote([*self.news, ("end", error)]))


class _Relay:
    """The caller's end: passes the messages of worker 0 to the caller's reporter."""

    def __init__(self, reporter: Reporter, tasks: ExitStack) -> None:
        self.reporter, self.tasks = reporter, tasks
        self.error: BaseException | None = None
        self.started: dict[str, Advance] = {}
        self.advance: Advance
        self.done = 0

    def hear(self, what: str, *arguments: Any) -> None:
        if what == "say":
            self.reporter.say(*arguments)
        elif what == "warn":
            self.reporter.warn(*arguments)
        elif what == "end":
            self.error = arguments[0]
        elif what == "advance":
            self.done += arguments[0]
            self.advance(*arguments)
        elif arguments[0] in self.started:  # repeated from the checkpoint, after a worker died
            self.advance(-self.done, "", arguments[1])
            self.done = 0
        else:
            self.advance = self.tasks.enter_context(self.reporter.task(*arguments))
            self.started[arguments[0]] = self.advance
            self.done = 0


class _Loop:
    """What TorchTrainer calls in every worker."""

    def __init__(self, work: Work, images: Any, desk: Any, device: str) -> None:
        self.work, self.images, self.desk, self.device = work, images, desk, device
        self.__name__ = "training"  # TorchTrainer looks for it

    def __call__(self) -> None:
        import ray
        import ray.train

        from mincurate.compute.device import keep_freed_memory

        keep_freed_memory()
        context = ray.train.get_context()
        rank = context.get_world_rank()
        wire = _Wire(self.desk) if rank == 0 else None
        team = _Workers(rank, context.get_world_size(), self.device, wire)
        error: BaseException | None = None
        try:
            self.work(ray.get(self.images), self.device, wire or SILENT, team)
        except (UserError, StoppedError, KeyboardInterrupt) as raised:
            error = raised  # the same in all workers; if it were raised, Ray would try again
        if wire:
            wire.close(error)


class _Workers(Team):
    """The workers of a TorchTrainer, whose process group Ray has made."""

    def __init__(self, rank: int, world: int, device: str, wire: _Wire | None) -> None:
        self.rank, self.world = rank, world
        self.device, self.wire = device, wire

    def agree(self, decide: Callable[[], T]) -> T:
        decided: list[Any] = [None, None]
        if self.rank == 0:
            try:
                decided[0] = decide()
            except UserError as error:
                decided[1] = error
        torch.distributed.broadcast_object_list(decided, device=torch.device(self.device))
        if decided[1] is not None:
            raise decided[1]
        return decided[0]

    def add_up(self, loss: Tensor, parameters: Iterable[Tensor]) -> float:
        gradients = [p.grad for p in parameters if p.grad is not None]
        stop = torch.tensor([float(self.wire is not None and self.wire.asked_to_stop())])
        # One message for everything, with the request to stop: all stop at the same step.
        parts = [loss.detach().view(1), stop.to(loss), *(g.flatten() for g in gradients)]
        total = torch.cat(parts)
        torch.distributed.all_reduce(total)
        start = 2
        for gradient in gradients:
            end = start + gradient.numel()
            gradient.copy_(total[start:end].view(gradient.shape))
            start = end
        value, stopped = total[:2].tolist()
        if stopped:
            raise KeyboardInterrupt
        return value
