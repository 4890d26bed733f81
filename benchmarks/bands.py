"""Thirteen bands, the cue in one of them alone: what the bands of a picture cannot tell.

Makes 300 images of 13 smooth random bands (16 bits, 96 px). In one of twenty a small blob lies in
band 8. Scores them by all bands and by the first three, and prints the AUROC of each ranking.

    python benchmarks/bands.py            # vectors alone (`score --quick`), some minutes
    python benchmarks/bands.py --scores   # minority scores, too
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, roc_auc_score

import mincurate

BANDS, CUE, SIDE, SHARE = 13, 8, 96, 0.05


def write_set(folder: Path, images: int, seed: int = 0, side: int = SIDE) -> list[bool]:
    """Write the images as TIFF, and return which of them have the blob."""
    rng = np.random.default_rng(seed)
    rare = np.zeros(images, bool)
    rare[rng.choice(images, max(1, round(SHARE * images)), replace=False)] = True
    y, x = np.mgrid[:side, :side]
    folder.mkdir(parents=True, exist_ok=True)
    for i, is_rare in enumerate(rare):
        noise = rng.standard_normal((BANDS, side, side))
        smooth = np.stack([gaussian_filter(band, side / 12, mode="wrap") for band in noise])
        bands = smooth / smooth.std((1, 2), keepdims=True)
        if is_rare:
            across, down = rng.uniform(side / 4, 3 * side / 4, 2)
            distance = ((x - across) ** 2 + (y - down) ** 2) / (2 * (side / 24) ** 2)
            bands[CUE - 1] += 4 * np.exp(-distance)
        gain = 100 * np.arange(1, BANDS + 1)[:, None, None]
        numbers = (gain * (10 + bands)).clip(0, 65535).astype(np.uint16)
        tifffile.imwrite(folder / f"{i:04d}.tif", numbers, metadata={"axes": "CYX"})
    return rare.tolist()


def print_quality(words: str, frame: pd.DataFrame, rare: list[bool], column: str) -> None:
    frame = frame.sort_values("rel_path")
    auroc = roc_auc_score(rare, frame[column])
    precision = average_precision_score(rare, frame[column])
    print(f"{words:40} {column:18} AUROC {auroc:.3f}, average precision {precision:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rare = write_set(Path(name) / "images", options.images, options.seed)
        for bands in ("all", "1,2,3"):
            started = time.monotonic()
            result = mincurate.score(
                Path(name) / "images",
                bands=bands,
                quick=not options.scores,
                fiftyone=False,
                output=Path(name) / bands,
                umap=False,
            )
            words = f"bands {bands}, {time.monotonic() - started:.0f} s"
            for column in ("rarity", *(["minority_score"] if options.scores else [])):
                print_quality(words, result.frame, rare, column)


if __name__ == "__main__":
    main()
