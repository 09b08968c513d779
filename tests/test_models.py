"""Parity of the adapters with the libraries' own paths, on the same weights."""

import copy
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from exactly import in_full_precision
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torchmetrics.detection import MeanAveragePrecision

from vwlib.concepts import TASKS
from vwlib.miniature.scenes import LAYOUTS, random_scene
from vwlib.miniature.sprites import load_sprites
from vwlib.models.base import CachedFeatures
from vwlib.models.memory import MemoryBudget
from vwlib.splice import PLACEHOLDER, Vocabulary, spliced
from vwlib.trials import Trial

PROFILE = in_full_precision()


@pytest.fixture(params=TASKS)
def model(request, precise_lab):
    return precise_lab.model(request.param)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [random_scene(np.random.default_rng(i), load_sprites(), LAYOUTS["PASCAL"], 96).image for i in range(4)]


@torch.no_grad()
def test_spliced_word_equals_typed_word(model):
    vector = model.word_table()[model.vocabulary.token_of("cat")][None, None]
    assert torch.equal(model.encode_words(vector), model.encode_prompts(["a photo of cat"]))


@torch.no_grad()
def test_spliced_vectors_keep_their_order(model):
    tokens = [model.vocabulary.token_of(word) for word in ("large", "red", "cat", "dog")]
    assert torch.equal(
        model.encode_words(model.word_table()[tokens][None]), model.encode_prompts(["a photo of large red cat dog"])
    )


def states_and_gradient(model, vectors):
    leaf = vectors.clone().requires_grad_()
    states = model.encode_words(leaf)
    (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
    return states.detach(), leaf.grad


def test_a_beginning_that_is_encoded_once_changes_no_word(model):
    vectors = model.embeddings_of(["cat", "dog", "red"], 4) + 0.1
    usual, lengths = states_and_gradient(model, vectors), []
    note = model.blocks[-1].mlp.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    with note, model.beginning_encoded_once():
        runs = [states_and_gradient(model, vectors) for _ in range(3)]
    for run in (*runs, states_and_gradient(model, vectors)):
        torch.testing.assert_close(run, usual, rtol=1e-3, atol=1e-5)
    length = 9 if model.uses_pooled_output else model.vocabulary.context
    assert lengths == [length, length - 4, length - 4] and not model.blocks[0]._forward_pre_hooks


def test_the_denoisers_attention_stays_torchs_own(precise_lab):
    model, usual = precise_lab.generator, F.scaled_dot_product_attention
    with model.beginning_encoded_once():
        for _ in range(2):
            model.encode_words(model.embeddings_of(["cat"], 4))
            assert F.scaled_dot_product_attention is usual


def test_attention_of_another_kind_reads_whole_prompts(precise_lab):
    model = copy.deepcopy(precise_lab.detector)
    vectors = model.embeddings_of(["cat", "dog"], 4)
    usual = states_and_gradient(model, vectors)
    model.model.set_attn_implementation("eager")
    with model.beginning_encoded_once():
        for _ in range(2):
            torch.testing.assert_close(states_and_gradient(model, vectors), usual, rtol=1e-3, atol=1e-5)


def test_splice_leaves_the_table_alone(model):
    before = model.word_table().clone()
    with pytest.raises(RuntimeError, match="stop"), spliced(model.table, torch.zeros(1, 1, before.shape[1])):
        raise RuntimeError("stop")
    assert torch.equal(model.word_table(), before) and not model.table._forward_hooks


def test_end_of_text_is_the_largest_id(model):
    assert model.vocabulary.end == len(model.vocabulary.entries) - 1 == model.table.num_embeddings - 1
    assert PLACEHOLDER not in model.vocabulary.words().values()


def test_regions_are_written_where_they_stay_however_many_parts_they_come_in(images, monkeypatch, precise_lab):
    detector, joined, cat = precise_lab.model("detection"), [], torch.cat
    whole = detector.encode_images(images)
    monkeypatch.setitem(vars(detector), "memory", MemoryBudget(torch.device("cpu")))
    detector.memory.sizes["images"] = 3
    monkeypatch.setattr(torch, "cat", lambda *given, **more: joined.append(cat(*given, **more)) or joined[-1])
    parts = detector.encode_images(images)
    torch.testing.assert_close(parts, whole)
    assert joined and not any(len(tensor) == len(images) for tensor in joined)  # nothing of all images is there twice


def test_a_whole_word_of_clips_is_of_small_letters_and_a_single_token():
    tokenizer = SimpleTokenizer()
    words = Vocabulary(tokenizer.encoder, tokenizer.encode, tokenizer.sot_token_id, tokenizer.eot_token_id, 77).words()
    assert (len(tokenizer.encoder), len(words)) == (49_408, 32_875)
    assert all(re.fullmatch("[a-z]+", word) and tokenizer.encode(word) == [number] for word, number in words.items())


@torch.no_grad()
def test_classifier_features_are_open_clips(images, precise_lab):
    model = precise_lab.model("classification")
    pixels = torch.stack([model.preprocess(image) for image in images])
    assert torch.equal(model.encode_images(images), model.model.encode_image(pixels, normalize=True))
    ids = model.vocabulary.prompts(["a photo of a cat", "dog"])
    assert torch.equal(model.encode_ids(ids), model.model.encode_text(ids, normalize=True))
    torch.testing.assert_close(
        model.encode_prompts(["a photo of a cat", "dog"]), model.encode_ids(ids), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("task", ["classification", "detection"])
@torch.no_grad()
def test_padding_that_is_left_out_changes_nothing(task, precise_lab):
    model = precise_lab.model(task)
    vectors = torch.randn(5, 4, model.word_table().shape[1])
    ids = model.vocabulary.prompt(model.prompt, 4).expand(5, -1)
    with spliced(model.table, vectors):
        padded = model.encode_ids(ids)
    torch.testing.assert_close(model.encode_words(vectors), padded, rtol=1e-5, atol=1e-6)


def test_classifier_ids_are_open_clips(precise_lab):
    import open_clip

    from vwlib.models.loading import resolve

    model = precise_lab.model("classification")
    folder = resolve(PROFILE.classifier.source)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / "bpe.txt.gz"))
    texts = ["a photo of a cat", "a huge red dog on a striped background", "xylophone"]
    assert torch.equal(model.vocabulary.prompts(texts), tokenizer(texts))


