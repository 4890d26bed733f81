"""Kill score, train, guide, augment and export at random, again and again, and compare the end.

Each round does the whole way in a home of its own, on made-up pictures with tiny models. Every
command is killed (`kill -9`) at random moments, given again, and at last left to end; then all
files are compared with those of a way that nobody disturbed. Only times may differ. What was
finished when the blow fell (shards, images, models) must not have been made again.

    python benchmarks/faults.py --kills 200
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

TIMES = frozenset(
    [
        *("created", "finished", "started", "scored_last", "base_created"),
        *("minutes", "trained_minutes", "seconds", "images_per_second"),
        *("vectors_per_second", "threads"),
    ]
)
"""Keys whose values are times or rates, wherever they stand."""
TIMES_IN_A_PAGE = re.compile(
    rb"<time>.*?</time>|[\d.]+ min(utes|\b)|(images|vectors)_per_second</small></th><td><b>[\d.,]+"
    rb"|trained_minutes</th><td>[\d.e-]+"
)
KILLS_PER_COMMAND = 12
LIMIT = 300
"""Seconds after which a command that nobody kills has hung."""
DONE = ("runs/*/shards/*.done", "models/*/unet/*.safetensors", "exported/*/*")
"""What a command that goes on keeps, besides the images that a manifest lists."""


@dataclass
class Tally:
    """What was seen.

    Attributes:
        kills: blows that found the command at work, by command.
        differences: files that were not what they should be at the end of a round.
        again: finished things that were made again.
        failures: commands that did not end well, with the end of what they said.
    """

    kills: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled or done again."""
        return not (self.differences or self.again or self.failures)


def pictures(folder: Path, n: int, seed: int = 0) -> None:
    """``n`` different discs and crosses of 16 px in two class folders, a copy, and no image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    for i in range(n):
        kind = "cross" if i % 6 == 0 else "disc"
        cx, cy, r = rng.uniform(6, 10), rng.uniform(6, 10), rng.uniform(3, 5)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < r**2
        if kind == "cross":
            inside = (abs(x - cx) < 1.5) | (abs(y - cy) < 1.5)
        colors = rng.integers(0, 255, (2, 3))
        noisy = np.where(inside[..., None], *colors) + rng.normal(0, 4, (16, 16, 3))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / kind / f"{i:03d}.png")
    shutil.copy(folder / "cross" / "000.png", folder / "disc" / "copy.png")
    (folder / "disc" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")


def commands(place: Path) -> dict[str, list[str]]:
    """The way, with the quickest options."""
    images = str(place / "images")
    quick = ["--train-steps", "30", "--n-draws", "2", "--num-classes", "5", "--no-umap"]
    steps = ["--train-steps", "20", "--guide-steps", "20"]
    vary = ["--n", "24", "--batch-size", "4", "--steps", "4", "--init", "real", "--strength", "0.5"]
    return {
        "train": ["train", images, "--output", str(place / "home/model"), "--train-steps", "30"],
        "score": ["score", images, "--no-fiftyone", *quick],
        "guide": ["guide", *steps],
        "augment": ["augment", *vary, "--top-fraction", "1", "--no-fiftyone", *steps],
        "export": ["export", str(place / "home/exported"), "--copy", "--include-rejected"],
        "verify": ["verify", "--all"],
    }


def start(place: Path, arguments: list[str]) -> int:
    """Fork a process that has imported everything already and let it do a command."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ["MINCURATE_HOME"] = str(place / "home")
    sys.argv = ["mincurate", *arguments]
    from mincurate.cli import main

    code: Any = 3
    try:
        main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    os._exit(int(code or 0))


