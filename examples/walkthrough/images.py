"""The raw folder of the walk-through: scikit-learn's handwritten digits with a long tail.

    python images.py digits

Writes 16 px PNGs into class folders, 150 zeros down to 10 nines, and among them a few that do not
belong: digits with their ink inverted.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

MOST, FEWEST = 150, 10
INVERTED = 6


def main() -> None:
    folder = Path(sys.argv[1])
    data = load_digits()
    drawn = np.random.default_rng(0).permutation(len(data.images))
    counts = np.geomspace(MOST, FEWEST, 10).round().astype(int)
    for digit, count in enumerate(counts):
        place = folder / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        for i in [i for i in drawn if data.target[i] == digit][:count]:
            picture(data.images[i]).save(place / f"{i:04d}.png")
    for i in [i for i in drawn if data.target[i] == 0][-INVERTED:]:
        picture(16 - data.images[i]).save(folder / "0" / f"{i:04d}-inverted.png")
    print(f"{counts.sum() + INVERTED} images in {folder}: {', '.join(map(str, counts))} of 0 to 9,")
    print(f"and {INVERTED} inverted zeros.")


def picture(ink: np.ndarray) -> Image.Image:
    """An image of 16 px from 8 x 8 values in 0..16."""
    small = Image.fromarray((ink * 255 / 16).astype("uint8"))
    return small.resize((16, 16), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
