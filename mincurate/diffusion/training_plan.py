"""What decides the training of a denoiser, besides the images."""

from dataclasses import dataclass, field
from typing import Any

SCORING_LEVELS = (0.6, 9.0)
"""A model for scoring at sigma is trained from 0.6 to 9 times sigma.

Measured against narrower ranges and all levels by ``benchmarks/tried.py``, and against all levels
for the same minutes by ``benchmarks/detection.py --all-levels``."""

FINE_TUNING_RATE = 1e-4
"""Learning rate for all weights of a model that was trained elsewhere, as DDPM was trained."""
ADAPTER_RATE = 1e-3
"""Learning rate for adapters, which begin at no change: some ten times that of all weights."""


def around(sigma: float) -> tuple[float, float]:
    """The noise levels to train for scoring at ``sigma``."""
    return SCORING_LEVELS[0] * sigma, SCORING_LEVELS[1] * sigma


@dataclass(frozen=True)
class Training:
    """What decides a training, besides the images.

    Attributes:
        image_size: side of the square images, in pixels; a multiple of 8.
        sigmas: lowest and highest noise level, drawn uniformly over the timesteps between;
            ``None`` trains all levels (see `noise_levels`) and mirrors no image: mirrored
            ones would be generated, too.
        minutes: budget; turned into a number of steps by a measurement before the first step.
        steps: exact number of steps, in place of ``minutes``.
        batch_size: images per step. Few on a CPU, where a step costs what its images cost: it is
            steps that count (measured: 960 steps of 4 images end at the error of 950 steps of 32).
        learning_rate: peak of a cosine schedule after a short warm-up (AdamW).
        channels: width of the UNet at each resolution.
        seed: random seed.
        class_names: labels that a class-conditional model learns; none for an unconditional one.
        bands: channels of the images; whoever names the images has named them, too.
        tail_weight: an image of a label with n images is drawn with a weight of
            ``n ** -tail_weight``: 0 as they come, 1 every label equally often.
        rarity_of: the run by whose rarity images are weighed in place of their labels.
        lora: rank of the adapters that a given model is trained by; ``None`` trains its weights.
    """

    image_size: int
    sigmas: tuple[float, float] | None
    minutes: float = 10.0
    steps: int | None = None
    batch_size: int = 8
    learning_rate: float = 2e-3
    channels: tuple[int, ...] = (64, 128, 192)
    seed: int = 0
    class_names: tuple[str, ...] = field(default=(), repr=False)
    bands: int = field(default=3, repr=False)
    tail_weight: float = field(default=0.0, repr=False)
    rarity_of: str | None = field(default=None, repr=False)
    lora: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # The plan's text is part of a folder's name: 10 minutes must be the plan of 10.0.
        object.__setattr__(self, "minutes", float(self.minutes))

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Training":
        """From the `record` of a finished training."""
        about = record["training"]
        sigmas = tuple(about["sigmas"]) if about["sigmas"] else None
        names = tuple(about.get("class_names", ()))
        channels = tuple(about["channels"])
        return cls(**about | {"sigmas": sigmas, "channels": channels, "class_names": names})
