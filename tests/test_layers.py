"""Layers: parity with the libraries' own hidden states, truncation that leaves no trace, and projections with known
answers.
"""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from vwlib import layers
from vwlib.concepts import TASKS
from vwlib.experiments import layer_statistics
from vwlib.experiments.layer_statistics import half_projection_layer
from vwlib.settings import load_profile
from vwlib.splice import spliced

PROFILE = load_profile("smoke")


@pytest.fixture(params=TASKS)
def model(request, lab):
    return lab.model(request.param)


@pytest.fixture
def words(model):
    """Three words of four vectors."""
    return model.word_table()[:12].reshape(3, 4, -1).clone()


@torch.no_grad()
def library_states(model, vectors):
    """Hidden states (layer, word, token, d) and ids by the library's own way, without our hooks on the blocks."""
    ids = model.vocabulary.prompt(model.prompt, vectors.shape[1]).expand(len(vectors), -1)
    with spliced(model.table, vectors):
        if model.task == "classification":
            clip = model.model
            embedded = clip.token_embedding(ids) + clip.positional_embedding
            _, states = clip.transformer.forward_intermediates(embedded, attn_mask=clip.attn_mask)
            return torch.stack([embedded, *states]), ids
        encoder = model.pipeline.text_encoder if model.task == "generation" else model.model.owlv2.text_model
        return torch.stack(encoder(input_ids=ids, output_hidden_states=True).hidden_states), ids


def traces(model):
    """All that a hook or a truncation could leave behind."""
    modules = [model.table, *model.blocks]
    return [(dict(m._forward_hooks), dict(m._forward_pre_hooks), vars(m).get("forward")) for m in modules]


def test_activations_are_the_librarys_hidden_states(model, words):
    states, ids = library_states(model, words)
    end = (ids[0] == model.vocabulary.end).int().argmax()
    found = layers.hidden_states(model, words)
    assert len(found) == len(model.blocks) + 1
    torch.testing.assert_close(found, states[:, :, end], rtol=1e-5, atol=1e-5)


def test_activations_do_not_depend_on_the_batch(model, words):
    torch.testing.assert_close(
        layers.hidden_states(model, words, at_once=2), layers.hidden_states(model, words), rtol=1e-4, atol=1e-4
    )


def test_each_run_is_recorded_and_gradients_are_kept(model, words):
    words.requires_grad_()
    with layers.record_hidden_states(model) as runs:
        model.encode_prompts(["dog"])
        model.encode_words(words)
    assert [run.shape[1] for run in runs] == [1, 3]
    runs[1][-1].sum().backward()
    assert words.grad.abs().sum() > 0


@torch.no_grad()
def test_no_truncation_is_the_untouched_model(model, words):
    whole = model.encode_words(words)
    with layers.truncated(model, len(model.blocks)):
        assert torch.equal(model.encode_words(words), whole)
    with layers.truncated(model, 1):
        assert not torch.equal(model.encode_words(words), whole)
    assert torch.equal(model.encode_words(words), whole)


