"""How the FiftyOne App shows a dataset: fields, views, colours, side bar and workspace."""

from typing import Any

from mincurate.dataset import labels, ownership
from mincurate.dataset import samples as parts
from mincurate.dataset.labels import LabelField
from mincurate.ranking import classes as ordinal
from mincurate.report.figures import class_colors
from mincurate.runs import schema

BRAIN_KEY = "minority_umap"
WORKSPACE = "mincurate"
GROUP = "mincurate"
LABELS = "ground_truth"
PREDICTED = "predicted_label"
"""Field of generated images: the label that the guidance's classifier sees in them."""
OBJECTS, RAREST, HEATMAP = "objects", "rarest_object", "rarity_map"
"""Field of the detections that are made of a folder's annotations; of an image, the rarity of its
rarest object."""
UNSCORABLE = "unscorable"
SYNTHETIC = "synthetic"
"""Tag, and name of the saved view, of generated images."""
SCORE_TAG, CLASS_TAG = "#5f6b7a", "#a11d33"
"""Colours of the tags on the tiles."""
SHOWN = (
    "rarity",
    "rarity_class",
    "rarity_class_within_label",
    "rarity_kind",
    "rare_group",
    "broken",
    "minority_score",
    "minority_score_se",
    "minority_percentile",
    "minority_percentile_low",
    "minority_percentile_high",
    "minority_class",
    "minority_class_within_label",
    "neighbor_distance",
    "embedding_rarity",
    "embedding_rarity_within_label",
    "label_mismatch",
    "outlying",
    "small_kind",
    "minority_score_calibrated",
    "complexity",
    "brightness",
    "contrast",
    "sharpness",
    "colorfulness",
    "hue",
    "content_hash",
    "duplicate_of",
    "unscorable_reason",
    "image_warning",
)
"""Fields with values of the table, in the order of the side bar."""
INDEXED = (
    "rarity",
    "rarity_class",
    "rarity_kind",
    "rare_group",
    "minority_score",
    "minority_class",
    "neighbor_distance",
    "embedding_rarity",
    "minority_score_calibrated",
)
COLUMN_OF = {"unscorable_reason": "reason", "image_warning": "warning"}
"""Fields that have another name in the table."""
FIELDS: dict[str, tuple[str, str, bool]] = {
    field: (
        column.kind,
        column.description.replace("the ranking in force", "the ranking {ranking}"),
        field in INDEXED,
    )
    for field in SHOWN
    for column in [schema.COLUMNS[COLUMN_OF.get(field, field)]]
}
"""Field: type, description, and whether it is indexed (the App sorts by indexed fields only)."""
RUN = "minority_run"
FIELDS[RUN] = ("str", "Run that the scores of this image are from", True)
PREVIEW = "image_preview"
"""Field of the pictures that the App shows in place of files that browsers do not show."""
FIELDS[PREVIEW] = ("str", "Picture of an image that browsers do not show", False)
SYNTHETIC_FIELDS: dict[str, tuple[str, str, bool]] = {
    "source": ("str", "synthetic for generated images", False),
    "target_class": ("int", "Ordinal class that a generated image was asked to be of", False),
    "flagged": ("str", "Why a generated image is left out of exports", True),
    "nearest_real": ("str", "Path of the real image nearest to a generated one", False),
    "nearest_real_id": ("str", "Sample of the real image nearest to a generated one", False),
    "generation": ("dict", "How an image was generated", False),
}
"""The same for fields that generated images alone have."""
MINED = "mined"
"""Tag, and name of the saved view, of mined images."""
MINED_FIELDS: dict[str, tuple[str, str, bool]] = {
    "mined_by": ("str", "Run that found a mined image", True),
    "mined_from": ("str", "Where a mined image is from", False),
    "mined_likeness": ("float", "How much a mined image is like the examples", True),
    "mined_similarity": (
        "float",
        "Cosine similarity of a mined image to its nearest example, -1 to 1",
        True,
    ),
    "nearest_example": ("str", "Path of the example nearest to a mined image", False),
    "nearest_example_id": ("str", "Sample of the example nearest to a mined image", False),
    "proposed_label": ("str", "Label of that example: to be confirmed", False),
}
"""The same for fields that mined images alone have."""
VIEWS = (
    "rarest-first",
    "most-minority",
    "least-minority",
    "odd",
    "broken",
    "unscorable",
    "duplicates",
)


