"""The banks' card: its code runs, its checksums are right, and the same banks give the same bytes."""

import dataclasses
import hashlib
import re

import pytest
import torch

from vwlib.card import COLUMNS, write_card
from vwlib.words import Word, save_words

WORD = Word(torch.ones(4, 8), "detection", "COCO", "cat", "dog", 0.5, 0, "smoke", 5, 0.01, 8, "a photo of {}", "float32", "f00d", "cafe")


@pytest.fixture
def root(tmp_path):
    """Two small banks of one profile."""
    for task, deltas in (("detection", (0.5, None)), ("generation", (None,))):
        words = [dataclasses.replace(WORD, task=task, delta=delta) for delta in deltas]
        save_words(words, tmp_path / "words" / "smoke" / f"{task}.safetensors")
    return tmp_path


def test_the_five_lines_load_a_bank(root, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", write_card(root).read_text(), flags=re.DOTALL)
    monkeypatch.chdir(root / "words")
    loaded = {}
    exec(code, loaded)
    assert len([line for line in code.splitlines() if line]) == 5
    assert {key: loaded["provenance"][key]["task"] for key in loaded["words"]} == dict.fromkeys(loaded["words"], "generation")
    assert all(torch.equal(vectors, WORD.vectors) for vectors in loaded["words"].values())


def test_the_checksums_are_the_files(root):
    found = dict(re.findall(r"\| `(\S+)` \| `([0-9a-f]{64})` \|", write_card(root).read_text()))
    assert found == {
        name: hashlib.sha256((root / "words" / name).read_bytes()).hexdigest() for name in ("smoke/generation.safetensors", "smoke/detection.safetensors")
    }


def test_every_column_is_explained_and_every_bank_described(root):
    text = write_card(root).read_text()
    assert list(COLUMNS) == [field.name for field in dataclasses.fields(Word) if field.name != "vectors"]
    assert "| `smoke/detection.safetensors` | 2 | 4 × 8 | COCO | 0.5, unconstrained |" in text
    assert text.startswith("---\nlicense: mit\n")


def test_the_same_banks_give_the_same_card_and_a_damaged_one_is_left_out(root, caplog):
    content = write_card(root).read_bytes()
    assert write_card(root).read_bytes() == content
    (root / "words" / "smoke" / "generation.safetensors").write_bytes(b"no bank")
    assert b"generation.safetensors" not in write_card(root).read_bytes()
    assert "generation.safetensors is damaged" in caplog.text


def test_without_banks_there_is_no_card(tmp_path):
    assert write_card(tmp_path) is None and not list(tmp_path.iterdir())
