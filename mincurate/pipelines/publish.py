"""What a ranked run is shown by: its report and its FiftyOne dataset."""

from importlib.metadata import PackageNotFoundError, version

from mincurate.errors import UserError
from mincurate.pipelines.result import Result
from mincurate.progress import Reporter
from mincurate.runs.store import Run


def publish(run: Run, dataset: str | None, reporter: Reporter) -> Result:
    """The report and the FiftyOne dataset of a ranked run."""
    from mincurate.report import run_page

    if dataset:
        run.update(dataset=dataset)
    report = run_page.write_report(run)
    dataset, stored = _store(run, dataset, reporter)
    return Result(run=run, dataset=dataset, report=report, stored=stored)


def _store(run: Run, dataset: str | None, reporter: Reporter) -> tuple[str | None, str]:
    """Write the run into FiftyOne: last, so that all else is on disk if the database is lost.

    Returns:
        What the dataset is called now, and what was written, in words.
    """
    if dataset is None:
        return None, ""
    from mincurate.dataset import writer

    try:
        written = writer.write_run(run, dataset, reporter)
    except UserError as error:
        raise UserError(
            f"{error} Everything else is done and kept in {run.path}; with the database back, the "
            "same command only writes it there."
        ) from error
    run.update(dataset=written.name)
    return written.name, f"{written.added} samples added, {written.updated} updated"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    numbers = {}
    for name in ("mincurate", "torch", "diffusers", "pillow", "numpy", "umap-learn", "fiftyone"):
        try:
            numbers[name] = version(name)
        except PackageNotFoundError:
            continue
    return numbers
