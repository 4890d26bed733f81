"""What lies in a model folder: its network and noise schedule, or why mincurate cannot use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mincurate.errors import UserError

CONFIG, SCHEDULE, INDEX = "config.json", "scheduler_config.json", "model_index.json"
NETWORK_FOLDERS = ("unet", "transformer")
AUTOENCODER_FOLDERS = ("vae", "vqvae", "movq")
TEXT_FOLDERS = ("text_encoder", "tokenizer")
JSON_FILES = [
    *(INDEX, CONFIG, SCHEDULE, f"scheduler/{SCHEDULE}"),
    *(f"{folder}/{CONFIG}" for folder in (*NETWORK_FOLDERS, *AUTOENCODER_FOLDERS)),
    *(f"text_encoder/{CONFIG}", "tokenizer/tokenizer_config.json"),
]
"""What says which kind of model a repository holds."""
WEIGHTS = "diffusion_pytorch_model"
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".pkl", ".bin", ".safetensors")
"""Single files in which other programs keep weights."""
READS = (
    "mincurate reads pixel models (diffusers UNet2DModel, ADM's .pt files) and latent models (an "
    "autoencoder with a UNet2DModel, DiT, Stable Diffusion 1 and 2)"
)
UNETS = ("UNet2DModel", "PixelBlockUNet")
TEXT_UNET = "UNet2DConditionModel"
DIT = "DiTTransformer2DModel"
KINDS = {TEXT_UNET: "Stable Diffusion UNet", DIT: "DiT", "PixelBlockUNet": "UNet2DModel"}
"""What the networks are called besides their class."""
FURTHER = (
    *("addition_embed_type", "encoder_hid_dim_type", "class_embed_type", "num_class_embeds"),
    *("time_cond_proj_dim", "time_embedding_act_fn"),
)
"""What a `UNet2DConditionModel` may take beside a prompt in CLIP's embedding."""
IGNORED = ("safety_checker", "feature_extractor", "image_encoder", "scheduler")
"""Parts of a pipeline that decide no image, and the noise schedule."""


@dataclass(frozen=True)
class ModelFolder:
    """Where the parts of a usable model are.

    Attributes:
        root: folder of the pipeline, or of a bare network.
        network: folder with the network's config and weights.
        kind: class of the network.
        schedule: file with the noise schedule; ``None`` for a bare network.
        autoencoder: folder of the autoencoder; ``None`` for a pixel model.
    """

    root: Path
    network: Path
    kind: str
    schedule: Path | None
    autoencoder: Path | None


def examine(folder: Path, name: str) -> ModelFolder:
    """Find the network, the noise schedule and the autoencoder of a pipeline or a bare network.

    Args:
        folder: a pipeline, the folder of its network, or a bare network.
        name: of the model, for messages.

    Raises:
        UserError: it is no model, or one of another kind.
    """
    root = folder.parent if _is_part(folder) else folder
    network = next((p for n in NETWORK_FOLDERS if (p := root / n).is_dir()), root)
    network = folder if folder is not root else network
    if not (network / CONFIG).is_file():
        raise UserError(_not_a_model(folder, name))
    kind, autoencoder = _kind_of(network, name), autoencoder_in(root)
    _check_kind(root, network, kind, name)
    if (root / "scheduler" / SCHEDULE).is_file():
        return ModelFolder(root, network, kind, root / "scheduler" / SCHEDULE, autoencoder)
    if (network / SCHEDULE).is_file():
        return ModelFolder(root, network, kind, network / SCHEDULE, autoencoder)
    if network != root or (root / "scheduler").is_dir():
        raise UserError(
            f"The model {name} has no scheduler/{SCHEDULE}, so its noise levels are unknown: give "
            "the folder of the finished pipeline, or copy its scheduler folder beside "
            f"{network.name}."
        )
    return ModelFolder(root, network, kind, None, autoencoder)


def _kind_of(network: Path, name: str) -> str:
    """The class of a network; early DiT pipelines name another that holds it."""
    config = read_json(network / CONFIG, name)
    kind = str(config.get("_class_name", UNETS[0]))
    is_dit = kind == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero"
    return DIT if is_dit else kind


def may_be_on_the_hub(model: str) -> bool:
    """Whether a name that is no folder here can be one of a repository, ``OWNER/NAME``."""
    return not model.startswith((".", "/", "~")) and model.count("/") <= 1


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The model {name} has a damaged file {path.name}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"The model {name} has a damaged file {path.name}: not a JSON object.")
    return content


