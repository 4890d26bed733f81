"""Cases for the study: images of common classes with a few of another hidden among them.

The pairs on which settings were chosen (`CHOOSING`) and those that are reported (`REPORTED`,
`SEVERAL`) have no pair in common. Five that are reported come near to one for choosing, though: the
same class is hidden, and a common class is among the common ones there (`overlaps`). The study
also prints its means without these.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, permutations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CHOOSING = (
    (("automobile",), "frog"),
    (("deer",), "airplane"),
    (("automobile", "ship", "horse", "deer"), "cat"),
    (("ship",), "dog"),
    (("cat",), "truck"),
    (("airplane",), "deer"),
    (("dog",), "automobile"),
    (("bird",), "ship"),
    (("horse", "frog", "dog"), "truck"),
    (("airplane", "automobile"), "bird"),
    (("truck", "cat", "bird"), "automobile"),
)
REPORTED = (
    (("airplane",), "bird"),
    (("truck",), "ship"),
    (("dog",), "horse"),
    (("bird",), "automobile"),
    (("frog",), "deer"),
    (("horse",), "truck"),
    (("ship",), "cat"),
    (("automobile",), "airplane"),
    (("truck",), "dog"),
    (("horse",), "deer"),
)
SEVERAL = (
    (("airplane", "bird", "truck", "dog"), "frog"),
    (("automobile", "truck", "ship"), "horse"),
    (("cat", "deer", "frog", "bird"), "ship"),
    (("cat", "dog"), "airplane"),
)
SPOILED = ("blurred", "watermarked", "rotated")
"""What may be wrong with an image of a common class; 2 % of a case are so."""
SPOILED_OF_EACH = 40
MISLABELLED = 0.02
"""Share of the images of a label that are of another class."""
OF_A_LABEL = 300
"""Images of every label of a labelled set, at most."""
TAKEN = 20
"""Images of a label that are kept for other labels."""
SHARES = (0.01, 0.02, 0.05)
FREQUENT = 100
"""Images that a class of a labelled folder has at least that is drawn for a pair."""
TAIL = 0.06
"""The rarest classes of a long tail that are called rare: as many as hold this share at most."""
CATCH_ALL = ("Not_sure", "Other", "Skip")
"""Folders of photographs that are no kinds."""
HIDDEN_FOR_CHOOSING = ("Blazer", "Hoodie", "Outwear", "Polo", "Shorts", "T-Shirt")
"""Labels of photographs that are hidden in cases for choosing alone; those reported hide others."""
OF_EACH_GROUP = 12
"""Pairs of photographs, and sets of several common labels."""
SMALL = 125
"""Photographs that a rare label of the natural tail has at most."""
PARTS = (0.75, 0.5, 0.25)
"""Of a natural tail."""
DRAWN_TAILS = 70


@dataclass(frozen=True)
class Pool:
    """Images that cases are drawn from.

    Attributes:
        pixels: ``(N, 3, 32, 32)`` uint8.
        labels: ``(N,)`` names.
        vectors: ``(N, d)``, mincurate's embedding.
        complexity: ``(N,)`` bytes per pixel as PNG.
    """

    pixels: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray
    complexity: np.ndarray


@dataclass(frozen=True)
class Planted:
    """One case.

    Attributes:
        name: what is hidden in what, and, after commas, share and seed.
        group: kind of case.
        rows: of the pool.
        rare: ``(len(rows),)`` whether an image is one of the rare.
        seed: of the drawing.
        trains: a denoiser is trained for cases like this one.
        labels: ``(len(rows),)`` that the images are given, some of them wrongly: an image is rare
            among those of its label. ``None``: among all.
        overlaps: a pair for choosing comes near (`overlaps`).
    """

    name: str
    group: str
    rows: np.ndarray
    rare: np.ndarray
    seed: int
    trains: bool
    labels: np.ndarray | None = None
    overlaps: bool = False

    def by_label(self) -> Iterator[tuple[np.ndarray, "Planted"]]:
        """For every label which images have it, and the case that they are; all, without labels."""
        if self.labels is None:
            yield np.ones(len(self.rows), bool), self
            return
        for label in np.unique(self.labels):
            own = self.labels == label
            name = f"{label}, {self.name}"
            yield own, replace(self, name=name, rows=self.rows[own], rare=self.rare[own])


def pool(data: Path, embedding: str, per_class: int, cache: Path | None, side: int = 32) -> Pool:
    """Read ``per_class`` images of every class folder of a zip or folder, and embed them.

    Args:
        side: side of the central squares that are embedded, in pixels.
    """
    if cache and cache.exists():
        with np.load(cache) as kept:
            return Pool(*(kept[name] for name in ("pixels", "labels", "vectors", "complexity")))
    archive = zipfile.ZipFile(data) if data.suffix == ".zip" else None
    names = archive.namelist() if archive else [str(p) for p in data.rglob("*")]
    by_class: dict[str, list[str]] = {}
    for name in sorted(n for n in names if n.lower().endswith((".jpg", ".jpeg", ".png"))):
        if Path(name).parent.name not in CATCH_ALL:
            by_class.setdefault(Path(name).parent.name, []).append(name)
    rng = np.random.default_rng(0)
    pixels, seen, labels, complexity = [], [], [], []

    def add(image: Image.Image, label: str) -> None:
        file = io.BytesIO()
        seen.append(np.asarray(image).transpose(2, 0, 1))
        image = image.resize((32, 32))
        image.save(file, "PNG")
        pixels.append(np.asarray(image).transpose(2, 0, 1))
        labels.append(label)
        complexity.append(file.tell() / 32**2)

    further = []
    for label, files in sorted(by_class.items()):
        for n, i in enumerate(rng.permutation(len(files))):
            if n >= per_class + SPOILED_OF_EACH * len(SPOILED):
                break
            raw = archive.read(files[i]) if archive else Path(files[i]).read_bytes()
            image = central_square(Image.open(io.BytesIO(raw)).convert("RGB"), side)
            if n < per_class:
                add(image, label)
            else:
                further.append((image, label, SPOILED[(n - per_class) % len(SPOILED)]))
    for image, label, how in further:
        add(spoil(image, how), f"{label}/{how}")
    vectors = embed(seen, embedding)
    result = Pool(np.stack(pixels), np.array(labels), vectors, np.array(complexity))
    if cache:
        np.savez(cache, **vars(result))
    return result


def central_square(image: Image.Image, side: int) -> Image.Image:
    """What is left when the longer sides are cut off, ``side`` pixels wide, as it is embedded."""
    from mincurate.images.fit import fit_image

    return fit_image(image, side, "crop", "hamming")


def embed(pixels, embedding: str, denoiser=None) -> np.ndarray:
    """Vectors ``(N, d)`` of length 1 for N uint8 ``(3, H, W)``, by mincurate's embedding."""
    from mincurate.features import embedder as embedders
    from mincurate.ranking import vectors

    embedder = embedders.load_embedder(embedding, denoiser)
    batches = (np.stack(pixels[i : i + 64]) for i in range(0, len(pixels), 64))
    parts = list(vectors.embed_batches(embedder, "cpu", None, batches))
    return np.concatenate(parts).astype(np.float32)


