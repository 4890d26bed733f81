"""A network of diffusers from its folder, with all of its weights, or refused in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mincurate.compute.device import out_of_memory
from mincurate.diffusion import model_folder
from mincurate.diffusion.model_folder import WEIGHTS
from mincurate.errors import UserError, reason


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what diffusers says of configs that hold more than a class takes, as its own do."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def load(network_class: Any, folder: Path, name: str) -> Any:
    """A network of ``network_class``, float32 on the CPU.

    Args:
        network_class: of diffusers or like it.
        folder: with config and weights.
        name: of the model, for messages.

    Raises:
        UserError: weights are missing, damaged or others.
    """
    variants = model_folder.variants(folder)
    whole = [p for kind in ("safetensors", "bin") for p in folder.glob(f"{WEIGHTS}.{kind}*")]
    if not whole and len(variants) > 1:
        raise UserError(
            f"The model {name} has its weights in the variants {', '.join(variants)} only; keep "
            "just one of them."
        )
    if not whole and not variants:
        raise UserError(f"The model {name} has no weights: there is no {WEIGHTS}.safetensors.")
    try:
        with _quietly():
            network, info = network_class.from_pretrained(
                str(folder),
                variant=None if whole else variants[0],
                use_safetensors=any(folder.glob("*.safetensors*")),
                output_loading_info=True,
                low_cpu_mem_usage=False,
            )
    except Exception as error:  # diffusers raises whatever its parts raise on strange files
        if out_of_memory(error):
            raise
        raise UserError(
            f"The model {name} cannot be loaded, its files may be damaged: {reason(error)}"
        ) from error
    missing, shape = len(info["missing_keys"]), len(info["mismatched_keys"])
    if missing or shape:
        raise UserError(
            f"The weights of {name} do not fit its {model_folder.CONFIG}: {missing} tensors are "
            f"missing and {shape} have another shape."
        )
    if info["unexpected_keys"]:
        raise UserError(
            f"The weights of {name} do not fit its {model_folder.CONFIG}, which has no place for "
            f"{len(info['unexpected_keys'])} of the tensors, such as {info['unexpected_keys'][0]}."
        )
    return network
