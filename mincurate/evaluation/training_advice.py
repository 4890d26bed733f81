"""What a trial of classifiers says to do about the rare labels: generate, or something cheaper."""

from dataclasses import dataclass

from mincurate.evaluation.classifier_trial import REST, Downstream, Outcome
from mincurate.evaluation.training_arms import (
    BALANCED_LOSS,
    COPIES,
    FEATURES,
    GENERATED,
    MINED,
    NOTHING,
)
from mincurate.evaluation.verdict import Tone

LOSS = 0.01
"""Recall that the other labels may lose on average, as long as the interval holds 0."""
DOING = {
    COPIES: "draw the rare labels as often as the others (copies)",
    BALANCED_LOSS: "train with a balanced loss (logit adjustment)",
    FEATURES: "add synthetic features of the rare labels",
    MINED: "add the mined real images",
    GENERATED: "add the generated images",
}
"""What each arm tells to do."""


@dataclass(frozen=True)
class Advice:
    """The advice of one student, or of the trial.

    Attributes:
        arm: what to train with; one of `training_arms`.
        weight: of generated images, where they are to be used.
        student: whose advice it is.
        words: a sentence or two.
        tone: good where generating pays.
    """

    arm: str
    weight: float | None
    student: str
    words: str
    tone: Tone


def advise(trial: Downstream) -> tuple[Advice, list[Advice]]:
    """The advice of the student that tells the rare labels best, and that of each student."""
    each = [_advise(outcome) for outcome in trial.outcomes]
    reach = [max(o.interval(arm, o.aim)[0] for arm in o.arms) for o in trial.outcomes]
    return each[reach.index(max(reach))], each


def _advise(outcome: Outcome) -> Advice:
    """Generate only where it beats every rival on the rare labels, without loss elsewhere."""
    aim, labels = outcome.aim, outcome.groups()
    rivals = [arm for arm in outcome.arms if arm != GENERATED]
    rival = max(rivals, key=lambda arm: outcome.interval(arm, aim)[0])
    if GENERATED not in outcome.arms:
        return _without(outcome, rival)
    gain = outcome.interval(GENERATED, aim, rival)
    elsewhere = outcome.interval(GENERATED, labels[REST], rival) if REST in labels else None
    rare = "rare labels" if outcome.rare.any() else "labels"
    better = f"{outcome.interval(GENERATED, aim)[0]:.3f} with the generated images, "
    better += f"{outcome.interval(rival, aim)[0]:.3f} with {rival}"
    spared = elsewhere is None or (elsewhere[2] >= 0 and elsewhere[0] >= -LOSS)
    if gain[1] > 0 and spared:
        words = (
            f"Generating pays: recall of the {rare} by a {outcome.student} is {better}, the best "
            f"of the others ({_signed(gain)})"
        )
        words += (
            f"; on the other labels the difference is {_signed(elsewhere)}" if elsewhere else ""
        )
        words += f". Draw a generated image {outcome.weight:g} times as often as a real one."
        return Advice(GENERATED, outcome.weight, outcome.student, words, "good")
    why = f"recall of the {rare} by a {outcome.student} is {better} ({_signed(gain)})"
    if gain[1] > 0 and elsewhere is not None:
        why += f", but the other labels lose ({_signed(elsewhere)})"
    change = outcome.interval(rival, aim, NOTHING)
    if rival == NOTHING or change[1] <= 0:
        instead = "Nothing that was tried helps beyond its interval: label more real images"
        return Advice(NOTHING, None, outcome.student, f"{instead}; {why}.", "fair")
    words = f"Do not generate for this: {DOING[rival]}; {why}."
    return Advice(rival, None, outcome.student, words, "fair")


def _without(outcome: Outcome, rival: str) -> Advice:
    """What to do where no generated image was accepted."""
    rare = "rare labels" if outcome.rare.any() else "labels"
    change = outcome.interval(rival, outcome.aim, NOTHING)
    none = "No generated image was accepted"
    if rival == NOTHING or change[1] <= 0:
        words = f"{none}, and no cheap remedy helps beyond its interval: label more real images."
        return Advice(NOTHING, None, outcome.student, words, "fair")
    recall = outcome.interval(rival, outcome.aim)[0]
    words = (
        f"{none}. {DOING[rival].capitalize()}: recall of the {rare} by a {outcome.student} is "
        f"{recall:.3f}, {_signed(change)} more than with nothing."
    )
    return Advice(rival, None, outcome.student, words, "fair")


def _signed(interval: tuple[float, float, float]) -> str:
    value, low, high = interval
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
