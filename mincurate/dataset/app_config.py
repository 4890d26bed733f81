"""How the FiftyOne App shows a dataset: fields, views, colours, side bar and workspace."""

from typing import Any

import pandas as pd

from mincurate.ranking import classes as ordinal
from mincurate.report.figures import class_colors
from mincurate.runs import schema

BRAIN_KEY = "minority_umap"
WORKSPACE = "mincurate"
GROUP = "mincurate"
LABELS = "ground_truth"
UNSCORABLE = "unscorable"
SYNTHETIC = "synthetic"
"""Tag, and name of the saved view, of generated images."""
SCORE_TAG, CLASS_TAG = "#5f6b7a", "#a11d33"
"""Colours of the tags on the tiles."""
SHOWN = (
    *("rarity", "rarity_kind", "rare_group", "broken", "minority_score", "minority_score_se"),
    *("minority_percentile", "minority_percentile_low", "minority_percentile_high"),
    *("minority_class", "minority_class_within_label", "neighbor_distance", "embedding_rarity"),
    *("embedding_rarity_within_label", "minority_score_calibrated", "complexity", "brightness"),
    *("contrast", "sharpness", "colorfulness", "hue", "content_hash", "duplicate_of"),
    "unscorable_reason",
)
"""Our fields, in the order of the side bar."""
INDEXED = (
    *("rarity", "rarity_kind", "rare_group", "minority_score", "minority_class"),
    *("neighbor_distance", "embedding_rarity", "minority_score_calibrated"),
)
COLUMN_OF = {"unscorable_reason": "reason"}
"""Fields that are called otherwise in the table."""
FIELDS: dict[str, tuple[str, str, bool]] = {
    field: (column.kind, column.description, field in INDEXED)
    for field in SHOWN
    for column in [schema.COLUMNS[COLUMN_OF.get(field, field)]]
}
"""Field: type, description, and whether it is indexed (the App sorts by indexed fields only)."""
SYNTHETIC_FIELDS: dict[str, tuple[str, str, bool]] = {
    "source": ("str", "synthetic for generated images", False),
    "target_class": ("int", "Ordinal class that a generated image was asked to be of", False),
    "flagged": ("str", "Why a generated image is left out of exports", True),
    "nearest_real": ("str", "Path of the real image nearest to a generated one", False),
    "nearest_real_id": ("str", "Sample of the real image nearest to a generated one", False),
    "generation": ("dict", "How an image was generated", False),
}
"""The same for fields that generated images alone have."""
VIEWS = ("most-minority", "least-minority", "odd", "broken", "unscorable", "duplicates")


def save_views(fo: Any, dataset: Any, frame: pd.DataFrame) -> None:
    """Save the ranked views, and those of unscorable files and copies where there are any.

    They show real images: generated ones have ranks among these, but are none of them.
    """
    scored = dataset.match_tags(SYNTHETIC, bool=False).exists("rarity")
    ranked = {
        "most-minority": (scored.sort_by("rarity", reverse=True), "Rarest first"),
        "least-minority": (scored.sort_by("rarity"), "Commonest first"),
    }
    real = dataset.match_tags(SYNTHETIC, bool=False)
    for kind, words in (("odd", "What fits nothing, rarest first"), ("broken", "What is broken")):
        if (frame["rarity_kind"] == kind).any():
            of_kind = real.match(fo.ViewField("rarity_kind") == kind)
            ranked[kind] = (of_kind.sort_by("rarity", reverse=True), words)
    if (frame["status"] != "ok").any():
        ranked[UNSCORABLE] = (dataset.match_tags(UNSCORABLE), "Files without a score")
    if frame["duplicate_of"].notna().any():
        copies = frame.loc[frame["duplicate_of"].notna(), "content_hash"].unique().tolist()
        view = dataset.match(fo.ViewField("content_hash").is_in(copies)).sort_by("content_hash")
        ranked["duplicates"] = (view, "Exact copies, side by side")
    for name in set(VIEWS) - set(ranked):
        if dataset.has_saved_view(name):
            dataset.delete_saved_view(name)
    for name, (view, description) in ranked.items():
        dataset.save_view(name, view, description=description, overwrite=True)


