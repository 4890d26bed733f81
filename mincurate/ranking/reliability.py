"""How far a ranking deserves trust, why, and what would help most: one word and two sentences.

The limits were chosen on the pairs for choosing and checked on the others (`benchmarks/study.py`).
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["strong", "fair", "weak"]
AGREEMENT = {"strong": 0.575, "fair": 0.47}
"""`outliers.tail_agreement` from which a ranking by embedding is strong, or fair."""
HOUR = 60.0
"""Minutes of training below which a model's score is a guess: after ten, it was hardly better than
chance on most pairs."""
FEW = 200
"""Images below which chance decides much."""
MORE = "Score more of them."
BETTER = "a network that was trained on images like these (--embedding torchvision:NAME@FILE)"


@dataclass(frozen=True)
class Trust:
    """What to think of a ranking.

    Attributes:
        level: ``strong``, ``fair`` or ``weak``.
        why: what speaks for or against it, one sentence.
        better: what would improve it most, one sentence.
    """

    level: Level
    why: str
    better: str

    @property
    def words(self) -> str:
        """All of it."""
        meaning = {
            "strong": "trust the first pages",
            "fair": "expect common images among the first ones",
            "weak": "take the first pages for a guess",
        }
        return f"{self.level}: {meaning[self.level]}. {self.why} {self.better}"


def judge(
    numbers: dict[str, float],
    *,
    rank_by: str,
    weak_embedding: bool,
    images: int,
    minutes: float | None = None,
) -> Trust:
    """Judge a ranking by the diagnostics of its run.

    Args:
        numbers: of `diagnostics.examine`.
        rank_by: what the ranking follows.
        weak_embedding: the vectors' network was not trained to tell kinds of images apart.
        images: different images that rank.
        minutes: for which the model was trained here; ``None`` if it was given.
    """
    if rank_by in ("minority", "calibrated"):
        found = _by_model(numbers, minutes)
    else:
        found = _by_vectors(numbers, weak_embedding, images)
    if weak_embedding and rank_by != "minority" and found.level != "weak":
        why = "The embedding is the denoiser's own, which was not trained to tell kinds apart."
        found = Trust("weak", why, f"Best give {BETTER}.")
    if images < FEW and found.level == "strong":
        found = Trust("fair", f"Of {images} images, chance makes some rare.", MORE)
    return found


def _by_vectors(numbers: dict[str, float], weak_embedding: bool, images: int) -> Trust:
    """What helps most is what is missing: a network that knows kinds, then images to compare."""
    agreement = numbers.get("tail_agreement")
    if agreement is None:
        return Trust("weak", "There are too few images to say more.", MORE)
    level: Level = "weak"
    if agreement >= AGREEMENT["fair"]:
        level = "strong" if agreement >= AGREEMENT["strong"] else "fair"
    why = (
        f"Two rankings, each from half of the embedding's features, share {agreement:.0%} of "
        "their rarest tenth."
    )
    if weak_embedding:
        better = f"Most would help {BETTER}."
    elif images < FEW:
        better = MORE
    elif level == "strong":
        better = "Nothing more is needed."
    else:
        better = (
            "Most would help a network that was trained on images more like these (--embedding)."
        )
    return Trust(level, why, better)


def _by_model(numbers: dict[str, float], minutes: float | None) -> Trust:
    """The first thing that speaks against it is the one to mend first; none makes it strong: the
    study found no number of the run that tells whether what a denoiser rebuilds badly is rare."""
    gain = numbers.get("denoising_gain", 0.0)
    if gain < 1.1:
        why = f"The model removes noise no better than a filter does (gain {gain:.2f})."
        return Trust("weak", why, "Train it longer (--train-minutes) or give one (--model).")
    texture = numbers.get("spearman_complexity", 0.0)
    if abs(texture) > 0.5:
        why = f"The score mostly follows how busy an image is (Spearman {texture:.2f})."
        return Trust("weak", why, f"Rank by an embedding, best that of {BETTER}.")
    stability = numbers.get("rank_stability", 0.0)
    if stability < 0.8:
        why = f"Fresh noise would change the order (correlation {stability:.2f})."
        return Trust("weak", why, "Raise --n-draws.")
    if minutes is not None and minutes < HOUR:
        spent = "a minute" if minutes < 1.5 else f"{minutes:.0f} minutes"
        why = f"A model that was trained for {spent} ranks partly by texture."
        return Trust("weak", why, f"Rank by an embedding, best that of {BETTER}.")
    why = (
        f"The model denoises {gain:.1f} times as well as a filter, and fresh noise would keep the "
        f"order ({stability:.2f})."
    )
    return Trust("fair", why, f"Compare with a ranking by {BETTER}.")