def wait(pid: int, seconds: float) -> int | None:
    """The exit code, or ``None`` while the process is at work after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def finish(place: Path, arguments: list[str]) -> str | None:
    """Do a command to its end; what it said if that is not a good one."""
    pid = start(place, arguments)
    code = wait(pid, LIMIT)
    if code is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    log = (place / "log").read_text(errors="replace")
    return None if code == 0 else f"{arguments[0]} ended with {code}: {log[-1500:]}"


def done(home: Path) -> dict[str, tuple[int, int]]:
    """What is finished, with its inode and time of writing."""
    from mincurate.runs.manifest import MANIFEST, read_manifest

    finished = [p for pattern in DONE for p in home.glob(pattern) if p.name[0] != "."]
    for manifest in home.glob(f"runs/*/{MANIFEST}"):
        finished += [manifest.parent / e["file"] for e in read_manifest(manifest.parent)]
    stamps = {}
    for path in finished:
        status = path.stat()
        stamps[str(path.relative_to(home))] = (status.st_ino, status.st_mtime_ns)
    return stamps


def contents(home: Path) -> dict[str, str]:
    """A digest of every file, from which times are left out."""
    digests = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if not path.is_file() or path.name in ("lock", "digests.json"):
            continue  # `verify` looks at the latter, which holds times of writing
        content = path.read_bytes()
        if path.suffix == ".json":
            content = json.dumps(without_times(json.loads(content)), sort_keys=True).encode()
        elif path.suffix == ".html":
            content = re.sub(TIMES_IN_A_PAGE, b"", content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def load() -> None:
    """Import what commands import, so that a fork begins at once, and make pieces small."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "COLUMNS": "100"}
    import lpips  # noqa: F401
    import sklearn.neighbors  # noqa: F401
    import torch

    from mincurate.diffusion import new_network, training_loop

    torch.set_num_threads(1)
    from mincurate.ranking import shard_loop

    shard_loop.SHARD_IMAGES = 8
    training_loop.CHECKPOINT_SECONDS = 0.3
    network = new_network.new_unet
    new_network.new_unet = lambda size, _, *more: network(size, (32, 32, 64), *more)


def undisturbed(place: Path) -> tuple[dict[str, str], dict[str, float]]:
    """The files at the end of the way when nobody kills, and how long each command takes."""
    seconds = {}
    for name, arguments in commands(place).items():
        began = time.monotonic()
        failure = finish(place, arguments)
        seconds[name] = time.monotonic() - began
        if failure:
            raise SystemExit(failure)
    shutil.copytree(place / "home", place / "truth", dirs_exist_ok=True)  # to look at
    return contents(place / "home"), seconds


def disturbed(
    place: Path, truth: dict[str, str], seconds: dict[str, float], kills: int, random: Random
) -> Tally:
    """One round in a fresh home, with at most ``kills`` kills."""
    home, tally = place / "home", Tally()
    shutil.rmtree(home)
    for name, arguments in commands(place).items():
        for _ in range(KILLS_PER_COMMAND):
            if name == "verify" or tally.kills.total() >= kills:
                break
            before = done(home)
            pid = start(place, arguments)
            code = wait(pid, random.uniform(0, seconds[name]))
            if code is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                tally.kills[name] += 1
            elif code:
                tally.failures.append(f"{name}: {(place / 'log').read_text()[-1500:]}")
            after = done(home)
            tally.again += [k for k, v in before.items() if after.get(k) != v]
            if code is not None:
                break
        before = done(home)
        failure = finish(place, arguments)
        tally.failures += [failure] if failure else []
        after = done(home)
        tally.again += [k for k, v in before.items() if after.get(k) != v]
    present = contents(home)
    tally.differences += sorted(k for k in truth.keys() | present if truth.get(k) != present.get(k))
    return tally


def run(place: Path, kills: int, seed: int, images: int) -> Tally:
    """Rounds until ``kills`` blows have found a command at work."""
    load()
    pictures(place / "images", images)
    (place / "home").mkdir(exist_ok=True)
    truth, seconds = undisturbed(place)
    total, rounds, began = Tally(), 0, time.monotonic()
    took = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    print(f"undisturbed: {len(truth)} files; {took}", flush=True)
    while total.kills.total() < kills and total.clean:
        left = kills - total.kills.total()
        tally = disturbed(place, truth, seconds, left, Random(seed + rounds))
        rounds += 1
        total.kills += tally.kills
        for name in ("differences", "again", "failures"):
            getattr(total, name).extend(getattr(tally, name))
        spent = time.monotonic() - began
        print(f"round {rounds}: {total.kills.total()} kills, {spent:.0f} s", flush=True)
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="work here, and leave everything")
    options = parser.parse_args()
    place = options.keep or Path(tempfile.mkdtemp(prefix="mincurate-faults-"))
    place.mkdir(parents=True, exist_ok=True)
    tally = run(place.resolve(), options.kills, options.seed, options.images)
    for name, n in sorted(tally.kills.items()):
        print(f"{name:<8} {n:>4} kills")
    print(f"{'all':<8} {tally.kills.total():>4} kills")
    print(f"files that differ at the end: {len(tally.differences)} {tally.differences[:20]}")
    print(f"finished things made again:   {len(tally.again)} {tally.again[:20]}")
    print(f"commands that failed:         {len(tally.failures)}", *tally.failures, sep="\n")
    if not options.keep:
        shutil.rmtree(place)
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