def save_views(fo: Any, dataset: Any) -> None:
    """Save the ranked views of the run that is shown, and those of what is odd, broken, without a
    score or a copy, where there is any.

    They show real images: generated ones have ranks among these, but are none of them.
    """
    current = ownership.read(dataset).current
    if current is None:
        return
    shown = parts.real(parts.images(dataset)).match(fo.ViewField(RUN) == current)
    scored = shown.match(fo.ViewField("rarity").exists())
    of_score = scored.match(fo.ViewField("minority_score").exists())
    views = {
        "rarest-first": (scored.sort_by("rarity", reverse=True), "Rarest first, by the ranking"),
    }
    if len(of_score):
        views |= {
            "most-minority": (
                of_score.sort_by("minority_score", reverse=True),
                "Highest minority score first",
            ),
            "least-minority": (of_score.sort_by("minority_score"), "Lowest minority score first"),
        }
    for kind, words in (("odd", "What fits nothing, rarest first"), ("broken", "What is broken")):
        of_kind = shown.match(fo.ViewField("rarity_kind") == kind)
        if len(of_kind):
            views[kind] = (of_kind.sort_by("rarity", reverse=True), words)
    without = shown.match(~fo.ViewField("rarity").exists())
    if len(without):
        views[UNSCORABLE] = (without, "Files without a score")
    hashes = shown.match(fo.ViewField("duplicate_of").exists()).distinct("content_hash")
    if hashes:
        copies = shown.match(fo.ViewField("content_hash").is_in(hashes))
        views["duplicates"] = (copies.sort_by("content_hash"), "Exact copies, side by side")
    ours = set(ownership.read(dataset).views)
    for name in (set(VIEWS) & ours) - set(views):
        if dataset.has_saved_view(name):
            dataset.delete_saved_view(name)
    ownership.claim(dataset, views=list(views))
    for name, (view, description) in views.items():
        dataset.save_view(name, view, description=description, overwrite=True)


def save_synthetic_view(dataset: Any) -> None:
    """Save the view of the generated images, rarest first."""
    ownership.claim(dataset, views=[SYNTHETIC])
    view = parts.generated(dataset).sort_by("rarity", reverse=True)
    dataset.save_view(SYNTHETIC, view, description="Generated images", overwrite=True)


def save_mined_view(dataset: Any) -> None:
    """Save the view of the mined images, the most like the examples first."""
    ownership.claim(dataset, views=[MINED])
    view = parts.mined(dataset).sort_by("mined_likeness", reverse=True)
    dataset.save_view(MINED, view, description="Mined images, for review", overwrite=True)


def group_fields(fo: Any, dataset: Any) -> None:
    """Show our fields in a group of their own in the side bar, and leave the others as they are."""
    config = dataset.app_config
    if config.sidebar_groups is None:
        ownership.claim(dataset, app=["sidebar_groups"])
    groups = config.sidebar_groups or fo.DatasetAppConfig.default_sidebar_groups(dataset)
    names = ownership.read(dataset).fields
    written = (*FIELDS, *SYNTHETIC_FIELDS, *MINED_FIELDS, RAREST, HEATMAP)
    ours = [f for f in written if f in names and dataset.has_field(f)]
    others, own = [], []
    for group in groups:
        group.paths = [path for path in group.paths if path not in ours]
        if group.name == GROUP:
            own = [*group.paths]  # the user's
        else:
            others.append(group)
    place = 1 if others and others[0].name == "tags" else 0
    others.insert(place, fo.SidebarGroupDocument(name=GROUP, paths=ours + own, expanded=True))
    config.sidebar_groups = others


def label_field(samples: Any, record: dict[str, Any]) -> LabelField | None:
    """The field that holds the labels of a run now, if any.

    The one that they were read from or written to; for a run without labels, the one that would
    be read today.

    Args:
        samples: a dataset that the run was written to, or a view of it.
        record: of the run.
    """
    if (record.get("settings") or {}).get("labels") is False:
        return None
    source = record.get("source") or {}
    own = source.get("dataset_id") == str(samples._root_dataset._doc.id)
    name = source.get("label_field") if own else LABELS
    if name and samples.get_field(name) is not None:
        return labels.choose(samples, name)
    return None if name and own else labels.choose(samples)


