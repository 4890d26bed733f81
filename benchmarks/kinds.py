"""Are rare, odd and broken images told apart? Planted cases of each, and what they are called.

    python benchmarks/kinds.py [--cases choosing] [--json FILE]

Every case hides among 1,000 images of one class of CIFAR-10: 30 of another class (rare: few of a
kind), 20 of the eight classes that are left (odd: alone, or nearly), 10 blurred ones, 5 that are
almost one colour, and 5 exact copies. Prints what share of each is called what; what does not rank
among the rarest tenth is common to mincurate, however odd it is.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from planted import CHOOSING, REPORTED, Pool, embed, pool
from provenance import provenance
from study import SHARED

PLANTED = {"rare": 30, "odd": 20, "blurred": 10, "blank": 5, "copy": 5}
CALLED = ("rare", "odd", "broken", "common")


def case(images: Pool, embedding: str, common: str, rare: str, seed: int) -> pd.DataFrame:
    """The table of one case, with what was ``planted`` and the ``rarity_kind`` it is given."""
    from mincurate.images import appearance
    from mincurate.ranking import classes, neighbors, outliers, rarity_kind, vector_rarity

    rng = np.random.default_rng(seed)

    def some(label: str, n: int):
        return rng.choice(np.flatnonzero(images.labels == label), n, replace=False)

    others = [c for c in np.unique(images.labels) if "/" not in c and c not in (common, rare)]
    rows = [
        some(common, 1000),
        some(rare, PLANTED["rare"]),
        *(some(others[i % len(others)], 1) for i in range(PLANTED["odd"])),
        some(f"{common}/blurred", PLANTED["blurred"]),
    ]
    names = ["", "rare", *["odd"] * PLANTED["odd"], "blurred"]
    planted = np.repeat(names, [len(r) for r in rows])
    every = np.concatenate(rows)
    colors = rng.integers(0, 256, (PLANTED["blank"], 3, 1, 1))
    noise = rng.integers(-1, 2, (PLANTED["blank"], 3, 32, 32))
    blank = np.clip(colors + noise, 0, 255).astype(np.uint8)
    pixels = np.concatenate([images.pixels[every], blank])
    vectors = np.concatenate([images.vectors[every], embed(blank, embedding)])
    frame = pd.DataFrame(
        [appearance.measure(Image.fromarray(p.transpose(1, 2, 0)))._asdict() for p in pixels]
    )
    frame["planted"] = [*planted, *["blank"] * len(blank)]
    frame["status"], frame["duplicate_of"], frame["reason"] = "ok", None, None
    frame["rel_path"] = [f"{i:06d}" for i in range(len(frame))]
    reference = outliers.reference(map(str, rng.permutation(len(frame))))
    frame["score"] = vector_rarity.measure(vectors, reference).rarity
    frame["rarity"] = classes.percentile(frame["score"])
    copies = frame.iloc[: PLANTED["copy"]].assign(duplicate_of="first", planted="copy")
    frame = pd.concat([frame, copies], ignore_index=True)
    floor = appearance.sharpness_floor(frame["sharpness"].to_numpy(np.float64))
    frame["broken"] = appearance.broken(frame, floor)
    ranked = classes.rarest_first(frame, "score")
    frame["rarity_kind"] = rarity_kind.rarity_kinds(
        frame, ranked, neighbors.neighbors(vectors[ranked.index], rarity_kind.NEAREST)[1]
    )
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "cifar10-train.zip")
    weights = SHARED / "models" / "squeezenet1_0-imagenet-fp16.safetensors"
    parser.add_argument("--embedding", default=f"torchvision:squeezenet1_0@{weights}")
    parser.add_argument("--cases", choices=["reported", "choosing"], default="reported")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=1500)
    parser.add_argument("--cache", type=Path, help="keep the vectors of the images in this file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    images = pool(options.data, options.embedding, options.per_class, options.cache)
    pairs = REPORTED if options.cases == "reported" else [p for p in CHOOSING if len(p[0]) == 1]
    tables = [
        case(images, options.embedding, common[0], rare, seed)
        for common, rare in pairs
        for seed in range(options.seeds)
    ]
    every = pd.concat(tables)
    called = every["rarity_kind"].fillna("common")
    shares = pd.crosstab(every["planted"].replace("", "common"), called, normalize="index")
    shares = shares.reindex(columns=CALLED, fill_value=0)
    print(f"{len(tables)} cases; share of what was planted (rows) that is called so (columns):")
    print(shares.reindex([*PLANTED, "common"]).map("{:.0%}".format).to_string())
    tail = every[called.isin(["rare", "odd"])]
    inside = pd.crosstab(tail["planted"].replace("", "common"), tail["rarity_kind"])
    print("\nOf the rarest tenth alone:")
    print(inside.div(inside.sum(axis=1), axis=0).map("{:.0%}".format).to_string())
    if options.json:
        result = {
            **provenance(),
            "shares": shares.to_dict("index"),
            "in_tail": inside.to_dict("index"),
        }
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
