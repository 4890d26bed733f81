"""How far to trust a ranking: a level, the reason, and what would improve it most.

The limits were chosen on one half of the pairs of `benchmarks/study.py` and checked on the other.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["strong", "fair", "weak"]
LEVELS: tuple[Level, ...] = ("weak", "fair", "strong")
AGREEMENT = {"strong": 0.575, "fair": 0.47}
"""Lowest `outliers.tail_agreement` of a strong and of a fair ranking by the embedding."""
ONE_KIND = 0.21
"""`small_kinds.Pattern.stability` below which halves of a set fall into no kinds."""
STANDING_OUT = {"strong": 1.18, "fair": 1.14}
"""Lowest `outliers.standing_out` of a strong and of a fair ranking of a set of kinds: there, halves
of the features agree on the farthest kind, too, and it need not be rare."""
DISCS = {"strong": 0.9, "fair": 0.8}
"""Lowest `tile_probe.discs_found` of a strong and of a fair ranking of tiles."""
LABELS_FOUND = 0.8
"""Lowest AUROC of the images of rare labels of a ranking that is fair, whatever else is said."""
HOUR = 60.0
"""Minutes of training below which a ranking by the model is weak: after ten minutes it was hardly
better than chance on most pairs."""
FEW = 200
"""With fewer images no ranking is strong."""
MEANINGS = {
    "strong": "the first pages show what stands out, though rare images can look like common ones",
    "fair": "common images are mixed into the first pages",
    "weak": "low confidence; check the first pages by eye",
}
MORE_IMAGES = "Score more images."
WITHIN_LABELS = "With labels, rank within them (--within-label)."
OTHER_TILES = "Tiles suit aligned pictures, and objects of about a quarter of their side (--tiles)."
NOTHING = "Nothing more is needed."
BETTER_NETWORK = "a network trained on similar images (--embedding torchvision:NAME@FILE)"


@dataclass(frozen=True)
class Trust:
    """How far to trust a ranking.

    Attributes:
        level: ``strong``, ``fair`` or ``weak``.
        why: the reason, one sentence.
        better: what would improve it most, one sentence.
    """

    level: Level
    why: str
    better: str

    @property
    def words(self) -> str:
        """Level, meaning, reason and improvement, in three sentences."""
        return self.words_on("images")

    def words_on(self, noun: str) -> str:
        """The same of rows that are images, objects or tiles."""
        judged = f"{self.level}: {MEANINGS[self.level]}. {self.why}"
        return f"{judged.replace('images', noun)} {self.better}"


def judge(
    numbers: dict[str, float],
    *,
    rank_by: str,
    rare_are: str = "outlying",
    weak_embedding: bool,
    images: int,
    minutes: float | None = None,
) -> Trust:
    """Judge the ranking in force by the diagnostics of its run.

    Args:
        numbers: diagnostics, see `diagnostics.examine`.
        rank_by: one of `classes.RANKINGS`.
        rare_are: the evidence of vectors that ranks, ``outlying`` or ``small_kind``.
        weak_embedding: the embedding's network was not trained to distinguish kinds of images.
        images: number of different images that are ranked.
        minutes: how long the model was trained for the run; ``None`` for a given model.
    """
    if rank_by in ("minority", "calibrated"):
        trust = _by_model(numbers, minutes)
    else:
        trust = _by_vectors(numbers, rare_are, weak_embedding, images)
    if weak_embedding and rank_by != "minority" and trust.level != "weak":
        why = "The embedding is the denoiser's own, not trained to distinguish kinds of images."
        trust = Trust("weak", why, f"Use {BETTER_NETWORK}.")
    rare, missed = (int(numbers.get(name, 0)) for name in ("rare_labels", "missed_labels"))
    if missed and trust.level != "weak":
        why = f"Of {rare} rare labels, {missed} rank among the common images."
        return Trust("weak" if missed == rare else "fair", why, WITHIN_LABELS)
    found = numbers.get("rare_labels_found", 0.0)
    if not missed and found >= LABELS_FOUND and trust.level == "weak":
        why = f"Images of rare labels rank above {found:.0%} of the others, on average."
        return Trust("fair", why, NOTHING)
    if images < FEW and trust.level == "strong":
        return Trust("fair", f"With {images} images, some are rare by chance.", MORE_IMAGES)
    return trust


def _by_vectors(
    numbers: dict[str, float], rare_are: str, weak_embedding: bool, images: int
) -> Trust:
    """By `outliers.tail_agreement`; a better network helps most, then more images."""
    agreement = numbers.get("tail_agreement")
    if agreement is None:
        return Trust("weak", "There are too few images to judge the ranking.", MORE_IMAGES)
    if rare_are == "small_kind":
        why = "Outlying images are of large kinds here, so small kinds are sought, less surely."
        return Trust("weak", why, WITHIN_LABELS)
    discs = numbers.get("discs_found")
    if discs is not None:
        return _of_tiles(agreement, discs)
    level = _grade(agreement, AGREEMENT)
    if numbers.get("kind_stability", 0.0) >= ONE_KIND:
        factor = numbers.get("standing_out", 1.0)
        standing_out = _grade(factor, STANDING_OUT)
        if LEVELS.index(standing_out) < LEVELS.index(level):
            why = (
                "The images are of several kinds, and the rarest stand out "
                f"{'too ' if standing_out == 'weak' else ''}little from their own (outlier factor "
                f"{factor:.2f}, good from {STANDING_OUT['strong']})."
            )
            return Trust(standing_out, why, MORE_IMAGES if images < FEW else WITHIN_LABELS)
    why = _halves(agreement)
    if weak_embedding:
        better = f"Use {BETTER_NETWORK}."
    elif images < FEW:
        better = MORE_IMAGES
    elif level == "strong":
        better = NOTHING
    else:
        better = "Use a network trained on more similar images (--embedding)."
    return Trust(level, why, better)


def _of_tiles(agreement: float, discs: float) -> Trust:
    """The lower level of both. Kinds do not count: of aligned pictures, every place is one."""
    level = _grade(discs, DISCS)
    why = f"Tiles with a disc drawn into them rank above {discs:.0%} of the others, on average."
    if level == "weak":
        return Trust("weak", why, OTHER_TILES)
    halves = _grade(agreement, AGREEMENT)
    if LEVELS.index(halves) < LEVELS.index(level):
        return Trust(halves, _halves(agreement), MORE_IMAGES)
    return Trust(level, why, NOTHING if level == "strong" else OTHER_TILES)


def _halves(agreement: float) -> str:
    return (
        f"Two rankings, each by half of the embedding's features, share {agreement:.0%} of their "
        "rarest tenth."
    )


def _grade(value: float, lowest: dict[str, float]) -> Level:
    if value >= lowest["strong"]:
        return "strong"
    return "fair" if value >= lowest["fair"] else "weak"


def _by_model(numbers: dict[str, float], minutes: float | None) -> Trust:
    """By the first problem found. Never strong: no number of a run tells how well reconstruction
    error finds rare images (`benchmarks/study.py`)."""
    gain = numbers.get("denoising_gain", 0.0)
    if gain < 1.1:
        why = f"The model removes noise no better than a linear filter (gain {gain:.2f})."
        return Trust("weak", why, "Train it longer (--train-minutes) or give one (--model).")
    texture = numbers.get("spearman_complexity", 0.0)
    if abs(texture) > 0.5:
        why = f"The minority score mostly follows image complexity (Spearman {texture:.2f})."
        return Trust("weak", why, f"Rank by the embedding of {BETTER_NETWORK}.")
    stability = numbers.get("rank_stability", 0.0)
    if stability < 0.8:
        why = f"Other noise would change the order (rank correlation {stability:.2f})."
        return Trust("weak", why, "Raise --n-draws.")
    if minutes is not None and minutes < HOUR:
        spent = "a minute" if minutes < 1.5 else f"{minutes:.0f} minutes"
        why = f"A model trained for {spent} ranks partly by texture."
        return Trust("weak", why, f"Rank by the embedding of {BETTER_NETWORK}.")
    why = (
        f"The model's error is {gain:.1f} times smaller than a linear filter's, and other noise "
        f"would give the same order (rank correlation {stability:.2f})."
    )
    return Trust("fair", why, f"Compare with a ranking by {BETTER_NETWORK}.")
