"""The miniature's models before training, from a seed; their shapes are in `architectures.toml`."""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

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

_SHAPES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_SECOND: dict[str, dict[str, Any]] = _SHAPES["second"]  # what differs in the second edition's text encoders
SCHEDULER = _SHAPES["scheduler"]
Edition = Literal["first", "second"]  #: of the text encoders and their language


@lru_cache
def tokenizer_of(edition: Edition) -> SimpleTokenizer:
    """The tokenizer of an edition's language, as open_clip's class."""
    return SimpleTokenizer(bpe_path=str(MERGES[edition]), context_length=CONTEXT)


def tokenize(texts: list[str]) -> Tensor:
    """Token ids (text, token) in the first edition's language, padded with zeros as open_clip pads."""
    return tokenizer_of("first")(texts)


def open_clip_config(name: str, edition: Edition = "first") -> dict[str, Any]:
    """The open_clip configuration of the classifier or the judge; the judge is the first edition's in both."""
    words = {"context_length": CONTEXT, "vocab_size": tokenizer_of(edition).vocab_size}
    shape, text = _SHAPES[name], _SHAPES[name]["text_cfg"] | (_SECOND[name] if edition == "second" else {})
    return {"embed_dim": shape["embed_dim"], "vision_cfg": shape["vision_cfg"], "text_cfg": words | text}


def build_open_clip(name: str, seed: int, edition: Edition = "first") -> CLIP:
    """The classifier or the judge."""
    torch.manual_seed(seed)
    config = open_clip_config(name, edition)
    vision = {key: tuple(value) if isinstance(value, list) else value for key, value in config["vision_cfg"].items()}
    model: nn.Module = CLIP(config["embed_dim"], CLIPVisionCfg(**vision), CLIPTextCfg(**config["text_cfg"]))
    return model.to(memory_format=torch.channels_last)


def _text_config(name: str, edition: Edition) -> dict[str, Any]:
    """A text encoder's configuration as transformers names it; the end of text is the largest id."""
    tokenizer = tokenizer_of(edition)
    first = _SHAPES[name] if name == "text_encoder" else _SHAPES[name]["text"]
    shape = first | (_SECOND[name] if edition == "second" else {})
    special = {"bos_token_id": tokenizer.sot_token_id, "eos_token_id": tokenizer.eot_token_id, "pad_token_id": 0}
    return {**shape, "max_position_embeddings": CONTEXT, "vocab_size": tokenizer.vocab_size, **special}


def build_detector(seed: int, edition: Edition = "first") -> Owlv2ForObjectDetection:
    """The detector, an OWL-v2.

    Its heads' linear layers start with torch's default weights: transformers' unit variance would saturate the boxes.
    The class logits start as 10 · (cosine - 0.3), since most regions show no object.
    """
    torch.manual_seed(seed)
    shape = _SHAPES["detector"]
    config = Owlv2Config(
        text_config=(text := _text_config("detector", edition)),
        vision_config=shape["vision"],
        projection_dim=text["hidden_size"],
        # Plain matrix products train several times faster on a CPU than the fused kernel.
        attn_implementation="eager",
    )
    model = Owlv2ForObjectDetection(config)
    for head in (model.class_head, model.box_head, model.objectness_head):
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    with torch.no_grad():
        for layer, value in ((model.class_head.logit_shift, -0.3), (model.class_head.logit_scale, 9.0)):
            layer.weight.zero_()
            layer.bias.fill_(value)
        for head in (model.box_head, model.objectness_head):
            head.dense2.weight.mul_(0.1)
    return model


def build_text_encoder(seed: int, edition: Edition = "first") -> CLIPTextModel:
    """The generator's text encoder."""
    torch.manual_seed(seed)
    return CLIPTextModel(CLIPTextConfig(**_text_config("text_encoder", edition), attn_implementation="eager"))


def build_autoencoder(seed: int) -> AutoencoderKL:
    """The generator's autoencoder: 64 × 64 × 3 pixels to 8 × 8 × 16 latents."""
    torch.manual_seed(seed)
    return AutoencoderKL(**_SHAPES["autoencoder"])


def build_unet(seed: int, edition: Edition = "first") -> UNet2DConditionModel:
    """The generator's denoiser; the second edition's first leads the states of its text encoder to those it reads."""
    torch.manual_seed(seed)
    wider = {"encoder_hid_dim": _SECOND["text_encoder"]["hidden_size"], "encoder_hid_dim_type": "text_proj"}
    return UNet2DConditionModel(**_SHAPES["unet"], **(wider if edition == "second" else {}))
