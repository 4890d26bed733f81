"""Which class of a class-conditional model an image is denoised under: that of its label."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.dit_halves import DiTHalves
from mincurate.errors import UserError

NULL = -1
"""Stands for the class of images without a label."""


@dataclass(frozen=True)
class Conditions:
    """The classes of a model, by label and by image.

    Attributes:
        of_label: class of every label.
        of_image: content hash of an image to its class; `NULL` without a label.
    """

    of_label: dict[str, int]
    of_image: dict[str, int]

    def classes(self, identities: Sequence[str], repeat: int = 1) -> Tensor:
        """``(N * repeat,)``: the class of every image, ``repeat`` times in a row."""
        values = [self.of_image[identity] for identity in identities]
        return torch.tensor(values).repeat_interleave(repeat)


def of_labels(denoiser: Denoiser, labels: Sequence[str | None]) -> dict[str, int]:
    """The class of every label.

    Labels are the names that the model was trained with, of a DiT one of several parted by commas;
    or the numbers of its classes; or all of them, and in alphabetical order, as guided-diffusion
    numbers its folders.

    Raises:
        UserError: they are none of these, or some images have no label and the model has no class
            for them.
    """
    names = sorted({label for label in labels if label is not None})
    count = denoiser.num_classes
    what = f"The model {denoiser.name} is conditional on {count} classes"
    if denoiser.null_class is None and None in labels:
        raise UserError(
            f"{what} and on nothing else, and there are images without a label: put the images "
            "into a folder for each class, or take an unconditional model."
        )
    # Published names are several words for a class, of which one will do, as will its number.
    of_imagenet = isinstance(denoiser.halves, DiTHalves)
    known = _by_name(denoiser.class_names, names, several=of_imagenet)
    if known or (denoiser.class_names and not of_imagenet):
        unknown = [name for name in names if name not in known]
        if unknown and denoiser.null_class is None:
            raise UserError(
                f"{what} and does not know the label {unknown[0]!r}; it knows "
                f"{', '.join(denoiser.class_names)}."
            )
        return {name: known.get(name, NULL) for name in names}
    if all(name.isdigit() and int(name) < count for name in names):
        return {name: int(name) for name in names}
    if len(names) == count:
        return {name: i for i, name in enumerate(names)}
    if denoiser.null_class is not None:
        return dict.fromkeys(names, NULL)
    raise UserError(
        f"{what} without names, and the images have {len(names)} labels, such as {names[0]!r}: "
        f"name their folders by the numbers of the classes, 0 to {count - 1}."
    )


def _by_name(class_names: Sequence[str], labels: Sequence[str], *, several: bool) -> dict[str, int]:
    """The class of every label that is a name, or one of several names, of a class."""
    known: dict[str, int] = {}
    for i, name in enumerate(class_names):
        for one in (name, *(name.split(",") if several else ())):
            known.setdefault(one.strip() if several else one, i)
    return {label: known[label] for label in labels if label in known}


def of_images(
    of_label: dict[str, int], hashes: Sequence[str], labels: Sequence[str | None]
) -> Conditions:
    """The conditions of images with these labels; labels that are not known count as none."""
    classes = [NULL if label is None else of_label.get(label, NULL) for label in labels]
    return Conditions(of_label, dict(zip(hashes, classes, strict=True)))
