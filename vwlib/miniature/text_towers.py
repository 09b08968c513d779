"""The second edition's text encoders, each trained alone against a frozen side that sees or draws.

The classifier's learns from image features, the detector's from features of regions (locked-image tuning, arXiv
2111.07991), and the generator's learns to say to the denoiser what the first edition's text encoder said. Some words
are spelled in pieces (BPE-dropout, arXiv 1910.13267), so that an encoder must put words together to read a text.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from open_clip import CLIP
from open_clip.transformer import text_global_pool
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou
from tqdm.auto import tqdm
from transformers import CLIPTextModel, Owlv2ForObjectDetection

from vwlib.miniature.architectures import CONTEXT, tokenizer_of
from vwlib.miniature.captions import MAX_WORDS
from vwlib.miniature.detection import candidate_regions, normalise
from vwlib.miniature.pool import Pool
from vwlib.miniature.statements import Statement, describe, is_thing, is_true, name_prompt, state
from vwlib.miniature.tokenizer import spell
from vwlib.miniature.training import Loss, save_tensors, to_tensor, training_autocast

SPELLED = 0.3  # share of the words that are spelled in pieces
DROPOUT = 0.2  # probability that a merge is left out there
EARLY = 1.0  # weight of `told_early`
NOISE = 0.03  # standard deviation of what is added to a normalised feature, which is normalised again


def spelled_ids(words: Sequence[str], rng: np.random.Generator) -> list[list[int]]:
    """The ids of each word; some words are in pieces, as many as the context leaves room for."""
    tokenizer = tokenizer_of("second")
    ids = [tokenizer.encode(word) for word in words]
    room = MAX_WORDS - sum(map(len, ids))
    for place in rng.permutation(len(words)):
        if rng.random() < SPELLED:
            pieces = [tokenizer.encoder[piece] for piece in spell(words[place], tokenizer.bpe_ranks, rng, DROPOUT)]
            if len(pieces) - 1 <= room:
                room -= len(pieces) - 1
                ids[place] = pieces
    return ids


def framed(words: Sequence[Sequence[int]]) -> list[int]:
    """The ids of a text's words between start and end."""
    start, end = tokenizer_of("second").all_special_ids
    return [start, *(number for word in words for number in word), end]


def padded(rows: Iterable[Sequence[int]], length: int = 0) -> Tensor:
    """Token ids (text, token), padded with zeros to `length`, or to the longest."""
    rows = list(rows)
    length = length or max(map(len, rows))
    return torch.tensor([[*row, *([0] * (length - len(row)))] for row in rows])


def ids_of(texts: Sequence[Statement], rng: np.random.Generator) -> Tensor:
    """Token ids (text, token) of statements, some words in pieces."""
    return padded(framed(spelled_ids([word for word, _ in text.words], rng)) for text in texts)


@torch.inference_mode()
def image_features(model: CLIP, pool: Pool, at_once: int = 250) -> Tensor:
    """Normalised features (scene, d) of a pool's images."""
    parts = [model.encode_image(to_tensor(pool.images[i : i + at_once])) for i in range(0, len(pool), at_once)]
    return F.normalize(torch.cat(parts).float(), dim=-1).clone()


def states_of(
    embedded: Tensor, blocks: Sequence[nn.Module], norm: nn.Module, early: int, **how: Tensor
) -> list[Tensor]:
    """States (text, token, d) of embedded tokens after each of the first `early` blocks, and after the last.

    Each goes through the final norm as if its block was the last.
    """
    states, found = embedded, []
    for number, block in enumerate(blocks, 1):
        states = block(states, **how)
        if number <= early or number == len(blocks):
            found.append(norm(states))
    return found


def causal(length: int) -> Tensor:
    """What is added to the scores of attention, (token, token), so that no token sees a later one."""
    return torch.full((length, length), -torch.inf).triu(1)


def open_clip_features(model: CLIP, ids: Tensor, early: int) -> list[Tensor]:
    """Normalised text features (text, d) as read after the blocks of `states_of`, for ids of any length."""
    length = ids.shape[1]
    embedded = model.token_embedding(ids) + model.positional_embedding[:length]
    blocks, mask = model.transformer.resblocks, causal(length)
    states = states_of(embedded, blocks, model.ln_final, early, attn_mask=mask)
    pooled = (text_global_pool(state, ids, "argmax") @ model.text_projection for state in states)
    return [F.normalize(features.float(), dim=-1) for features in pooled]


