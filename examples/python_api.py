"""The Python API on real images: handwritten digits, sevens with a few zeros among them.

Run it as it stands: python examples/python_api.py   (about 2 minutes on 2 cores)
"""

import tempfile
from pathlib import Path

import mincurate
from mincurate.cli.demo import write_digits

folder = Path(tempfile.mkdtemp())
write_digits(folder / "digits")

result = mincurate.score(
    folder / "digits",
    labels=False,
    image_size=16,
    train_steps=400,
    fiftyone=False,
    output=folder / "run",
)

frame = result.rarest(len(result.frame))
print(frame[["rel_path", "minority_score", "minority_score_se", "rarity_class"]].head(10))
print(*result.warnings, sep="\n")
print("Report:", result.report)
