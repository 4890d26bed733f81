"""Load a denoiser from a folder, a file or the Hugging Face hub, and make sure that it works.

A model that cannot be used is refused in one sentence. Nothing is guessed that decides a score,
but for a bare network's noise schedule.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mincurate.compute.device import out_of_memory
from mincurate.diffusion import hub, model_folder, network_files, prompts
from mincurate.diffusion.channels_last import channels_last
from mincurate.diffusion.denoiser import PREDICTION_TYPES, Denoiser
from mincurate.diffusion.model_folder import WEIGHTS, ModelFolder
from mincurate.diffusion.prompts import Wording
from mincurate.errors import UserError, reason
from mincurate.runs.schema import MODEL_RECORD

if TYPE_CHECKING:
    from mincurate.diffusion.autoencoder import Autoencoder


BARE_SCHEDULE: dict[str, object] = {"num_train_timesteps": 1000, "beta_schedule": "linear"}
"""Assumed for a network without a noise schedule: DDPM's own."""
TRIED = 64
"""Side in pixels of what a network is tried out on."""
ZERO_SNR = 2.0**-24
"""Stands for a last ``alphas_cumprod`` of 0, as in diffusers' EulerDiscreteScheduler."""


def load_denoiser(model: str, device: str = "cpu", wording: Wording | None = None) -> Denoiser:
    """Load a diffusers pipeline folder, a ``UNet2DModel`` folder, an ADM file or a hub's model.

    Only safetensors files, or files that ``torch.load(weights_only=True)`` accepts, are read.

    Args:
        model: a folder, a checkpoint file of guided-diffusion, or the name of a repository on the
            Hugging Face hub.
        wording: what a model that takes text is told; nothing by default.

    Raises:
        UserError: there is no such model, or mincurate cannot use it.
    """
    from mincurate.diffusion import adm

    path = Path(model).expanduser()
    denoiser = adm.load(path) if path.is_file() else _from_folder(path, model)
    denoiser = prepare(denoiser, device)
    return denoiser.told(wording) if wording else denoiser


def prepare(denoiser: Denoiser, device: str = "cpu") -> Denoiser:
    """The denoiser on ``device``, laid out for speed, after checks that it works.

    Raises:
        UserError: it does not.
    """
    from mincurate.diffusion import autoencoder

    check_finite(denoiser.unet.state_dict(), f"The model {denoiser.name}")
    _check_network(denoiser)
    unet = channels_last(denoiser.unet.eval().requires_grad_(False).to(device))
    latent = denoiser.autoencoder
    if latent is not None:
        check_finite(latent.network.state_dict(), f"The autoencoder of {denoiser.name}")
        latent = autoencoder.prepare(latent, device)
    denoiser = replace(
        denoiser, unet=unet, autoencoder=latent, image_size=_image_size(denoiser, latent)
    )
    if denoiser.prompts is not None:
        told = replace(denoiser.prompts, embeddings=denoiser.prompts.embeddings.to(device))
        denoiser = replace(denoiser, prompts=told)
    _try_out(denoiser)
    return denoiser


def _from_folder(folder: Path, model: str) -> Denoiser:
    """The denoiser of a folder, or of a repository on the hub."""
    from mincurate.diffusion import autoencoder

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
    network = _load_network(parts, model)
    alphas_cumprod, prediction_type = _read_schedule(parts, model)
    trained, names = _training(parts.root, model)
    denoiser = Denoiser(
        unet=network,
        alphas_cumprod=alphas_cumprod,
        prediction_type=prediction_type,
        name=model,
        image_size=0,  # `prepare` reads it
        trained_sigmas=trained,
        kind=model_folder.KINDS.get(parts.kind, parts.kind),
        bands=_bands(parts.root),
    )
    if parts.autoencoder is not None:
        latent = autoencoder.of_folder(parts.autoencoder, model)
        denoiser = replace(denoiser, autoencoder=latent)
    if parts.kind == model_folder.TEXT_UNET:
        told = prompts.embedded(parts.root, model, Wording())
        return replace(denoiser, prompts=told, null_class=0)
    if parts.kind == model_folder.DIT:
        classes = network.config.num_embeds_ada_norm
        names = model_folder.labels(parts.root, classes, model)
        return replace(denoiser, class_names=names, null_class=classes)
    classes = network.config.num_class_embeds
    null_class = len(names) if names and classes == len(names) + 1 else None
    return replace(denoiser, class_names=names, null_class=null_class)


def _from_hub(model: str) -> ModelFolder:
    """Download what is needed: first what says which kind of model it is, then its weights."""
    online = hub.reachable()
    folder = hub.download(model, [*model_folder.JSON_FILES, MODEL_RECORD], online=online)
    parts = model_folder.examine(folder, model)
    for part in (parts.network, parts.autoencoder):
        if part is None:
            continue
        place = "" if part == folder else f"{part.name}/"
        for kind in ("safetensors", "fp16.safetensors", "bin"):
            names = [f"{WEIGHTS}.{kind}", f"{WEIGHTS}-*.{kind}", f"{WEIGHTS}.{kind}.index.json"]
            hub.download(model, [place + name for name in names], online=online)
            if any(part.glob(f"{WEIGHTS}*")):
                break
    if parts.kind == model_folder.TEXT_UNET:
        encoder, tokenizer = model_folder.TEXT_FOLDERS
        hub.download(model, [f"{tokenizer}/*", f"{encoder}/model.safetensors"], online=online)
        if not any((folder / encoder).glob("model.safetensors")):
            hub.download(model, [f"{encoder}/*"], online=online)
    return parts


