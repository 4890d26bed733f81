"""Operators for what is kept: export, deleting a run, opening a ranked view."""

import json
from pathlib import Path
from typing import Any

import fiftyone.core.dataset as fod
import fiftyone.core.fields as fof
import fiftyone.core.labels as fol
import fiftyone.operators.types as types

from mincurate.curation import export, gather
from mincurate.dataset import delete, footprint, lookup, now, tags
from mincurate.dataset.app_config import SYNTHETIC, VIEWS
from mincurate.errors import UserError
from mincurate.progress import Reporter
from mincurate.ranking import tail

from .forms import Formed, choose, invalid, notice, try_out, value
from .long_running import LongRunning

FORMATS = (
    ("folder", "A folder per class"),
    ("csv", "Images, and a CSV table"),
    ("parquet", "Images, and a Parquet table"),
    ("coco", "Images, and COCO annotations"),
    ("yolo", "Images, and YOLO labels"),
)


class Export(LongRunning):
    """Writes the real images and the accepted generated ones as a dataset on disk."""

    NAME = "export"
    LABEL = "export"
    DESCRIPTION = "Write real and accepted generated images to a folder; outlier-drop is left out"
    ICON = "drive_folder_upload"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Where to, how, and how many."""
        default = self._by(ctx)
        folder = inputs.str("folder", required=True, label="Folder (a new one, on the server)")
        invalid(folder, _folder_problem(value(ctx, "folder", "")))
        choose(inputs, "format", FORMATS, label="Format", default="folder")
        by = [("label", "Labels")] if default == "label" else []
        by.append(("class", "Ordinal classes"))
        choose(inputs, "by", by, label="Classes are", default=default)
        inputs.bool("copy", default=False, label="Copy the files (else hard links)")
        inputs.bool("include_rejected", default=False, label="Also what the gate sent back")
        fields = _split_fields(ctx.dataset)
        split = choose(
            inputs,
            "split_field",
            [("", "none"), *((name, name) for name in fields)],
            label="Field with the split of every real image",
            default="",
            description="Generated images next to an image of another split are left out.",
        )
        found = try_out(split, lambda: self._rows(ctx))
        if found is not None:
            rows, excluded = found
            made = int((rows["source"] == SYNTHETIC).sum())
            text = f"{len(rows) - made:,} real and {made:,} generated images."
            if excluded:
                text += " Left out: " + ", ".join(f"{n:,} {why}" for why, n in excluded.items())
            notice(inputs, "cost", text)

    def work(self, ctx: Any, reporter: Reporter) -> dict[str, Any]:
        """Write."""
        done = export.export(
            self._table(ctx),
            Path(ctx.params["folder"]).expanduser(),
            format=value(ctx, "format", "folder"),
            classes="label" if value(ctx, "by", self._by(ctx)) == "label" else "rarity_class",
            files="copy" if value(ctx, "copy", False) else "link",
            include_rejected=value(ctx, "include_rejected", False),
            reporter=reporter,
        )
        words = f"{done.real:,} real and {done.synthetic:,} generated images: {done.folder}"
        return {
            "folder": str(done.folder),
            "real": done.real,
            "synthetic": done.synthetic,
            "excluded": done.excluded,
            "message": " ".join([words, *done.notes]),
        }

    def _by(self, ctx: Any) -> str:
        """Labels are the classes unless the run has none."""
        return "class" if tail.look(lookup.find(ctx.dataset)).labels is None else "label"

    def _table(self, ctx: Any) -> Any:
        name, field = ctx.dataset.name, value(ctx, "split_field", "")
        splits = tags.field(name, field) if field else {}
        run = lookup.find(ctx.dataset)
        state = now.read(run, name)
        boxes = state.boxes or None
        return gather.gather(run, tags=state.tags, splits=splits, frame=state.frame, boxes=boxes)

    def _rows(self, ctx: Any) -> Any:
        rejected = value(ctx, "include_rejected", False)
        return export.select(self._table(ctx), include_rejected=rejected)


def _folder_problem(text: str) -> str | None:
    """Why a folder cannot be exported to, before anything is written."""
    if not text:
        return None  # it is required, which FiftyOne says
    folder = Path(text).expanduser()
    if not folder.is_absolute():
        return "Give a whole path, such as /data/balanced."
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file."
    if folder.is_dir() and any(folder.iterdir()):
        try:
            json.loads((folder / export.RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"{folder} holds something that is no export of mincurate; choose a new folder."
    return None


def _split_fields(dataset: Any) -> list[str]:
    """Fields that may say which split a sample is of."""
    texts = dataset.get_field_schema()
    names = []
    for name, field in texts.items():
        label = getattr(field, "document_type", None) is fol.Classification
        if name != "filepath" and (label or isinstance(field, fof.StringField)):
            names.append(name)
    return sorted(names)


class DeleteRun(Formed):
    """Deletes a run, here and on the disk."""

    NAME = "delete_run"
    LABEL = "delete a run"
    DESCRIPTION = "Delete a run: its files, and its fields, tags and generated samples here"
    ICON = "delete"
    SUBMIT = "Delete"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which one, and what goes with it."""
        found = [*lookup.scored(ctx.dataset), *lookup.generations(ctx.dataset)]
        if not found:
            raise UserError("There is no run of mincurate in this dataset.")
        lines = [(run.key, f"{run.key}: {_kind(run)}") for run in reversed(found)]
        choice = choose(inputs, "run", lines, label="Run")
        choice.required = True
        run = next((r for r in found if r.key == ctx.params.get("run")), None)
        if run is None:
            return
        inputs.bool("keep_dataset", default=False, label="Leave what it wrote to FiftyOne")
        what = delete.words(run, keep_dataset=value(ctx, "keep_dataset", False))
        inputs.view(
            "what",
            types.Warning(
                label=f"Deletes {what}.",
                description="Your images stay. A dataset that mincurate made and that holds "
                "nothing of yours goes with its last run.",
            ),
        )

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Delete it."""
        name = ctx.dataset.name
        run = lookup.find(ctx.dataset, ctx.params["run"])
        kept = value(ctx, "keep_dataset", False)
        message = f"Deleted {delete.words(run, keep_dataset=kept)}."
        delete.delete_run(run, keep_dataset=kept)
        remains = fod.dataset_exists(name)
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
    return f"scores of {record['counts']['scored']:,} images"


class OpenRankedView(Formed):
    """Opens one of the saved views that mincurate keeps."""

    NAME = "open_ranked_view"
    LABEL = "open a ranked view"
    DESCRIPTION = "Rarest or commonest first, generated, unscorable, duplicates"
    ICON = "sort"
    DELEGATED = False
    SUBMIT = "Open"

    def form(self, ctx: Any, inputs: types.Object) -> None:
        """Which one."""
        names = self._names(ctx)
        words = {
            "rarest-first": "Rarest first",
            "most-minority": "Highest minority score first",
            "least-minority": "Lowest minority score first",
            SYNTHETIC: "Generated images, rarest first",
            "odd": "Odd: what fits nothing, rarest first",
            "broken": "Broken: blank, blurred, copies, unreadable",
            "unscorable": "Files without a score",
            "duplicates": "Exact copies, side by side",
        }
        lines = [(name, words[name]) for name in names]
        choose(inputs, "view", lines, label="View", default=names[0], radio=True)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Open it."""
        name = value(ctx, "view", "rarest-first")
        if name not in self._names(ctx):
            raise UserError(f"The dataset has no view {name!r} of mincurate.")
        ctx.ops.set_view(name=name)
        return {"view": name, "images": len(ctx.dataset.load_saved_view(name))}

    def _names(self, ctx: Any) -> list[str]:
        ours = footprint.read(ctx.dataset).views
        found = [n for n in (*VIEWS, SYNTHETIC) if n in ours and ctx.dataset.has_saved_view(n)]
        if not found:
            lookup.find(ctx.dataset)  # says what to do
            raise UserError("The ranked views of this dataset were deleted; score it again.")
        return found


CLASSES = (Export, DeleteRun, OpenRankedView)
