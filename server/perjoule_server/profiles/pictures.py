"""Stable Diffusion 1.5 and XL as pipelines without weights, in the shapes of their published configurations.

Built on whatever device is the default; on ``meta`` that takes no memory. No safety checker: it only reads what was
made. Prompts are always filled up to 77 tokens, so that the tiny tokenizer's count does not matter.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from perjoule_server.tiny.tokenizers import clip_tokenizer

_PROMPT = 77
_NOISE: Mapping[str, Any] = MappingProxyType(
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
)


def _text(tokenizer: Any, **shape: Any) -> CLIPTextConfig:
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return CLIPTextConfig(pad_token_id=tokenizer.pad_token_id, **marks, **shape)


def _clip_large(tokenizer: Any) -> CLIPTextModel:
    """Return the text encoder of CLIP ViT-L/14."""
    return CLIPTextModel(
        _text(tokenizer, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    )


def _vae(scale: float, side: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=side,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=scale,
    )  # fmt: skip


def _scheduler(kind: Any, **settings: Any) -> Any:
    """Return a scheduler. Its tables are values, not weights: they must not be laid out without them."""
    with torch.device("cpu"):
        return kind(**_NOISE, **settings)


def stable_diffusion() -> Any:
    """Return Stable Diffusion 1.5: 512 pixels, PNDM."""
    tokenizer = clip_tokenizer(_PROMPT)
    return StableDiffusionPipeline(
        vae=_vae(0.18215, 512), text_encoder=_clip_large(tokenizer), tokenizer=tokenizer,
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=_scheduler(PNDMScheduler, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def stable_diffusion_xl() -> Any:
    """Return Stable Diffusion XL, the base model alone: 1024 pixels, Euler."""
    tokenizer = clip_tokenizer(_PROMPT)
    big = _text(
        tokenizer, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
        hidden_act="gelu", projection_dim=1280,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_vae(0.13025, 1024), text_encoder=_clip_large(tokenizer), tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(big), tokenizer_2=tokenizer, unet=_unet_xl(),
        scheduler=_scheduler(EulerDiscreteScheduler, timestep_spacing="leading"), add_watermarker=False,
    )  # fmt: skip


def _unet_xl() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), transformer_layers_per_block=[1, 2, 10],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816, use_linear_projection=True,
    )  # fmt: skip


PICTURES: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {"stable-diffusion-1.5": stable_diffusion, "stable-diffusion-xl": stable_diffusion_xl}
)
"""The pipelines by name."""
