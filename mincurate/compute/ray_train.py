"""Train data-parallel in the workers of a Ray cluster (`ray.train.torch.TorchTrainer`).

Every worker draws the whole batch of a step from ``(seed, step)``, computes its own rows of it, and
adds up the gradients with the others: many workers give the weights of one, but for rounding. What
hangs on the clock or on a file, worker 0 alone decides, for all. It alone writes, too: checkpoint,
model and record are those of a training on one machine, which either can go on with.
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
"""So often a training goes on from its checkpoint after workers died."""
NEWS_SECONDS = 0.2
"""How often worker 0 and the caller hear of each other."""


class Team:
    """The processes that train together; this one is alone.

    Attributes:
        rank: number of this process; 0 decides and writes.
        world: how many they are.
    """

    rank, world = 0, 1

    def rows(self) -> slice:
        """The rows of a batch that this process computes."""
        return slice(self.rank, None, self.world)

    def agree(self, decide: Callable[[], T]) -> T:
        """What ``decide`` gives, or raises, in process 0, which alone calls it."""
        return decide()

    def add_up(self, loss: Tensor, parameters: Iterable[Tensor]) -> float:
        """Add up the gradients of ``parameters`` over the processes; gives the sum of the losses.

        Raises:
            KeyboardInterrupt: in all processes at the same step, after Ctrl-C.
        """
        return loss.item()


ALONE = Team()
Work = Callable[[NDArray[np.uint8], str, Reporter, Team], None]
"""Trains on images, on a device, as one of a team."""


def on_ray(
    work: Work,
    images: NDArray[np.uint8],
    folder: Path,
    cluster: Cluster,
    *,
    batch_size: int,
    reporter: Reporter = SILENT,
) -> None:
    """Do ``work`` in workers that form a team; it goes on from its checkpoint when one dies.

    Args:
        work: called in every worker, again after each death; an error of ours that it raises is
            raised here.
        images: ``(N, 3, S, S)`` uint8; every node keeps one copy, which its workers share.
        folder: where worker 0 writes; all nodes must see it under the same path.
        batch_size: images of a step; no more workers than these are started.

    Raises:
        UserError: no Ray, no such cluster, fewer CPUs or GPUs than workers, or workers that die
            again and again.
        StoppedError: on Ctrl-C, after worker 0 has written the checkpoint.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # Ray's own minute is short where workers import torch on a busy machine.
    patience = str(ray_map.WAIT_SECONDS)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", patience)
    ray, ours = ray_map.connect(cluster, images.nbytes)
    storage = folder.resolve() / ".ray"  # Ray wants a place, though our checkpoints are not its own
    try:
        size, gpus = _size(ray, cluster, batch_size)
        reporter.say(f"Ray: training in {size} worker{'s' if size > 1 else ''}.")
        # Beside the caller, who may sit on a node without a CPU to spare.
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
    """How many workers, and whether each has a GPU. TorchTrainer waits for ever for too many."""
    total = ray.cluster_resources()
    cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0)) if cluster.gpus else 0
    room, what = (gpus, "GPU") if gpus else (cpus, "CPU")
    size = min(cluster.num_workers or max(1, room), batch_size)
    if size > min(room, cpus):
        raise UserError(
            f"{size} workers take a {what} each, and the Ray cluster has {min(room, cpus)}: take "
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
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # errors are told by us
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
    """Run the trainer, and tell the reporter what worker 0 says, until the end."""
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failure.append(error)

    # Not in the main thread, where TorchTrainer takes Ctrl-C for itself and saves nothing.
    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    news: deque[tuple[Any, ...]] = deque()
    stopping = False
    with ExitStack() as tasks:
        retold = _Retold(reporter, tasks)
        over = False
        while not over or news:
            try:
                if not news:
                    thread.join(NEWS_SECONDS)
                    over = not thread.is_alive()
                    news.extend(ray.get(desk.read.remote()))
                while news:
                    retold.hear(*news.popleft())
            except KeyboardInterrupt:
                if stopping:
                    raise
                stopping = True
                desk.stop.remote()
        if retold.error is not None:
            raise retold.error
        if failure:
            raise _told(failure[0]) from failure[0]


def _told(failure: BaseException) -> BaseException:
    """What is wrong, in our words where the user can mend it."""
    from ray.exceptions import RayError

    causes = list(getattr(failure, "worker_failures", {}).values())
    ours = [cause for cause in causes if isinstance(cause, UserError | OSError)]
    # Ray's word for a worker that is gone is an error of its own, which it does not make public.
    if any(isinstance(getattr(c, "health_check_failure", c), RayError) for c in causes):
        return UserError(
            f"Ray workers died {MAX_FAILURES + 1} times, perhaps for lack of memory: take fewer "
            "--workers, then give the same command again; what is finished is kept."
        )
    return next(iter(ours or causes), failure)


class _Desk:
    """The actor between worker 0 and the caller: news one way, the wish to stop the other."""

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
    """Worker 0's end: a `Reporter` whose words the caller hears a moment later."""

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
        """Send what is new; a step never waits for the answer."""
        import ray

        if time.monotonic() - self.sent > NEWS_SECONDS:
            if self.answer is not None and ray.wait([self.answer], timeout=0)[0]:
                self.stopped, self.answer = ray.get(self.answer), None
            if self.answer is None:
                self.answer, self.news = self.desk.tell.remote(self.news), []
            self.sent = time.monotonic()
        return self.stopped

    def close(self, error: BaseException | None) -> None:
        """Send the rest, and how it ended."""
        import ray

        ray.get(self.desk.tell.remote([*self.news, ("end", error)]))


class _Retold:
    """The caller's end: what worker 0 said, said to the caller's reporter."""

    def __init__(self, reporter: Reporter, tasks: ExitStack) -> None:
        self.reporter, self.tasks = reporter, tasks
        self.error: BaseException | None = None
        self.begun: dict[str, Advance] = {}
        self.advance: Advance
        self.done = 0

    def hear(self, what: str, *said: Any) -> None:
        if what == "say":
            self.reporter.say(*said)
        elif what == "warn":
            self.reporter.warn(*said)
        elif what == "end":
            self.error = said[0]
        elif what == "advance":
            self.done += said[0]
            self.advance(*said)
        elif said[0] in self.begun:  # again, after a worker died: back to the checkpoint
            self.advance(-self.done, "", said[1])
            self.done = 0
        else:
            self.advance = self.tasks.enter_context(self.reporter.task(*said))
            self.begun[said[0]] = self.advance
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
            error = raised  # the same in all workers: returning keeps Ray from trying again
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
        # One message for everything, the wish to stop among it: all stop at the same step.
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