def clip_states(text: Any, ids: Tensor, early: int) -> list[Tensor]:
    """The `states_of` transformers' CLIP text encoder, or OWL-v2's."""
    embedded, mask = text.embeddings(input_ids=ids), causal(ids.shape[1])[None, None]
    return states_of(embedded, text.encoder.layers, text.final_layer_norm, early, attention_mask=mask)


def detector_features(model: Owlv2ForObjectDetection, ids: Tensor, early: int) -> list[Tensor]:
    """Normalised text features (text, d) as read after the blocks of `states_of`."""
    rows, ends = torch.arange(len(ids)), ids.argmax(-1)
    pooled = (state[rows, ends] for state in clip_states(model.owlv2.text_model, ids, early))
    return [F.normalize(model.owlv2.text_projection(state).float(), dim=-1) for state in pooled]


def told_early(readings: Sequence[Tensor]) -> Tensor:
    """How far what is read of texts (text, …, d) after early blocks tells them apart as the last reading does.

    It is the mean squared cosine between their differences from the mean text, 1 where they are told apart in the same
    way. Held down, it makes an encoder use its depth. Otherwise one block is enough for texts as simple as these, and
    no word could act earlier or later than another.
    """
    apart = [reading.float() - reading.float().mean(0) for reading in readings]
    last = apart[-1].detach()
    return torch.stack([F.cosine_similarity(early, last, dim=-1).square().mean() for early in apart[:-1]]).mean()


def soft_cross_entropy(logits: Tensor, true: Tensor) -> Tensor:
    """Cross-entropy of rows of `logits` against an equal share for each column that is true; rows without are left out.

    Both are (row, column).
    """
    rows = true.any(1)
    target = true[rows].float()
    return F.cross_entropy(logits[rows], target / target.sum(1, keepdim=True))


def classifier_texts(
    rng: np.random.Generator, pool: Pool, names: int = 96, images: int = 2, statements: int = 64
) -> tuple[np.ndarray, list[Statement], list[Statement]]:
    """Rows of a pool, `images` for each of `names` main nouns, prompts with these names, and statements about some."""
    main = pool.arrays["noun"][:, 0]
    offered = rng.choice(len(pool.sprites.nouns), names, replace=False)
    rows = np.concatenate([rng.choice(np.flatnonzero(main == number), images) for number in offered])
    prompts = [name_prompt(rng, pool.sprites.nouns[number]) for number in offered]
    return rows, prompts, [state(rng, pool, row) for row in rng.choice(rows, statements, replace=False)]


