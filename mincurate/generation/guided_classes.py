"""What to generate: ordinal classes, a label, or images like some that were chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mincurate.errors import UserError
from mincurate.ranking.reference import Base

GUIDES = ("rarity", "minority")
"""Whose classes can guide: those of the ranking in force, or of the minority score."""
DISAGREE = 0.3
"""Spearman's correlation of the two rankings below which a user has to know."""


def classes_of(base: Base) -> NDArray[np.int64]:
    """The ordinal class of every image of a run, ``(N,)``: what guidance learns and goes to."""
    return base.frame[f"{base.guided_by}_class"].to_numpy(np.int64)


def guided_by(base: Base, by: str) -> Base:
    """The run with the classes that shall guide.

    Raises:
        UserError: there are no such classes, or the images are of bands.
    """
    base.check_colours()
    if by not in GUIDES:
        raise UserError(f"--by is {' or '.join(GUIDES)}, not {by!r}.")
    return replace(base, guided_by=by)


def disagreement(base: Base) -> str:
    """A warning where the ranking in force and the minority score disagree; empty elsewhere."""
    from scipy.stats import spearmanr

    if base.column == "minority_score":
        return ""
    rho = float(spearmanr(base.frame[base.column], base.frame["minority_score"]).statistic)
    if not rho < DISAGREE:
        return ""
    other = next(name for name in GUIDES if name != base.guided_by)
    return (
        f"The ranking of run {base.run.key} ({base.run.record['rank_by']}) and its minority score "
        f"disagree (Spearman {rho:.2f}): the images follow the {base.guided_by} classes. "
        f"`--by {other}` takes the others."
    )


def labels_of(base: Base) -> list[str | None]:
    """The label of every image of a run; ``None`` where it has none."""
    return [name if isinstance(name, str) else None for name in base.frame["label"]]


@dataclass(frozen=True)
class Target:
    """What to generate.

    Attributes:
        classes: ordinal classes; an image of any of them will do.
        label: images of this label only.
    """

    classes: tuple[int, ...]
    label: str | None = None

    def __str__(self) -> str:
        """In words."""
        numbers = ", ".join(map(str, self.classes))
        words = f"class {numbers}" if len(self.classes) == 1 else f"classes {numbers}"
        return words + (f", label {self.label!r}" if self.label is not None else "")

    def members(self, base: Base) -> NDArray[np.bool_]:
        """Which images of a run are of this kind, ``(N,)``."""
        members = np.isin(classes_of(base), self.classes)
        if self.label is not None:
            members &= np.array([name == self.label for name in labels_of(base)])
        return members


def rarest_classes(num_classes: int, fraction: float) -> tuple[int, ...]:
    """The ordinal classes that make up the rarest ``fraction`` of the images, at least one."""
    if not 0 < fraction <= 1:
        raise UserError(f"--top-fraction lies above 0 and at most at 1; {fraction} does not.")
    n = max(1, round(num_classes * fraction))
    return tuple(range(num_classes - n, num_classes))


def choose_target(
    base: Base,
    *,
    target_class: int | None,
    top_fraction: float,
    label: str | None,
    like: Sequence[str] | None,
) -> tuple[Target, NDArray[np.bool_]]:
    """What is to be generated, and which images of the run are of this kind.

    For a label without images among the ``top_fraction`` it is the rarest class with some.

    Args:
        target_class: one ordinal class, instead of ``top_fraction``.
        top_fraction: the classes that make up this rarest share of the images.
        label: only images of this label.
        like: content hashes of images to vary, instead of a class.

    Raises:
        UserError: there is no such class, label or image.
    """
    frame, classes = base.frame, classes_of(base)
    if target_class is not None and not 0 <= target_class < base.num_classes:
        raise UserError(
            f"There is no class {target_class}: run {base.run.key} has 0 (commonest) to "
            f"{base.num_classes - 1} (rarest)."
        )
    if like is not None:
        members = frame["content_hash"].isin(list(like)).to_numpy(bool)
        if not members.any():
            raise UserError(f"None of the images to vary is among those of run {base.run.key}.")
        return Target(tuple(sorted(set(classes[members].tolist()))), label), members
    if target_class is not None:
        target = Target((target_class,), label)
    else:
        target = Target(rarest_classes(base.num_classes, top_fraction), label)
    if label is not None:
        labels = labels_of(base)
        if label not in labels:
            names = ", ".join(sorted({name for name in labels if name is not None}))
            raise UserError(
                f"Run {base.run.key} has no label {label!r}; it has: {names or 'none'}."
            )
        if target_class is None and not target.members(base).any():
            of_label = np.array([name == label for name in labels])
            target = Target((int(classes[of_label].max()),), label)
    members = target.members(base)
    if not members.any():
        raise UserError(
            f"There is no image of {target} in run {base.run.key}; take a larger --top-fraction."
        )
    return target, members
