"""What a model that takes text is told: one prompt for each label, one for images without.

With a prompt for each label the model is class-conditional, with a table of embedded prompts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mincurate.compute.device import out_of_memory
from mincurate.errors import UserError, reason

LABEL = "{label}"
"""Where a prompt names the label."""
EMPTY = ""
"""The prompt of a model that is told nothing."""


@dataclass(frozen=True)
class Wording:
    """What decides the prompts.

    Attributes:
        prompt: of every image; with ``{label}``, of the images of each label.
        labels: that a prompt with ``{label}`` names.
    """

    prompt: str = EMPTY
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, prompt: str | None, labels: Sequence[str | None]) -> "Wording":
        """For images with these labels.

        Raises:
            UserError: the prompt names the label and there is none.
        """
        if prompt is None or LABEL not in prompt:
            return cls(prompt or EMPTY)
        names = tuple(sorted({label for label in labels if label is not None}))
        if not names:
            raise UserError(
                f"The prompt {prompt!r} names the label, and the images have none: put them into a "
                "folder for each label, or write the prompt out."
            )
        return cls(prompt, names)

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts: of the labels, of images without a label, and the empty one last."""
        if not self.labels:
            return (self.prompt, EMPTY) if self.prompt else (EMPTY,)
        return (*(self.prompt.replace(LABEL, label) for label in self.labels), EMPTY)


@dataclass(frozen=True, eq=False)
class Prompts:
    """Embedded prompts.

    Attributes:
        wording: what they say.
        embeddings: ``(len(wording.texts), T, D)``: a row is what the network looks at.
        folder: of the pipeline with the text encoder.
    """

    wording: Wording
    embeddings: Tensor
    folder: Path


def embedded(folder: Path, name: str, wording: Wording, device: str = "cpu") -> Prompts:
    """Embed prompts as diffusers' `StableDiffusionPipeline` does.

    Args:
        folder: of the pipeline, with a CLIP tokenizer and text encoder.
        name: of the model, for messages.

    Raises:
        UserError: one of them cannot be read.
    """
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise UserError(
            f"The model {name} takes text, which needs transformers: pip install 'mincurate[hub]'."
        ) from None
    encoder_folder = folder / "text_encoder"
    try:
        with _quietly():
            tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer")
            encoder = CLIPTextModel.from_pretrained(
                encoder_folder, variant=_variant(encoder_folder), dtype=torch.float32
            )
    except Exception as error:  # transformers raises whatever its parts raise on strange files
        if out_of_memory(error):
            raise
        raise UserError(f"The text encoder of {name} cannot be loaded: {reason(error)}") from error
    encoder = encoder.eval().requires_grad_(False).to(device)
    tokens = tokenizer(
        list(wording.texts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    mask = getattr(encoder.config, "use_attention_mask", False)
    with torch.no_grad():
        rows = [
            encoder(
                ids[None].to(device), attention_mask=masked[None].to(device) if mask else None
            ).last_hidden_state
            for ids, masked in zip(tokens.input_ids, tokens.attention_mask, strict=True)
        ]
    return Prompts(wording, torch.cat(rows).float(), folder)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the progress bars of transformers, which loads in a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _variant(folder: Path) -> str | None:
    """The variant in which there are weights (``fp16``), where there are no others."""
    if any(folder.glob("model.safetensors*")) or any(folder.glob("pytorch_model.bin*")):
        return None
    names = [p.name.split(".") for p in folder.glob("*.safetensors")]
    return next((parts[1] for parts in names if len(parts) == 3), None)
