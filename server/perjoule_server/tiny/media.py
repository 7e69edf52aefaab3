"""The tiny image, speech and diffusion models: ViT, YOLOS, ViT with GPT-2, Whisper, Stable Diffusion.

Image processors are those on PIL and numpy: torchvision must stay out (its index build brings CUDA).
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    GPT2Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    YolosConfig,
    YolosForObjectDetection,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from perjoule_server.tiny.text import generation, labels, save
from perjoule_server.tiny.tokenizers import BOS, EOS, PAD, clip_tokenizer, text_tokenizer

_SIDE = 128
"""Side of a ViT's input, in pixels."""

_SHAPE: dict[str, Any] = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}

_OBJECTS = ("person", "bicycle", "car", "dog", "cat", "chair", "bottle", "bird")


def _vit_config(**more: Any) -> ViTConfig:
    return ViTConfig(**_SHAPE, num_hidden_layers=4, image_size=_SIDE, patch_size=16, initializer_range=0.1, **more)


def image_classification(folder: Path) -> None:
    """ViT with eight labels."""
    save(folder, ViTForImageClassification(_vit_config(**labels(*_OBJECTS))))
    ViTImageProcessorPil(size={"height": _SIDE, "width": _SIDE}).save_pretrained(folder)


def object_detection(folder: Path) -> None:
    """YOLOS with eight labels; its tokens differ and its heads are scaled up, so that some boxes pass 0.5."""
    config = YolosConfig(
        **_SHAPE, **labels(*_OBJECTS), num_hidden_layers=4, image_size=[192, 256], patch_size=16,
        num_detection_tokens=20, initializer_range=0.1,
    )  # fmt: skip
    model: Any = YolosForObjectDetection(config)
    with torch.no_grad():
        model.vit.embeddings.detection_tokens.normal_()  # zeros until trained: every box would be the same
        for head in (model.class_labels_classifier, model.bbox_predictor):
            head.layers[-1].weight.mul_(3)
    save(folder, model)
    YolosImageProcessorPil(size={"shortest_edge": 192, "longest_edge": 256}).save_pretrained(folder)


def image_to_text(folder: Path) -> None:
    """ViT as encoder, GPT-2 as decoder."""
    tokenizer = text_tokenizer(128)
    decoder = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=128, n_layer=3, n_head=4, initializer_range=0.1,
        add_cross_attention=True, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(_vit_config(), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = BOS, PAD, EOS
    model = VisionEncoderDecoderModel(config)
    marks = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "decoder_start_token_id": BOS}
    model.generation_config = generation(tokenizer, **marks)
    save(folder, model, tokenizer)
    ViTImageProcessorPil(size={"height": _SIDE, "width": _SIDE}).save_pretrained(folder)


def speech_recognition(folder: Path) -> None:
    """Whisper, English only, with 30 s of 40 mel bands."""
    tokenizer = text_tokenizer(128)
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=40, d_model=64, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=256, decoder_ffn_dim=256,
        max_source_positions=1500, max_target_positions=128, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
        decoder_start_token_id=BOS, init_std=0.1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    settings = generation(
        tokenizer,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        decoder_start_token_id=BOS,
        is_multilingual=False,
    )
    model.generation_config = settings
    save(folder, model, tokenizer)
    WhisperFeatureExtractor(feature_size=40).save_pretrained(folder)


def text_to_image(folder: Path) -> None:
    """Stable Diffusion: CLIP text encoder, conditional UNet, VAE and DDIM, without a safety checker."""
    tokenizer = clip_tokenizer(77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    pipeline: Any = StableDiffusionPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=_unet(text.hidden_size),
        scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)


def _unet(width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width, attention_head_dim=2, norm_num_groups=8,
    )  # fmt: skip


def _vae() -> AutoencoderKL:
    """Return a decoder with the eightfold scale of Stable Diffusion's."""
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16), in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
    )  # fmt: skip
