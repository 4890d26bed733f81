"""Answers the review of the walk-through, in place of a person in the App.

    python review.py CLOTHING closet [--correct]

What was mined is kept where the class of the photograph in CLOTHING is the proposed label, and
dropped elsewhere. The labelled photographs of the rare labels are kept, too. With ``--correct``,
those that were dropped and are of another label of the closet are kept with that label.
"""

import sys
from pathlib import Path

import fiftyone as fo
from fiftyone import ViewField as F

RARE = ("Blazer", "Body", "Hat", "Hoodie", "Polo", "Skirt", "Undershirt")


def main() -> None:
    place, dataset = Path(sys.argv[1]), fo.load_dataset(sys.argv[2])
    classes = {file.name: file.parent.name for file in place.rglob("*.jpg")}
    mined = dataset.match_tags("mined")
    if "--correct" in sys.argv:
        known = dataset.distinct("ground_truth.label")
        wrong = {s.id: classes[s.filename] for s in mined.match_tags("outlier-drop")}
        right = {name: label for name, label in wrong.items() if label in known}
        labels = {name: fo.Classification(label=label) for name, label in right.items()}
        dataset.set_values("ground_truth", labels, key_field="id")
        corrected = dataset.select(list(right))
        corrected.untag_samples("outlier-drop")
        corrected.tag_samples("rare-keep")
        print(f"{len(right)} of the dropped photographs kept with another label")
        return
    dataset.match(F("ground_truth.label").is_in(RARE)).tag_samples("rare-keep")
    right = [s.id for s in mined if classes[s.filename] == s.proposed_label]
    mined.select(right).tag_samples("rare-keep")
    mined.exclude(right).tag_samples("outlier-drop")
    print(f"{len(mined)} mined photographs: {len(right)} kept, {len(mined) - len(right)} dropped")


if __name__ == "__main__":
    main()