@torch.no_grad()
def test_detector_logits_are_transformers(images, precise_lab):
    model = precise_lab.model("detection")
    texts = ["a photo of a cat", "a photo of a dog", "car"]
    features = model.encode_images(images)
    pixels = model.processor(images=images, return_tensors="pt").pixel_values
    ids = model.vocabulary.prompts(texts)
    output = model.model(input_ids=ids.repeat(len(images), 1), pixel_values=pixels, attention_mask=None)
    ours = (
        torch.einsum("ird,td->irt", features["region"], model.encode_prompts(texts)) + features["shift"][..., None]
    ) * features["scale"][..., None]
    torch.testing.assert_close(ours, output.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features["objectness"], output.objectness_logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_generator_with_embeddings_equals_generator_with_prompt(precise_lab):
    model = precise_lab.model("generation")
    typed = model.pipeline(
        "a photo of cat",
        num_inference_steps=PROFILE.generator.inference_steps,
        guidance_scale=PROFILE.generator.guidance,
        height=64,
        width=64,
        generator=[torch.Generator().manual_seed(7)],
    ).images[0]
    vector = model.word_table()[model.vocabulary.token_of("cat")][None, None]
    drawn = model.generate(model.encode_words(vector), 1, seed=7)[0][0]
    assert np.array_equal(np.asarray(drawn), np.asarray(typed))


@torch.no_grad()
def test_plain_attention_denoises_as_diffusers_own(precise_lab):
    model = precise_lab.model("generation")
    own = UNet2DConditionModel.from_pretrained(PROFILE.generator.source, subfolder="unet", dtype=torch.float32).eval()
    assert {type(processor) for processor in own.attn_processors.values()} != {
        type(processor) for processor in model.pipeline.unet.attn_processors.values()
    }
    noisy, times, states = (
        torch.randn(2, own.config.in_channels, 8, 8),
        torch.tensor([20, 800]),
        model.encode_prompts(["a cat", "two red cars"]),
    )
    torch.testing.assert_close(
        model.pipeline.unet(noisy, times, states).sample, own(noisy, times, states).sample, rtol=1e-4, atol=1e-4
    )


def test_streams_are_the_trials_own():
    first, second = Trial("COCO", "cat", "dog"), Trial("COCO", "cat", "dog", seed=1)
    assert torch.equal(
        torch.rand(3, generator=first.stream()), torch.rand(3, generator=Trial("COCO", "cat", "dog").stream())
    )
    assert not torch.equal(torch.rand(3, generator=first.stream()), torch.rand(3, generator=second.stream()))


def test_finding_the_concept_in_another_concepts_image_is_right(precise_lab):
    """The second image is labelled "dog" but shows a cat too; the third shows a cat that counts neither way."""
    cat, dog = [0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9]
    nowhere = [0.0, 0.0, 0.0, 0.0]
    tensors = {
        "box": torch.tensor([[cat, dog]] * 3),
        "truth": torch.tensor([[cat, nowhere], [dog, cat], [dog, cat]]),
        "kind": torch.tensor([[0, -1], [1, 0], [1, 0]]),
        "ignored": torch.tensor([[False, False], [False, False], [False, True]]),
    }
    features = CachedFeatures(["cat", "dog", "dog"], tensors)
    detector = precise_lab.model("detection")
    finds_cats = torch.tensor([[0.9, 0.1], [0.8, 0.1], [0.95, 0.1]])
    finds_dogs = finds_cats.flip(1)
    assert detector.average_precision(finds_cats, "cat", features).value == 1
    assert detector.average_precision(finds_dogs, "cat", features).value < 0.5
    with pytest.raises(ValueError, match="'bird'"):
        detector.average_precision(finds_cats, "bird", features)


def test_detector_prepares_every_annotated_object(precise_lab):
    """Each image's own concept has positive regions, and other concepts' objects are kept with their kind."""
    material = precise_lab.split("COCO")
    features = precise_lab.features("detection", "COCO", "test")
    order = list(dict.fromkeys(features.concepts))
    for row, example in enumerate(material.test):
        kinds = [kind for kind in features.tensors["kind"][row].tolist() if kind >= 0]
        assert sorted(order[kind] for kind in kinds) == sorted(example.names)
        assert features.tensors["positive"][row].any()
    assert any(len(set(example.names)) > 1 for example in material.test)


def test_average_precision_is_torchmetrics(precise_lab):
    """Twenty pictures with up to three true boxes each, some of which do not count, and boxes found near them or
    anywhere.
    """
    rng = np.random.default_rng(0)
    images, boxes, regions = 20, 3, 120
    corner = torch.from_numpy(rng.uniform(0, 0.6, (images, boxes, 2)).astype(np.float32))
    truth = torch.cat(
        [corner, corner + torch.from_numpy(rng.uniform(0.1, 0.4, (images, boxes, 2)).astype(np.float32))], dim=-1
    )
    near = truth[torch.arange(images)[:, None], torch.from_numpy(rng.integers(boxes, size=(images, regions)))]
    found = near + torch.from_numpy(rng.normal(0, 0.03, near.shape).astype(np.float32))
    kind, ignored = (
        torch.from_numpy(rng.integers(-1, 2, (images, boxes))),
        torch.from_numpy(rng.random((images, boxes)) < 0.2),
    )
    features = CachedFeatures(
        ["cat", "dog"] * (images // 2), {"box": found, "truth": truth, "kind": kind, "ignored": ignored}
    )
    score = torch.from_numpy(rng.random((images, regions)).astype(np.float32))
    for concept, number in (("cat", 0), ("dog", 1)):
        metric = MeanAveragePrecision(backend="faster_coco_eval")
        for row in range(images):
            best, asked = score[row].topk(100), kind[row] == number
            none = torch.zeros(int(asked.sum()), dtype=torch.int)
            answers = {
                "boxes": found[row, best.indices],
                "scores": best.values,
                "labels": torch.zeros(100, dtype=torch.int),
            }
            metric.update(
                [answers], [{"boxes": truth[row, asked], "labels": none, "iscrowd": ignored[row, asked].int()}]
            )
        expected, ours = metric.compute(), precise_lab.model("detection").average_precision(score, concept, features)
        assert 0 < ours.value < ours.more["ap50"] < 1
        assert ours.value == float(expected["map"]) and ours.more["ap50"] == float(expected["map_50"])
