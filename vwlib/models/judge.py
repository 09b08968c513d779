"""A judge says which of several names fits a picture: an open_clip model with its own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import open_clip
import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from PIL import Image
from torch import Tensor

from vwlib.files import read_json
from vwlib.models.base import NAME_PROMPT
from vwlib.models.loading import OPEN_CLIP, check_folder, strict_loading
from vwlib.models.memory import MemoryBudget
from vwlib.settings import ModelSettings

Preprocess = Callable[[Image.Image], Tensor]


class Judge:
    """Names an image by the cosine between its feature and each text's, as CLIP does. No word is learned in it."""

    def __init__(
        self, model: CLIP | CustomTextCLIP, preprocess: Preprocess, tokenize: Callable[[list[str]], Tensor]
    ) -> None:
        self.model, self.preprocess, self.tokenize = model.eval().requires_grad_(False), preprocess, tokenize

    @classmethod
    def open(cls, settings: ModelSettings, device: torch.device | str = "cpu") -> Judge:
        """Load any open_clip model from a local folder in open_clip's layout onto a device.

        Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
        """
        model, preprocess, tokenizer = open_model(settings)
        return Judge(model.to(device), preprocess, tokenizer)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.model.parameters()).device

    @cached_property
    def memory(self) -> MemoryBudget:
        """How much of each kind of work fits into the device's memory."""
        return MemoryBudget(self.device)

    def encode_names(self, names: Iterable[str]) -> Tensor:
        """Normalised text features (name, d) of things by name, in `NAME_PROMPT`."""
        ids = self.tokenize([NAME_PROMPT.format(name) for name in names])
        return self.model.encode_text(ids.to(self.device), normalize=True)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised image features (image, d) of preprocessed images (image, channel, y, x)."""
        return self.model.encode_image(pixels, normalize=True)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Normalised image features (image, d)."""

        def work(batch: slice) -> Tensor:  # which reads one picture at a time, since photographs are large
            pixels = torch.stack([self.preprocess(image) for image in images[batch]])
            return self.encode_pixels(pixels.to(self.device))

        return torch.cat(self.memory.map_in_batches("images", len(images), work, most=100))

    @torch.no_grad()
    def classify(self, images: Sequence[Image.Image], names: Sequence[str]) -> Tensor:
        """Index (image,), on the CPU, of the name that fits each image best, each in `NAME_PROMPT`."""
        text = self.encode_names(names)
        return (self.encode_images(images) @ text.T).argmax(1).cpu()


def open_model(settings: ModelSettings) -> tuple[CLIP | CustomTextCLIP, Preprocess, SimpleTokenizer | HFTokenizer]:
    """An open_clip model, the preprocessing of its images and its tokenizer, from a folder in open_clip's layout.

    Raises FileNotFoundError for missing weights and ValueError for weights of another shape or activation.
    """
    folder = check_folder(settings, *OPEN_CLIP)
    check_open_clip(settings, folder)
    merges = folder / "bpe.txt.gz"
    with strict_loading(folder):
        model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    with strict_loading(folder, "tokenizer files"):
        own = {"bpe_path": str(merges)} if merges.exists() else {}
        return model, preprocess, open_clip.get_tokenizer(f"local-dir:{folder}", **own)


def check_open_clip(settings: ModelSettings, folder: Path) -> None:
    """That a model is built with the activation its weights were trained with; the wrong one loads, and names wrongly.

    Raises ValueError where it is not, and where the configuration asks to run code of its own.
    """
    file = folder / "open_clip_config.json"
    content = read_json(file)
    config = content.get("model_cfg") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ValueError(f"{file} is no configuration of open_clip: it needs 'model_cfg'.")
    if "trust_remote_code" in json.dumps(content):
        raise ValueError(f"{file} asks for trust_remote_code, which would run the repository's own code; remove it.")
    is_quick = settings.activation == "quick_gelu"
    if settings.activation and bool(config.get("quick_gelu")) != is_quick:
        advice = f'set "quick_gelu" to {json.dumps(is_quick)} in its "model_cfg"'
        raise ValueError(f"{file} builds the model with another activation than {settings.activation}: {advice}.")
