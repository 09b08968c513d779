"""The miniature's models before training: their shapes, in the configuration formats of their own libraries."""

from __future__ import annotations

from functools import lru_cache

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, Owlv2Config, Owlv2ForObjectDetection

from vwlib.miniature.tokenizer import MERGES

CONTEXT = 16  # tokens, OWL-v2's
IMAGE_SIZE = 64  # px, of the generator, the classifier and the judge
DETECTION_SIZE = 96  # px


@lru_cache(maxsize=1)
def open_clip_tokenizer() -> SimpleTokenizer:
    """The miniature's tokenizer as open_clip's class."""
    return SimpleTokenizer(bpe_path=str(MERGES), context_length=CONTEXT)


def tokenize(texts: list[str]) -> Tensor:
    """Token ids (text, token), padded with zeros as open_clip pads."""
    return open_clip_tokenizer()(texts)


def _text(width: int, heads: int, layers: int) -> dict[str, int]:
    return {
        "context_length": CONTEXT,
        "vocab_size": open_clip_tokenizer().vocab_size,
        "width": width,
        "heads": heads,
        "layers": layers,
    }


#: open_clip model configurations: the classifier is a CLIP ResNet with attention pooling, the judge a CSP-Darknet.
CLASSIFIER = {
    "embed_dim": 128,
    "vision_cfg": {"layers": [2, 2, 2, 2], "width": 24, "head_width": 32, "image_size": IMAGE_SIZE},
    "text_cfg": _text(80, 4, 6),
}
JUDGE = {
    "embed_dim": 144,
    "vision_cfg": {
        "timm_model_name": "cs3darknet_s",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": _text(72, 4, 4),
}


def build_open_clip(config: dict, seed: int) -> CLIP:
    """An untrained open_clip model; the same seed gives the same weights."""
    torch.manual_seed(seed)
    vision = {key: tuple(value) if isinstance(value, list) else value for key, value in config["vision_cfg"].items()}
    model: nn.Module = CLIP(config["embed_dim"], CLIPVisionCfg(**vision), CLIPTextCfg(**config["text_cfg"]))
    return model.to(memory_format=torch.channels_last)


DETECTOR_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
DETECTOR_VISION = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "image_size": DETECTION_SIZE,
    "patch_size": 8,
}


def special_tokens() -> dict[str, int]:
    """Ids of start, end and padding as transformers' configurations name them; the end is the largest id."""
    tokenizer = open_clip_tokenizer()
    return {"bos_token_id": tokenizer.sot_token_id, "eos_token_id": tokenizer.eot_token_id, "pad_token_id": 0}


def build_detector(seed: int) -> Owlv2ForObjectDetection:
    """An untrained OWL-v2 of the miniature's size; the same seed gives the same weights.

    transformers initialises the heads' linear layers with unit variance, which from scratch saturates the boxes; they
    get torch's default here. The class logits start as 10 · (cosine - 0.3), so that most regions are no object.
    """
    torch.manual_seed(seed)
    vocabulary = open_clip_tokenizer().vocab_size
    config = Owlv2Config(
        text_config={**DETECTOR_TEXT, "vocab_size": vocabulary, **special_tokens()},
        vision_config=DETECTOR_VISION,
        projection_dim=DETECTOR_TEXT["hidden_size"],
        # Plain matrix products train several times faster on a CPU than the fused kernel.
        attn_implementation="eager",
    )
    model = Owlv2ForObjectDetection(config)
    for head in (model.class_head, model.box_head, model.objectness_head):
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    with torch.no_grad():
        model.class_head.logit_shift.weight.zero_()
        model.class_head.logit_shift.bias.fill_(-0.3)
        model.class_head.logit_scale.weight.zero_()
        model.class_head.logit_scale.bias.fill_(9.0)
        for head in (model.box_head, model.objectness_head):
            head.dense2.weight.mul_(0.1)
    return model


GENERATOR_TEXT = {
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
AUTOENCODER = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 32, 64, 128],
    "layers_per_block": 1,
    "latent_channels": 16,
    "norm_num_groups": 16,
    "sample_size": IMAGE_SIZE,
    "mid_block_add_attention": False,
}
UNET = {
    "sample_size": IMAGE_SIZE // 8,
    "in_channels": 16,
    "out_channels": 16,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [96, 128],
    "layers_per_block": 1,
    "cross_attention_dim": GENERATOR_TEXT["hidden_size"],
    "attention_head_dim": [3, 4],  # heads a block, as in SD 2.1's configuration
    "norm_num_groups": 32,
    "use_linear_projection": True,
    # What the text as a whole says also reaches every block beside the time, as in SDXL and DeepFloyd IF: a small
    # denoiser learns from it what to draw long before it learns to look at single words.
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "resnet_time_scale_shift": "scale_shift",
}
#: SD 2.1's noise schedule and v-prediction; the last step is pure noise and sampling starts there.
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def build_text_encoder(seed: int) -> CLIPTextModel:
    """The generator's untrained text encoder; the same seed gives the same weights."""
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        **GENERATOR_TEXT, vocab_size=open_clip_tokenizer().vocab_size, **special_tokens(), attn_implementation="eager"
    )
    return CLIPTextModel(config)


def build_autoencoder(seed: int) -> AutoencoderKL:
    """The generator's untrained autoencoder: 64 × 64 × 3 pixels to 8 × 8 × 16 latents."""
    torch.manual_seed(seed)
    return AutoencoderKL(**AUTOENCODER)


def build_unet(seed: int) -> UNet2DConditionModel:
    """The generator's untrained denoiser."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(**UNET)
