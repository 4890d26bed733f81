"""Does `mincurate mine` find more of the same? Examples of one class, and a pool of all of them.

    python benchmarks/mining.py --data CIFAR10 --cache cifar10.npz

Of every class of a folder of class folders, ``--examples`` images are the examples, in a run that
holds as many images of each other class besides; the pool holds ``--pool`` images of all classes
alike, without labels. Prints the precision among the first 100 of every way to rank the pool by the
run's vectors, for examples of one class and of three, the time, and how near copies lie to their
originals: the images compressed again, made smaller and larger, brightened or cut, beside different
images. ``mincurate`` is what the command does.
"""

import argparse
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from planted import Pool, central_square, embed, pool, whole_classes
from provenance import provenance

FIRST = 100
COPIED = 60
"""Images of which near copies are made."""


def ways(examples, others, candidates) -> Iterator[tuple[str, np.ndarray]]:
    """Every way to rank the candidates: name, and scores that are higher for more alike."""
    from mincurate.curation import mining

    fitted = mining.fit(examples, others)
    yield "mincurate", fitted.score(candidates)
    cosine = candidates @ examples.T
    yield "nearest example", cosine.max(1)
    yield "mean of 3 nearest", np.sort(cosine, 1)[:, -3:].mean(1)
    yield "mean of the examples", candidates @ examples.mean(0)
    away = mining.directions(candidates, fitted.center)
    yield "mean of 3 nearest, centred", np.sort(away @ fitted.examples.T, 1)[:, -3:].mean(1)
    yield "logistic regression, centred", away @ fitted.weights


def case(images: Pool, kinds: list[str], options: argparse.Namespace, seed: int):
    """Rows of the examples, of the rest of the run, and of the pool."""
    rng = np.random.default_rng(seed)
    classes = whole_classes(images)
    drawn = {c: rng.permutation(np.flatnonzero(images.labels == c)) for c in classes}
    of_each = options.examples // len(kinds)
    examples = np.concatenate([drawn[c][:of_each] for c in kinds])
    rest = np.concatenate([drawn[c][: options.examples] for c in classes if c not in kinds])
    each = options.pool // len(classes)
    unlabelled = [drawn[c][options.examples : options.examples + each] for c in classes]
    return examples, rest, np.concatenate(unlabelled)


def measure(images: Pool, options: argparse.Namespace) -> list[dict[str, object]]:
    """Precision among the first of every case and way."""
    from mincurate.curation import mining

    rows: list[dict[str, object]] = []
    classes = whole_classes(images)
    for i, name in enumerate(classes):
        for count in (1, 3):
            kinds = [classes[(i + 3 * j) % len(classes)] for j in range(count)]
            for seed in range(options.seeds):
                examples, rest, unlabelled = case(images, kinds, options, seed)
                candidates = images.vectors[unlabelled]
                others = np.concatenate(
                    [mining.sample(images.vectors[rest]), mining.sample(candidates)]
                )
                present = images.vectors[np.concatenate([examples, rest])]
                right = np.isin(images.labels[unlabelled], kinds)
                started = time.monotonic()
                for way, scores in ways(images.vectors[examples], others, candidates):
                    first = np.argsort(-scores)[:FIRST]
                    if way == "mincurate":
                        limit = mining.near_copy_similarity(present)
                        first = mining.best(scores, candidates.__getitem__, present, FIRST, limit)
                    seconds = time.monotonic() - started
                    precision = float(right[first].mean())
                    row = {"of": name, "kinds": count, "seed": seed, "way": way}
                    rows.append(row | {"precision": precision, "seconds": seconds})
                    started = time.monotonic()
    return rows


def near_copies(images: Pool, embedding: str) -> dict[str, list[float]]:
    """Quantiles of the cosine similarity of images to near copies, and to the nearest others."""
    rows = np.random.default_rng(0).permutation(np.flatnonzero(images.labels != ""))[:COPIED]
    pictures = [Image.fromarray(images.pixels[i].transpose(1, 2, 0)) for i in rows]
    side = pictures[0].width

    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=75)
        return Image.open(file).convert("RGB")

    changes = {
        "compressed (JPEG, 75)": compressed,
        "smaller and back": lambda p: p.resize((side * 3 // 4,) * 2).resize((side, side)),
        "brighter by a fifth": lambda p: ImageEnhance.Brightness(p).enhance(1.2),
        "cut by 6 %": lambda p: central_square(p.crop((1, 1, side - 1, side - 1)), side),
        "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }
    original = images.vectors[rows]
    quantiles = {}
    for name, change in changes.items():
        copies = embed([np.asarray(change(p)).transpose(2, 0, 1) for p in pictures], embedding)
        quantiles[name] = np.quantile((original * copies).sum(1), [0.1, 0.5, 0.9]).tolist()
    others = np.setdiff1d(np.flatnonzero([("/" not in c) for c in images.labels]), rows)
    nearest = (original @ images.vectors[others].T).max(1)
    quantiles["nearest of the other images"] = np.quantile(nearest, [0.1, 0.5, 0.9]).tolist()
    return quantiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--embedding", default="efficientnet-lite0")
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--pool", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--per-class", type=int, default=2200, help="images read of every class")
    parser.add_argument("--cache", type=Path, help="keep the vectors of the images in this file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    images = pool(options.data, options.embedding, options.per_class, options.cache)
    rows = measure(images, options)
    print(f"Precision among the first {FIRST}: mean, lowest of the cases; seconds")
    for count in (1, 3):
        for way in dict.fromkeys(row["way"] for row in rows):
            of = [row for row in rows if (row["kinds"], row["way"]) == (count, way)]
            precision = [float(str(row["precision"])) for row in of]
            seconds = np.mean([float(str(row["seconds"])) for row in of])
            means = f"{np.mean(precision):.3f}  {min(precision):.2f}  {seconds:6.2f} s"
            print(f"  {count} kinds  {way:30s} {means}")
    copies = near_copies(images, options.embedding)
    print("Cosine similarity to near copies (quantiles 0.1, 0.5, 0.9)")
    for name, values in copies.items():
        print(f"  {name:30s} " + "  ".join(f"{v:.3f}" for v in values))
    if options.json:
        result = {**provenance(), "rows": rows, "near_copies": copies}
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
