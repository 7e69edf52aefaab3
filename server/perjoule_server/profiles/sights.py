"""The shapes of the architectures that see: classifiers, detectors, captioners. See ``blueprints``.

Image processors are those on PIL and numpy, with the sizes that the published models were made for.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import transformers
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from perjoule_server.profiles.blueprints import MARKS, Blueprint, made
from perjoule_server.profiles.vocabulary import BOS, EOS, PAD

_IMAGENET = 1000
_COCO = 91


def vit_base() -> Blueprint:
    """Return ViT-B/16 at 224 pixels (Dosovitskiy et al. 2021)."""
    return Blueprint(lambda: made(transformers.ViTConfig, num_labels=_IMAGENET), processor=ViTImageProcessorPil)


def resnet_50() -> Blueprint:
    """Return ResNet-50 (He et al. 2016)."""
    return Blueprint(
        lambda: made(transformers.ResNetConfig, num_labels=_IMAGENET),
        processor=lambda: ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875),
    )


def detr_resnet_50() -> Blueprint:
    """Return DETR (Carion et al. 2020) on the library's own ResNet-50, which needs no further package."""
    return Blueprint(
        lambda: made(
            transformers.DetrConfig,
            backbone_config=made(transformers.ResNetConfig, out_features=["stage4"]), backbone=None,
            use_timm_backbone=False, use_pretrained_backbone=False, num_labels=_COCO,
        ),
        processor=lambda: DetrImageProcessorPil(size={"shortest_edge": 800, "longest_edge": 1333}),
    )  # fmt: skip


def yolos_small() -> Blueprint:
    """Return YOLOS-S (Fang et al. 2021)."""
    return Blueprint(
        lambda: made(
            transformers.YolosConfig,
            hidden_size=384, num_attention_heads=6, intermediate_size=1536, image_size=[512, 864],
            num_detection_tokens=100, use_mid_position_embeddings=True, num_labels=_COCO,
        ),
        processor=lambda: YolosImageProcessorPil(size={"shortest_edge": 512, "longest_edge": 1333}),
    )  # fmt: skip


def blip_base() -> Blueprint:
    """Return BLIP with ViT-B/16 at 384 pixels (Li et al. 2022)."""
    text: dict[str, Any] = {**MARKS, "sep_token_id": EOS}
    return Blueprint(
        lambda: transformers.BlipConfig(
            text_config=transformers.BlipTextConfig(**text).to_dict(),
            vision_config=transformers.BlipVisionConfig().to_dict(),
        ),
        processor=BlipImageProcessorPil,
    )


def vit_gpt2() -> Blueprint:
    """Return ViT-B/16 with GPT-2 as decoder; captions by four beams, as published."""

    def config() -> Any:
        decoder = transformers.GPT2Config(add_cross_attention=True, **MARKS)
        made = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(transformers.ViTConfig(), decoder)
        made.decoder_start_token_id, made.pad_token_id, made.eos_token_id = BOS, PAD, EOS
        return made

    generation = {"num_beams": 4, "decoder_start_token_id": BOS}
    return Blueprint(config, 1024, generation=generation, processor=ViTImageProcessorPil)


SIGHTS: Mapping[str, Blueprint] = MappingProxyType({
    "vit-base": vit_base(),
    "resnet-50": resnet_50(),
    "detr-resnet-50": detr_resnet_50(),
    "yolos-small": yolos_small(),
    "blip-base": blip_base(),
    "vit-gpt2": vit_gpt2(),
})  # fmt: skip
"""The architectures that see, by name."""
