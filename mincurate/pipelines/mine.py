"""Find real images like some of a run's in a pool: the one call behind ``mincurate mine``.

open the pool; load the run's network
embed       the vector of every image of the pool, in shards: a killed call goes on
choose      the images most like the examples, without near copies
store       table, FiftyOne dataset, for review
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from mincurate import hashing
from mincurate.compute.device import choose_device, choose_precision
from mincurate.curation import gather, mining
from mincurate.errors import UserError
from mincurate.features.embedder import Embedder
from mincurate.images import collection as collections
from mincurate.images import file_bytes, object_storage
from mincurate.images.collection import Collection
from mincurate.pipelines import fingerprints, score_new
from mincurate.pipelines.open_images import Images, describe, open_images, place_of
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import reference, vectors
from mincurate.ranking.reference import Base
from mincurate.ranking.shard_vectors import ShardVectors
from mincurate.runs import atomic_files, digests, schema, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

KIND = store.MINE
LABEL = "label:"


@dataclass(frozen=True, kw_only=True)
class MineSettings:
    """Settings of `mine`; a command-line option and a recorded setting have the same names.

    Attributes:
        like: the examples: ``label:NAME``, the images of a label of the run; ``tag:NAME``,
            ``view:NAME`` or sample ids of its FiftyOne dataset; or content hashes. By default the
            rarest class of the run.
        n: images to mine, at most.
        batch_size: images per batch; changes no result.
        workers: processes that decode images.
        device: ``auto``, ``cpu``, ``cuda``, ...
        resume: go on with the same pool, examples and number, if there is such a run.
        dataset: FiftyOne dataset to add the images to; that of the run, if it has one, when absent.
        fiftyone: add them to a dataset at all.
    """

    like: str | Sequence[str] | None = None
    n: int = 500
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    resume: bool = True
    dataset: str | None = None
    fiftyone: bool = True

    @property
    def words(self) -> str:
        """What is looked for, as it was given."""
        if self.like is None:
            return "the rarest class"
        return self.like if isinstance(self.like, str) else f"{len(self.like):,} given images"


@dataclass(frozen=True, repr=False)
class Mined:
    """The result of `mine`.

    Attributes:
        run: the folder with the table.
        dataset: name of the FiftyOne dataset the images were added to, or ``None``.
        frame: one row per mined image, the most like first; see ``docs/files.md``.
    """

    run: Run
    dataset: str | None
    frame: pd.DataFrame

    def __repr__(self) -> str:
        return f"<Mined {self.run.key}: {len(self.frame):,} images>"

    def _repr_html_(self) -> str:
        return self.frame.head(10).to_html(index=False)


def mine(
    pool: Images,
    run: AnyRun = None,
    settings: MineSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Mined:
    """Find the real images of a pool that are most like some images of a scored run.

    They are compared by the run's own vectors. Near copies of each other, of the run's images and
    of those mined before are left out. Labels are proposed, and review decides.

    Args:
        pool: where to look: anything that `score` takes. Its labels are not read.
        run: the scored run (`find_run`); by default the one scored last.
        settings: see `MineSettings`; its defaults when absent.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings by name, such as ``n=200``.

    Raises:
        UserError: something the user can fix.
    """
    reporter = choose_reporter(reporter, progress)
    scored = find_run(run, kind=store.SCORE)
    settings = replace(settings or MineSettings(), **changes)
    if settings.n < 1:
        raise UserError("--n is at least 1.")
    base = _with_joined(reference.open_base(scored, scores=False))
    place = place_of(pool)
    collections.check_place(place)
    dataset = _dataset(scored, settings, reporter)
    examples = _examples(base, settings, dataset)
    embedder = reference.embedder_of(scored, choose_device(settings.device))
    images = open_images(
        place,
        labels=False,
        background=base.rendering.background,
        bands=base.rendering.bands,
        workers=settings.workers,
        reporter=reporter,
    )
    reporter.say(describe(images).removesuffix("; no labels.") + ".")
    reporter.say(
        f"Looking for {settings.n:,} images like {settings.words} ({int(examples.sum()):,} images "
        f"of run {scored.key})."
    )
    vectors_from, request = _request(base, settings, examples, images, embedder)
    mined = store.begun_or_new(request, settings.resume, reporter, kind=KIND)
    with digests.held(mined):
        if not mined.finished:
            facts = _facts(base, settings, images, embedder)
            mined.update(**facts, vectors_from=vectors_from, examples=int(examples.sum()))
            _take_over_shards(mined, vectors_from)
            _embed(mined, base, images, embedder, settings, reporter)
            frame = _choose(mined, base, settings, examples, images, dataset, reporter)
            mined.update(
                counts={"images": len(frame), "pool": len(images.unique)}, finished=store.now()
            )
        frame = table(mined)
        if dataset is not None:
            from mincurate.dataset import mined as dataset_mined

            mined.update(dataset=dataset)
            dataset_mined.write(mined, frame, dataset, reporter)
    return Mined(mined, dataset, frame)


def table(run: Run) -> pd.DataFrame:
    """The table of a finished run that mined, the most like first.

    Raises:
        UserError: the run is another kind, or not finished.
    """
    if store.kind_of(run) != KIND or not (run.path / schema.MINED).is_file():
        raise UserError(f"{run.key} holds no mined images; mine some with `mincurate mine POOL`.")
    return pd.read_parquet(run.path / schema.MINED)


def _with_joined(base: Base) -> Base:
    """A run with the images that joined it later (`score_new`)."""
    hashes, joined = score_new.read_vectors(base.run)
    if not hashes:
        return base
    frame = base.run.frame()
    frame = frame[frame["duplicate_of"].isna()].set_index("content_hash", drop=False)
    frame = pd.concat([base.frame, frame.loc[hashes]], ignore_index=True)
    return replace(base, frame=frame, vectors=np.concatenate([base.vectors, joined]))


def _dataset(scored: Run, settings: MineSettings, reporter: Reporter) -> str | None:
    """The FiftyOne dataset to add the images to, checked before anything is computed."""
    if not settings.fiftyone:
        return None
    from mincurate.dataset import lookup
    from mincurate.dataset import mined as dataset_mined

    name = settings.dataset or lookup.dataset_of(scored, reporter)
    if name is not None:
        dataset_mined.check(name, scored)
    return name


def _examples(base: Base, settings: MineSettings, dataset: str | None) -> NDArray[np.bool_]:
    """Which images of the run are examples, ``(N,)``."""
    frame, like = base.frame, settings.like
    if like is None:
        return (frame["rarity_class"] == base.num_classes - 1).to_numpy(bool)
    if isinstance(like, str) and like.startswith(LABEL):
        members = (frame["label"] == like.removeprefix(LABEL)).fillna(False).to_numpy(bool)
        if not members.any():
            names = ", ".join(sorted(frame["label"].dropna().unique())[:20]) or "none"
            label = like.removeprefix(LABEL)
            raise UserError(
                f"No image of run {base.run.key} has the label {label!r}; its labels: {names}."
            )
        return members
    if isinstance(like, str):
        from mincurate.dataset import generated, lookup

        name = dataset or settings.dataset or lookup.dataset_of(base.run)
        if name is None:
            raise UserError(
                f"--like {like} needs a FiftyOne dataset, and run {base.run.key} has none: give "
                "label:NAME, or leave --like out for the rarest class."
            )
        like = generated.selection(name, like)
    members = frame["content_hash"].isin(list(like)).to_numpy(bool)
    if not members.any():
        raise UserError(f"None of {settings.words} is an image of run {base.run.key}.")
    return members


def _request(
    base: Base,
    settings: MineSettings,
    examples: NDArray[np.bool_],
    images: Collection,
    embedder: Embedder,
) -> tuple[str, str]:
    """Fingerprints of what decides the pool's vectors, and of what decides the choice."""
    run = base.run
    network = [embedder.weights_hash, base.vector_side, base.fit, base.rendering.record()]
    network.append(run.record["settings"]["precision"])
    network.extend(fingerprints.of_resampling(base.vector_resampling))
    vectors_from = hashing.fingerprint([list(images.unique), network])
    chosen = sorted(base.frame.loc[examples, "content_hash"])
    facts = [vectors_from, run.key, run.record["created"], chosen, settings.words, settings.n]
    return vectors_from, hashing.fingerprint([KIND, *facts])


