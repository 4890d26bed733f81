"""How the FiftyOne App shows a dataset: fields, views, colours, side bar and workspace."""

from typing import Any

import pandas as pd

from mincurate.ranking import classes as ordinal
from mincurate.report.figures import class_colors

BRAIN_KEY = "minority_umap"
WORKSPACE = "mincurate"
GROUP = "mincurate"
LABELS = "ground_truth"
UNSCORABLE = "unscorable"
SYNTHETIC = "synthetic"
"""Tag, and name of the saved view, of generated images."""
SCORE_TAG, CLASS_TAG = "#5f6b7a", "#a11d33"
"""Colours of the tags on the tiles."""
FIELDS: dict[str, tuple[str, str, bool]] = {
    "rarity": ("float", "Percentile of the ranking {ranking}: 0 commonest, 1 rarest", True),
    "rarity_class": (
        "int",
        "Ordinal class of the ranking {ranking}: 0 commonest, the highest rarest",
        True,
    ),
    "rarity_class_within_label": (
        "int",
        "Ordinal class of the ranking {ranking} among images of its own label",
        False,
    ),
    "rarity_kind": (
        "str",
        "rare (one of a few of its kind), odd (fits nothing) or broken; none if common",
        True,
    ),
    "rare_group": ("str", "Which group of the rarest tenth, by what sets it apart", True),
    "broken": ("str", "What is broken: blank, blurred, copy or unreadable", False),
    "minority_score": ("float", "Minority score; higher is rarer", True),
    "minority_score_se": ("float", "Standard error of the minority score over its draws", False),
    "minority_percentile": ("float", "Percentile by the minority score: 1 rarest", False),
    "minority_percentile_low": ("float", "Lower end of its 95 % interval", False),
    "minority_percentile_high": ("float", "Upper end of its 95 % interval", False),
    "minority_class": (
        "int",
        "Ordinal class of the minority score: 0 commonest, the highest rarest",
        True,
    ),
    "minority_class_within_label": (
        "int",
        "Ordinal class of the minority score among images of its own label",
        False,
    ),
    "neighbor_distance": (
        "float",
        "Mean distance to the 5 nearest neighbours; higher is rarer",
        True,
    ),
    "embedding_rarity": (
        "float",
        "Mean rank of distance to the crowd, outlier factor and deviation; higher is rarer",
        True,
    ),
    "embedding_rarity_within_label": (
        "float",
        "Embedding rarity among images of its own label",
        False,
    ),
    "minority_score_calibrated": (
        "float",
        "Minority score with texture regressed out, rank-averaged with neighbour distance",
        True,
    ),
    "complexity": ("float", "Bytes per pixel of the image as PNG", False),
    "brightness": ("float", "Mean luma, 0 black to 1 white", False),
    "contrast": ("float", "Standard deviation of the pixels, 0 blank to 0.5", False),
    "sharpness": ("float", "How much of the edges is fine; low is blurred", False),
    "colorfulness": ("float", "0 grey; 0.4 and more is very colourful", False),
    "hue": (
        "float",
        "Of the mean colour, in degrees: 0 red, 60 yellow, 120 green, 180 cyan, 240 blue",
        False,
    ),
    "content_hash": ("str", "BLAKE2b of the file; equal for exact copies", False),
    "duplicate_of": ("str", "First file with the same content, if this is a copy", False),
    "unscorable_reason": ("str", "Why the file has no score", False),
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
VIEWS = (
    "rarest-first",
    "most-minority",
    "least-minority",
    "odd",
    "broken",
    "unscorable",
    "duplicates",
)


def save_views(fo: Any, dataset: Any, frame: pd.DataFrame) -> None:
    """Save the ranked views, and those of unscorable files and copies where there are any.

    They show real images: generated ones have ranks among these, but are none of them.
    """
    scored = dataset.match_tags(SYNTHETIC, bool=False).exists("rarity")
    of_score = scored.exists("minority_score")
    ranked = {
        "rarest-first": (scored.sort_by("rarity", reverse=True), "Rarest first, by the ranking"),
        "most-minority": (
            of_score.sort_by("minority_score", reverse=True),
            "Highest minority score first",
        ),
        "least-minority": (of_score.sort_by("minority_score"), "Lowest minority score first"),
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
    shown = [ranked_by, "rarity_class"]
    if config.active_fields is None:
        labels = label_field(fo, dataset, record)
        config.active_fields = fo.ActiveFields(paths=[*shown, labels] if labels else shown)
    else:
        missing = [field for field in shown if field not in config.active_fields.paths]
        config.active_fields.paths = [*missing, *config.active_fields.paths]
    classes = int(record["num_classes"])
    palette = {
        "path": "rarity_class",
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
    state = {"brainResult": BRAIN_KEY, "colorByField": "rarity_class"}
    if has_map:
        beside.append(fo.Panel(type="Embeddings", state=state))
    if not beside:
        return samples
    panels = space(*beside)
    return fo.Space(children=[samples, panels], orientation="horizontal", sizes=[0.55, 0.45])
