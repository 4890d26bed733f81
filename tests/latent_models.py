"""Small latent models of every kind, as diffusers saves them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)

SIDE = 32
"""Of the images, in pixels; the latents are 8 x 8."""


def autoencoder_kl(**config) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        **config,
    )


def autoencoder_tiny(**config) -> AutoencoderTiny:
    torch.manual_seed(0)
    blocks = {"num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1)}
    widths = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
    return AutoencoderTiny(latent_channels=4, **widths, **blocks, **config)


def vq_model(**config) -> VQModel:
    torch.manual_seed(0)
    return VQModel(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=3,
        num_vq_embeddings=16,
        norm_num_groups=4,
        **config,
    )


def unet(channels: int, side: int = 8, **config) -> UNet2DModel:
    torch.manual_seed(1)
    return UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        **{
            "block_out_channels": (16, 16),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D"),
            "add_attention": False,
        }
        | config,
    )


def ldm(folder: Path) -> Path:
    """`VQModel` and `UNet2DModel`, unconditional."""
    LDMPipeline(vqvae=vq_model(), unet=unet(3), scheduler=DDIMScheduler()).save_pretrained(folder)
    return folder


def ldm_tiny(folder: Path) -> Path:
    """`AutoencoderTiny` and `UNet2DModel`, with the prediction v."""
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    LDMPipeline(vqvae=vq_model(), unet=unet(4), scheduler=scheduler).save_pretrained(folder)
    shutil.rmtree(folder / "vqvae")
    autoencoder_tiny().save_pretrained(folder / "vae")
    (folder / "model_index.json").unlink()  # diffusers has no pipeline of these two
    return folder


def dit(folder: Path, labels: tuple[str, ...] = ("disc", "cross, crux")) -> Path:
    """`DiTTransformer2DModel` with learned variance, and the labels that it knows."""
    torch.manual_seed(2)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        sample_size=8,
        num_embeds_ada_norm=len(labels),
    )
    with torch.no_grad():  # new ones begin as the identity
        for parameter in network.parameters():
            parameter.normal_(0, 0.1)
    parts = {"transformer": network, "vae": autoencoder_kl(), "scheduler": DDIMScheduler()}
    DiTPipeline(**parts).save_pretrained(folder)
    _list(folder, id2label={str(k): label for k, label in enumerate(labels)})
    return folder


def stable_diffusion(folder: Path) -> Path:
    """`UNet2DConditionModel` with a CLIP of a few letters; a safety checker is listed, too."""
    pytest.importorskip("transformers")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(3)
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{x}</w>" for x in "abcdefghijklmnopqrstuvwxyz")]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12
    )
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=12,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    scheduler = PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1)
    StableDiffusionPipeline(
        vae=autoencoder_kl(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=network,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    _list(folder, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    return folder


def _list(folder: Path, **entries) -> None:
    """Add to a pipeline's index what published ones list there."""
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | entries))


KINDS = {"ldm": ldm, "ldm-tiny": ldm_tiny, "dit": dit, "stable-diffusion": stable_diffusion}
"""A function for each kind that saves a model of it in a folder."""
