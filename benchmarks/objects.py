"""Rare objects in photographs: found by their crops, and not by the whole image.

    python benchmarks/objects.py CLOTHING            # scenes: pasted objects, some of another class
    python benchmarks/objects.py --boxes FOLDER      # objects of a folder with annotations
    python benchmarks/objects.py CLOTHING --tiles    # tiles: aligned pictures, photographs, mosaics

Scenes have 448 px and four objects each, photographs of one or two common classes from the folders
of CLOTHING; in 5 % of them, one object is of another class. Aligned pictures show one board, each
a little brighter, noisier and moved by a pixel; the others are photographs. In one of twenty, a
cross of 32 px is hidden, or a disc. Everything is ranked by the command's defaults with
``--quick``. A table goes to standard output.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from sklearn.metrics import average_precision_score, roc_auc_score

import mincurate

SIDE, CELL = 448, 224
COMMON = ("T-Shirt", "Longsleeve")
RARE = ("Shoes", "Pants", "Hat")
SHARE = 0.05


def background(rng: np.random.Generator) -> Image.Image:
    """One colour, or a texture of coarse noise."""
    color = rng.integers(60, 200, 3)
    if rng.random() < 0.5:
        return Image.new("RGB", (SIDE, SIDE), tuple(color.tolist()))
    noise = np.clip(color + rng.normal(0, 40, (SIDE // 16, SIDE // 16, 3)), 0, 255)
    img = Image.fromarray(noise.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return img.filter(ImageFilter.GaussianBlur(2))


def scenes(folder: Path, clothing: Path, rare: str, count: int, seed: int) -> set[str]:
    """Write scenes with a COCO file; returns the annotations' ids that are of the rare class."""
    rng = np.random.default_rng(seed)
    files = {name: sorted((clothing / name).iterdir()) for name in (*COMMON, rare)}
    with_rare = set(rng.choice(count, round(SHARE * count), replace=False).tolist())
    images, annotations, planted = [], [], set()
    for number in range(count):
        scene = background(rng)
        odd = int(rng.integers(4)) if number in with_rare else -1
        for cell in range(4):
            name = rare if cell == odd else COMMON[int(rng.integers(len(COMMON)))]
            file = files[name][int(rng.integers(len(files[name])))]
            longer = int(rng.integers(120, 201))
            with Image.open(file) as img:
                piece = ImageOps.contain(ImageOps.exif_transpose(img).convert("RGB"), (longer,) * 2)
            x = cell % 2 * CELL + int(rng.integers(CELL - piece.width + 1))
            y = cell // 2 * CELL + int(rng.integers(CELL - piece.height + 1))
            scene.paste(piece, (x, y))
            key = len(annotations) + 1
            if cell == odd:
                planted.add(str(key))
            box = [x, y, *piece.size]
            annotations.append({"id": key, "image_id": number, "category_id": 1, "bbox": box})
        scene.save(folder / f"{number:04d}.jpg", quality=92)
        images.append({"id": number, "file_name": f"{number:04d}.jpg"})
        images[-1] |= {"width": SIDE, "height": SIDE}
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "clothes"}]
    (folder / "coco.json").write_text(json.dumps(content))
    return planted


def rank(folder: Path, **settings: object) -> tuple[pd.DataFrame, float]:
    """The table of a quick run, and the seconds it took."""
    started = time.monotonic()
    result = mincurate.score(
        folder, quick=True, fiftyone=False, umap=False, resume=False, progress=False, **settings
    )
    return result.frame, time.monotonic() - started


def of_scenes(clothing: Path, count: int, fit: str, context: float, ranking: str) -> None:
    rows = []
    for seed, rare in enumerate(RARE):
        with tempfile.TemporaryDirectory() as name:
            planted = scenes(Path(name), clothing, rare, count, seed)
            frame, seconds = rank(Path(name), objects="auto", fit=fit, context=context)
            whole, _ = rank(Path(name), labels=False)
        truth = frame["object_id"].isin(planted)
        by_image = frame.assign(truth=truth).groupby("path")[[ranking, "truth"]].max()
        row = {"rare": rare, "object AUROC": roc_auc_score(truth, frame[ranking])}
        row["object AP"] = average_precision_score(truth, frame[ranking])
        row["by rarest object"] = roc_auc_score(by_image["truth"], by_image[ranking])
        of_whole = by_image["truth"].reindex(whole["path"])
        row["whole image"] = roc_auc_score(of_whole, whole[ranking])
        row["outlying"] = roc_auc_score(truth, frame["outlying"])
        row["small kind"] = roc_auc_score(truth, frame["small_kind"])
        rows.append(row | {"crops/s": len(frame) / seconds})
    table = pd.DataFrame(rows)
    table.loc[len(table)] = ["mean", *table.drop(columns="rare").mean()]
    print(f"{count} scenes, fit {fit}, context {context:g}, ranking {ranking}")
    print(table.round(3).to_string(index=False))


