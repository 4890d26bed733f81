"""What to generate: ordinal classes, a label, or images like some that were chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mincurate.errors import UserError
from mincurate.ranking.reference import Base


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        classes: ordinal classes, any of which will do.
        label: rare images of this label only.
    """

    classes: tuple[int, ...]
    label: str | None = None

    def __str__(self) -> str:
        """In words."""
        few = ", ".join(map(str, self.classes))
        what = f"class {few}" if len(self.classes) == 1 else f"classes {few}"
        return what + (f", label {self.label!r}" if self.label is not None else "")


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

    A label that has no image among the ``top_fraction`` gets the rarest class that it has one of.
    """
    frame, classes = base.frame, base.frame["rarity_class"].to_numpy(np.int64)
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
    wanted = (
        (target_class,)
        if target_class is not None
        else rarest_classes(base.num_classes, top_fraction)
    )
    members = np.isin(classes, wanted)
    names = sorted({n for n in frame["label"] if isinstance(n, str)})
    if label is not None:
        if label not in names:
            raise UserError(
                f"Run {base.run.key} knows no label {label!r}; "
                f"it has: {', '.join(names) or 'none'}."
            )
        of_label = frame["label"].eq(label).fillna(False).to_numpy(bool)
        if target_class is None and not (members & of_label).any():
            wanted = (int(classes[of_label].max()),)
            members = classes == wanted[0]
        members &= of_label
    if not members.any():
        raise UserError(
            f"There is no image of {Target(wanted, label)} in run {base.run.key}; take a larger "
            "--top-fraction."
        )
    return Target(wanted, label), members