def _facts(
    base: Base, settings: MineSettings, images: Collection, embedder: Embedder
) -> dict[str, Any]:
    """What the run's record says of how its images are found."""
    return {
        "base": base.run.key,
        "base_path": str(base.run.path.resolve()),
        "base_created": base.run.record["created"],
        "settings": asdict(settings) | {"like": settings.words},
        "source": images.source,
        "embedding": embedder.name,
        "version": version("mincurate"),
    }


def _take_over_shards(mined: Run, vectors_from: str) -> None:
    """Take the vectors of the same pool from an earlier run, as links to the same files."""
    if (mined.path / schema.SHARDS).exists():
        return
    for other in reversed(store.all_runs()):
        folder = other.path / schema.SHARDS
        if other.record.get("vectors_from") == vectors_from and folder.is_dir():
            partial = mined.path / f".{schema.SHARDS}"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial, copy_function=os.link)
            os.rename(partial, mined.path / schema.SHARDS)
            return


def _embed(
    mined: Run,
    base: Base,
    images: Collection,
    embedder: Embedder,
    settings: MineSettings,
    reporter: Reporter,
) -> None:
    """The vectors that no finished shard holds, as the run makes them."""
    device = choose_device(settings.device)
    dtype = choose_precision(base.run.record["settings"]["precision"], device)
    dtype = dtype if dtype is not torch.float32 else None
    recipe = vectors.Recipe(embedder.name, None, settings.device, dtype, embedder.weights_hash)
    reading = base.vector_reading(settings.batch_size, settings.workers)
    vectors.embed(mined, images, embedder, recipe, reading, reporter)