def spoil(image: Image.Image, how: str) -> Image.Image:
    """An image with something wrong: out of focus, stamped, or on its side."""
    if how == "blurred":
        return image.filter(ImageFilter.GaussianBlur(1.5))
    if how == "rotated":
        return image.transpose(Image.Transpose.ROTATE_90)
    stamp = Image.new("L", image.size)
    ImageDraw.Draw(stamp).text((2, 10), "STOCK", fill=150)
    return Image.composite(Image.new("RGB", image.size, "white"), image, stamp)


def cases(images: Pool, which: str, size: int, seeds: int, small: int = SMALL) -> Iterator[Planted]:
    """All cases of a study, of ``size`` images each.

    Those of a labelled folder are of pairs drawn from its classes, and long tails of all of them.
    """
    if which == "folder":
        for common, rare in drawn_pairs(images):
            for share in SHARES:
                for seed in range(seeds):
                    yield hide(images, common, rare, share, seed, size)
        for seed in range(seeds):
            yield long_tail(images, seed, size)
        return
    if which == "all":
        for part in ("reported", "spoiled", "mislabelled"):
            yield from cases(images, part, size, seeds)
        return
    if which in ("mislabelled", "photographs-mislabelled"):
        for hidden in (False, True):
            for seed in range(seeds):
                yield mislabel(images, seed, hidden)
        return
    if which == "spoiled":
        for common in whole_classes(images):
            for how in SPOILED:
                for seed in range(seeds):
                    case = hide(images, (common,), f"{common}/{how}", 0.02, seed, size)
                    yield replace(case, group=how, trains=False)
        return
    if which in ("photographs", "photographs-choosing"):
        for common, rare in drawn_photographs(images, which == "photographs-choosing"):
            for share in SHARES[1:]:
                for seed in range(seeds):
                    case = hide(images, common, rare, share, seed, size)
                    yield replace(case, group=f"photographs, {case.group}", trains=False)
        if which == "photographs":
            yield natural_tail(images, small)
        return
    if which == "tails":
        yield from tails(images, size, seeds, small)
        return
    pairs = CHOOSING if which == "choosing" else (*REPORTED, *SEVERAL)
    for common, rare in pairs:
        for share in SHARES:
            for seed in range(seeds):
                case = hide(images, common, rare, share, seed, size)
                yield replace(case, overlaps=which == "reported" and overlaps(common, rare))
    if which == "reported":
        for seed in range(seeds):
            yield long_tail(images, seed, size)