def boards(count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Pictures of one board of 512 px, aligned to a pixel, of slightly different light."""
    board = Image.fromarray(rng.integers(60, 120, (16, 16, 3)).astype(np.uint8))
    board = board.resize((514, 514), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(board)
    for _ in range(60):
        x, y, side = (int(n) for n in rng.integers((0, 0, 10), (500, 500, 50)))
        draw.rectangle((x, y, x + side, y + side), tuple(rng.integers(0, 255, 3).tolist()))
    pictures = []
    for _ in range(count):
        x, y = (int(n) for n in rng.integers(0, 3, 2))
        pixels = np.asarray(board.crop((x, y, x + 512, y + 512))) * rng.uniform(0.95, 1.05)
        noisy = pixels + rng.normal(0, 3, pixels.shape)
        pictures.append(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))
    return pictures


def photographs(clothing: Path, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Photographs of any class, 512 px."""
    files = sorted(clothing.glob("*/*.jpg"))
    picks = [files[i] for i in rng.choice(len(files), count, replace=False)]
    return [ImageOps.fit(Image.open(file).convert("RGB"), (512, 512)) for file in picks]


def mosaics(clothing: Path, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Sixteen photographs in each picture, one for a tile: nothing is aligned."""
    pictures = []
    for _ in range(count):
        parts = [part.resize((128, 128)) for part in photographs(clothing, 16, rng)]
        picture = Image.new("RGB", (512, 512))
        for place, part in enumerate(parts):
            picture.paste(part, (place % 4 * 128, place // 4 * 128))
        pictures.append(picture)
    return pictures


def of_tiles(clothing: Path, count: int, tile: int, shape: str) -> None:
    """A cross or a disc hidden in one of twenty pictures, found by the tiles that it lies in."""
    for name in ("aligned", "photographs", "mosaics"):
        rng = np.random.default_rng(0)
        if name == "aligned":
            pictures = boards(count, rng)
        else:
            pictures = (photographs if name == "photographs" else mosaics)(clothing, count, rng)
        places: dict[str, tuple[int, int]] = {}
        with tempfile.TemporaryDirectory() as folder:
            for number, picture in enumerate(pictures):
                file = f"{number:04d}.png"
                if number % 20 == 7:
                    x, y = (int(n) for n in rng.integers(0, 512 - 32, 2))
                    draw = ImageDraw.Draw(picture)
                    if shape == "disc":
                        draw.ellipse((x, y, x + 32, y + 32), (200, 160, 40))
                    else:
                        for bar in ((x + 12, y, x + 20, y + 32), (x, y + 12, x + 32, y + 20)):
                            draw.rectangle(bar, (200, 160, 40))
                    places[file] = x + 16, y + 16
                picture.save(Path(folder) / file)
            settings = {"quick": True, "fiftyone": False, "umap": False, "progress": False}
            result = mincurate.score(folder, tiles=str(tile), labels=False, **settings)
        frame = result.frame
        middle = [
            places.get(rel.partition("#")[0], (-1, -1)) for rel in frame["rel_path"].astype(str)
        ]
        corner = frame[["box_x", "box_y"]].to_numpy() * 512
        truth = [0 <= x - left < tile and 0 <= y - top < tile
                 for (x, y), (left, top) in zip(middle, corner, strict=True)]  # fmt: skip
        auroc = roc_auc_score(truth, frame["rarity"])
        best = 1 - frame["rarity"][truth]
        print(
            f"{name}: {len(frame):,} tiles of {tile} px, {sum(truth)} with the {shape}, AUROC "
            f"{auroc:.3f}, in the first {best.min():.1%} to {best.max():.1%}; "
            f"trust: {result.run.record['trust']['words']}"
        )


def of_boxes(folder: Path, where: str, ranking: str, **settings: object) -> None:
    frame, seconds = rank(folder, objects=where, **settings)
    frame = frame[frame["rarity"].notna()]
    print(f"{len(frame):,} objects of {folder} in {seconds:.0f} s, {len(frame) / seconds:.0f}/s")
    names = frame["label"].value_counts()
    for name, n in names.items():
        truth = frame["label"] == name
        auroc = roc_auc_score(truth, frame[ranking])
        ap = average_precision_score(truth, frame[ranking])
        print(f"{name:20} {n:6,}  AUROC {auroc:.3f}  AP {ap:.3f}  share {truth.mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clothing", type=Path, nargs="?")
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--objects", default="auto")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--images", type=int, help="of --boxes, a random sample of so many")
    parser.add_argument("--fit", default="crop")
    parser.add_argument("--context", type=float, default=0.0)
    parser.add_argument("--ranking", default="rarity")
    parser.add_argument("--tiles", action="store_true")
    given = parser.parse_args()
    if given.clothing and given.tiles:
        for shape in ("cross", "disc"):
            of_tiles(given.clothing, 40, 128, shape)
    elif given.clothing:
        of_scenes(given.clothing, given.scenes, given.fit, given.context, given.ranking)
    if given.boxes:
        settings = {"fit": given.fit, "context": given.context, "max_images": given.images}
        of_boxes(given.boxes, given.objects, given.ranking, **settings)


if __name__ == "__main__":
    main()
