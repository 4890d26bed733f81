"""What lies in a model folder: its network and noise schedule, or why mincurate cannot use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mincurate.errors import UserError

CONFIG, SCHEDULE, INDEX = "config.json", "scheduler_config.json", "model_index.json"
JSON_FILES = [INDEX, CONFIG, SCHEDULE, f"unet/{CONFIG}", f"scheduler/{SCHEDULE}"]
WEIGHTS = "diffusion_pytorch_model"
CHECKPOINTS = (".pt", ".pth", ".ckpt", ".pkl", ".bin", ".safetensors")
"""Single files in which other programs keep weights."""
READS = (
    "mincurate reads pixel models, unconditional or class-conditional: diffusers UNet2DModel and "
    "ADM's .pt files"
)


@dataclass(frozen=True)
class ModelFolder:
    """Where the parts of a usable model are.

    Attributes:
        root: folder of the pipeline, or of a bare network.
        unet: folder with the network's config and weights.
        schedule: file with the noise schedule; ``None`` for a bare network.
    """

    root: Path
    unet: Path
    schedule: Path | None


def examine(folder: Path, name: str) -> ModelFolder:
    """Find the network and the noise schedule of a pipeline or a bare network.

    Args:
        folder: a pipeline, its ``unet`` folder, or a bare network.
        name: of the model, for messages.

    Raises:
        UserError: it is no model, or one of another kind.
    """
    root = folder.parent if _is_part(folder) else folder
    _check_components(root, name)
    unet = root / "unet" if folder is root and (root / "unet").is_dir() else folder
    if not (unet / CONFIG).is_file():
        raise UserError(_not_a_model(folder, name))
    kind = read_json(unet / CONFIG, name).get("_class_name", "UNet2DModel")
    if kind not in ("UNet2DModel", "PixelBlockUNet"):
        raise UserError(f"The model {name} is of the class {kind}; {READS}.")
    if (root / "scheduler" / SCHEDULE).is_file():
        return ModelFolder(root, unet, root / "scheduler" / SCHEDULE)
    if (unet / SCHEDULE).is_file():
        return ModelFolder(root, unet, unet / SCHEDULE)
    if unet != root or (root / "scheduler").is_dir():
        raise UserError(
            f"The model {name} has no scheduler/{SCHEDULE}, so its noise levels are unknown: give "
            "the folder of the finished pipeline, or copy its scheduler folder beside unet."
        )
    return ModelFolder(root, unet, None)


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


def variants(unet: Path) -> list[str]:
    """The variants (``fp16``, ``non_ema``) in which there are weights."""
    names = [path.name.removeprefix(WEIGHTS + ".") for path in unet.glob(f"{WEIGHTS}.*.*")]
    return sorted({name.split(".")[0] for name in names if not name.endswith(".json")})


def _is_part(folder: Path) -> bool:
    """Whether a network is part of a pipeline or checkpoint: these have the noise schedule."""
    beside = (folder.parent / name for name in (INDEX, "scheduler"))
    checkpoint = folder.parent.name.startswith("checkpoint-")
    return folder.name in ("unet", "unet_ema") and (checkpoint or any(p.exists() for p in beside))


def _check_components(root: Path, name: str) -> None:
    """Raise `UserError` for a pipeline of more than a network and a noise schedule."""
    index = read_json(root / INDEX, name) if (root / INDEX).is_file() else {}
    listed = {key: value[-1] for key, value in index.items() if isinstance(value, list) and value}
    parts = {key: kind for key, kind in listed.items() if isinstance(kind, str)}
    parts |= {p.parent.name: "" for p in root.glob(f"*/{CONFIG}") if p.parent.name not in parts}
    latent = [k for k, kind in parts.items() if _like(k + kind, "vae", "vq", "autoencoder")]
    text = [k for k, kind in parts.items() if _like(k + kind, "text_encoder", "tokenizer")]
    what = f"The pipeline {name} ({index.get('_class_name', 'without an index')})"
    if latent:
        raise UserError(f"{what} works on the latents of an autoencoder ({latent[0]}); {READS}.")
    if text:
        raise UserError(f"{what} takes text ({text[0]}); {READS}.")
    others = sorted(set(parts) - {"unet", "scheduler"}) if index else []
    if others:
        raise UserError(f"{what} needs its part {others[0]}; {READS}.")


def _like(text: str, *words: str) -> bool:
    return any(word in text.lower() for word in words)


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
