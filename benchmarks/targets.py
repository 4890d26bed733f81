"""The 13 targets, each measured now, in one table.

    python benchmarks/targets.py --images FOLDER --model FOLDER --run RUN --generator FOLDER
    python benchmarks/targets.py [--only N ...] [--quick]

Every target is measured by a benchmark of its own, in a process of its own, or by a few lines here;
what one needs and does not find is said, and is neither met nor missed: target 4 needs ``--run``, a
scored run, and ``--generator``, its model of all noise levels; 11 and 12 tests that can run here.
Without ``--images`` they are made up, and without ``--model`` one is trained briefly: weights do
not change speed. ``--quick`` takes small numbers, which the table shows. ``--json`` keeps it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent


class Missing(Exception):
    """A target that cannot be measured here; says why."""


@dataclass(frozen=True)
class Target:
    """One row: the target in words, and the function that gives the figure and whether it fits."""

    what: str
    target: str
    measure: Callable[["Given"], tuple[str, bool]]


@dataclass(frozen=True)
class Given:
    """What the measurements are made with."""

    images: str
    model: str
    perceptual: str
    run: str | None
    generator: str | None
    quick: bool
    place: Path

    def size(self, whole, quick):
        return quick if self.quick else whole


def benchmark(given, name, *arguments):
    """The JSON that a benchmark writes."""
    out = given.place / "result.json"
    command = [sys.executable, HERE / f"{name}.py", *map(str, arguments), "--json", out]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Missing(f"{name}.py failed: {done.stdout.strip().splitlines()[-1]}")
    return json.loads(out.read_text())


def scoring_speed(given):
    n = given.size(384, 96)
    rows = benchmark(
        given, "scoring", given.images, "--model", given.model, "--images", n,
        "--rounds", given.size(2, 1), "--perceptual", given.perceptual,
    )["rows"]  # fmt: skip
    row = rows[0]
    figure = (
        f"{row['ratio']:.1f}x, {row['mincurate_images_per_s']:.1f} images/s; "
        f"Spearman {row['spearman']:.3f}, {row['spearman_same_noise']:.4f} at equal noise"
    )
    fits = row["ratio"] >= 4 and row["spearman"] >= 0.98 and row["spearman_same_noise"] >= 0.999
    return f"{figure}; {n} images", fits


def feature_passes(given):
    from dataclasses import replace

    from mincurate.diffusion.load import load_denoiser
    from mincurate.features import perceptual as perception
    from mincurate.ranking.minority_score import Scorer

    model = load_denoiser(given.model)
    distance = perception.load_perceptual("unet", model)
    seen = []

    def trunk(x):
        seen.append(len(x))
        return distance.trunk(x)

    counted = replace(distance, trunk=trunk)
    scorer = Scorer(model, counted, model.nearest_sigma(0.16), 6, 0)
    side = model.image_size
    scorer(np.zeros((4, 3, side, side), np.uint8), list("abcd"))
    return f"{sum(seen) / 4:g} for K = 6", sum(seen) / 4 <= 7


def adaptive_draws(given):
    result = benchmark(given, "adaptive", "--rounds", given.size(50, 10))
    shares = {
        case: result[case]["share_of_draws"] for case in ("ten classes", "rarest tenth or not")
    }
    texts = {c: f"{s:.0%}" if s else "more than 100%" for c, s in shares.items()}
    share = shares["rarest tenth or not"]
    n = result["images_in_a_run"]
    figure = f"{texts['rarest tenth or not']} of K = 6 for “rarest tenth or not” of {n:,} images "
    figure += f"(score --adaptive, its pilot included); for ten classes {texts['ten classes']}"
    return figure, bool(share) and share <= 0.6


def guided_sampling(given):
    if not given.run:
        raise Missing("needs --run RUN, a scored run whose model is trained on to all levels")
    result = benchmark(
        given, "sampling", given.run, "--n", given.size(256, 64),
        "--settings", "minority/ancestral/250", "minority/sde-dpm++/25",
        *(["--model", given.generator] if given.generator else []),
    )  # fmt: skip
    apart = result["rows"][1]["beyond_reference"]
    figure = ", ".join(apart) if apart else "all metrics within the intervals"
    return f"25 against 250 evaluations: {figure}; {result['n']} images", not apart


def ray_overhead(given):
    result = benchmark(
        given, "engines", given.images, "--model", given.model, "--perceptual", given.perceptual,
        "--images", given.size(512, 192), "--shard", given.size(64, 16),
        "--rounds", given.size(2, 1), "--train-steps", given.size(300, 60),
    )  # fmt: skip
    figure = f"{result['overhead']:+.0%}; {result['images']} images, 2 workers; training "
    return f"{figure}{result['training']['overhead']:+.0%}", result["overhead"] <= 0.1


def quantile_classes(given):
    result = benchmark(given, "scale", "quantiles", "--n", given.size(20_000_000, 2_000_000))
    more = result["streamed"]
    figure = f"{'exact' if result['exact'] else 'NOT exact'} at {result['n']:.0e}"
    figure += (
        f"; {more['n']:.0e} streamed in {more['streamed_s']:.0f} s, {more['peak_gib']:.1f} GiB"
    )
    return figure, result["exact"] and more["peak_gib"] < 2


def large_map(given):
    result = benchmark(given, "scale", "map", "--n", given.size(1_000_000, 100_000))
    figure = f"{result['peak_gib']:.1f} GiB, {result['map_s'] / 60:.0f} min"
    figure += f", {result['n']:.0e} vectors"
    return f"{figure}; {result['neighbours_of_a_kind']:.0%} lie by their kind", (
        result["peak_gib"] <= 16
    )


def fiftyone_writing(given):
    result = benchmark(given, "scale", "fiftyone", "--n", given.size(20_000, 5_000))
    first, added = result["first_samples_per_s"], result["added"]
    figure = f"{first:,.0f} samples/s; second run {result['second_samples_per_s']:,.0f}/s, adds "
    return f"{figure}{added[1]}; {result['n']:,} samples", first >= 2000 and added[1] == 0


def memory(given):
    few, many = given.size((1000, 4000), (150, 600))
    there = sum(path.is_file() for path in Path(given.images).rglob("*"))
    if there < many:
        raise Missing(f"needs {many:,} images, and --images holds {there:,} files")
    rows = benchmark(
        given, "memory", given.images, "--model", given.model, "--images", few, many,
        "--options=--no-umap --n-draws 1",
    )["rows"]  # fmt: skip
    low, high = (row["peak_mb"] for row in rows)
    return f"{low:.0f} MB at {few} images, {high:.0f} MB at {many}", high <= 1.05 * low


def kills(given):
    return _faults("faults.py", "--kills", given.size(200, 6))


def full_disk(given):
    return _tests("disk")


def pillow_files(given):
    return _tests("pillow")


def _faults(name, *arguments):
    if not (HERE / name).is_file():
        raise Missing(f"benchmarks/{name} is not here")
    done = subprocess.run(
        [sys.executable, HERE / name, *map(str, arguments)], capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("all", "files that"))]
    return "; ".join(" ".join(line.split()) for line in lines), done.returncode == 0


def _tests(word):
    folder = HERE.parent / "tests" / "faults"
    if not folder.is_dir():
        raise Missing("tests/faults is not here")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", str(folder), "-k", word]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode == 5:
        raise Missing(f"tests/faults has no test of {word}")
    summary = (done.stdout.strip().splitlines() or ["no output"])[-1]
    if done.returncode == 0 and " passed" not in summary:
        raise Missing(f"nothing of it can run here: {summary}")
    return summary, done.returncode == 0


def help_time(given):
    code = "from mincurate.cli import main; main()"
    walls, computing = [], []
    for _ in range(5):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, check=True)
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        computing.append(used)
    heavy = "import sys, mincurate.cli; print({'torch','umap','fiftyone'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], stdout=subprocess.PIPE, text=True)
    clean = done.stdout.strip() == "set()"
    # Of a single thread: where the machine is busy with other things, only this tells.
    cost = min(computing)
    figure = f"{cost:.2f} s of computing, {min(walls):.2f} s in all, best of 5; heavy imports: "
    return figure + ("none" if clean else "SOME"), cost <= 0.5 and clean


TARGETS = {
    1: Target("scoring against the published procedure", ">= 4x, Spearman >= 0.98", scoring_speed),
    2: Target("perceptual feature passes", "K + 1", feature_passes),
    3: Target("adaptive draws at fixed K's class flips", "<= 60%", adaptive_draws),
    4: Target("guided sampling", "25 evaluations as good as 250", guided_sampling),
    5: Target("Ray against local, 2 workers", "<= 10% slower", ray_overhead),
    6: Target("quantile classes", "exact at 2e7, 1e8 bounded", quantile_classes),
    7: Target("map of 1e6 x 512 vectors", "<= 16 GiB", large_map),
    8: Target("FiftyOne writing", ">= 2,000 samples/s, then 0 added", fiftyone_writing),
    9: Target("memory while scoring", "flat (within 5%)", memory),
    10: Target("random kill -9", "200, nothing lost or double", kills),
    11: Target("full disk, no permission, I/O error", "a sentence, results intact", full_disk),
    12: Target("image files of Pillow's tests", "a row each, no crash, no hang", pillow_files),
    13: Target("mincurate --help", "<= 0.5 s, nothing heavy", help_time),
}


def prepare(options, place):
    """Images and a model: those that are named, or made-up ones."""
    images, model = options.images, options.model
    if images is None:
        from PIL import Image

        images = place / "images"
        images.mkdir()
        rng = np.random.default_rng(0)
        for i in range(600 if options.quick else 4000):
            coarse = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
            Image.fromarray(coarse).save(images / f"{i:04d}.png")
    if model is None:
        import mincurate

        model = place / "model"
        mincurate.train(images, model, image_size=32, train_steps=30, max_images=256)
    return str(images), str(model)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--perceptual", default="unet")
    parser.add_argument("--run", help="of `mincurate score`, for target 4")
    parser.add_argument(
        "--generator", help="its model of all noise levels; without, it is trained for 20 minutes"
    )
    parser.add_argument("--only", type=int, nargs="+", choices=TARGETS, metavar="N")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from rich.console import Console
    from rich.table import Table

    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        images, model = prepare(options, place)
        inputs = Given(
            images,
            model,
            options.perceptual,
            options.run,
            options.generator,
            options.quick,
            place,
        )
        for number in options.only or TARGETS:
            target = TARGETS[number]
            try:
                figure, fits = target.measure(inputs)
                verdict = "met" if fits else "missed"
            except Missing as why:
                figure, verdict = str(why), "not measured"
            rows.append(
                {
                    "number": number,
                    "what": target.what,
                    "target": target.target,
                    "figure": figure,
                    "verdict": verdict,
                }
            )
            print(f"{number}. {target.what}: {figure}: {verdict}", file=sys.stderr, flush=True)
    table = Table("#", "what", "target", "figure", "", title="Targets" + " (quick)" * options.quick)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=150).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    sys.exit(any(row["verdict"] == "missed" for row in rows))


if __name__ == "__main__":
    main()
