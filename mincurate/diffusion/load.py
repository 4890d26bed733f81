"""Load a denoiser from a folder, a file or the Hugging Face hub, and make sure that it works.

A model that cannot be used is refused in one sentence. Nothing is guessed that decides a score,
but for a bare network's noise schedule.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mincurate.compute.device import out_of_memory
from mincurate.diffusion import hub, model_folder, network_files
from mincurate.diffusion.channels_last import channels_last
from mincurate.diffusion.denoiser import PREDICTION_TYPES, Denoiser
from mincurate.diffusion.model_folder import WEIGHTS, ModelFolder
from mincurate.errors import UserError, reason
from mincurate.runs.schema import MODEL_RECORD

if TYPE_CHECKING:
    from diffusers import UNet2DModel


BARE_SCHEDULE: dict[str, object] = {"num_train_timesteps": 1000, "beta_schedule": "linear"}
"""Assumed for a network without a noise schedule: DDPM's own."""
TRIED = 64
"""Side in pixels of what a network is tried out on."""
ZERO_SNR = 2.0**-24
"""Stands for a last ``alphas_cumprod`` of 0, as in diffusers' EulerDiscreteScheduler."""


def load_denoiser(model: str, device: str = "cpu") -> Denoiser:
    """Load a diffusers pipeline folder, a ``UNet2DModel`` folder, an ADM file or a hub's model.

    Only safetensors files, or files that ``torch.load(weights_only=True)`` accepts, are read.

    Args:
        model: a folder, a checkpoint file of guided-diffusion, or the name of a repository on the
            Hugging Face hub.

    Raises:
        UserError: there is no such model, or mincurate cannot use it.
    """
    from mincurate.diffusion import adm

    path = Path(model).expanduser()
    return prepare(adm.load(path) if path.is_file() else _from_folder(path, model), device)


def prepare(denoiser: Denoiser, device: str = "cpu") -> Denoiser:
    """The denoiser on ``device``, laid out for speed, after checks that it works.

    Raises:
        UserError: it does not.
    """
    check_finite(denoiser.unet.state_dict(), f"The model {denoiser.name}")
    _check_pixels(denoiser.unet, denoiser.name, denoiser.bands)
    unet = channels_last(denoiser.unet.eval().requires_grad_(False).to(device))
    denoiser = replace(
        denoiser, unet=unet, image_size=_image_size(unet, denoiser.name, denoiser.bands)
    )
    _try_out(denoiser)
    return denoiser


def _from_folder(folder: Path, model: str) -> Denoiser:
    """The denoiser of a folder, or of a repository on the hub."""
    if folder.is_dir():
        parts = model_folder.examine(folder, model)
    elif not model_folder.may_be_on_the_hub(model):
        raise UserError(
            f"There is no model {model}: give a diffusers pipeline or UNet2DModel folder, an ADM "
            "checkpoint (.pt), or the name of a model on the Hugging Face hub such as "
            "google/ddpm-cifar10-32."
        )
    else:
        parts = _from_hub(model)
    bands = _bands(parts.root)
    unet = _load_unet(parts.unet, model)
    alphas_cumprod, prediction_type = _read_schedule(parts, model)
    trained, names = _training(parts.root, model)
    classes = unet.config.num_class_embeds
    null_class = len(names) if names and classes == len(names) + 1 else None
    return Denoiser(
        unet=unet,
        alphas_cumprod=alphas_cumprod,
        prediction_type=prediction_type,
        name=model,
        image_size=0,  # `prepare` reads it
        trained_sigmas=trained,
        class_names=names,
        null_class=null_class,
        bands=bands,
    )


