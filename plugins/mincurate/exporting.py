"""Operators on what there is: export, delete a run, open a ranked view."""

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from mincurate.errors import UserError
from mincurate.pipelines import operators
from mincurate.progress import Reporter

from .forms import Formed, choose, invalid, notice, try_out, value
from .long_running import LongRunning

FORMATS = (
    ("folder", "A folder per class"),
    ("csv", "Images and a CSV table"),
    ("parquet", "Images and a Parquet table"),
    ("coco", "Images and COCO annotations"),
    ("yolo", "Images and YOLO annotations"),
)


class Export(LongRunning):
    """Writes the real images and the accepted generated ones as a dataset on disk."""

    NAME = "export"
    LABEL = "export"
    DESCRIPTION = "Write real and accepted generated images to a folder, without outlier-drop"
    ICON = "drive_folder_upload"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """The folder, the format, and how many images."""
        default = self._by(ctx)
        folder = inputs.str("folder", required=True, label="Folder (a new one, on the server)")
        invalid(folder, _folder_problem(value(ctx, "folder", "")))
        choose(inputs, "format", FORMATS, label="Format", default="folder")
        by = [("label", "Labels")] if default == "label" else []
        by.append(("class", "Rarity classes, of the ranking in force"))
        choose(inputs, "by", by, label="Classes", default=default)
        inputs.bool("copy", default=False, label="Copy the files (otherwise hard links)")
        inputs.bool("include_rejected", default=False, label="Also export rejected images")
        fields = operators.split_fields(ctx.dataset)
        split = choose(
            inputs,
            "split_field",
            [("", "none"), *((name, name) for name in fields)],
            label="Field with the split of every real image",
            default="",
            description="Generated images near an image of another split are left out.",
        )
        counts = try_out(split, lambda: self._counts(ctx))
        if counts is not None:
            real, generated, excluded = counts
            words = f"{real:,} real and {generated:,} generated images."
            if excluded:
                words += " Left out: " + ", ".join(f"{n:,} {why}" for why, n in excluded.items())
            notice(inputs, "cost", words)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Export."""
        written = operators.export(
            ctx.dataset,
            Path(ctx.params["folder"]).expanduser(),
            value(ctx, "split_field", ""),
            reporter=reporter,
            format=value(ctx, "format", "folder"),
            classes="label" if value(ctx, "by", self._by(ctx)) == "label" else "rarity_class",
            files="copy" if value(ctx, "copy", False) else "link",
            include_rejected=value(ctx, "include_rejected", False),
        )
        real, generated = f"{written.real:,} real", f"{written.synthetic:,} generated images"
        return {
            "folder": str(written.folder),
            "real": written.real,
            "synthetic": written.synthetic,
            "excluded": written.excluded,
            "message": " ".join([f"{real} and {generated}: {written.folder}", *written.notes]),
        }

    def _by(self, ctx: Any) -> str:
        return "label" if operators.labelled(ctx.dataset) else "class"

    def _counts(self, ctx: Any) -> Any:
        rejected = value(ctx, "include_rejected", False)
        field = value(ctx, "split_field", "")
        return operators.export_counts(ctx.dataset, field, include_rejected=rejected)


def _folder_problem(entered: str) -> str | None:
    """Why nothing can be exported to a folder, as far as can be known before."""
    if not entered:
        return None  # it is required, which FiftyOne says
    folder = Path(entered).expanduser()
    if not folder.is_absolute():
        return "Give an absolute path, such as /data/balanced."
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file."
    if folder.is_dir() and any(folder.iterdir()) and not operators.is_export(folder):
        return f"{folder} is not empty and not an export of mincurate; choose a new folder."
    return None


class DeleteRun(Formed):
    """Deletes a run from the disk and from the dataset."""

    NAME = "delete_run"
    LABEL = "delete a run"
    DESCRIPTION = "Delete a run: its files, and its fields, tags, generated and mined samples here"
    ICON = "delete"
    SUBMIT = "Delete"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which run, and what is deleted."""
        runs = [
            *operators.scored_runs(ctx.dataset),
            *operators.generations(ctx.dataset),
            *operators.mines(ctx.dataset),
        ]
        if not runs:
            raise UserError("There is no run of mincurate in this dataset.")
        lines = [(run.key, f"{run.key}: {_kind(run)}") for run in reversed(runs)]
        choice = choose(inputs, "run", lines, label="Run")
        choice.required = True
        run = next((r for r in runs if r.key == ctx.params.get("run")), None)
        if run is None:
            return
        inputs.bool("keep_dataset", default=False, label="Keep what it wrote to FiftyOne")
        keep = value(ctx, "keep_dataset", False)
        inputs.view(
            "what",
            types.Warning(
                label=f"Deletes {operators.words_on_deleting(run, keep_dataset=keep)}.",
                description="Your images stay. A dataset that mincurate created and that holds "
                "nothing of yours is deleted with its last run.",
            ),
        )

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Delete it."""
        run = operators.find_run(ctx.dataset, ctx.params["run"])
        keep = value(ctx, "keep_dataset", False)
        message = f"Deleted {operators.words_on_deleting(run, keep_dataset=keep)}."
        remains = operators.delete_run(ctx.dataset, run, keep_dataset=keep)
        if not ctx.delegated:
            if remains:
                ctx.ops.reload_dataset()
                ctx.ops.clear_view()
            ctx.ops.notify(message, variant="success")
        return {"run": run.path.name, "dataset_remains": remains, "message": message}


def _kind(run: Any) -> str:
    record = run.record
    if record.get("kind") == "augment":
        return f"{record['counts']['images']:,} generated images"
    if record.get("kind") == "mine":
        return f"{record['counts']['images']:,} mined images"
    return f"scores of {record['counts']['scored']:,} images"


class OpenRankedView(Formed):
    """Opens one of the saved views that mincurate made."""

    NAME = "open_ranked_view"
    LABEL = "open a ranked view"
    DESCRIPTION = "Rarest first, by minority score, generated, unscorable, duplicates"
    ICON = "sort"
    DELEGATED = False
    SUBMIT = "Open"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which view."""
        views = operators.saved_views(ctx.dataset)
        choose(inputs, "view", views.items(), label="View", default=next(iter(views)), radio=True)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Open it."""
        views = operators.saved_views(ctx.dataset)
        name = value(ctx, "view", next(iter(views)))
        if name not in views:
            raise UserError(f"The dataset has no view {name!r} of mincurate.")
        ctx.ops.set_view(name=name)
        return {"view": name, "images": len(ctx.dataset.load_saved_view(name))}


CLASSES = (Export, DeleteRun, OpenRankedView)
