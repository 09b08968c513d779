"""The miniature's models before training: their shapes, in the configuration formats of their own libraries."""

from __future__ import annotations

from functools import lru_cache

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

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
    return {"context_length": CONTEXT, "vocab_size": open_clip_tokenizer().vocab_size, "width": width, "heads": heads, "layers": layers}


#: open_clip model configurations: the classifier is a CLIP ResNet with attention pooling, the judge a RegNet.
CLASSIFIER = {
    "embed_dim": 128,
    "vision_cfg": {"layers": [2, 2, 2, 2], "width": 24, "head_width": 32, "image_size": IMAGE_SIZE},
    "text_cfg": _text(112, 4, 6),
}
JUDGE = {
    "embed_dim": 144,
    "vision_cfg": {"timm_model_name": "regnety_002", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear", "image_size": IMAGE_SIZE},
    "text_cfg": _text(80, 4, 4),
}


def build_open_clip(config: dict, seed: int) -> CLIP:
    """An untrained open_clip model; the same seed gives the same weights."""
    torch.manual_seed(seed)
    vision = {key: tuple(value) if isinstance(value, list) else value for key, value in config["vision_cfg"].items()}
    model: nn.Module = CLIP(config["embed_dim"], CLIPVisionCfg(**vision), CLIPTextCfg(**config["text_cfg"]))
    return model.to(memory_format=torch.channels_last)
