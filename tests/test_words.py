"""Words on disk: what is written comes back, and what is broken is refused."""

import dataclasses

import pytest
import torch

from vwlib.words import Word, choose_words, find_word, load_words, read_delta, save_words, words_table

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


def test_a_word_is_found_by_the_beginning_of_its_id():
    words = [dataclasses.replace(WORD, seed=seed) for seed in range(40)]
    assert find_word(words, words[3].word_id) is words[3] is find_word(words, words[3].word_id[:12])
    with pytest.raises(ValueError, match=r"\d+ words have ids that begin with '[0-9a-f]'; `vwlib words` lists them\."):
        find_word([*words, words[0]], words[0].word_id[:1])
    with pytest.raises(ValueError, match=r"There is no word with the id 'none' among 40"):
        find_word(words, "none")


def test_words_are_chosen_by_what_determines_them():
    words = [dataclasses.replace(WORD, anchor=anchor, delta=delta) for anchor in ("dog", "cup") for delta in (0.5, None)]
    assert choose_words(words) == words
    assert choose_words(words, anchor="cup", delta="free") == words[3:]
    assert choose_words(words, task="generation", dataset="COCO", concept="cat", delta=read_delta("0.5")) == words[::2]
    with pytest.raises(ValueError, match=r"No word has the delta '0\.1'; there are 0\.5, free\."):
        choose_words(words, delta=0.1)


def test_a_table_has_a_row_for_each_word_and_a_head_without_any():
    table = words_table([WORD, dataclasses.replace(WORD, delta=None)])
    assert table.loc[0, ["word_id", "task", "delta", "vectors", "d"]].tolist() == [WORD.word_id, "generation", 0.5, 4, 8]
    assert table["delta"].isna().tolist() == [False, True]
    assert words_table([]).columns.tolist() == table.columns.tolist()