def save_synthetic_view(dataset: Any) -> None:
    """Save the view of the generated images, rarest first."""
    view = dataset.match_tags(SYNTHETIC).sort_by("rarity", reverse=True)
    dataset.save_view(SYNTHETIC, view, description="Generated images", overwrite=True)


def group_fields(fo: Any, dataset: Any) -> None:
    """Show our fields in a group of their own in the side bar, and leave the others as they are."""
    config = dataset.app_config
    groups = config.sidebar_groups or fo.DatasetAppConfig.default_sidebar_groups(dataset)
    ours = [field for field in (*FIELDS, *SYNTHETIC_FIELDS) if dataset.has_field(field)]
    kept = []
    for group in groups:
        if group.name != GROUP:
            group.paths = [path for path in group.paths if path not in ours]
            kept.append(group)
    place = 1 if kept and kept[0].name == "tags" else 0
    kept.insert(place, fo.SidebarGroupDocument(name=GROUP, paths=ours, expanded=True))
    config.sidebar_groups = kept


def label_fields(fo: Any, samples: Any) -> list[str]:
    """The classification fields of a dataset or view; the one that holds its labels comes first,
    unless another one was asked for: ``ground_truth``, or whichever there is.
    """
    kinds = samples.get_field_schema(fo.EmbeddedDocumentField)
    found = [name for name, kind in kinds.items() if kind.document_type is fo.Classification]
    return sorted(found, key=lambda name: name != LABELS)


def label_field(fo: Any, samples: Any, record: dict[str, Any]) -> str | None:
    """The field that holds the labels of a run, if any: the one it was told, or the usual one."""
    found = label_fields(fo, samples)
    told = (record.get("settings") or {}).get("label_field")
    return told if told in found else next(iter(found), None)


def configure(fo: Any, dataset: Any, record: dict[str, Any]) -> None:
    """Score and class on the tiles, classes coloured from common to rare, and a workspace."""
    config = dataset.app_config
    group_fields(fo, dataset)
    ranked_by = ordinal.RANKINGS[record.get("rank_by", "minority")]
    shown = [ranked_by, "minority_class"]
    if config.active_fields is None:
        labels = label_field(fo, dataset, record)
        config.active_fields = fo.ActiveFields(paths=[*shown, labels] if labels else shown)
    else:
        missing = [field for field in shown if field not in config.active_fields.paths]
        config.active_fields.paths = [*missing, *config.active_fields.paths]
    classes = int(record["num_classes"])
    palette = {
        "path": "minority_class",
        "fieldColor": CLASS_TAG,
        "valueColors": [
            {"value": str(c), "color": color} for c, color in enumerate(class_colors(classes))
        ],
    }
    # Not by value: every score would have a colour of its own. The map takes the palette anyway.
    scheme = config.color_scheme or fo.ColorScheme()
    score = {"path": ranked_by, "fieldColor": SCORE_TAG}
    others = [
        f for f in scheme.fields or [] if f.get("path") not in (palette["path"], score["path"])
    ]
    scheme.fields = [*others, palette, score]
    config.color_scheme = scheme
    has_map = BRAIN_KEY in dataset.list_brain_runs()
    dataset.save_workspace(WORKSPACE, workspace(fo, has_map), overwrite=True)


def workspace(fo: Any, has_map: bool, *, long_tail: bool = False) -> Any:
    """The grid and, where there is a map, the Embeddings panel beside it.

    A space renders blank unless its ``active_child`` names a panel.

    Args:
        long_tail: the plugin is there: its panel stands before the Embeddings panel.
    """

    def space(*panels: Any) -> Any:
        return fo.Space(children=list(panels), active_child=panels[0].component_id)

    samples = space(fo.Panel(type="Samples", pinned=True))
    beside = [fo.Panel(type="long_tail")] if long_tail else []
    # FiftyOne from 1.22 on forgets the choice when the panel opens: there it takes a click.
    state = {"brainResult": BRAIN_KEY, "colorByField": "minority_class"}
    if has_map:
        beside.append(fo.Panel(type="Embeddings", state=state))
    if not beside:
        return samples
    panels = space(*beside)
    return fo.Space(children=[samples, panels], orientation="horizontal", sizes=[0.55, 0.45])
