"""Answers the review of the walk-through, in place of a person in the App.

    python review.py CLOTHING closet

What was mined is kept where the class of the photograph in CLOTHING is the proposed one, and dropped
elsewhere. The labelled photographs of the rare labels are kept, too.
"""

import sys
from pathlib import Path

import fiftyone as fo
from fiftyone import ViewField as F

RARE = ("Blazer", "Body", "Hat", "Hoodie", "Polo", "Skirt", "Undershirt")


def main() -> None:
    place, dataset = Path(sys.argv[1]), fo.load_dataset(sys.argv[2])
    classes = {file.name: file.parent.name for file in place.rglob("*.jpg")}
    dataset.match(F("ground_truth.label").is_in(RARE)).tag_samples("rare-keep")
    mined = dataset.match_tags("mined")
    right = [
        sample.id
        for sample in mined
        if classes[Path(sample.filepath).name] == sample.proposed_label
    ]
    mined.select(right).tag_samples("rare-keep")
    mined.exclude(right).tag_samples("outlier-drop")
    print(f"{len(mined)} mined photographs: {len(right)} kept, {len(mined) - len(right)} dropped")


if __name__ == "__main__":
    main()
