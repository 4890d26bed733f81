"""Make a FiftyOne dataset from the files of a run: after the database was lost, or to be sure."""

from dataclasses import dataclass

from mincurate.curation import gather
from mincurate.dataset import destination, generated, lookup, mined, writer
from mincurate.dataset.database import check_database
from mincurate.errors import UserError
from mincurate.pipelines import augment
from mincurate.pipelines import mine as mining
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.ranking import migrate
from mincurate.runs import digests, store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter


@dataclass(frozen=True)
class Synced:
    """What `sync` did.

    Attributes:
        name: of the dataset.
        added: samples that were not there, generated and mined ones among them.
        updated: samples of the run that were.
        generations: keys of the generations, and of the runs that mined, that are shown with it.
    """

    name: str
    added: int
    updated: int
    generations: list[str]

    @property
    def words(self) -> str:
        """One line on it."""
        line = f"The dataset {self.name} shows what the files say: {self.added:,} samples added, "
        line += f"{self.updated:,} looked through"
        return line + (f"; with {', '.join(self.generations)}." if self.generations else ".")


def sync(
    run: AnyRun = None,
    dataset: str | None = None,
    *,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> Synced:
    """Write a scored run, and what was made for it, into its dataset; twice changes nothing.

    What only the database knew is not in the files: tags and fields of the user's, and samples
    that no run holds.

    Args:
        run: a scored run (`find_run`), or a run made for one, for which that one stands; the run
            scored last when absent.
        dataset: its name; the one that the run was written to when absent.
        reporter: as in `score`, and ``progress`` likewise.

    Raises:
        UserError: the run is not finished, or the database does not answer.
    """
    reporter = choose_reporter(reporter, progress)
    run = find_run(run, kind=store.SCORE)
    scored = run if store.kind_of(run) == store.SCORE else store.find(str(run.record["base_path"]))
    if not scored.finished:
        raise UserError(f"The run {scored.key} is not finished; give its command again to go on.")
    generations = gather.generations(scored)
    if migrate.out_of_date(scored):
        with digests.held(scored):
            migrate.rename_classes(scored, generations)
        reporter.say(
            f"Run {scored.key}: minority_class is the class of the minority score now, and "
            "rarity_class that of the ranking."
        )
    check_database()
    if dataset:
        destination.check_name(dataset)
    written = writer.write_run(scored, dataset or _dataset_of(scored), reporter, recreate=True)
    scored.update(dataset=written.name)
    added, shown = written.added, []
    for generation in generations:
        if generation.record.get("dataset") is not None or generation.key == run.key:
            frame = augment.table(generation)
            added += generated.write(generation, frame, written.name, reporter)
            shown.append(generation.key)
    for mine in gather.made_for(scored, store.MINE):
        if mine.record.get("dataset") is not None or mine.key == run.key:
            added += mined.write(mine, mining.table(mine), written.name, reporter)
            shown.append(mine.key)
    return Synced(written.name, added, written.updated, shown)


def _dataset_of(scored: Run) -> str:
    """The dataset that a run was written to, scored from, or would be written to."""
    record = scored.record
    if name := record.get("dataset") or record["source"].get("dataset"):
        return lookup.name_now(scored, str(name))
    place, value = record["source"]["kind"], record["source"]["value"]
    return destination.choose_name(f"fiftyone:{value}" if place == "fiftyone" else value, None)