def _load_network(parts: ModelFolder, name: str) -> Any:
    import diffusers

    from mincurate.diffusion.pixel_blocks import PixelBlockUNet

    if parts.kind == PixelBlockUNet.__name__:
        return network_files.load(PixelBlockUNet, parts.network, name).unet
    return network_files.load(getattr(diffusers, parts.kind), parts.network, name)


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


def _check_network(denoiser: Denoiser) -> None:
    """Raise `UserError` for a network that takes something else than samples and a condition."""
    config, name, latent = denoiser.unet.config, denoiser.name, denoiser.autoencoder
    if config.get("class_embed_type") is not None:
        raise UserError(
            f"The model {name} takes classes as {config.class_embed_type} embeddings; "
            "mincurate reads class-conditional models with an embedding for each class."
        )
    if config.get("time_embedding_type") == "fourier":
        raise UserError(
            f"The model {name} takes continuous noise levels (time_embedding_type fourier); "
            "mincurate reads models with numbered timesteps, such as DDPM's."
        )
    _check_width(denoiser)
    channels = config.in_channels
    out = channels if config.out_channels is None else config.out_channels
    what = f"The model {name} takes {channels} channels and returns {out}"
    if latent is not None and (latent.channels != channels or out not in (channels, 2 * channels)):
        raise UserError(
            f"{what}, and its autoencoder has latents of {latent.channels}; mincurate reads models "
            "that make images from noise alone, not those that fill in or enlarge."
        )
    patch = round((channels / denoiser.bands) ** 0.5)
    if latent is None and (
        denoiser.bands * patch * patch != channels or out not in (channels, 2 * channels)
    ):
        raise UserError(
            f"{what}; mincurate reads RGB pixel models (3 channels, or 3 * p * p for blocks of "
            "p * p pixels), not greyscale ones, and latent ones in a pipeline with their "
            "autoencoder (vae or vqvae)."
        )


def _check_width(denoiser: Denoiser) -> None:
    """Raise `UserError` where a text encoder and a network do not fit together."""
    width, told = denoiser.unet.config.get("cross_attention_dim"), denoiser.prompts
    if told is not None and told.embeddings.shape[2] != width:
        raise UserError(
            f"The network of {denoiser.name} takes prompts of width {width}, and its text encoder "
            f"gives {told.embeddings.shape[2]}: the pipeline is put together of other parts."
        )


def _image_size(denoiser: Denoiser, latent: "Autoencoder | None") -> int:
    """The side of the images in pixels; ``sample_size`` counts latents, or blocks of pixels."""
    unet, name = denoiser.unet, denoiser.name
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
    multiple = denoiser.halves.multiple
    if sides[0] % multiple:
        levels = len(unet.config.down_block_types)
        raise UserError(
            f"The model {name} cannot work at its own size: sample_size {sides[0]} is not "
            f"divisible by {multiple}, and its {levels} levels halve it {levels - 1} times."
        )
    return int(sides[0]) * (denoiser.patch if latent is None else latent.factor)


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
    multiple = denoiser.patch * denoiser.halves.multiple
    channels, whole_side, _ = denoiser.space.shape
    side = min(whole_side, -(-TRIED // multiple) * multiple)
    what = "pixels" if denoiser.autoencoder is None else "latents"
    x = torch.zeros(1, channels, side, side, device=denoiser.device)
    timesteps = torch.tensor([len(denoiser.alphas_cumprod) // 2], device=denoiser.device)
    try:
        with torch.inference_mode():
            whole = denoiser.predict(x, timesteps)
            halves = denoiser.decode(denoiser.encode(x, timesteps))
    except Exception as error:  # a strange network may raise anything
        if out_of_memory(error):
            raise UserError(
                f"The model {denoiser.name} needs more memory for {side} x {side} {what} than "
                f"{denoiser.device} has."
            ) from error
        raise UserError(
            f"The model {denoiser.name} does not run on {side} x {side} {what}{_blocks(denoiser)}: "
            f"{reason(error)}"
        ) from error
    if whole.shape != x.shape or not bool(torch.isfinite(whole).all()):
        raise UserError(
            f"The model {denoiser.name} returns no finite numbers for an image: its training "
            "diverged; take an earlier checkpoint."
        )
    if not torch.allclose(whole, halves, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
        raise UserError(f"The model {denoiser.name} has unknown parts{_blocks(denoiser)}.")


def _blocks(denoiser: Denoiser) -> str:
    """The kinds of blocks of a network, for messages."""
    kinds = denoiser.unet.config.get("down_block_types")
    return f" (blocks {', '.join(sorted(set(kinds)))})" if kinds else ""