def _choose(
    mined: Run,
    base: Base,
    settings: MineSettings,
    examples: NDArray[np.bool_],
    images: Collection,
    dataset: str | None,
    reporter: Reporter,
) -> pd.DataFrame:
    """Choose the images, and write their table and vectors."""
    pool = ShardVectors(mined, len(images.unique))
    hashes = pool.hashes()
    others = np.concatenate([mining.sample(base.vectors[~examples]), _sample(pool, len(hashes))])
    likeness = mining.fit(base.vectors[examples], others)
    scores = np.empty(0)
    with reporter.task("Comparing", len(hashes)) as advance:
        for part, part_vectors in pool.parts():
            scores = np.concatenate([scores, likeness.score(part_vectors)])
            advance(len(part))
    paths = [images.unique[h][0].path for h in hashes]
    known, present = _present(base, mined, dataset)
    out = np.array([h in known or p in known for h, p in zip(hashes, paths, strict=True)], bool)
    scores[out] = np.nan
    near_copy = mining.near_copy_similarity(base.vectors)
    rows = mining.best(scores, pool.read, present, settings.n, near_copy)
    if not len(rows):
        raise UserError(
            f"Every image of {images.value} is in run {base.run.key} already, or is a near copy of "
            "one that is: give another pool."
        )
    chosen = pool.read(rows)
    similarity = mining.similarity_among(base.vectors[examples])
    frame = _table(base, examples, chosen)
    frame.insert(0, "path", _local([paths[row] for row in rows], hashes[rows], mined))
    frame.insert(1, "pool_path", [paths[row] for row in rows])
    frame.insert(2, "content_hash", hashes[rows])
    frame.insert(3, "likeness", scores[rows])
    mined.update(copies=int(out.sum()), examples_similarity=similarity, near_copy=near_copy)
    atomic_files.write_vectors(mined.path / schema.VECTORS, chosen)
    csv = frame.to_csv(index=False).encode("utf-8", "backslashreplace")
    atomic_files.write_atomically(mined.path / schema.MINED_CSV, csv)
    atomic_files.write_table(
        mined.path / schema.MINED, pa.Table.from_pandas(frame, preserve_index=False)
    )
    return frame


def _sample(pool: ShardVectors, images: int) -> NDArray[np.float32]:
    """Images of the pool that stand for what is not looked for."""
    return pool.read(mining.sample(np.arange(images)))


def _present(base: Base, mined: Run, dataset: str | None) -> tuple[set[str], NDArray[np.float32]]:
    """What is there: content hashes and paths, and vectors, of the run and of those mined before.

    Paths of samples of the dataset count too, whether they were scored or not.
    """
    known = set(base.run.frame()["content_hash"].dropna())
    parts = [base.vectors]
    for earlier in gather.made_for(base.run, KIND):
        if earlier.key != mined.key:
            known |= set(table(earlier)["content_hash"])
            parts.append(np.load(earlier.path / schema.VECTORS, allow_pickle=False))
    if dataset is not None:
        from mincurate.dataset import mined as dataset_mined

        known |= dataset_mined.paths(dataset)
    return known, np.concatenate(parts)


def _table(base: Base, examples: NDArray[np.bool_], chosen: NDArray[np.float32]) -> pd.DataFrame:
    """The nearest example of every chosen image, and the label that is proposed for it."""
    rows = base.frame[examples].reset_index(drop=True)
    similarity, nearest = mining.nearest_example(chosen, base.vectors[examples])
    labels = rows["label"].astype(object).where(rows["label"].notna(), None)
    return pd.DataFrame(
        {
            "similarity": similarity.astype(np.float64),
            "nearest_example": rows["path"].to_numpy(object)[nearest],
            "proposed_label": labels.to_numpy(object)[nearest],
        }
    )


def _local(paths: list[str], hashes: NDArray[np.str_], mined: Run) -> list[str]:
    """Paths that the App can show: objects of a storage are copied into the run's folder."""
    local = []
    for path, content in zip(paths, hashes, strict=True):
        if object_storage.remote(path):
            file = mined.path / schema.IMAGES / f"{content}{Path(path).suffix.lower()}"
            file.parent.mkdir(exist_ok=True)
            if not file.exists():
                limit = file_bytes.MAX_BYTES
                atomic_files.write_atomically(file, object_storage.read(path, limit))
            path = str(file)
        local.append(path)
    return local
