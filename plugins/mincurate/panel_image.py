"""Tab “Image”: what the score sees in the selected image."""

from typing import Any

import numpy as np
from PIL import Image

from mincurate.ranking.tail import LongTail
from mincurate.report.figures import Picture, data_uri
from mincurate.text import short

from .panel_parts import NARROW, quoted, row, said

SIDE = 180
"""Pixels that a picture is shown at."""
SHOWN = {
    "original": "as it was scored",
    "reconstruction": "the model's reconstruction",
    "heat": "where they differ",
}


def layout(body: Any, panel: Any, ctx: Any, tail: LongTail) -> None:
    """Three pictures beside one another, and what is known of the image."""
    sample = chosen(ctx)
    if sample is None:
        said(
            body,
            "none",
            "Select an image in the grid: here you see it beside what the model makes of it at the "
            "noise of the score, and where the two differ. The first time, the model is loaded, "
            "which takes some seconds.",
        )
        return
    pictures = row(body, "pictures")
    for name, words in SHOWN.items():
        part = pictures.v_stack(name, gap=0, componentsProps=NARROW)
        part.img("img", height=f"{SIDE}px", width=f"{SIDE}px", alt_text=words)
        said(part, "words", words)
    said(body, "facts", _facts(sample, tail))


def data(ctx: Any, tail: LongTail) -> dict[str, Any]:
    """The pictures."""
    sample = chosen(ctx)
    if sample is None:
        return {}
    from mincurate.report.error_map import difference, overlay

    found = difference(tail.run, sample.filepath, sample["content_hash"])
    pictures = {
        "original": found.original,
        "reconstruction": found.reconstruction,
        "heat": overlay(found.original, found.heat),
    }
    return {f"pictures.{name}.img": _enlarged(picture) for name, picture in pictures.items()}


def chosen(ctx: Any) -> Any:
    """The sample that was selected last and has a score; ``None`` without."""
    ids = list(ctx.selected)
    if not ids or not ctx.dataset.has_field("content_hash"):
        return None
    sample = next(iter(ctx.dataset.select(ids[-1:])), None)
    return sample if sample is not None and sample["content_hash"] else None


def _enlarged(picture: Picture) -> str:
    """In whole steps, so that pixels stay pixels."""
    times = max(1, SIDE // picture.shape[0])
    large = Image.fromarray(picture).resize(
        (times * picture.shape[1], times * picture.shape[0]), Image.Resampling.NEAREST
    )
    return data_uri(np.asarray(large))


def _facts(sample: Any, tail: LongTail) -> str:
    """Score, rank and class in words."""
    if sample["rarity"] is None:
        return "This image has no rank in the run that is shown."
    error = sample["minority_score_se"]
    score = f"{sample['minority_score']:.3f}" + (f" ± {error:.3f}" if error else "")
    lines = [
        f"**{quoted(short(sample.filepath.rpartition('/')[2], 60))}**",
        f"class {sample['rarity_class']} (0 common, {tail.num_classes - 1} rare): rarer than "
        f"{sample['rarity']:.1%} of all images by {tail.column.replace('_', ' ')}; "
        f"minority score {score}",
    ]
    draws = (tail.record.get("settings") or {}).get("n_draws")
    lines.append(
        f"bright: large perceptual distance, mean over {draws} draws. The score is the mean over "
        "the picture."
    )
    return "  \n".join(lines)
