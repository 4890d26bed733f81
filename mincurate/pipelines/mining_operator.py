"""What the operator `mine_images` of the App asks of a dataset, and does; see `operators`."""

from typing import TYPE_CHECKING, Any

from mincurate.dataset import lookup
from mincurate.images import collection
from mincurate.pipelines import operators
from mincurate.progress import Reporter
from mincurate.runs.store import Run

if TYPE_CHECKING:
    from mincurate.pipelines.mine import Mined

RAREST = "rarest"


def check_pool(pool: str) -> None:
    """Raise `UserError` when there is plainly nothing to mine at a place."""
    collection.check_place(pool)


def examples(dataset: Any, run: Run, selected: list[str]) -> dict[str, str]:
    """What can be looked for, with titles: as `operators.images_to_vary`, labels, `RAREST`."""
    sets = operators.images_to_vary(dataset, selected)
    sets |= {RAREST: "The rarest class"}
    names = operators.counts(run).labels
    return sets | {f"label:{name}": f"Label {name}: {n:,} images" for name, n in names.items()}


def mine(
    dataset: Any, pool: str, *, like: str, selected: list[str], n: int, reporter: Reporter
) -> "Mined":
    """Find real images in a pool, and add them to the dataset.

    Args:
        dataset: the dataset.
        pool: as for `pipelines.mine.mine`.
        like: one of `examples`.
        selected: ids of the selected samples.
        n: how many, at most.
        reporter: hears of progress.
    """
    from mincurate.pipelines import mine as pipeline

    of: Any = {RAREST: None, "selection": ",".join(selected)}.get(like, like)
    run = lookup.find(dataset)
    return pipeline.mine(pool, run, like=of, n=n, dataset=dataset.name, reporter=reporter)
