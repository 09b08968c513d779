"""A judge says which of several names fits a picture: an open_clip model with whatever tokenizer it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import open_clip
import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from PIL import Image
from torch import Tensor

from vwlib.models.base import NAME_PROMPT
from vwlib.models.device import OnDevice
from vwlib.models.loading import OPEN_CLIP, check_folder, check_open_clip, strict_loading

if TYPE_CHECKING:
    from vwlib.settings import ModelSettings


class Judge(OnDevice):
    """Names an image by the cosine between its feature and each text's, as CLIP and its relatives do. No word is
    learned in it.
    """

    def __init__(
        self,
        model: CLIP | CustomTextCLIP,
        preprocess: Callable[[Image.Image], Tensor],
        tokenize: Callable[[list[str]], Tensor],
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
        """Where the model is."""
        return next(self.model.parameters()).device

    def encode_names(self, names: Iterable[str]) -> Tensor:
        """Normalised text features (name, d) of things by name, in `NAME_PROMPT`."""
        return self.model.encode_text(
            self.tokenize([NAME_PROMPT.format(name) for name in names]).to(self.device), normalize=True
        )

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Normalised image features (image, d)."""

        def work(part: slice) -> Tensor:
            pixels = torch.stack(
                list(map(self.preprocess, images[part]))
            )  # which holds no picture while the next is read
            return self.model.encode_image(pixels.to(self.device), normalize=True)

        return torch.cat(self.room.parts("images", len(images), work, most=100))

    @torch.no_grad()
    def classify(self, images: Sequence[Image.Image], names: Sequence[str]) -> Tensor:
        """Index (image,), on the CPU, of the name that fits each image best, each in `NAME_PROMPT`."""
        text = self.encode_names(names)
        return (self.encode_images(images) @ text.T).argmax(1).cpu()


def open_model(
    settings: ModelSettings,
) -> tuple[CLIP | CustomTextCLIP, Callable[[Image.Image], Tensor], SimpleTokenizer | HFTokenizer]:
    """An open_clip model, the preprocessing of its images and its tokenizer, from a local folder in open_clip's layout.

    Raises FileNotFoundError for missing weights and ValueError for weights of another shape or trained with another
    activation.
    """
    folder = check_folder(settings, *OPEN_CLIP)
    check_open_clip(settings, folder)
    merges = folder / "bpe.txt.gz"
    with strict_loading(folder):
        model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    with strict_loading(folder, "tokenizer files"):
        tokenizer = open_clip.get_tokenizer(
            f"local-dir:{folder}", **({"bpe_path": str(merges)} if merges.exists() else {})
        )
    return model, preprocess, tokenizer
