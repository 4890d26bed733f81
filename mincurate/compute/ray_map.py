"""Map work over shards of files on a Ray cluster, whatever the work is.

Hashes and paths travel to the workers, never pixels; results travel back, and the caller alone
writes them. A worker that dies is replaced, its files are tried again and then halved, until a file
that kills workers stands alone.

Why not Ray's own retries, as tried with Ray 2.60: a call is retried on its own actor only, so that
after the loss of a node it fails although other workers are idle (`ActorPool`); `ray.data` drops
whole blocks and took 20 s to map 60 numbers; tasks lose nothing, but on a GPU each call either
loads the networks anew or leaves them in the GPU's memory.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mincurate.errors import UserError, reason
from mincurate.progress import SILENT, Reporter

Item = tuple[str, Any]
"""Content hash and what is read: a path, or a `Region` of a file."""
R = TypeVar("R")
Work = Callable[[list[Item]], R]
DEATHS_IN_A_ROW = 20
"""The run ends after so many deaths, and two per worker, without a finished part between them."""
WAIT_SECONDS = 900
"""How long to wait for the first worker: a cluster may have to start machines."""
KILLED = "the worker that read it died, each time"
"""Reason of a file that kills workers."""


@dataclass(frozen=True)
class Cluster:
    """Where to compute.

    Attributes:
        address: of a running cluster (``auto``, ``HOST:PORT``, ``ray://...``); ``None`` starts one
            on this machine.
        num_workers: processes; ``None`` for one per GPU, or per CPU where there is no GPU.
        gpus: let every worker have a GPU, if the cluster has some.
    """

    address: str | None = None
    num_workers: int | None = None
    gpus: bool = True


@dataclass(frozen=True)
class Mapped(Generic[R]):
    """The result of a shard.

    Attributes:
        shard: its number.
        results: of its parts, in the order of the files.
        killers: content hashes of the files that killed every worker they were given to alone.
    """

    shard: int
    results: list[R]
    killers: list[str]


@dataclass
class _Part:
    """Some files of a shard, from position ``start`` on; ``deaths`` workers died of just these."""

    shard: int
    start: int
    items: list[Item]
    deaths: int = 0


@dataclass
class _Shard(Generic[R]):
    """What is done of a shard: results and killers by position, and how many files are missing."""

    missing: int
    results: dict[int, R] = field(default_factory=dict)
    killers: dict[int, str] = field(default_factory=dict)

    def mapped(self, number: int) -> Mapped[R]:
        results = [self.results[start] for start in sorted(self.results)]
        return Mapped(number, results, [self.killers[start] for start in sorted(self.killers)])


class _Worker(Generic[R]):
    """The actor: builds the work once, and does it for one part after the other."""

    def __init__(self, build: Callable[[], Work[R]]) -> None:
        self.build = build

    def start(self) -> None:
        # Not in __init__, where Ray turns our exceptions into its own.
        self.work = self.build()

    def run(self, items: list[Item]) -> R:
        return self.work(items)


def on_ray(
    build: Callable[[], Work[R]],
    shards: Iterable[tuple[int, list[Item]]],
    cluster: Cluster,
    reporter: Reporter = SILENT,
) -> Iterator[Mapped[R]]:
    """Do work for every shard in the workers of a Ray cluster; yields shards as they finish.

    A part whose worker dies is tried once more (its node may have been lost) and then halved. An
    exception in the work is raised here and ends the run.

    Args:
        build: makes the work, once in every worker.
        shards: their numbers and files.

    Raises:
        UserError: there is no such cluster, no worker starts, or workers die again and again.
    """
    ray, ours = connect(cluster)
    crew = _Crew(ray, build, cluster, reporter)
    try:
        yield from _drive(ray, crew, shards)
    finally:
        crew.dismiss()
        if ours:
            ray.shutdown()


def _drive(
    ray: Any, crew: "_Crew[R]", shards: Iterable[tuple[int, list[Item]]]
) -> Iterator[Mapped[R]]:
    waiting: deque[_Part] = deque()
    unfinished: dict[int, _Shard[R]] = {}
    for number, items in shards:
        waiting.append(_Part(number, 0, items))
        unfinished[number] = _Shard(len(items))
    deaths, deadline = 0, time.monotonic() + WAIT_SECONDS
    while unfinished:
        crew.fill(len(waiting))
        while waiting and crew.idle:
            crew.give(waiting.popleft())
        ready, _ = ray.wait(crew.awaited, num_returns=1, timeout=5)
        if crew.alive:
            deadline = time.monotonic() + WAIT_SECONDS
        elif time.monotonic() > deadline:
            raise UserError(
                f"No worker has started within {WAIT_SECONDS // 60} minutes: check with "
                "`ray status` that the cluster has a free CPU or GPU, then give the same command "
                "again."
            )
        for reference in ready:
            part, result, died = crew.collect(reference)
            # A worker that starts does not end the row: it may die of its first file.
            deaths = deaths + 1 if died else 0 if part else deaths
            _check_deaths(deaths, crew.size)
            if part is None:
                continue
            shard = unfinished[part.shard]
            if died:
                waiting.extendleft(reversed(_retries(part, shard)))
            else:
                shard.results[part.start] = result
                shard.missing -= len(part.items)
            if not shard.missing:
                del unfinished[part.shard]
                yield shard.mapped(part.shard)


def _check_deaths(deaths: int, workers: int) -> None:
    if deaths > DEATHS_IN_A_ROW + 2 * workers:
        raise UserError(
            f"Ray workers died {deaths} times in a row, perhaps because memory ran out: take fewer "
            "--workers or a smaller --batch-size, then give the same command again; finished "
            "work is kept."
        )


def _retries(part: _Part, shard: _Shard[R]) -> list[_Part]:
    """After a death: the part once more, then its halves, which are halved at their first death.

    A file that killed two workers on its own is recorded as a killer.
    """
    if part.deaths == 0:
        return [_Part(part.shard, part.start, part.items, 1)]
    if len(part.items) == 1:
        shard.killers[part.start] = part.items[0][0]
        shard.missing -= 1
        return []
    half = len(part.items) // 2
    halves = [(part.start, part.items[:half]), (part.start + half, part.items[half:])]
    return [_Part(part.shard, start, items, int(len(items) > 1)) for start, items in halves]


class _Crew(Generic[R]):
    """The workers: starting, idle, and busy with a part each."""

    def __init__(
        self, ray: Any, build: Callable[[], Work[R]], cluster: Cluster, reporter: Reporter
    ) -> None:
        self.ray = ray
        total = ray.cluster_resources()
        gpus = int(total.get("GPU", 0)) if cluster.gpus else 0
        self.size = cluster.num_workers or gpus or max(1, int(total.get("CPU", 1)))
        self.actor = ray.remote(
            num_cpus=1, num_gpus=1 if gpus else 0, max_restarts=0, max_task_retries=0
        )(_Worker)
        self.build = ray.put(build)
        self.starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, _Part]] = {}
        nodes = sum(node["Alive"] for node in ray.nodes())
        what = "with a GPU each " if gpus else ""
        reporter.say(f"Ray: {self.size} workers {what}on {nodes} node{'s' if nodes > 1 else ''}.")

    @property
    def alive(self) -> int:
        """How many workers have started."""
        return len(self.idle) + len(self.busy)

    @property
    def awaited(self) -> list[Any]:
        """References of the calls under way."""
        return [*self.starting, *self.busy]

    def fill(self, parts: int) -> None:
        """Start the missing workers, but no more than there are parts to do."""
        useful = min(self.size, parts + len(self.busy))
        for _ in range(useful - self.alive - len(self.starting)):
            worker = self.actor.remote(self.build)
            self.starting[worker.start.remote()] = worker

    def give(self, part: _Part) -> None:
        """Let an idle worker do a part."""
        worker = self.idle.pop()
        self.busy[worker.run.remote(part.items)] = (worker, part)

    def collect(self, reference: Any) -> tuple[_Part | None, Any, bool]:
        """The part of a finished call (``None``: a start), its result, and if the worker died."""
        from ray.exceptions import RayError, RayTaskError

        worker, part = self.busy.pop(reference, (self.starting.pop(reference, None), None))
        try:
            result = self.ray.get(reference)
        except RayTaskError as error:
            raise error.cause from error
        except RayError:  # the worker or its node died, or the result on it is lost
            self.ray.kill(worker)
            return part, None, True
        self.idle.append(worker)
        return part, result, False

    def dismiss(self) -> None:
        """End all workers."""
        for worker in [*self.starting.values(), *self.idle, *(w for w, _ in self.busy.values())]:
            self.ray.kill(worker)


def choose_engine(
    engine: str, address: str | None, num_workers: int | None, device: str
) -> Cluster | None:
    """The cluster to compute on, or ``None`` for this process.

    Raises:
        UserError: there is no such engine, or an option has no effect with it.
    """
    if engine not in ("local", "ray"):
        raise UserError(f"engine is local or ray, not {engine!r}.")
    if num_workers is not None and num_workers < 1:
        raise UserError(f"--workers is at least 1, not {num_workers}.")
    if engine == "ray":
        return Cluster(address, num_workers, gpus=device != "cpu")
    if address is not None or num_workers is not None:
        raise UserError("address and num_workers need engine='ray'.")
    return None


def connect(cluster: Cluster, shared_bytes: int = 0) -> tuple[Any, bool]:
    """Connect to Ray; returns the module, and whether the caller has to shut it down.

    Args:
        shared_bytes: size of what will be put into the object store, if it is started here.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send nothing about a run
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns at every start
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs the package ray: pip install 'mincurate[ray]'.") from None
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address is None:
        # Except in training, only numbers pass through the store, some 100 KB per shard.
        quiet |= {"include_dashboard": False, "object_store_memory": 200 * 2**20 + shared_bytes}
        # "local" ignores RAY_ADDRESS: a cluster is used only when --address names it.
        ray.init("local", **quiet)
        return ray, True
    try:
        _knock(cluster.address)
        ray.init(cluster.address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"No Ray cluster answers at {cluster.address} ({reason(error)}); "
            "start one with `ray start --head`, or compute here with --ray local."
        ) from error
    return ray, True


def _knock(address: str) -> None:
    """Raise `OSError` if nothing listens there: Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
