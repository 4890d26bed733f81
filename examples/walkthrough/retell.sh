#!/bin/bash
# Everything of the walk-through, in the current folder: bash retell.sh CLOTHING [PICTURES]
# CLOTHING holds the class folders of the clothing dataset; PICTURES takes pictures of the App.
set -e
here=$(cd "$(dirname "$0")" && pwd)
python "$here/images.py" "$1"
mincurate score closet --quick --dataset closet
for label in Hat Blazer Body Hoodie Polo Skirt Undershirt; do
    mincurate mine unlabelled --like label:$label --n 60
done
python "$here/review.py" "$1" closet
mincurate rebalance --to 60 --dry-run
mincurate export balanced --format folder
python "$here/review.py" "$1" closet --correct
mincurate export corrected --format folder
python "$here/classifier.py" held-out closet at-random balanced corrected
mincurate score closet --dataset closet --train-steps 200
mincurate augment --like tag:rare-keep --strength 0.4 --n 120 --train-steps 200 --guide-steps 100
mincurate augment --like tag:rare-keep --strength 0.2 --n 120
if [ "$2" ]; then python "$here/pictures.py" closet "$2" --app; fi
mincurate evaluate --downstream
