"""Finished runs as files, with planted scores: what is written to FiftyOne needs no training."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mincurate import hashing, paths
from mincurate.dataset import destination, generated, reader, writer
from mincurate.ranking import classes as ordinal
from mincurate.runs import store
from mincurate.runs.store import Run


def pictures(folder: Path, n: int) -> list[str]:
    """``n`` different small pictures; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return sorted(str(path) for path in folder.iterdir())


def scored(
    key: str, sources: list, origin: dict, *, dataset: str | None = None, seed=0, mapped=False
) -> Run:
    """A finished run of these sources with random scores; every seventh file is unscorable."""
    score = np.random.default_rng(seed).uniform(0, 1, len(sources))
    bad = np.arange(len(sources)) % 7 == 6
    score[bad] = np.nan
    rarity = ordinal.percentile(score)
    members = pd.Series(ordinal.ordinal_classes(score, 3))
    members = members.where(members >= 0).astype("Int64")
    ids = [source.sample_id for source in sources]
    frame = pd.DataFrame(
        {
            "path": [s.path for s in sources], "rel_path": [s.rel_path for s in sources],
            "content_hash": [hashing.content_hash(Path(s.path).read_bytes()) for s in sources],
            "duplicate_of": None, "label": pd.array([s.label for s in sources], dtype="string"),
            "minority_score": score, "minority_score_se": score / 20, "rarity": rarity,
            "rarity_class": members, "minority_class": members, "rarity_kind": None,
            "neighbor_distance": score, "complexity": score,
            "map_x": rarity if mapped else np.nan, "map_y": rarity if mapped else np.nan,
            "status": np.where(bad, "unscorable", "ok"),
            "reason": np.where(bad, "not an image", None),
        }
    )  # fmt: skip
    if any(ids):
        frame["sample_id"] = ids
    run = Run(paths.home() / "runs" / key)
    run.path.mkdir(parents=True)
    frame.to_parquet(run.path / "scores.parquet")
    run.update(
        key=key, source=origin, settings={}, fingerprint=f"{key} {run.path}", sigma=0.1, n_draws=2,
        num_classes=3, seed=0, class_edges=[], perceptual="unet", embedding="unet", warnings=[],
        versions={}, model={"name": "planted", "hash": ""}, dataset=dataset, rank_by="minority",
        created=store.tick(), finished=store.now(), scored_last=store.now(),
    )  # fmt: skip
    return run


def score_dataset(key: str, value: str, *, into: str | None = None, **more) -> Run:
    """A run of ``NAME[/VIEW]`` with all the checks, written to it, or to the dataset ``into``."""
    name = destination.choose_name(f"fiftyone:{value}", into)
    label_field = more.pop("label_field", None)
    reading = reader.read(value, label_field)
    origin = {"kind": "fiftyone", "value": value, **reading.origin}
    run = scored(key, reading.sources, origin, dataset=name, **more)
    writer.write_run(run, name)
    return run


def score_folder(key: str, folder: Path, *, into: str | None = None, **more) -> Run:
    """A run of a folder of classes, written to FiftyOne."""
    from mincurate.images import sources

    name = destination.choose_name(str(folder), into)
    origin = {"kind": "folder", "value": str(folder)}
    run = scored(key, sources.find(folder, True), origin, dataset=name, **more)
    writer.write_run(run, name)
    return run


def generate(key: str, base: Run, name: str, n: int = 3) -> Run:
    """A finished generation of ``n`` images, checked and added to the dataset."""
    generated.check(name, base)
    run = Run(paths.home() / "runs" / key)
    files = pictures(run.path / "images", n)
    nearest = base.frame()["path"].iloc[0]
    frame = pd.DataFrame(
        {
            "path": files, "content_hash": [f"{key} {i}" for i in range(n)], "rarity": 0.9,
            "minority_score": 0.5, "minority_score_se": 0.1, "rarity_class": 2,
            "neighbor_distance": 0.5, "embedding_rarity": 0.5, "minority_score_calibrated": 0.5,
            "target_class": 2, "reason": None, "nearest_real": nearest, "seed": range(n),
            "sampler": "minority", "solver": "ddim", "steps": 5, "start": None, "label": "a",
            "label_confidence": 0.7, "map_x": 0.5, "map_y": 0.5, "accepted": True,
        }
    )  # fmt: skip
    frame.to_parquet(run.path / "synthetic.parquet")
    run.update(
        key=key, kind=store.AUGMENT, base=base.key, base_path=str(base.path),
        base_created=base.record["created"], settings={"guidance_scale": 2.0}, dataset=name,
        model={"name": "planted", "hash": ""}, counts={"images": n, "accepted": n}, gate={},
        datasets=[name], created=store.tick(), finished=store.now(),
    )  # fmt: skip
    generated.write(run, frame, name)
    return run