def classifier_loss(pool: Pool, features: Tensor, model: CLIP, blocks: int) -> Loss:
    """Images are told apart by the names of their main nouns, and by statements about some of them.

    `features` (scene, d) are the frozen image tower's, normalised.
    """
    size = pool.images.shape[1]

    def loss(rng: np.random.Generator, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows, prompts, said = classifier_texts(rng, pool)
        shown = {key: array[rows] for key, array in pool.arrays.items() if key != "images"}
        true = torch.from_numpy(np.stack([is_true(shown, statement, size) for statement in said]))
        image = features[torch.from_numpy(rows)]
        image = F.normalize(image + NOISE * torch.randn(image.shape, generator=noise), dim=-1)
        with training_autocast():
            readings = [open_clip_features(model, ids_of(texts, rng), blocks) for texts in (prompts, said)]
        scale = model.logit_scale.exp().clamp(max=100)
        by_name, by_statement = (scale * image @ found[-1].T for found in readings)
        target = torch.arange(len(prompts)).repeat_interleave(len(rows) // len(prompts))
        names = F.cross_entropy(by_name, target, label_smoothing=0.05)
        statements = (soft_cross_entropy(by_statement.T, true) + soft_cross_entropy(by_statement, true.T)) / 2
        early = (told_early(readings[0]) + told_early(readings[1])) / 2
        accuracy = (by_name.argmax(1) == target).float().mean()
        figures = {"names": names, "said": statements, "early": early, "top1": accuracy}
        return names + statements + EARLY * early, figures

    return loss


@dataclass(frozen=True)
class Regions:
    """What the frozen detector knows of a pool's scenes, and which of its regions finds each object."""

    region: Tensor  # normalised class features (scene, region, d), in half precision
    shift: Tensor  # of the class logits (scene, region)
    scale: Tensor  # of the class logits (scene, region)
    best: Tensor  # (scene, object): the region with the best box among those around the object's centre
    overlap: Tensor  # (scene, object): IoU of its box with the object's

    @classmethod
    @torch.no_grad()
    def of(cls, pool: Pool, model: Owlv2ForObjectDetection, file: Path, at_once: int = 64) -> "Regions":
        """Run the detector on all scenes, once; `file` keeps what it found."""
        if file.exists():
            return cls(**load_file(file))
        truth = torch.from_numpy(pool.arrays["box"].astype(np.float32)) / pool.images.shape[1]
        present, head = torch.from_numpy(pool.arrays["noun"] >= 0), model.class_head
        parts = []
        for rows in tqdm(torch.arange(len(pool)).split(at_once), desc="regions", mininterval=5):
            maps, _ = model.image_embedder(pixel_values=normalise(pool.images[rows.numpy()]))
            regions = maps.flatten(1, 2)
            boxes = box_convert(model.box_predictor(regions, maps), "cxcywh", "xyxy")
            fit = torch.stack([box_iou(*pair) for pair in zip(truth[rows], boxes, strict=True)])
            around = candidate_regions(truth[rows], present[rows], model.num_patches_height)
            best = torch.where(around, fit, -1.0).argmax(-1)
            scale = head.elu(head.logit_scale(regions))[..., 0] + 1
            feature = F.normalize(head.dense0(regions), dim=-1).half()
            overlap = fit.gather(-1, best[..., None])[..., 0]
            parts.append((feature, head.logit_shift(regions)[..., 0], scale, best, overlap))
        regions = cls(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        save_tensors(vars(regions), file)
        return regions


@torch.no_grad()
def widened_head(model: Owlv2ForObjectDetection, first: Owlv2ForObjectDetection) -> Tensor:
    """Give a detector with wider text features the first one's weights, its own text encoder excepted.

    Returns what leads from region features to the wider ones, (d, d of regions) with orthonormal columns; its product
    with the first class head is the new one, so that cosines between regions stay as they are.
    """
    wide, narrow = model.class_head.dense0, first.class_head.dense0
    lead = nn.init.orthogonal_(torch.empty(wide.out_features, narrow.out_features))
    ours = model.state_dict()
    kept = {key: value for key, value in first.state_dict().items() if value.shape == ours[key].shape}
    text = {key for key in kept if key.startswith("owlv2.text_")}
    model.load_state_dict({key: value for key, value in kept.items() if key not in text}, strict=False)
    wide.weight.copy_(lead @ narrow.weight)
    wide.bias.copy_(lead @ narrow.bias)
    return lead


def detector_texts(
    rng: np.random.Generator, pool: Pool, images: int = 32, negatives: int = 64, phrases: int = 64
) -> tuple[np.ndarray, np.ndarray, list[Statement], list[Statement]]:
    """Rows of a pool; the nouns that they show, sorted, then others; prompts with these names; phrases for objects."""
    rows = rng.integers(len(pool), size=images)
    noun = pool.arrays["noun"][rows]
    shown, count = np.unique(noun[noun >= 0]), (noun >= 0).sum(1)
    others = rng.permutation(np.setdiff1d(np.arange(len(pool.sprites.nouns)), shown))[:negatives]
    queried = np.concatenate([shown, others])
    prompts = [name_prompt(rng, pool.sprites.nouns[number]) for number in queried]
    said = []
    for place in rng.choice(images, phrases):
        words, thing, _ = describe(rng, pool, int(rows[place]), int(rng.integers(count[place])), rich=0.6)
        said.append(Statement(words, [thing]))
    return rows, queried, prompts, said


def detector_loss(pool: Pool, regions: Regions, model: Owlv2ForObjectDetection, lead: Tensor, blocks: int) -> Loss:
    """OWL-v2's losses over text queries, on frozen regions: names by a softmax, names and phrases by focal loss.

    As in the first edition's refinement, a region's score is trained to equal the overlap of its box (arXiv
    2006.04388). `lead` (d, d of regions), with orthonormal columns, leads from region features to the text's.
    """

    def loss(rng: np.random.Generator, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows, queried, prompts, said = detector_texts(rng, pool)
        shown = {key: array[rows] for key, array in pool.arrays.items() if key != "images"}
        named = shown["noun"][..., None] == queried
        described = np.stack([is_thing(shown, text.things[0]) for text in said], -1)
        true = torch.from_numpy(np.concatenate([named, described], -1))  # (image, object, query)
        with training_autocast():
            readings = [detector_features(model, ids_of(texts, rng), blocks) for texts in (prompts, said)]
        early = (told_early(readings[0]) + told_early(readings[1])) / 2
        text = torch.cat([readings[0][-1], readings[1][-1]]) @ lead  # (query, d of regions)
        seen = torch.from_numpy(rows)
        cosine = regions.region[seen].float() @ text.T
        logits = (cosine + regions.shift[seen][..., None]) * regions.scale[seen][..., None]
        image, slot = torch.from_numpy(shown["noun"] >= 0).nonzero(as_tuple=True)
        best, overlap = regions.best[seen][image, slot], regions.overlap[seen][image, slot]
        target = torch.zeros_like(logits)
        target[image, best] = torch.maximum(target[image, best], true[image, slot] * overlap[:, None])
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        focal = 0.5 * ((logits.sigmoid() - target).pow(2) * entropy).sum() / true.sum()
        by_name = cosine[image, best, : len(prompts)] / 0.05
        column = true[image, slot, : len(prompts)].float().argmax(-1)
        names = F.cross_entropy(by_name, column)
        accuracy = (by_name.argmax(1) == column).float().mean()
        figures = {"names": names, "focal": focal, "early": early, "top1": accuracy}
        return names + 2 * focal + EARLY * early, figures

    return loss


class TextForDenoiser(nn.Module):
    """A text encoder and what leads from its states to a denoiser that reads another's: diffusers' own two parts."""

    def __init__(self, text: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text, self.encoder_hid_proj, self.add_embedding = text, unet.encoder_hid_proj, unet.add_embedding


def aligned(words: Sequence[Sequence[int]], known: int) -> list[int]:
    """For each token of a text, spelled word by word, the token of the first edition's text, `known` words, it stands
    for: start and end for start and end, a word for each of its pieces, padding for padding.
    """
    places = [0, *(place for place, pieces in enumerate(words, 1) for _ in pieces), known + 1]
    return places + list(range(len(places), CONTEXT))


def generator_texts(rng: np.random.Generator, pool: Pool, batch: int = 128) -> list[Statement]:
    """Prompts with a name, statements, and now and then no text, for guidance."""
    texts = []
    for row in rng.integers(len(pool), size=batch):
        chance, noun = rng.random(), pool.sprites.nouns[pool.arrays["noun"][row, 0]]
        said = name_prompt(rng, noun) if chance < 0.5 else state(rng, pool, int(row))
        texts.append(said if chance < 0.95 else Statement([], []))
    return texts


def generator_loss(
    pool: Pool, first: CLIPTextModel, first_embedding: nn.Module, model: TextForDenoiser, blocks: int
) -> Loss:
    """The denoiser is told the same: states and text embedding equal the first edition's, whose words say as much."""
    start, end = tokenizer_of("first").all_special_ids

    def loss(rng: np.random.Generator, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        texts = generator_texts(rng, pool)
        spelled = [spelled_ids([word for word, _ in text.words], rng) for text in texts]
        known = [[start, *tokenizer_of("first").encode(text.first), end] for text in texts]
        places = torch.tensor([aligned(words, len(ids) - 2) for words, ids in zip(spelled, known, strict=True)])
        with torch.no_grad():
            wanted = first(input_ids=padded(known, CONTEXT)).last_hidden_state
            summary = first_embedding(wanted)
            wanted = wanted.gather(1, places[..., None].expand_as(wanted))
        with training_autocast():
            states = clip_states(model.text, padded(map(framed, spelled), CONTEXT), blocks)
            told = [model.encoder_hid_proj(state) / wanted.std() for state in states]
            summaries = [model.add_embedding(state) / summary.std() for state in states]
        error = F.mse_loss(told[-1].float(), wanted / wanted.std())
        summary_error = F.mse_loss(summaries[-1].float(), summary / summary.std())
        early = told_early(told) + told_early(summaries)
        figures = {"states": error, "summary": summary_error, "early": early}
        return error + summary_error + EARLY * early, figures

    return loss


#: What each training's texts are, for counting their words.
TEXTS: dict[str, Callable[[np.random.Generator, Pool], list[Statement]]] = {
    "classifier": lambda rng, pool: [*itertools.chain(*classifier_texts(rng, pool)[1:])],
    "detector": lambda rng, pool: [*itertools.chain(*detector_texts(rng, pool)[2:])],
    "generator": generator_texts,
}
