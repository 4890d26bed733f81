"""Images made elsewhere, such as another tool's samples, against the images of a scored run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mincurate import hashing
from mincurate.compute.device import choose_device
from mincurate.errors import UserError
from mincurate.evaluation import image_sets
from mincurate.evaluation.feature_spaces import Judge
from mincurate.evaluation.image_sets import LEAST, ImageSet
from mincurate.images import collection, regions
from mincurate.pipelines import evaluate as evaluation
from mincurate.pipelines import own_vectors
from mincurate.pipelines.evaluate import EvaluateSettings
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import joining, reference
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base
from mincurate.report import evaluation_page
from mincurate.runs import schema, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

FOLDER = "evaluations"
"""Where the results are, in the folder of the scored run."""


@dataclass(frozen=True, repr=False)
class FolderEvaluation:
    """The result of `evaluate_folders`.

    Attributes:
        run: the scored run, whose images are the real ones.
        table: one row per reference, set and metric, as `metric_table.judge` returns it; the sets
            are ``real`` and one per folder.
        folder: holds ``evaluation.html``, ``.csv`` and ``.json``.
    """

    run: Run
    table: pd.DataFrame
    folder: Path

    def __repr__(self) -> str:
        names = ", ".join(name for name in self.sets if name != "real")
        return f"<FolderEvaluation of {names} against {self.run.key}: {self.page}>"

    @property
    def sets(self) -> dict[str, str]:
        """The sets in the table to their names on the page."""
        return {name: name for name in dict.fromkeys(self.table["set"])}

    @property
    def page(self) -> Path:
        """``evaluation.html``."""
        return self.folder / schema.EVALUATION_PAGE


def evaluate_folders(
    folders: Sequence[str | Path],
    run: AnyRun = None,
    settings: EvaluateSettings | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> FolderEvaluation:
    """Judge folders of images against a scored run, by the metrics of `evaluate`.

    The images are scored as the run's own were. Sets are compared at equal number.

    Args:
        folders: each is a set of images.
        run: the scored run (`find_run`). Default: the one scored last.
        settings: see `EvaluateSettings`; ``downstream`` needs a generation.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings, in place of those in ``settings``.

    Raises:
        UserError: the images cannot be judged; the message says what to do.
    """
    reporter = choose_reporter(reporter, progress)
    settings = replace(settings or EvaluateSettings(), **changes)
    if settings.downstream:
        raise UserError("--downstream needs generated images with labels: give a run of augment.")
    names = _names(folders)
    base = reference.open_base(find_run(run, kind=store.SCORE))
    base.check_colours()
    own_vectors.refuse_generated(base.run)
    files = {name: _files(folder, settings.n, reporter) for name, folder in names.items()}
    device = choose_device(settings.device)
    scorer = reference.scorer_of(base.run, device)
    base = joining.at_score_size(base, scorer, reporter=reporter)
    judge = evaluation.choose_judge(settings, base, scorer, None, device, reporter)
    compared = {n: _image_set(base, scorer, judge, pairs, reporter) for n, pairs in files.items()}
    real = judge.extractor.features(base, regions.places(base.frame), base.vectors, reporter)
    tail = image_sets.find_tail(base, real, judge, by_minority_score=settings.paper)
    table = image_sets.judge_all(base, real, compared, judge, tail, reporter)
    facts = evaluation.facts_of(base, compared, judge, tail, settings)
    for name, folder in names.items():
        facts["sets"][name]["folder"] = str(folder)
    digest = hashing.fingerprint([str(folder) for folder in names.values()])[:8]
    target = base.run.path / FOLDER / digest
    target.mkdir(parents=True, exist_ok=True)
    drawn = evaluation.draw(target, base, real, compared, judge, tail)
    evaluation.write(target, table, facts)
    evaluation_page.write_folders_page(target, base.run, table, facts, drawn)
    return FolderEvaluation(base.run, table, target)


def _names(folders: Sequence[str | Path]) -> dict[str, Path]:
    """A name for every folder: its own, or its path where several have that."""
    paths = [Path(folder).expanduser().resolve() for folder in folders]
    if not paths:
        raise UserError("Give at least one folder of images to judge.")
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is no folder; give folders of images to judge.")
    if len(set(paths)) < len(paths):
        raise UserError("The same folder is given twice; give each once.")
    own = [path.name for path in paths]
    taken = {"real", "accepted", image_sets.EQUAL, "guided", ""}
    return {
        name if own.count(name) == 1 and name not in taken else str(path): path
        for name, path in zip(own, paths, strict=True)
    }


def _files(folder: Path, n: int | None, reporter: Reporter) -> list[tuple[str, str]]:
    """Content hash and path of the readable images of a folder, copies included.

    Raises:
        UserError: they are too few.
    """
    images = collection.open_collection(folder, labels=False, reporter=reporter)
    readable = [
        (str(identity.content_hash), source.path)
        for source, identity in images.files
        if identity.content_hash is not None
    ]
    if len(readable) < len(images.files):
        reporter.warn(
            f"{len(images.files) - len(readable):,} of {len(images.files):,} files in {folder} "
            "cannot be read and are left out."
        )
    readable = readable[:n]
    if len(readable) < LEAST:
        raise UserError(f"{folder} has {len(readable)} images to judge; it takes {LEAST} at least.")
    return readable


def _image_set(
    base: Base, scorer: Scorer, judge: Judge, files: list[tuple[str, str]], reporter: Reporter
) -> ImageSet:
    """The scores and features of images."""
    frame, vectors = joining.join(base, scorer, files, reporter=reporter)
    paths = [path for _, path in files]
    return ImageSet(frame, judge.extractor.features(base, paths, vectors, reporter))