def configure(fo: Any, dataset: Any, record: dict[str, Any]) -> None:
    """Score and class on the tiles, classes coloured from common to rare, and a workspace."""
    config = dataset.app_config
    group_fields(fo, dataset)
    ranked_by = ordinal.ranking_column(record, dataset.get_field_schema())
    source = record.get("source") or {}
    objects = str(source["objects"]) if "objects" in source else None
    if objects and (source.get("tiles") or source.get("dataset_id") != str(dataset._doc.id)):
        objects = OBJECTS
    ranked_by = RAREST if objects else ranked_by
    shown = [ranked_by, objects or "rarity_class"]
    if source.get("tiles"):  # the boxes of all tiles would hide the image
        shown = [ranked_by, HEATMAP]
    colored_by = f"{objects}.rarity_class" if objects else "rarity_class"
    if config.active_fields is None:
        ownership.claim(dataset, app=["active_fields"])
        field = None if objects else label_field(dataset, record)
        config.active_fields = fo.ActiveFields(paths=[*shown, field.name] if field else shown)
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
    if config.color_scheme is None:
        ownership.claim(dataset, app=["color_scheme"])
    scheme = config.color_scheme or fo.ColorScheme()
    score = {"path": ranked_by, "fieldColor": SCORE_TAG}
    others = [
        f for f in scheme.fields or [] if f.get("path") not in (palette["path"], score["path"])
    ]
    scheme.fields = [*others, score] if objects else [*others, palette, score]
    config.color_scheme = scheme
    show_previews(dataset)
    ownership.claim(dataset, workspaces=[WORKSPACE])
    has_map = BRAIN_KEY in dataset.list_brain_runs()
    dataset.save_workspace(WORKSPACE, workspace(fo, has_map, colored_by), overwrite=True)


def show_previews(dataset: Any) -> None:
    """Let the App show previews where there are any; a field of media that a user chose stays."""
    if PREVIEW not in ownership.read(dataset).fields or not dataset.has_field(PREVIEW):
        return
    config = dataset.app_config
    if PREVIEW not in config.media_fields:
        config.media_fields = [*config.media_fields, PREVIEW]
    for name in ("grid_media_field", "modal_media_field"):
        if getattr(config, name) == "filepath":
            setattr(config, name, PREVIEW)
    if not config.media_fallback:
        ownership.claim(dataset, app=["media_fallback"])
        config.media_fallback = True


def reset(fo: Any, dataset: Any, fields: list[str]) -> None:
    """Take what `configure` and `group_fields` set for these fields out of the App's settings."""
    config, empty_before = dataset.app_config, ownership.read(dataset).app
    if config.sidebar_groups is not None:
        for group in config.sidebar_groups:
            group.paths = [path for path in group.paths if path not in fields]
        groups = [g for g in config.sidebar_groups if g.name != GROUP or g.paths]
        config.sidebar_groups = groups
        if "sidebar_groups" in empty_before and _is_default(fo, dataset, groups):
            config.sidebar_groups = None
    if config.color_scheme is not None:
        scheme = config.color_scheme
        scheme.fields = [f for f in scheme.fields or [] if f.get("path") not in fields]
        if "color_scheme" in empty_before and not scheme.fields:
            config.color_scheme = None
    if config.active_fields is not None:
        paths = [path for path in config.active_fields.paths if path not in fields]
        config.active_fields.paths = paths
        if "active_fields" in empty_before and len(paths) <= 1:  # the labels', which we added
            config.active_fields = None
    if PREVIEW in fields:
        config.media_fields = [name for name in config.media_fields if name != PREVIEW]
        for name in ("grid_media_field", "modal_media_field"):
            if getattr(config, name) == PREVIEW:
                setattr(config, name, "filepath")
        if "media_fallback" in empty_before:
            config.media_fallback = False
    dataset.save()


def _is_default(fo: Any, dataset: Any, groups: list[Any]) -> bool:
    """Whether the side bar is as FiftyOne makes it by itself."""
    ours = {GROUP, *FIELDS, *SYNTHETIC_FIELDS, PREDICTED, *MINED_FIELDS, RAREST, HEATMAP, OBJECTS}

    def plain(groups: list[Any]) -> list[Any]:
        paths = [(g.name, [p for p in g.paths if p not in ours]) for g in groups]
        return [group for group in paths if group[0] not in ours]

    return plain(fo.DatasetAppConfig.default_sidebar_groups(dataset)) == plain(groups)


def workspace(
    fo: Any, has_map: bool, colored_by: str = "rarity_class", *, long_tail: bool = False
) -> Any:
    """The grid and, where there is a map, the Embeddings panel beside it.

    A space renders blank unless its ``active_child`` names a panel.

    Args:
        colored_by: the field by which the map is coloured.
        long_tail: the plugin is there: its panel stands before the Embeddings panel.
    """

    def space(*panels: Any) -> Any:
        return fo.Space(children=list(panels), active_child=panels[0].component_id)

    samples = space(fo.Panel(type="Samples", pinned=True))
    beside = [fo.Panel(type="long_tail")] if long_tail else []
    # FiftyOne from 1.22 on forgets the choice when the panel opens: there it takes a click.
    state = {"brainResult": BRAIN_KEY, "colorByField": colored_by}
    if has_map:
        beside.append(fo.Panel(type="Embeddings", state=state))
    if not beside:
        return samples
    panels = space(*beside)
    return fo.Space(children=[samples, panels], orientation="horizontal", sizes=[0.55, 0.45])
