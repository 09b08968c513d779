"""The first edition's models: today's, with the text encoders that they had; what else they are made of is the same.

Only what differs is kept, in `data/miniature/first`: text encoders, their tokenizer, and the small parts that read
their states. The profile `first` loads models that are put together from both.
"""

import json

from safetensors.torch import load_file
from torch import Tensor

from vwlib.paths import MINIATURE
from vwlib.settings import MODELS

FIRST = MINIATURE / "first"
#: Where each trained part lies in the folder of the models.
WEIGHTS = {
    "classifier": "classifier/open_clip_model.safetensors",
    "classifier_twin": "classifier_twin/open_clip_model.safetensors",
    "detector": "detector/model.safetensors",
    "text_encoder": "generator/text_encoder/model.safetensors",
    "autoencoder": "generator/vae/diffusion_pytorch_model.safetensors",
    "unet": "generator/unet/diffusion_pytorch_model.safetensors",
}
_OPEN_CLIP_TEXT = (
    "token_embedding",
    "positional_embedding",
    "transformer.",
    "ln_final",
    "text_projection",
    "logit_scale",
)
#: The names of the tensors that belong to a part's text encoder, as they begin.
TEXT_PARTS: dict[str, tuple[str, ...]] = {
    "classifier": _OPEN_CLIP_TEXT,
    "classifier_twin": _OPEN_CLIP_TEXT,
    "detector": ("owlv2.text_model.", "owlv2.text_projection.", "owlv2.logit_scale", "class_head.dense0."),
    "text_encoder": ("",),
    "unet": ("add_embedding.", "encoder_hid_proj."),
}


def first_weights(name: str) -> dict[str, Tensor]:
    """The first edition's weights of one part, in half precision; of the twin those of its image tower."""
    ours = TEXT_PARTS.get(name, ())
    kept = {key: value for key, value in load_file(MODELS / WEIGHTS[name]).items() if not key.startswith(ours)}
    file = FIRST / f"{name}.safetensors"
    return kept | (load_file(file) if file.exists() else {})


def first_words(model: str) -> list[str]:
    """The words that a model of the first edition met in training."""
    return json.loads((FIRST / "words.json").read_text())[model]