def labels(root: Path, count: int, name: str) -> tuple[str, ...]:
    """The labels of the classes, as the pipeline of a DiT names them; none without all of them."""
    index = read_json(root / INDEX, name) if (root / INDEX).is_file() else {}
    names = index.get("id2label")
    if not isinstance(names, dict) or any(str(k) not in names for k in range(count)):
        return ()
    return tuple(str(names[str(k)]) for k in range(count))


def variants(unet: Path) -> list[str]:
    """The variants (``fp16``, ``non_ema``) in which there are weights."""
    names = [path.name.removeprefix(WEIGHTS + ".") for path in unet.glob(f"{WEIGHTS}.*.*")]
    return sorted({name.split(".")[0] for name in names if not name.endswith(".json")})


def _is_part(folder: Path) -> bool:
    """Whether a network is part of a pipeline or checkpoint: these have the noise schedule."""
    beside = (folder.parent / name for name in (INDEX, "scheduler"))
    checkpoint = folder.parent.name.startswith("checkpoint-")
    within = folder.name in (*NETWORK_FOLDERS, "unet_ema")
    return within and (checkpoint or any(p.exists() for p in beside))


def _check_kind(root: Path, network: Path, kind: str, name: str) -> None:
    """Raise `UserError` for networks that mincurate does not read, and pipelines of other parts."""
    index = read_json(root / INDEX, name) if (root / INDEX).is_file() else {}
    pipeline = index.get("_class_name")
    what = f"The pipeline {name} ({pipeline})" if pipeline else f"The model {name}"
    if kind not in (*UNETS, TEXT_UNET, DIT):
        raise UserError(f"{what} has a network of the class {kind}; {READS}.")
    listed = {key: value[-1] for key, value in index.items() if isinstance(value, list) and value}
    parts = {key: part for key, part in listed.items() if isinstance(part, str)}
    if not index:
        beside = (path.parent.name for path in root.glob(f"*/{CONFIG}"))
        parts = {key: "" for key in beside if key.startswith(TEXT_FOLDERS)}
    usable = {network.name, "unet_ema", *AUTOENCODER_FOLDERS, *IGNORED}
    others = sorted(parts.keys() - usable - set(TEXT_FOLDERS if kind == TEXT_UNET else ()))
    if others:
        raise UserError(f"{what} needs its part {others[0]}; {READS}.")
    encoder = parts.get(TEXT_FOLDERS[0], "")
    if encoder not in ("", "CLIPTextModel"):
        raise UserError(f"{what} has a text encoder of the class {encoder}; {READS}.")
    config = read_json(network / CONFIG, name)
    further = [key for key in FURTHER if config.get(key) is not None]
    if kind == TEXT_UNET and further:
        raise UserError(f"{what} takes more than a prompt ({further[0]} in its {CONFIG}); {READS}.")
    if kind in (TEXT_UNET, DIT) and not autoencoder_in(root):
        raise UserError(
            f"{what} has a network of the class {kind} without an autoencoder: give the folder of "
            f"a whole pipeline; {READS}."
        )
    if kind == TEXT_UNET and not all((root / part).is_dir() for part in TEXT_FOLDERS):
        raise UserError(
            f"{what} has a network of the class {kind} without a text encoder and its tokenizer: "
            f"give the folder of a whole pipeline; {READS}."
        )


def autoencoder_in(root: Path) -> Path | None:
    """The folder of a pipeline's autoencoder."""
    return next((p for n in AUTOENCODER_FOLDERS if ((p := root / n) / CONFIG).is_file()), None)


def _not_a_model(folder: Path, name: str) -> str:
    checkpoints = sorted(p.name for p in folder.glob("checkpoint-*") if p.is_dir())
    if checkpoints:
        return (
            f"{name} holds checkpoints of a training ({checkpoints[-1]}) but no finished model: "
            f"give {checkpoints[-1]}, with the scheduler folder of its pipeline copied into it."
        )
    files = sorted(p.name for p in folder.glob("*") if p.suffix in CHECKPOINTS)
    if files:
        return (
            f"{name} is a folder with the checkpoint file {files[0]} and no {CONFIG}: a checkpoint "
            f"of guided-diffusion (ADM) is read from its file, {Path(name) / files[0]}; {READS}."
        )
    return f"{name} holds no model: there is no {CONFIG} in it; {READS}."