def _from_hub(model: str) -> ModelFolder:
    """Download what is needed: first what says which kind of model it is, then its weights."""
    online = hub.reachable()
    folder = hub.download(model, [*model_folder.JSON_FILES, MODEL_RECORD], online=online)
    parts = model_folder.examine(folder, model)
    place = "" if parts.unet == folder else "unet/"
    for kind in ("safetensors", "fp16.safetensors", "bin"):
        names = [f"{WEIGHTS}.{kind}", f"{WEIGHTS}-*.{kind}", f"{WEIGHTS}.{kind}.index.json"]
        hub.download(model, [place + name for name in names], online=online)
        if any(parts.unet.glob(f"{WEIGHTS}*")):
            break
    return parts


def _load_unet(folder: Path, name: str) -> "UNet2DModel":
    from diffusers import UNet2DModel

    from mincurate.diffusion.pixel_blocks import PixelBlockUNet

    kind = model_folder.read_json(folder / model_folder.CONFIG, name).get("_class_name")
    network_class = PixelBlockUNet if kind == PixelBlockUNet.__name__ else UNet2DModel
    unet = network_files.load(network_class, folder, name)
    return unet.unet if isinstance(unet, PixelBlockUNet) else unet


def check_finite(weights: Mapping[str, Tensor], what: str) -> None:
    """Raise `UserError` if some weights are NaN or infinite.

    Args:
        what: begins the sentence: ``The model X``.
    """
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"{what} has weights that are NaN or infinite ({key}): its training diverged or "
                "the file is damaged; take an earlier checkpoint."
            )


def _check_pixels(unet: "UNet2DModel", name: str, bands: int) -> None:
    if unet.config.class_embed_type is not None:
        raise UserError(
            f"The model {name} takes classes as {unet.config.class_embed_type} embeddings; "
            "mincurate reads class-conditional models with an embedding for each class."
        )
    if unet.config.time_embedding_type == "fourier":
        raise UserError(
            f"The model {name} takes continuous noise levels (time_embedding_type fourier); "
            "mincurate reads models with numbered timesteps, such as DDPM's."
        )
    channels, out = unet.config.in_channels, unet.config.out_channels
    patch = round((channels / bands) ** 0.5)
    if bands * patch * patch != channels or out not in (channels, 2 * channels):
        raise UserError(
            f"The model {name} takes {channels} channels and returns {out}; mincurate reads RGB "
            "pixel models (3 channels, or 3 * p * p for blocks of p * p pixels), not greyscale or "
            "latent ones."
        )


def _image_size(unet: "UNet2DModel", name: str, bands: int) -> int:
    """The side of the images in pixels; what ``sample_size`` counts may be blocks of pixels."""
    size = unet.config.sample_size
    sides = list(size) if isinstance(size, list | tuple) else [size]
    if not all(isinstance(side, int) and side > 0 for side in sides) or len(sides) not in (1, 2):
        raise UserError(
            f"The model {name} does not say for which image size it was trained: set sample_size "
            f"in its {model_folder.CONFIG}."
        )
    if len(set(sides)) > 1:
        raise UserError(
            f"The model {name} is for rectangular images ({sides[1]} x {sides[0]}); mincurate "
            "reads models for square ones."
        )
    halvings = len(unet.config.down_block_types) - 1
    if sides[0] % 2**halvings:
        raise UserError(
            f"The model {name} cannot work at its own size: sample_size {sides[0]} is not "
            f"divisible by {2**halvings}, and its {halvings + 1} levels halve it {halvings} times."
        )
    patch: int = round((unet.config.in_channels / bands) ** 0.5)
    return sides[0] * patch


