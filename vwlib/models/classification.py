"""The classifier: an open_clip model with CLIP's vocabulary. Another such model is the judge of generations."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from vwlib.examples import Example, Pictures
from vwlib.models.base import NAME_PROMPT, CachedFeatures, Score, TaskModel, draw
from vwlib.models.judge import Judge, Preprocess, open_model
from vwlib.models.loading import OPEN_CLIP, resolve, seen_words
from vwlib.models.memory import find_device
from vwlib.settings import ModelSettings, Profile
from vwlib.splice import Vocabulary


class Classifier(TaskModel, Judge):
    """A judge in which words can be learned."""

    task = "classification"
    files = OPEN_CLIP
    block_parts = ("attn", "mlp")

    def __init__(self, model: CLIP, preprocess: Preprocess, vocabulary: Vocabulary, prompt: str) -> None:
        Judge.__init__(self, model, preprocess, vocabulary.prompts)
        size = model.visual.image_size
        side = max(size) if isinstance(size, tuple) else size
        TaskModel.__init__(self, vocabulary, prompt, [model], model, model.transformer.resblocks, side)

    @classmethod
    def load(cls, profile: Profile) -> Self:
        """Load the classifier that the profile names from a local folder in open_clip's layout."""
        return cls.open(profile.classifier, find_device(profile.device), profile.prompt)

    @classmethod
    def open(cls, settings: ModelSettings, device: torch.device | str = "cpu", prompt: str = NAME_PROMPT) -> Self:
        """Load an open_clip model that reads CLIP's vocabulary; raises as `Judge.open`, and ValueError for others."""
        folder, (model, preprocess, tokenizer) = resolve(settings.source), open_model(settings)
        if not isinstance(model, CLIP) or not isinstance(tokenizer, SimpleTokenizer):
            raise ValueError(f"The model in {folder} does not read CLIP's vocabulary; it can only be the second judge.")
        ends = tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.context_length
        vocabulary = Vocabulary(tokenizer.encoder, tokenizer.encode, *ends, seen_words(folder))
        return cls(model.to(device), preprocess, vocabulary, prompt)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """Normalised text features (prompt, d).

        open_clip's `encode_text` adds positions for the whole context, so shorter prompts take the same steps here.
        """
        model, length = self.model, ids.shape[1]
        if length == self.vocabulary.context:
            return model.encode_text(ids, normalize=True)
        states = model.token_embedding(ids) + model.positional_embedding[:length]
        states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
        pooled = text_global_pool(states, ids, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
        projection = model.text_projection
        return F.normalize(projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection, dim=-1)

    def cache_features(self, examples: Sequence[Example]) -> CachedFeatures:
        """Image features, `image` (image, d)."""
        features = self.encode_images(Pictures(examples)).clone()
        return CachedFeatures([example.label for example in examples], self.memory.place({"image": features}))

    def draw_batch(
        self, concepts: Sequence[str], features: CachedFeatures, streams: Sequence[torch.Generator], batch: int
    ) -> dict[str, Tensor]:
        """Table 1, classification: E w · image feature, `difference` (word, d), w = -1 for the concept, +1 for others.

        Half of the batch shows the concept. Each half is a mean, so that the many others do not outweigh it.
        """
        images, difference = features.tensors["image"], []
        for concept, stream in zip(concepts, streams, strict=True):
            pull = images[draw(features.indices_of(concept), batch // 2, stream)].mean(0)
            push = images[draw(features.indices_except(concept), batch - batch // 2, stream)].mean(0)
            difference.append(push - pull)
        return {"difference": torch.stack(difference)}

    def losses(self, vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Table 1, classification: E w · cos(image feature, text feature), linear in the unit vector of an image."""
        return (batch["difference"].to(self.device) * self.encode_words(vectors)).sum(-1)

    @torch.no_grad()
    def evaluate(
        self, vectors: Tensor, concepts: Sequence[str], names: dict[str, str], features: CachedFeatures, seed: int = 0
    ) -> list[Score]:
        """Share of the concept's images assigned to the learned word, offered with the other concepts' names.

        `drawn` is the share of the other concepts' images that the word wrongly draws.
        """
        images, order = features.tensors["image"].to(self.device), list(names)
        by_name = (images @ self.encode_names(names.values()).T).cpu()  # (image, concept)
        by_word = (images @ self.encode_words(vectors).T).cpu()  # (image, word)
        scores = []
        for column, concept in enumerate(concepts):
            rivals = by_name.clone()
            rivals[:, order.index(concept)] = -torch.inf
            won = (by_word[:, column] > rivals.max(1).values).float()
            shown = torch.tensor([name == concept for name in features.concepts])
            more = {"drawn": won[~shown].mean().item()}
            scores.append(Score("accuracy", won[shown].mean().item(), int(shown.sum()), more))
        return scores
