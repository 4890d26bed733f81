"""Does training with the generated images pay? The same classifier is trained in several ways.

The rivals of generated images are cheap: copies of real images, a balanced loss, synthetic
features, real images from a pool. All are tested on the same held-out real images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.evaluation import students, training_arms
from mincurate.evaluation.students import Student
from mincurate.evaluation.training_arms import GENERATED, NOTHING, WEIGHTS, Material

RESAMPLES = 1000
RARE, REST, ALL = "rare", "rest", "all"
"""Groups of labels; their recall is the mean over the labels."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How one student did on the test images.

    Attributes:
        student: its name.
        arms: what it was trained with; ``generated`` once, at the weight that did best, and not at
            all where no image was accepted.
        recall: ``(arms, labels)``, mean over seeds.
        resampled: the same, ``(RESAMPLES, arms, labels)``, over seeds and test images at once.
        rare: ``(labels,)``, which are rare.
        weight: of generated images, the one that did best; NaN without any.
    """

    student: str
    arms: list[str]
    recall: NDArray[np.float64]
    resampled: NDArray[np.float64]
    rare: NDArray[np.bool_]
    weight: float

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """The labels of `RARE`, `REST` and `ALL`; a group without labels is left out."""
        members = {RARE: self.rare, REST: ~self.rare, ALL: np.ones_like(self.rare)}
        return {name: labels for name, labels in members.items() if labels.any()}

    @property
    def aim(self) -> NDArray[np.bool_]:
        """The labels that count: the rare ones, or all where none is rare."""
        return self.groups().get(RARE, np.ones_like(self.rare))

    def interval(
        self, arm: str, labels: NDArray[np.bool_], less: str | None = None
    ) -> tuple[float, float, float]:
        """Mean recall of some labels, with its 95 % interval; less that of another arm."""
        i, j = self.arms.index(arm), None if less is None else self.arms.index(less)
        value, samples = self.recall[i, labels].mean(), self.resampled[:, i, labels].mean(1)
        if j is not None:
            value -= self.recall[j, labels].mean()
            samples = samples - self.resampled[:, j, labels].mean(1)
        low, high = np.quantile(samples, [0.025, 0.975])
        return float(value), float(low), float(high)


@dataclass(frozen=True, eq=False)
class Downstream:
    """The outcome of a trial.

    Attributes:
        table: one row per student, arm and group or label (``of``), with ``recall``, ``low``,
            ``high``, and the difference to training with nothing more: ``change``,
            ``change_low``, ``change_high``. Intervals of 95 % cover the randomness of training and
            the choice of the test images.
        labels: one row per label: ``label``, ``rare``, ``n_train``, ``n_generated``, ``n_mined``,
            ``n_test``.
        outcomes: of every student.
    """

    table: pd.DataFrame
    labels: pd.DataFrame
    outcomes: list[Outcome]


def compare(
    materials: Mapping[Student, Material],
    names: Sequence[str],
    rare: Sequence[str],
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda n: None,
) -> Downstream:
    """Train every student in every way, and test it.

    For every seed all arms start from the same weights and train for the same number of steps.

    Args:
        materials: what each student sees; all have the same images in the same order.
        names: of the labels, by their number.
        rare: those that count as rare.
        seeds: of the trainings, different ones.
        advance: called with 1 after each training.
    """
    is_rare = np.isin(np.array(names), list(rare))
    outcomes = [
        _outcome(student, material, is_rare, seeds, device, advance)
        for student, material in materials.items()
    ]
    rows = [row for outcome in outcomes for row in _rows(outcome, names)]
    return Downstream(
        pd.DataFrame(rows), _counts(next(iter(materials.values())), names, is_rare), outcomes
    )


def trainings(materials: Mapping[Student, Material], seeds: Sequence[int]) -> int:
    """How many trainings `compare` makes."""
    each = [
        3 + (m.mined is not None) + (len(m.generated[1]) > 0) * (m.vectors + len(WEIGHTS))
        for m in materials.values()
    ]
    return len(seeds) * sum(each)


def _outcome(
    student: Student,
    material: Material,
    rare: NDArray[np.bool_],
    seeds: Sequence[int],
    device: str,
    advance: Callable[[int], None],
) -> Outcome:
    inputs, truth = material.test
    hits: dict[tuple[str, float | None], list[NDArray[np.bool_]]] = {}
    for seed in seeds:
        for arm in training_arms.arms(material, len(rare), seed):
            net = students.train(student, arm, len(rare), seed, device)
            right = (students.predict(net, inputs, device) == truth).numpy()
            hits.setdefault((arm.name, arm.weight), []).append(right)
            advance(1)
    labels = truth.numpy()
    correct = {arm: np.stack(right) for arm, right in hits.items()}
    weighted = {weight: c for (name, weight), c in correct.items() if name == GENERATED}
    single = {name: c for (name, _), c in correct.items() if name != GENERATED}
    weight = np.nan
    if weighted:
        aim = rare if rare.any() else np.ones_like(rare)
        by_weight = {w: c for w, c in weighted.items() if w}
        weight, single[GENERATED] = best_weight(by_weight, labels, aim)
    stacked = np.stack(list(single.values())).astype(np.float64)
    recall = np.stack([stacked[:, :, labels == k].mean((1, 2)) for k in range(len(rare))], axis=1)
    return Outcome(
        student.name, list(single), recall, resample(stacked, labels, len(rare)), rare, weight
    )


def best_weight(
    correct: Mapping[float, NDArray[np.bool_]], labels: NDArray[np.int64], aim: NDArray[np.bool_]
) -> tuple[float, NDArray[np.bool_]]:
    """The weight with the best recall, and hits ``(seeds, N)`` that were not chosen by themselves.

    Every half of the test images is judged at the weight that is best on the other half: the best
    of several would look better than it is.

    Args:
        correct: weight to hits ``(seeds, N)``.
        labels: ``(N,)``, of the test images.
        aim: ``(labels,)``, those whose recall counts.
    """

    def best(rows: NDArray[np.bool_]) -> float:
        def recall(weight: float) -> float:
            means = [
                correct[weight][:, rows & (labels == k)].mean()
                for k in np.flatnonzero(aim)
                if (rows & (labels == k)).any()
            ]
            return float(np.mean(means)) if means else 0.0

        return max(correct, key=recall)

    half = np.zeros(len(labels), dtype=bool)
    rng = np.random.default_rng(0)
    for k in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == k))
        half[mine[rng.integers(2) :: 2]] = True
    honest = np.where(half, correct[best(~half)], correct[best(half)])
    return best(np.ones_like(half)), honest


def resample(
    correct: NDArray[np.float64], labels: NDArray[np.int64], num_labels: int
) -> NDArray[np.float64]:
    """Recall ``(RESAMPLES, arms, labels)`` of hits ``(arms, seeds, N)``: bootstrap over seeds and,
    within each label, over test images."""
    rng = np.random.default_rng(0)
    _, seeds, _ = correct.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    recalls = []
    for k in range(num_labels):
        mine = correct[:, :, labels == k]
        n = mine.shape[2]
        of_images = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
        recalls.append(np.einsum("bs,asb->ba", of_seeds, mine @ of_images.T))
    return np.stack(recalls, axis=2)


def _rows(outcome: Outcome, names: Sequence[str]) -> list[dict[str, object]]:
    single = {name: np.arange(len(names)) == k for k, name in enumerate(names)}
    kinds = {"group": outcome.groups(), "label": single}
    rows: list[dict[str, object]] = []
    for arm in outcome.arms:
        for kind, members in kinds.items():
            for of, labels in members.items():
                recall, low, high = outcome.interval(arm, labels)
                change, change_low, change_high = outcome.interval(arm, labels, NOTHING)
                rows.append(
                    {
                        "student": outcome.student,
                        "arm": arm,
                        "weight": outcome.weight if arm == GENERATED else np.nan,
                        "kind": kind,
                        "of": of,
                        "recall": recall,
                        "low": low,
                        "high": high,
                        "change": change,
                        "change_low": change_low,
                        "change_high": change_high,
                    }
                )
    return rows


def _counts(material: Material, names: Sequence[str], rare: NDArray[np.bool_]) -> pd.DataFrame:
    sets = {"train": material.real, "generated": material.generated, "mined": material.mined}
    sets |= {"test": material.test}
    table = pd.DataFrame({"label": list(names), "rare": rare})
    for name, labelled in sets.items():
        labels = np.zeros(0, np.int64) if labelled is None else labelled[1].numpy()
        table[f"n_{name}"] = np.bincount(labels, minlength=len(names))
    return table