def _read_schedule(parts: ModelFolder, name: str) -> tuple[Tensor, str]:
    """``alphas_cumprod``, ``(T,)``, and the prediction type."""
    import diffusers

    config = BARE_SCHEDULE
    if parts.schedule is not None:
        config = model_folder.read_json(parts.schedule, name)
    kind = str(config.get("_class_name", "DDPMScheduler"))
    prediction_type = str(config.get("prediction_type", "epsilon"))
    if prediction_type not in PREDICTION_TYPES:
        raise UserError(
            f"The model {name} predicts {prediction_type!r}; mincurate reads models that predict "
            f"one of {', '.join(PREDICTION_TYPES)}."
        )
    try:
        scheduler_class = getattr(diffusers, kind, None) if kind.endswith("Scheduler") else None
        scheduler = (scheduler_class or diffusers.DDPMScheduler).from_config(config)
    except Exception as error:  # whatever a strange config makes the class raise
        raise UserError(f"The noise schedule of {name} cannot be read: {reason(error)}") from error
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas_cumprod, Tensor) or not {"beta_schedule", "trained_betas"} & set(
        config
    ):
        raise UserError(
            f"The noise schedule of {name}, {kind}, is not variance-preserving (betas); mincurate "
            "reads DDPM-like models only."
        )
    if len(alphas_cumprod) > 1 and alphas_cumprod[-1] == 0:
        alphas_cumprod = alphas_cumprod.clone()
        alphas_cumprod[-1] = min(ZERO_SNR, float(alphas_cumprod[-2]) / 2)
    within = (alphas_cumprod > 0) & (alphas_cumprod < 1)
    falling = alphas_cumprod.diff() <= 0
    if len(alphas_cumprod) < 2 or not bool(within.all() and falling.all()):
        raise UserError(
            f"The noise schedule of {name} is damaged: its noise does not grow from each timestep "
            "to the next."
        )
    return alphas_cumprod, prediction_type


def _training(folder: Path, name: str) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """What a model trained by mincurate knows: noise levels (``None`` means all), and classes."""
    if not (folder / MODEL_RECORD).is_file():
        return None, ()
    record = model_folder.read_json(folder / MODEL_RECORD, name)
    try:
        sigmas = record.get("trained_sigmas")
        names = tuple(map(str, record.get("training", {}).get("class_names", ())))
        return (float(sigmas[0]), float(sigmas[1])) if sigmas else None, names
    except (TypeError, ValueError, LookupError, AttributeError):
        raise UserError(f"The model {name} has a damaged file {MODEL_RECORD}.") from None


def _bands(folder: Path) -> int:
    """Channels of the images that a model trained by mincurate knows; 3 for any other."""
    try:
        bands = json.loads((folder / MODEL_RECORD).read_text())["training"]["bands"]
    except (OSError, ValueError, LookupError, TypeError):
        return 3
    return bands if isinstance(bands, int) and bands > 0 else 3


def _try_out(denoiser: Denoiser) -> None:
    """Raise `UserError` unless the network runs, whole and in halves, and returns numbers.

    A large network is tried out on a part of an image: a whole one takes a CPU half a minute.
    """
    multiple = denoiser.patch * 2 ** (len(denoiser.unet.config.down_block_types) - 1)
    side = min(denoiser.image_size, -(-TRIED // multiple) * multiple)
    x = torch.zeros(1, denoiser.bands, side, side, device=denoiser.device)
    timesteps = torch.tensor([len(denoiser.alphas_cumprod) // 2], device=denoiser.device)
    try:
        with torch.inference_mode():
            whole = denoiser.predict(x, timesteps)
            halves = denoiser.decode(denoiser.encode(x, timesteps))
    except Exception as error:  # a strange network may raise anything
        if out_of_memory(error):
            raise UserError(
                f"The model {denoiser.name} needs more memory for one image of {side} x {side} "
                f"pixels than {denoiser.device} has."
            ) from error
        blocks = ", ".join(sorted({*denoiser.unet.config.down_block_types}))
        raise UserError(
            f"The model {denoiser.name} does not run on an image of {side} x {side} pixels "
            f"(blocks {blocks}): {reason(error)}"
        ) from error
    if whole.shape != x.shape or not bool(torch.isfinite(whole).all()):
        raise UserError(
            f"The model {denoiser.name} returns no finite numbers for an image: its training "
            "diverged; take an earlier checkpoint."
        )
    if not torch.allclose(whole, halves, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
        blocks = ", ".join(sorted({*denoiser.unet.config.down_block_types}))
        raise UserError(f"The model {denoiser.name} has blocks of unknown kinds ({blocks}).")
