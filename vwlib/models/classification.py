"""The classifier: an open_clip model with CLIP's vocabulary. Also the judge of generations, which is another such
model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import text_global_pool
from PIL import Image
from torch import Tensor, nn

from vwlib.examples import Example, Pictures
from vwlib.models.base import Frozen, Score, TextMixin, draw
from vwlib.models.judge import Judge, open_model
from vwlib.models.loading import resolve, seen_words
from vwlib.splice import Vocabulary

if TYPE_CHECKING:
    from vwlib.settings import ModelSettings


class Classifier(TextMixin, Judge):
    """A judge in which words can be learned."""

    task = "classification"
    pools = True
    blocks, block_parts = "model.transformer.resblocks", ("attn", "mlp")

    def __init__(
        self, model: CLIP, preprocess: Callable[[Image.Image], Tensor], vocabulary: Vocabulary, prompt: str
    ) -> None:
        super().__init__(model, preprocess, vocabulary.prompts)
        self.vocabulary, self.prompt = vocabulary, prompt

    @classmethod
    def load(cls, settings: ModelSettings, prompt: str, device: torch.device | str = "cpu") -> Classifier:
        """Load from a local folder in open_clip's layout onto a device.

        Raises FileNotFoundError for missing weights and ValueError for weights of another shape.
        """
        model, preprocess, tokenizer = open_model(settings)
        if not isinstance(model, CLIP) or not isinstance(tokenizer, SimpleTokenizer):
            raise ValueError(
                f"The model in {resolve(settings.source)} does not read CLIP's vocabulary; it can only be the second judge."
            )
        ends = tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.context_length
        vocabulary = Vocabulary(tokenizer.encoder, tokenizer.encode, *ends, seen_words(resolve(settings.source)))
        return cls(model.to(device), preprocess, vocabulary, prompt)

    @property
    def image_size(self) -> int:
        """The side of the pictures that it reads, in px; the longer one, where they are no squares."""
        size = self.model.visual.image_size
        return max(size) if isinstance(size, tuple) else size

    @property
    def text_owner(self) -> nn.Module:
        """The module of the text encoder whose `token_embedding` is the word table."""
        return self.model

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Normalised text features (prompt, d): open_clip's `encode_text`, which adds positions for the whole context,
        also for shorter prompts.
        """
        model, length = self.model, ids.shape[1]
        if length == self.vocabulary.context:
            return model.encode_text(ids, normalize=True)
        states = model.token_embedding(ids) + model.positional_embedding[:length]
        states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
        pooled = text_global_pool(states, ids, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
        projection = model.text_projection
        return F.normalize(projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection, dim=-1)

    def prepare(self, examples: Sequence[Example]) -> Frozen:
        """Image features, `image` (image, d)."""
        features = self.encode_images(Pictures(examples))
        return Frozen([example.label for example in examples], self.room.keep({"image": features.clone()}))

    def losses(
        self, vectors: Tensor, concepts: Sequence[str], frozen: Frozen, streams: Sequence[torch.Generator], batch: int
    ) -> Tensor:
        """Table 1, classification: E w · cos(image feature, text feature), w = -1 for images of the concept and +1 for
        others.

        Half of the batch shows the concept, half does not; each half is a mean, so that the many others do not outweigh
        it.
        """
        difference = []
        for concept, stream in zip(concepts, streams, strict=True):
            pull = frozen.tensors["image"][draw(frozen.rows_of(concept), batch // 2, stream)].mean(0)
            push = frozen.tensors["image"][draw(frozen.other_rows(concept), batch - batch // 2, stream)].mean(0)
            difference.append(push - pull)  # the cosine of unit vectors is linear in the image feature
        return (torch.stack(difference).to(self.device) * self.encode_words(vectors)).sum(-1)

    @torch.no_grad()
    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], frozen: Frozen, seed: int = 0
    ) -> list[Score]:
        """Share of the concept's images assigned to the learned word when it stands beside the other concepts' names.

        The concept's own name is not offered. `drawn` is the share of the other concepts' images that the word wrongly
        draws.
        """
        order = list(names)
        images, name_features = frozen.tensors["image"].to(self.device), self.encode_names(names.values())
        by_name = (images @ name_features.T).cpu()  # (image, concept)
        by_word = (images @ self.encode_words(vectors).T).cpu()  # (image, word)
        scores = []
        for column, concept in enumerate(concepts):
            rivals = by_name.clone()
            rivals[:, order.index(concept)] = -torch.inf
            won = by_word[:, column] > rivals.max(1).values
            own = torch.tensor([name == concept for name in frozen.concepts])
            scores.append(
                Score(
                    "accuracy",
                    won[own].float().mean().item(),
                    int(own.sum()),
                    {"drawn": won[~own].float().mean().item()},
                )
            )
        return scores
