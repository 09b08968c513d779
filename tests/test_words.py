"""Words on disk: what is written comes back, and what is broken is refused."""

import dataclasses

import pytest
import torch

from vwlib.words import Word, export_textual_inversion, load_words, save_words

WORD = Word(torch.randn(4, 8), "generation", "COCO", "cat", "dog", 0.5, 0, "smoke", 5, 0.01, 8, "a photo of {}", "float32", "f00d", "cafe")


def test_round_trip(tmp_path):
    other = dataclasses.replace(WORD, anchor="cup", delta=None)
    save_words([WORD, other], tmp_path / "bank.safetensors")
    back = {word.word_id: word for word in load_words(tmp_path / "bank.safetensors")}
    assert back.keys() == {WORD.word_id, other.word_id}
    assert torch.equal(back[WORD.word_id].vectors, WORD.vectors) and back[other.word_id].delta is None


def test_the_same_words_give_the_same_bytes(tmp_path):
    words = [dataclasses.replace(WORD, seed=seed) for seed in range(20)]
    for name, order in (("a", words), ("b", words[::-1])):
        save_words(order, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "field,value", [("anchor", "cup"), ("delta", None), ("seed", 1), ("steps", 6), ("model", "beef"), ("images", "beef"), ("vectors", torch.zeros(3, 8))]
)
def test_the_id_depends_on_all_that_determines_the_word(field, value):
    assert dataclasses.replace(WORD, **{field: value}).word_id != WORD.word_id


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "bank.safetensors"
    save_words([WORD], path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"bank\.safetensors is damaged"):
        load_words(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="learn the words first"):
        load_words(tmp_path / "none.safetensors")


def test_only_generation_words_go_into_a_pipeline(tmp_path):
    with pytest.raises(ValueError, match="learned for detection"):
        export_textual_inversion(dataclasses.replace(WORD, task="detection"), "<cat>", tmp_path / "x.safetensors")
