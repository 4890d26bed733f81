"""Tab “Image”: original, reconstruction and error map of the selected image."""

from typing import Any

from mincurate.pipelines import panel as look
from mincurate.pipelines.panel import LongTail
from mincurate.text import short

from .panel_parts import NARROW, quoted, row, text

SIDE = 180
"""Side of a picture, in pixels."""
SHOWN = {
    "original": "as it was scored",
    "reconstruction": "the model's reconstruction",
    "heat": "where they differ",
}


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Three pictures side by side, and score, rank and classes."""
    if tail.noun != "images":
        _of_object(body, ctx, tail)
        return
    sample = chosen(ctx)
    if sample is None:
        text(body, "none", _nothing_selected(tail))
        return
    if tail.record.get("model"):
        _pictures(body)
    text(body, "facts", _facts(sample, tail))


def _nothing_selected(tail: LongTail) -> str:
    noun = tail.noun[:-1]
    an = "an" if noun[0] in "aeiou" else "a"
    where = "in the grid" if noun == "image" else "in the grid (All, rarest first, shows them)"
    if not tail.record.get("model"):
        return f"Select {an} {noun} {where} to see its rank."
    return (
        f"Select {an} {noun} {where} to see it beside its reconstruction by the diffusion model, "
        "and where the two differ. The first time the model is loaded, which takes some seconds."
    )


def _pictures(body: Any) -> None:
    pictures = row(body, "pictures")
    for name, words in SHOWN.items():
        part = pictures.v_stack(name, gap=0, componentsProps=NARROW)
        part.img("img", height=f"{SIDE}px", width=f"{SIDE}px", alt_text=words)
        text(part, "words", words)


def _of_object(body: Any, ctx: Any, tail: LongTail) -> None:
    """The same for an object, whose values are in the table."""
    found = look.object_place(ctx.dataset, tail, ctx.selected[-1]) if ctx.selected else None
    if found is None:
        text(body, "none", _nothing_selected(tail))
        return
    facts = found[1]
    if tail.record.get("model"):
        _pictures(body)
    within, by = " with its label" if tail.within_label else "", tail.column.replace("_", " ")
    lines = [
        f"**{quoted(short(str(facts['rel_path']), 60))}**",
        f"**rarity class {facts['rarity_class']}** (0 common, {tail.num_classes - 1} rare): rarer "
        f"than {facts['rarity']:.1%} of all {tail.noun}{within}, by {by}",
    ]
    text(body, "facts", "  \n".join(lines))


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The pictures."""
    if tail.noun != "images":
        found = look.object_place(ctx.dataset, tail, ctx.selected[-1]) if ctx.selected else None
        if found is None or not tail.record.get("model"):
            return {}
        pictures = look.score_pictures(tail, found[0], str(found[1]["content_hash"]), SIDE)
        return {f"pictures.{name}.img": address for name, address in pictures.items()}
    sample = chosen(ctx)
    if sample is None or not tail.record.get("model"):
        return {}
    pictures = look.score_pictures(tail, sample.filepath, sample["content_hash"], SIDE)
    return {f"pictures.{name}.img": address for name, address in pictures.items()}


def chosen(ctx: Any) -> Any:
    """The sample that was selected last, if it has a score; else ``None``."""
    ids = list(ctx.selected)
    if not ids or not ctx.dataset.has_field("content_hash"):
        return None
    sample = next(iter(ctx.dataset.select(ids[-1:])), None)
    return sample if sample is not None and sample["content_hash"] else None


def _facts(sample: Any, tail: LongTail) -> str:
    """Rarity by the ranking in force, and the minority score with its own class."""
    if sample["rarity"] is None:
        return "This image has no rank in the run shown here."
    within = " with its label" if tail.within_label else ""
    lines = [
        f"**{quoted(short(sample.filepath.rpartition('/')[2], 60))}**",
        f"**rarity class {sample['rarity_class']}** (0 common, {tail.num_classes - 1} rare): rarer "
        f"than {sample['rarity']:.1%} of all images{within}, by {tail.column.replace('_', ' ')}",
    ]
    if not tail.record.get("model"):
        return "  \n".join(lines)
    score, error = _value(sample, "minority_score"), _value(sample, "minority_score_se")
    words = "not computed yet" if score is None else f"{score:.3f}"
    words += f" ± {error:.3f}" if error else ""
    number = _value(sample, "minority_class")
    draws = (tail.record.get("settings") or {}).get("n_draws")
    lines += [
        f"**minority class {'unknown' if number is None else number}**: minority score {words}",
        f"Bright areas: large perceptual distance, mean of {draws} draws. The minority score is "
        "the mean over the picture.",
    ]
    return "  \n".join(lines)


def _value(sample: Any, name: str) -> Any:
    return sample[name] if sample.has_field(name) else None
