"""Map work over shards of files on a Ray cluster, whatever the work is.

Plain actors with a queue of shards, not `ray.data`: a shard whose worker dies is tried again here
and then halved down to the file that kills, where a Ray dataset can only repeat or drop its block.

Hashes and paths travel to the workers, never pixels; numbers travel back, and the caller alone
writes them. A worker that dies is replaced, a bounded number of times.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter

Item = tuple[str, str]
"""Content hash and path."""
R = TypeVar("R")
Work = Callable[[list[Item]], R]
DEATHS_IN_A_ROW = 20
"""So many deaths, and two for each worker, without a finished part between them end the run."""
WAIT_SECONDS = 900
"""How long to wait for a first worker: a cluster may have to start machines."""
KILLED = "the worker that read it died, each time"
"""Reason of a file that kills workers."""


@dataclass(frozen=True)
class Cluster:
    """Where to compute.

    Attributes:
        address: of a running cluster (``auto``, ``HOST:PORT``, ``ray://...``); ``None`` starts one
            on this machine.
        num_workers: processes; one per GPU, or per CPU where there is none, when absent.
        gpus: let every worker have a GPU, where the cluster has some.
    """

    address: str | None = None
    num_workers: int | None = None
    gpus: bool = True


@dataclass(frozen=True)
class Mapped(Generic[R]):
    """What became of a shard.

    Attributes:
        shard: its number.
        results: of its parts, in the order of the files.
        killers: content hashes of the files that killed the workers that were given them alone.
    """

    shard: int
    results: list[R]
    killers: list[str]


@dataclass
class _Part:
    """Some files of a shard, from position ``start`` on."""

    shard: int
    start: int
    items: list[Item]
    deaths: int = 0


@dataclass
class _Shard(Generic[R]):
    missing: int
    results: dict[int, R] = field(default_factory=dict)
    killers: dict[int, str] = field(default_factory=dict)


class _Worker(Generic[R]):
    """The actor: builds the work once, and does it for one part after the other."""

    def __init__(self, build: Callable[[], Work[R]]) -> None:
        self.build = build

    def start(self) -> None:
        # Not in __init__, where Ray turns an error of ours into one of its own.
        self.work = self.build()

    def run(self, items: list[Item]) -> R:
        return self.work(items)


def on_ray(
    build: Callable[[], Work[R]],
    shards: Iterable[tuple[int, list[Item]]],
    cluster: Cluster,
    reporter: Reporter = SILENT,
) -> Iterator[Mapped[R]]:
    """Do work for every shard, in workers of a Ray cluster; shards come back as they are finished.

    A part whose worker dies is tried once more (its node may have been lost), then halved, until
    the files that kill stand alone; an exception in the work is raised here and ends the run.

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
    begun: dict[int, _Shard[R]] = {}
    for shard, items in shards:
        waiting.append(_Part(shard, 0, items))
        begun[shard] = _Shard(len(items))
    in_a_row, patience = 0, time.monotonic() + WAIT_SECONDS
    while begun:
        crew.fill(len(waiting))
        while waiting and crew.idle:
            crew.give(waiting.popleft())
        ready, _ = ray.wait(crew.awaited, num_returns=1, timeout=5)
        if crew.alive:
            patience = time.monotonic() + WAIT_SECONDS
        elif time.monotonic() > patience:
            raise UserError(
                f"No worker has started within {WAIT_SECONDS // 60} minutes: see with `ray status` "
                "whether the cluster has a free CPU or GPU, then give the same command again."
            )
        for reference in ready:
            part, result, died = crew.collect(reference)
            # A worker that starts proves nothing: it may die of the first file.
            in_a_row = in_a_row + 1 if died else 0 if part else in_a_row
            if in_a_row > DEATHS_IN_A_ROW + 2 * crew.size:
                raise UserError(
                    f"Ray workers died {in_a_row} times in a row, perhaps for lack of memory: take "
                    "fewer --workers or a smaller --batch-size, then give the same command "
                    "again; what is finished is kept."
                )
            if part is None:
                continue
            state = begun[part.shard]
            if not died:
                state.results[part.start] = result
                state.missing -= len(part.items)
            elif len(part.items) == 1 and part.deaths >= 1:
                state.killers[part.start] = part.items[0][0]
                state.missing -= 1
            else:
                waiting.extendleft(reversed(_again(part)))
            if not state.missing:
                del begun[part.shard]
                yield Mapped(
                    part.shard,
                    [result for _, result in sorted(state.results.items(), key=lambda r: r[0])],
                    [content for _, content in sorted(state.killers.items())],
                )


def _again(part: _Part) -> list[_Part]:
    """The part once more, or its halves, which are not tried twice before they are halved."""
    if part.deaths == 0:
        return [_Part(part.shard, part.start, part.items, 1)]
    half = len(part.items) // 2
    halves = [(part.start, part.items[:half]), (part.start + half, part.items[half:])]
    return [_Part(part.shard, start, items, int(len(items) > 1)) for start, items in halves]


class _Crew(Generic[R]):
    """The workers: starting ones, idle ones, and busy ones with the part each has."""

    def __init__(
        self, ray: Any, build: Callable[[], Work[R]], cluster: Cluster, reporter: Reporter
    ) -> None:
        self.ray = ray
        total = ray.cluster_resources()
        gpus = int(total.get("GPU", 0)) if cluster.gpus else 0
        self.size = cluster.num_workers or gpus or max(1, int(total.get("CPU", 1)))
        # Restarts and retries are ours, and bounded: Ray's own repeat a poisonous file for ever.
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
        """Workers that have started."""
        return len(self.idle) + len(self.busy)

    @property
    def awaited(self) -> list[Any]:
        """References of what is under way."""
        return [*self.starting, *self.busy]

    def fill(self, parts: int) -> None:
        """Start as many workers as are missing, and no more than there are parts to be done."""
        wanted = min(self.size, parts + len(self.busy))
        for _ in range(wanted - self.alive - len(self.starting)):
            worker = self.actor.remote(self.build)
            self.starting[worker.start.remote()] = worker

    def give(self, part: _Part) -> None:
        """Let an idle worker do a part."""
        worker = self.idle.pop()
        self.busy[worker.run.remote(part.items)] = (worker, part)

    def collect(self, reference: Any) -> tuple[_Part | None, Any, bool]:
        """The part that ``reference`` stands for, its result, and whether its worker died."""
        from ray.exceptions import RayError, RayTaskError

        worker, part = self.busy.pop(reference, (self.starting.pop(reference, None), None))
        try:
            result = self.ray.get(reference)
        except RayTaskError as error:
            raise error.cause from error
        except RayError:  # the worker, its node, or the result that lay there
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
    """The cluster to compute on, or ``None`` for here.

    Raises:
        UserError: there is no such engine, or the options do not go together.
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
    """Ray, connected, and whether the connection is ours to end.

    Args:
        shared_bytes: of what is to be put into the object store, where it is started here.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns at every start
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs the package ray: pip install 'mincurate[ray]'.") from None
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address is None:
        # But for training, numbers alone pass through the store, a few hundred KB for each shard.
        quiet |= {"include_dashboard": False, "object_store_memory": 200 * 2**20 + shared_bytes}
        # Not RAY_ADDRESS, should it be set: a cluster is joined when it is named.
        ray.init("local", **quiet)
        return ray, True
    try:
        _knock(cluster.address)
        ray.init(cluster.address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"No Ray cluster answers at {cluster.address} "
            f"({str(error).strip().splitlines()[0]}); "
            "start one with `ray start --head`, or compute here with --ray local."
        ) from error
    return ray, True


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens: Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
