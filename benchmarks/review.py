"""Does a review learn, and does it know when to stop? The planted cases of the study, replayed.

    python benchmarks/review.py --cache vectors.npz          # the pairs that are reported
    python benchmarks/review.py --cases choosing             # those on which settings were chosen

Every case hides images of one class among common ones. A person looks at the ranking from the
rarest on until there are ten keeps (the hidden class) and ten drops, and tags ten of each; or all
that was looked at. Then forty of the learned order are looked at and tagged, twice. Prints the
precision of the next hundred, by the ranking and learned; how often the interval of what is left
holds, how wide it is, and how far the estimate is off; and, of cases with one large and six small
hidden classes, what share of these is on the first page, by the ranking and diverse.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from planted import CHOOSING, REPORTED, SEVERAL, Pool, hide, pool, whole_classes
from provenance import provenance
from study import DATA, NETWORK

SHARES = (0.02, 0.05, 0.1)
EACH = 10
"""Keeps and drops to begin with."""
PAGES = 2
"""Pages that are looked at after that."""
NEXT = 100
COMMON, LARGE, SMALL, KINDS = 1050, 70, 12, 6
"""Images of the common class, of the large hidden one and of each small one, and how many these."""


def ranked(images: Pool, rows: np.ndarray) -> np.ndarray:
    """Order of the rows, the rarest first."""
    from mincurate.ranking import outliers, vector_rarity

    reference = outliers.reference(map(str, rows))
    return np.argsort(-vector_rarity.measure(images.vectors[rows], reference).rarity)


def looked_at(truth: np.ndarray) -> int:
    """Images that are looked at, in order, until there are enough keeps and drops."""
    keeps, drops = np.cumsum(truth), np.cumsum(~truth)
    return int(max(np.searchsorted(keeps, EACH), np.searchsorted(drops, EACH))) + 1


def replay(vectors: np.ndarray, truth: np.ndarray, every: bool) -> Iterator[dict[str, float]]:
    """What a review knows after its first verdicts, and after each further page.

    Args:
        vectors: of the images, the rarest first.
        truth: which of them are of the hidden class.
        every: all that was looked at is tagged, not ten of each.
    """
    from mincurate.curation import first_page, learned_review

    n = looked_at(truth)
    seen = np.arange(len(truth)) < n
    keep, drop = seen & truth, seen & ~truth
    if not every:
        keep &= np.cumsum(keep) <= EACH
        drop &= np.cumsum(drop) <= EACH
    for page in range(PAGES + 1):
        started = time.monotonic()
        learned = learned_review.learn(vectors, keep, drop)
        seconds = time.monotonic() - started
        left, true = learned.left, int((truth & ~(keep | drop)).sum())
        yield {
            "page": page,
            "every": every,
            "by_rank": float(truth[np.flatnonzero(~seen)[:NEXT]].mean()),
            "learned": float(truth[learned.order(~seen)[:NEXT]].mean()),
            "left": true,
            **vars(left),
            "holds": left.low <= true <= left.high,
            "seconds": seconds,
        }
        rows = learned.order(~(keep | drop))[: first_page.PAGE]
        seen[rows] = True
        keep[rows], drop[rows] = truth[rows], ~truth[rows]


def first_pages(images: Pool, seed: int) -> dict[str, float]:
    """Share of the hidden classes on the first page."""
    from mincurate.curation import first_page

    rng = np.random.default_rng(seed)
    names = [c for c in rng.permutation(whole_classes(images)) if (images.labels == c).sum()]
    counts = [COMMON, LARGE, *[SMALL] * KINDS]
    hidden = names[1 : KINDS + 2]
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(images.labels == name), count, replace=False)
            for name, count in zip(names, counts, strict=False)
        ]
    )
    order = ranked(images, rows)[: max(200, len(rows) // 10)]
    labels = images.labels[rows[order]]
    page = first_page.diverse(images.vectors[rows[order]])

    def share(chosen: np.ndarray) -> float:
        return float(np.isin(hidden, labels[chosen]).mean())

    return {"diverse": share(page), "by_rank": share(np.arange(first_page.PAGE))}


def show(rows: list[dict[str, float]], pages: list[dict[str, float]]) -> None:
    """The figures."""
    begun = [row for row in rows if row["page"] == 0 and not row["every"]]
    by_rank, learned = (np.mean([row[key] for row in begun]) for key in ("by_rank", "learned"))
    print(f"{len(begun)} cases, {np.mean([row['seconds'] for row in rows]):.2f} s to learn")
    print(
        f"precision of the next {NEXT} after {EACH} keeps and {EACH} drops: {by_rank:.3f} by the "
        f"ranking, {learned:.3f} learned, {learned / by_rank:.2f} times"
    )
    print("what is left: held, median of low, about, high over the truth, median truth")
    for every in (False, True):
        for page in range(PAGES + 1):
            of = [row for row in rows if (row["page"], row["every"]) == (page, every)]
            ratios = [
                np.median([row[key] / max(1, row["left"]) for row in of])
                for key in ("low", "about", "high")
            ]
            held, true = np.mean([row["holds"] for row in of]), np.median([r["left"] for r in of])
            name = "all that was looked at" if every else f"{EACH} and {EACH}"
            words = "  ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"  {name:24s} and {page} pages: {held:.0%}  {words}  {true:.0f}")
    print(f"  all: {np.mean([row['holds'] for row in rows]):.1%}")
    for key in ("by_rank", "diverse"):
        shares = [page[key] for page in pages]
        print(f"hidden classes on the first page, {key}: {np.mean(shares):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--embedding", default=NETWORK)
    parser.add_argument("--cases", choices=["reported", "choosing"], default="reported")
    parser.add_argument("--images", type=int, default=2500, help="images of a case, at most")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--per-class", type=int, default=1500, help="images read of every class")
    parser.add_argument("--cache", type=Path, help="keep the vectors of the images in this file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    images = pool(options.data, options.embedding, options.per_class, options.cache)
    pairs = CHOOSING if options.cases == "choosing" else (*REPORTED, *SEVERAL)
    rows: list[dict[str, float]] = []
    for common, rare in pairs:
        for share in SHARES:
            for seed in range(options.seeds):
                case = hide(images, common, rare, share, seed, options.images)
                order = ranked(images, case.rows)
                truth, vectors = case.rare[order], images.vectors[case.rows[order]]
                if truth.sum() < 2 * EACH or looked_at(truth) > len(truth) / 2:
                    continue  # nobody would look at so many
                for every in (False, True):
                    rows += [{"case": case.name, **r} for r in replay(vectors, truth, every)]
    pages = [first_pages(images, seed) for seed in range(10)]
    show(rows, pages)
    if options.json:
        result = {**provenance(), "rows": rows, "first_pages": pages}
        options.json.write_text(json.dumps(result, indent=1, default=float))


if __name__ == "__main__":
    main()
