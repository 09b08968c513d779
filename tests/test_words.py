"""Words on disk: what is written comes back, and what is broken is refused."""

import dataclasses
import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vwlib.study.bank import choose_words, find_word, words_table
from vwlib.study.targets import check_words_file
from vwlib.words import Word, load_words, save_words

WORD = Word(
    torch.randn(4, 8),
    "generation",
    "COCO",
    "cat",
    "dog",
    0.5,
    0,
    "smoke",
    5,
    0.01,
    8,
    "a photo of {}",
    "float32",
    "f00d",
    "cafe",
)


def test_round_trip(tmp_path):
    other = dataclasses.replace(WORD, anchor="cup", delta=None, patience=10, strata=8)
    save_words([WORD, other], tmp_path / "bank.safetensors")
    back = {word.word_id: word for word in load_words(tmp_path / "bank.safetensors")}
    assert back.keys() == {WORD.word_id, other.word_id}
    assert torch.equal(back[WORD.word_id].vectors, WORD.vectors) and back[other.word_id].delta is None
    assert back[other.word_id].provenance == other.provenance and "patience" not in WORD.provenance


def test_the_same_words_give_the_same_bytes(tmp_path):
    words = [dataclasses.replace(WORD, seed=seed) for seed in range(20)]
    for name, order in (("a", words), ("b", words[::-1])):
        save_words(order, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "field,value",
    [
        ("anchor", "cup"),
        ("delta", None),
        ("seed", 1),
        ("steps", 6),
        ("model", "beef"),
        ("images", "beef"),
        ("vectors", torch.zeros(3, 8)),
        ("patience", 10),
        ("strata", 8),
    ],
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
    with pytest.raises(FileNotFoundError, match="none"):
        load_words(tmp_path / "none.safetensors")


def test_a_word_is_found_by_the_beginning_of_its_id():
    words = [dataclasses.replace(WORD, seed=seed) for seed in range(40)]
    assert find_word(words, words[3].word_id) is words[3] is find_word(words, words[3].word_id[:12])
    with pytest.raises(ValueError, match=r"^([2-9]|\d\d) of 41 words"):
        find_word([*words, words[0]], words[0].word_id[:1])
    with pytest.raises(ValueError, match=r"0 of 40 words.*'none'"):
        find_word(words, "none")


def test_words_are_chosen_by_what_determines_them():
    words = [
        dataclasses.replace(WORD, anchor=anchor, delta=delta) for anchor in ("dog", "cup") for delta in (0.5, None)
    ]
    assert choose_words(words) == words
    assert choose_words(words, anchor="cup", delta="free") == words[3:]
    assert choose_words(words, task="generation", dataset="COCO", concept="cat", delta="0.5") == words[::2]
    with pytest.raises(ValueError, match=r"delta '0\.1'.*free"):
        choose_words(words, delta="0.1")


def test_a_table_has_a_row_for_each_word_and_a_head_without_any():
    table = words_table([WORD, dataclasses.replace(WORD, delta=None)])
    assert table.loc[0, ["word_id", "task", "delta", "vectors", "d"]].tolist() == [
        WORD.word_id,
        "generation",
        0.5,
        4,
        8,
    ]
    assert table["delta"].isna().tolist() == [False, True]
    assert words_table([]).columns.tolist() == table.columns.tolist()


# --- whatever may be named as a words file
# -----------------------------------------------------------------------------------

#: Any json, small.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
QUICK = settings(max_examples=60, deadline=None)


def refused(path, *parts):
    """One sentence that names the file, from reading it and from looking whether words can be added."""
    for look in (load_words, check_words_file):
        with pytest.raises((ValueError, OSError)) as caught:
            look(path)
        sentence = str(caught.value)
        assert path.name in sentence and "\n" not in sentence
        assert look is check_words_file or all(part in sentence for part in parts)


@pytest.mark.parametrize(
    ("key", "named"), [("<cat-toy>", "<cat-toy>"), ("emb_params", "exported embedding"), ("unet.bias", "unet.bias")]
)
def test_other_tensors_are_called_what_they_are(key, named, tmp_path):
    save_file({key: torch.zeros(2, 8)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", named)


def test_folders_pipes_dead_links_and_pickles_are_called_what_they_are(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    torch.save({"<cat-toy>": torch.zeros(2, 8)}, tmp_path / "embeds.bin")
    for name, told in (("folder", "not a file"), ("pipe", "not a file"), ("dead", "missing"), ("embeds.bin", "pickle")):
        refused(tmp_path / name, told)


def test_a_new_file_can_be_made_and_one_of_words_added_to(tmp_path):
    check_words_file(tmp_path / "new" / "words.safetensors")
    assert not list(tmp_path.iterdir())
    save_words([WORD], tmp_path / "words.safetensors")
    check_words_file(tmp_path / "words.safetensors")


@given(content=st.binary(max_size=200))
@QUICK
def test_any_bytes_are_refused_by_name(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "any.safetensors"
    path.write_bytes(content)
    refused(path)


@given(cut=st.integers(0, 400), place=st.integers(0, 400), byte=st.integers(0, 255))
@QUICK
def test_a_damaged_file_is_read_or_refused_by_name(cut, place, byte, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "bank.safetensors"
    save_words([WORD], path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content[: len(content) - cut])
    try:
        (word,) = load_words(path)
    except ValueError as error:
        assert path.name in str(error)
    else:
        assert words_table([word]).shape[0] == 1


@given(held=JSON)
@QUICK
def test_any_json_in_the_place_of_the_origins_is_refused_by_name(held, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "bank.safetensors"
    save_file({"a": torch.zeros(2, 8)}, path, {"words": json.dumps(held)})
    refused(path)


@given(field=st.sampled_from(sorted(WORD.provenance)), value=JSON)
@QUICK
def test_any_value_of_a_field_is_a_word_of_the_table_or_refused(field, value, tmp_path_factory):
    path = tmp_path_factory.mktemp("field") / "bank.safetensors"
    save_file({"a": torch.zeros(2, 8)}, path, {"words": json.dumps({"a": WORD.provenance | {field: value}})})
    try:
        words = load_words(path)
    except ValueError as error:
        assert path.name in str(error) and field in str(error)
    else:
        assert len(words_table(words)) == 1


@given(st.text(max_size=12))
@QUICK
def test_any_delta_is_read_or_refused(text):
    try:
        chosen = choose_words([WORD], delta=text)
    except ValueError as error:
        assert "delta" in str(error)
    else:
        assert chosen == [WORD]


@pytest.mark.parametrize("shape", [(8,), (2, 2, 8)])
def test_vectors_are_a_table(shape, tmp_path):
    save_file({"a": torch.zeros(shape)}, tmp_path / "bank.safetensors", {"words": json.dumps({"a": WORD.provenance})})
    refused(tmp_path / "bank.safetensors", "shape")