def whole_classes(images: Pool) -> list[str]:
    """Names of the classes, without those of spoiled images."""
    return [str(name) for name in np.unique(images.labels) if "/" not in name]


def overlaps(common: tuple[str, ...], rare: str) -> bool:
    """Whether a pair for choosing hides the same class among one of the same common ones."""
    return any(rare == other and set(common) & set(these) for these, other in CHOOSING)


def drawn_pairs(images: Pool) -> list[tuple[tuple[str, ...], str]]:
    """A dozen pairs of classes of at least `FREQUENT` images, and three of several common ones."""
    frequent = frequent_classes(images)
    rng = np.random.default_rng(0)
    pairs = [((common,), rare) for common, rare in permutations(frequent, 2)]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:12]]
    for several in (3, 4, 3):
        names = rng.permutation(frequent)[: several + 1]
        if len(names) > several:
            chosen.append((tuple(map(str, names[:several])), str(names[several])))
    return chosen


def drawn_photographs(images: Pool, choosing: bool) -> list[tuple[tuple[str, ...], str]]:
    """A dozen pairs of labels and as many sets of three or four common ones, drawn at random.

    The hidden label is one of `HIDDEN_FOR_CHOOSING`, or none of these.
    """
    frequent = frequent_classes(images)
    rng = np.random.default_rng(0)
    pairs = [((common,), rare) for common, rare in permutations(frequent, 2)]
    one = [pairs[i] for i in rng.permutation(len(pairs))]
    chosen = [p for p in one if (p[1] in HIDDEN_FOR_CHOOSING) == choosing][:OF_EACH_GROUP]
    for several in cycle((3, 4)):
        names = [str(name) for name in rng.permutation(frequent)[: several + 1]]
        if (names[-1] in HIDDEN_FOR_CHOOSING) == choosing:
            chosen.append((tuple(names[:-1]), names[-1]))
        if len(chosen) == 2 * OF_EACH_GROUP:
            return chosen
    return chosen


def frequent_classes(images: Pool) -> list[str]:
    """Names of the classes with at least `FREQUENT` images, without those of spoiled ones."""
    names, counts = np.unique([c for c in images.labels if "/" not in c], return_counts=True)
    return [str(name) for name in names[counts >= FREQUENT]]