@torch.no_grad()
def test_a_truncated_encoder_is_norm_and_projection_of_the_layer(model, words):
    states, ids = library_states(model, words)
    for blocks, layer in enumerate(states):
        with layers.truncated(model, blocks):
            found = model.encode_words(words)
        if model.task == "generation":
            expected = model.pipeline.text_encoder.final_layer_norm(layer)
        elif model.task == "detection":
            pooled = model.model.owlv2.text_model.final_layer_norm(layer)[torch.arange(3), ids.argmax(-1)]
            expected = F.normalize(model.model.owlv2.text_projection(pooled), dim=-1)
        else:
            pooled = model.model.ln_final(layer)[torch.arange(3), ids.argmax(-1)]
            expected = F.normalize(pooled @ model.model.text_projection, dim=-1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("recorded_first", [True, False])
def test_recording_and_truncating_nest(model, words, recorded_first):
    """Layers that are cut away repeat the last one that is left."""
    whole = layers.hidden_states(model, words)
    contexts = [lambda: layers.record_hidden_states(model), lambda: layers.truncated(model, 2)]
    outer, inner = contexts if recorded_first else contexts[::-1]
    with outer() as a, inner() as b:
        model.encode_words(words)
    (cut,) = a if recorded_first else b
    assert torch.equal(cut[:3], whole[:3]) and all(torch.equal(layer, whole[2]) for layer in cut[3:])


def test_nothing_is_left_behind(model, words):
    model.encode_words(words)
    before = traces(model)
    layers.hidden_states(model, words)
    with (
        pytest.raises(RuntimeError, match="stop"),
        layers.record_hidden_states(model),
        layers.truncated(model, 3),
        layers.truncated(model, 1),
    ):
        raise RuntimeError("stop")
    with layers.truncated(model, 3):
        within = traces(model)
        with layers.truncated(model, 1):
            pass
        assert traces(model) == within != before
    assert traces(model) == before


@pytest.mark.parametrize("blocks", [-1, 99])
def test_blocks_that_are_not_there_are_refused(model, blocks):
    with (
        pytest.raises(ValueError, match=f"{model.task} model has . blocks; it cannot be cut to its first {blocks}"),
        layers.truncated(model, blocks),
    ):
        pass


def test_vectors_of_another_shape_are_refused(model, words):
    for wrong in (words[0], words[..., 1:], words[:0]):
        with pytest.raises(ValueError, match=r"reads words of shape \(word, vector, "):
            layers.hidden_states(model, wrong)


def test_the_papers_layers_are_evenly_spaced():
    assert layer_statistics.evenly_spaced(24) == [1, 8, 16, 24] and layer_statistics.evenly_spaced(12) == [1, 4, 8, 12]
    assert layer_statistics.evenly_spaced(2) == [1, 2]


def test_a_real_word_is_its_rows_of_the_table(model):
    vectors = model.embeddings_of(["cat", "dog"], 4)
    assert torch.equal(vectors[1], model.word_table()[model.vocabulary.token_of("dog")].expand(4, -1))
    with pytest.raises(ValueError, match="tokens"):
        model.embeddings_of(["top hat"])


def test_attention_and_mlps_add_up_to_the_last_layer(model, words):
    states, parts = layers.hidden_states(model, words), layers.block_contributions(model, words, at_once=2)
    assert parts.shape == (len(states) - 1, 2, *states.shape[1:])
    torch.testing.assert_close(states[0] + parts.sum((0, 1)), states[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(states[0] + parts[0].sum(0), states[1], rtol=1e-4, atol=1e-4)


def test_the_parts_of_the_way_add_up_to_the_way(model, words):
    table = pd.DataFrame({"concept": ["c"] * 3, "anchor": ["a"] * 3})
    names = model.embeddings_of(["laptop", "scissors"], 4)
    anchors, concepts = names[:1].expand(3, -1, -1), names[1:].expand(3, -1, -1)
    here, start, end = (layers.hidden_states(model, v) for v in (words, anchors, concepts))
    added, before = (layers.block_contributions(model, v) for v in (words, anchors))
    by_part = layer_statistics.contributions_to_direction(added, before, start[-1], end[-1], table)
    whole = layer_statistics.projection_on_concept_direction(here, start, end, table)
    last = whole[whole["layer"] == len(here) - 1].set_index("word")["value"]
    assert by_part.groupby("word")["value"].sum().tolist() == pytest.approx(last.tolist(), abs=1e-3)
    assert set(by_part["part"]) == {"attention", "MLP"}


def test_the_way_of_a_swap_is_complete_and_of_the_anchor_nothing():
    table = pd.DataFrame({"concept": ["c", "d"], "anchor": ["a", "a"]})
    anchors, concepts = torch.zeros(4, 2, 3), torch.zeros(4, 2, 3)
    concepts[:, :, 0] = torch.tensor([0.0, 0.2, 1.0, 2.0])[:, None]
    swap = layer_statistics.projection_on_concept_direction(concepts, anchors, concepts, table)
    assert list(swap.loc[swap["word"] == 0, "value"]) == pytest.approx([0, 0.1, 0.5, 1])
    assert list(half_projection_layer(swap)["half"]) == [2, 2] and set(half_projection_layer(swap)["depth"]) == {3}
    still = layer_statistics.projection_on_concept_direction(anchors, anchors, concepts, table)
    assert not still["value"].any() and half_projection_layer(still)["half"].isna().all()


def test_there_is_no_way_from_a_word_to_itself():
    with pytest.raises(ValueError, match="'a' is the own word of 'c'"):
        layer_statistics.projection_on_concept_direction(
            torch.zeros(2, 1, 3),
            torch.ones(2, 1, 3),
            torch.ones(2, 1, 3),
            pd.DataFrame({"concept": ["c"], "anchor": ["a"]}),
        )
