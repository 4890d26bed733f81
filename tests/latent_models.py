"""Small latent models of every kind, as diffusers saves them."""

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, VQModel

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