def hide(
    images: Pool, common: tuple[str, ...], rare: str, share: float, seed: int, size: int
) -> Planted:
    """A ``share`` of ``rare`` among as many of each of the ``common`` classes.

    Fewer images than ``size`` where a common class has too few.
    """
    rng = np.random.default_rng(seed)
    fewest = min(int((images.labels == c).sum()) for c in common)
    size = min(size, int(fewest * len(common) / (1 - share)))
    hidden = round(size * share)
    rows = [
        rng.choice(np.flatnonzero(images.labels == c), (size - hidden) // len(common), False)
        for c in common
    ]
    rows.append(rng.choice(np.flatnonzero(images.labels == rare), hidden, False))
    every = np.concatenate(rows)
    group = "one common class" if len(common) == 1 else "several common classes"
    name = f"{rare} in {'+'.join(common)}, {share:.0%}, seed {seed}"
    rarely = np.arange(len(every)) >= len(every) - hidden
    order = rng.permutation(len(every))
    return Planted(name, group, every[order], rarely[order], seed, share == max(SHARES))


def long_tail(images: Pool, seed: int, size: int) -> Planted:
    """All classes in random order, each rarer than the one before: the last are the rare ones."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(whole_classes(images))
    weights = np.geomspace(1, 0.01, len(names))
    counts = np.maximum(1, np.round(size * weights / weights.sum())).astype(int)
    counts = np.minimum(counts, [(images.labels == name).sum() for name in names])
    rows = [
        rng.choice(np.flatnonzero(images.labels == name), count, False)
        for name, count in zip(names, counts, strict=True)
    ]
    tail = np.cumsum(counts[::-1]) <= TAIL * counts.sum()
    rarely = np.repeat(tail[::-1], counts)
    every = np.concatenate(rows)
    order = rng.permutation(len(every))
    name = f"long tail {seed}, {tail.sum()} of {len(names)} classes, seed {seed}"
    return Planted(name, "natural long tail", every[order], rarely[order], seed, True)


def natural_tail(images: Pool, small: int = SMALL) -> Planted:
    """All images; those of labels with at most ``small`` are the rare ones."""
    whole = np.flatnonzero(np.isin(images.labels, whole_classes(images)))
    rows = np.random.default_rng(0).permutation(whole)
    names, place, counts = np.unique(images.labels[rows], return_inverse=True, return_counts=True)
    name = f"natural tail, {(counts <= small).sum()} of {len(names)} labels"
    rarely = (counts <= small)[place]
    return Planted(name, "photographs, natural tail", rows, rarely, 0, False)


def tails(images: Pool, size: int, seeds: int, small: int) -> Iterator[Planted]:
    """Sets that tell whether outlying images or small kinds are rare: `natural_tail` and parts of
    it, tails drawn at random, and a tenth of one label among several common ones."""
    whole = natural_tail(images, small)
    yield replace(whole, group="natural tail and parts")
    for share in PARTS:
        for seed in range(seeds):
            rng = np.random.default_rng([seed, round(100 * share)])
            part = rng.permutation(len(whole.rows))[: int(share * len(whole.rows))]
            yield replace(
                whole,
                name=f"{share:.0%} of the {whole.name}, seed {seed}",
                group="natural tail and parts",
                rows=whole.rows[part],
                rare=whole.rare[part],
                seed=seed,
            )
    for seed in range(DRAWN_TAILS):
        yield drawn_tail(images, seed)
    for common, rare in drawn_photographs(images, choosing=False):
        if len(common) > 1:
            for seed in range(seeds):
                case = hide(images, common, rare, 0.1, seed, size)
                yield replace(case, group="a tenth among several common classes", trains=False)


def drawn_tail(images: Pool, seed: int) -> Planted:
    """Five to ten common labels, or up to 20, and two to five rare ones of 1 to 3 % each."""
    rng = np.random.default_rng([1, seed])
    names, frequent = whole_classes(images), frequent_classes(images)
    common = rng.permutation(frequent)[: int(rng.integers(5, min(len(frequent), 21)))]
    rare = rng.permutation([n for n in names if n not in common])[: int(rng.integers(2, 6))]
    of_each = int(rng.integers(100, 351))
    rows = [rng.permutation(np.flatnonzero(images.labels == n))[:of_each] for n in common]
    total = sum(map(len, rows))
    for name in rare:
        count = max(5, int(total * rng.uniform(0.01, 0.03)))
        rows.append(rng.permutation(np.flatnonzero(images.labels == name))[:count])
    every = np.concatenate(rows)
    name = f"{'+'.join(rare)} among {len(common)} labels, seed {seed}"
    rarely = np.isin(images.labels[every], rare)
    return Planted(name, "tails drawn at random", every, rarely, seed, False)


def mislabel(images: Pool, seed: int, hidden: bool) -> Planted:
    """A set of labels, each of which holds a few images (`MISLABELLED`) that are of another class.

    Args:
        hidden: these classes, a third of all, have no label of their own; else they are those of
            the other labels.
    """
    rng = np.random.default_rng(seed)
    counts = {c: (images.labels == c).sum() for c in whole_classes(images)}
    names = [str(c) for c in rng.permutation([c for c in counts if counts[c] >= FREQUENT])]
    drawn = {c: list(rng.permutation(np.flatnonzero(images.labels == c))) for c in names}
    without = names[: len(names) // 3] if hidden else []
    rows, labels, rarely = [], [], []
    for name in names[len(without) :]:
        size = min(OF_A_LABEL, int(counts[name]) - TAKEN)
        wrong = max(2, round(size * MISLABELLED))
        others = without or [c for c in names if c != name]
        rows += drawn[name][: size - wrong]
        for k in range(wrong):
            rows.append(drawn[others[(len(labels) + k) % len(others)]].pop())
        labels += [name] * size
        rarely += [False] * (size - wrong) + [True] * wrong
    order = rng.permutation(len(rows))
    every, label_names = np.array(rows)[order], np.array(labels)[order]
    group = "kinds without a label" if hidden else "wrong labels"
    name = f"{group}, {MISLABELLED:.0%}, seed {seed}"
    return Planted(name, group, every, np.array(rarely)[order], seed, False, label_names)
