"""What the commands print at their end: tables, figures, and where everything is."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mincurate.cli.console import cell
from mincurate.terminal import Terminal

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from mincurate.generation.classifier import Classifier
    from mincurate.pipelines.augment import Augmented
    from mincurate.pipelines.evaluate import Evaluation
    from mincurate.pipelines.mine import Mined
    from mincurate.pipelines.rebalance import Filled
    from mincurate.pipelines.result import Result
    from mincurate.pipelines.review import Reviewed
    from mincurate.ranking.compare import Comparison
    from mincurate.runs.store import Run

STYLES = {"good": "green", "fair": "yellow", "poor": "red"}
MARKS = {"good": "+", "fair": "~", "poor": "-"}
WORDS = (
    "label",
    "labels",
    "image",
    "object",
    "tile",
    "measure",
    "run",
    "kind",
    "created",
    "state",
    "dataset",
)
"""Columns of words; all others hold numbers, and their digits stand below each other."""


MINED = ("likeness", "similarity", "label", "image")
REVIEW = ("probability", "rarity", "label", "image")


def table_of(title: str | None, columns: Iterable[str]) -> "Table":
    """An empty table."""
    from rich.table import Table

    table = Table(title=title, expand=False)
    for index, name in enumerate(columns):
        words = name in (*WORDS, "source") or (index == 0 and name == "class")
        table.add_column(name, justify="left" if words else "right")
    return table


def scored(result: "Result", reporter: Terminal) -> None:
    """The rarest images, the warnings, and where everything is."""
    from mincurate.ranking import rare_labels, rarity_kind
    from mincurate.ranking.classes import ranking_column
    from mincurate.runs.command import quoted

    record = result.run.record
    ranked_by = ranking_column(record, result.frame.columns)
    scores = [ranked_by]
    if ranked_by != "minority_score" and result.frame["minority_score"].notna().any():
        scores.append("minority_score")
    noun = result.run.noun
    rarest = result.rarest(5)
    labelled = rarest["label"].notna().any()
    names = ("rarity", *(s.replace("_", " ") for s in scores), "class")
    names = (*names, *(["label"] if labelled else []), noun[:-1])
    table = table_of(f"The rarest of {record['counts']['scored']:,} scored {noun}", names)
    for row in rarest.itertuples():
        label = cell(row.label if isinstance(row.label, str) else "")
        table.add_row(
            f"{row.rarity:.3f}",
            *(f"{getattr(row, score):.4f}" for score in scores),
            str(row.rarity_class),
            *([label] if labelled else []),
            cell(row.rel_path),
        )
    reporter.console.print(table)
    if kinds := rarity_kind.summary(result.frame):
        reporter.say(kinds)
    for warning in result.warnings:
        reporter.warn(warning)
    if (texture := record["diagnostics"].get("spearman_complexity")) is not None:
        reporter.say(f"Spearman of minority score and image complexity: {texture:.2f}")
    if which := rare_labels.which_ranks(record):
        reporter.say(which)
    reporter.say(f"Trust in this ranking: {record['trust']['words']}")
    reporter.say(f"Table:   {result.run.path / 'scores.csv'} (and scores.parquet)")
    if result.run.objects is not None:
        reporter.say(f"Images:  {result.run.path / 'images.csv'} (by their rarest {noun[:-1]})")
    reporter.say(f"Report:  {result.report}")
    if result.dataset:
        reporter.say(f"Dataset: {result.dataset} ({result.stored})")
        reporter.say(f"Browse:  {quoted('mincurate', 'launch', result.dataset)}")


def guidance(classifier: "Classifier", reporter: Terminal) -> None:
    """How well the classifier tells held-out images apart, by noise level."""
    levels = classifier.record["levels"]
    names = {"sigma": "noise (sigma)", "accuracy": "accuracy", "macro_f1": "macro F1"}
    names["mean_absolute_error"] = "mean class error"
    if "label_accuracy" in levels[0]:
        names["label_accuracy"] = "accuracy of labels"
    table = table_of("Held-out images, by noise level", names.values())
    for level in levels:
        table.add_row(*(f"{level[key]:.3g}" for key in names))
    reporter.console.print(table)
    chance = 1 / classifier.num_classes
    reporter.say(f"Classes: {classifier.num_classes}; accuracy by chance: {chance:.2f}.")


def generated(augmented: "Augmented", reporter: Terminal) -> None:
    """How many images are accepted, how rare they are, and where everything is."""
    from mincurate.ranking import classes
    from mincurate.runs.command import quoted

    frame, counts, run = augmented.frame, augmented.counts, augmented.run
    flags = [f"{n:,} {name}" for name, n in counts.items() if name != "accepted" and n]
    reporter.say(
        f"{counts['accepted']:,} of {len(frame):,} images accepted "
        f"({', '.join(flags) or 'none flagged'})."
    )
    share = classes.in_tail(frame["rarity"]).mean()
    reporter.say(
        f"Mean rarity {frame['rarity'].mean():.2f} (real images: 0.50); {share:.0%} rank among the "
        "rarest tenth of the real images."
    )
    reporter.say(f"Images:   {run.path / 'images'}")
    reporter.say(f"Table:    {run.path / 'synthetic.csv'} (and .parquet)")
    reporter.say(f"Did it help? mincurate evaluate {run.record['key']}")
    if augmented.dataset:
        reporter.say(f"Dataset:  {augmented.dataset} (saved view 'synthetic')")
        reporter.say(f"Browse:   {quoted('mincurate', 'launch', augmented.dataset)}")


def mined(found: "Mined", reporter: Terminal) -> None:
    """The most similar images, how similar all are, and where everything is."""
    from mincurate.runs.command import quoted

    frame, run = found.frame, found.run
    table = table_of(f"The {len(frame):,} mined images begin with", MINED)
    for row in frame.head(5).to_dict("records"):
        label = row["proposed_label"] if isinstance(row["proposed_label"], str) else ""
        numbers = (f"{row['likeness']:.2f}", f"{row['similarity']:.3f}")
        table.add_row(*numbers, cell(label), cell(row["pool_path"]))
    reporter.console.print(table)
    reporter.say(
        f"Similarity to the nearest example: {frame['similarity'].max():.2f} to "
        f"{frame['similarity'].min():.2f}; of the examples to each other, on average: "
        f"{run.record['examples_similarity']:.2f}."
    )
    reporter.say(f"Table:   {run.path / 'mined.csv'} (and .parquet)")
    if found.dataset:
        reporter.say(
            f"Dataset: {found.dataset} (saved view 'mined'); tag what is right rare-keep, and what "
            "is wrong outlier-drop"
        )
        reporter.say(f"Browse:  {quoted('mincurate', 'launch', found.dataset)}")


def reviewed(state: "Reviewed", reporter: Terminal) -> None:
    """What to look at next, how many are left, and where the table is."""
    from mincurate.runs import schema

    table = table_of("Look at these next", REVIEW)
    for row in state.frame[state.frame["verdict"] == ""].head(5).to_dict("records"):
        known = row["probability"] == row["probability"]
        chance = (
            f"{row['probability']:.2f} ({row['low']:.2f} to {row['high']:.2f})" if known else ""
        )
        label = row["label"] if isinstance(row["label"], str) else ""
        table.add_row(chance, f"{row['rarity']:.3f}", cell(label), cell(row["rel_path"]))
    reporter.console.print(table)
    reporter.say(state.words)
    reporter.say(f"Table:   {state.run.path / schema.REVIEW}")


def evaluation(evaluated: "Evaluation", reporter: Terminal) -> None:
    """The main figures with their intervals, and the verdict."""
    from mincurate.report import evaluation_page

    measures(evaluated.table, evaluation_page.SETS, reporter)
    if evaluated.downstream is not None:
        _recall(evaluated, reporter)
    verdict = evaluated.verdict
    reporter.console.print(verdict.headline, style=f"bold {STYLES[verdict.tone]}", markup=False)
    for tone, words in verdict.points:
        reporter.console.print(f"{MARKS[tone]} {words}", style=STYLES[tone], markup=False)


def measures(judged: "pd.DataFrame", sets: Mapping[str, str], reporter: Terminal) -> None:
    """The metrics of some sets (their names in the table to those shown), with their intervals."""
    from mincurate.report import evaluation_page

    for reference, title in (("all", "all real images"), ("tail", "the rarest tenth")):
        rows = evaluation_page.rows(judged, reference, sets)
        if not rows:
            continue
        table = table_of(f"Against {title} (95 % intervals)", ("measure", *sets.values()))
        for row in rows:
            figures = (f"{c['text']} [{c['interval']}]" if c["text"] else "" for c in row["cells"])
            table.add_row(cell(row["name"]), *map(cell, figures))
        reporter.console.print(table)


def _recall(evaluated: "Evaluation", reporter: Terminal) -> None:
    """How classifiers of the labels do, trained in several ways, and what to do."""
    from mincurate.evaluation.training_arms import GENERATED, NOTHING

    trial, advice = evaluated.downstream, evaluated.advice
    assert trial is not None and advice is not None
    for outcome in trial.outcomes:
        groups = outcome.groups()
        title = f"Recall on held-out real images: {outcome.student} (95 % intervals)"
        table = table_of(title, ("trained with", *(f"{name} labels" for name in groups), "change"))
        for arm in outcome.arms:
            more = f", weight {outcome.weight:g}" if arm == GENERATED else ""
            cells = [_interval(outcome.interval(arm, labels)) for labels in groups.values()]
            change = outcome.interval(arm, outcome.aim, NOTHING)
            table.add_row(arm + more, *cells, _interval(change, "+"))
        reporter.console.print(table)
    labels = trial.labels
    if labels["rare"].any():
        names = ", ".join(labels.loc[labels["rare"], "label"])
        reporter.say(f"Rare are the third of the labels with the fewest images: {names}.")
    reporter.say(
        f"Change: of the {'rare' if labels['rare'].any() else 'mean'} recall, against nothing. The "
        f"{labels['n_test'].sum():,} held-out images are new to these trainings only. The "
        "generating model, and the classifier that labels its images, have seen them."
    )
    reporter.console.print(advice.words, style=f"bold {STYLES[advice.tone]}", markup=False)


def _interval(numbers: tuple[float, float, float], sign: str = "") -> str:
    value, low, high = (f"{number:{sign}.3f}" for number in numbers)
    return f"{value} [{low}, {high}]"


def plan(planned: "pd.DataFrame", by: str, cap: int, reporter: Terminal) -> None:
    """What every label or class has and lacks."""
    table = table_of(f"By {by}", (by, "have", "target", "add", "generate", "weight"))
    for row in planned.to_dict("records"):
        numbers = [f"{row[key]:,}" for key in ("have", "target", "add", "generate")]
        table.add_row(cell(row["class"]), *numbers, f"{row['weight']:.3g}")
    reporter.console.print(table)
    total, missing = int(planned["generate"].sum()), int(planned["add"].sum())
    capped = f" of {missing:,} (--cap {cap} per class)" if total < missing else ""
    reporter.say(f"To generate: {total:,} images{capped}.")


def filled(parts: "list[Filled]", by: str, reporter: Terminal) -> None:
    """What was generated for every label or class."""
    names = (by, "missing", "accepted", f"of this {by}", "still missing", "run")
    table, missing = table_of("Generated", names), 0
    for part in parts:
        left = part.missing - part.landed
        missing += left
        numbers = [f"{n:,}" for n in (part.missing, part.accepted, part.landed, left)]
        table.add_row(cell(part.name), *numbers, part.run.key)
    reporter.console.print(table)
    if missing:
        reporter.say(
            f"{missing:,} images were rejected or came out as another {by}, and do not count; the "
            "same command again replaces them."
        )


def _state(run: "Run") -> str:
    if run.quick:
        return "by vectors"
    return "finished" if run.finished else "unfinished"


def run_list(runs: "list[Run]", reporter: Terminal) -> None:
    """A row for every run."""
    from mincurate.runs import store

    names = ("run", "kind", "created", "state", "images", "dataset", "source")
    table = table_of(None, names)
    for run in runs:
        record = run.record
        table.add_row(
            run.key,
            store.kind_of(run),
            str(record.get("created") or "")[:16].replace("T", " "),
            _state(run),
            f"{(record.get('counts') or {}).get('images', 0):,}",
            cell(record.get("dataset") or ""),
            cell((record.get("source") or {}).get("value", "")),
        )
    reporter.console.print(table)


def comparison(compared: "Comparison", top: int, reporter: Terminal) -> None:
    """Rank correlation of two runs, and the images that moved most."""
    reporter.say(compared.words)
    names = (compared.first.key, compared.second.key, "change", "label", "image")
    table = table_of(f"The {top} images that moved most", names)
    for row in compared.frame.head(top).itertuples():
        numbers = (f"{row.rarity_first:.3f}", f"{row.rarity_second:.3f}", f"{row.change:+.3f}")
        label = row.label if isinstance(row.label, str) else ""
        table.add_row(*numbers, cell(label), cell(row.path))
    reporter.console.print(table)
