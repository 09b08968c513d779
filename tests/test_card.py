"""The banks' card: its code runs, its checksums are right, and the same banks give the same bytes."""

import dataclasses
import hashlib
import re

import pytest
import torch
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from vwlib.book.build import CARD
from vwlib.paths import DATA, ROOT
from vwlib.tools.card import write_card
from vwlib.words import Word, save_words

RUN = (5, 0.01, 8, "a photo of {}", "float32", "f00d", "cafe")
WORD = Word(torch.ones(4, 8), "detection", "COCO", "cat", "dog", 0.5, 0, "smoke", *RUN)


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
    assert {key: loaded["provenance"][key]["task"] for key in loaded["words"]} == dict.fromkeys(
        loaded["words"], "generation"
    )
    assert all(torch.equal(vectors, WORD.vectors) for vectors in loaded["words"].values())


def test_the_checksums_are_the_files(root):
    found = dict(re.findall(r"\| `(\S+)` \| `([0-9a-f]{64})` \|", write_card(root).read_text()))
    assert found == {
        name: hashlib.sha256((root / "words" / name).read_bytes()).hexdigest()
        for name in ("smoke/generation.safetensors", "smoke/detection.safetensors")
    }


def test_every_column_is_explained_and_every_bank_described(root):
    text = write_card(root).read_text()
    for field in dataclasses.fields(Word):
        assert field.name == "vectors" or f"| `{field.name}` | " in text
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


def test_the_committed_card_is_that_of_the_committed_banks(tmp_path):
    (tmp_path / "words").mkdir()
    for folder in (path for path in (DATA / "words").iterdir() if path.is_dir()):
        (tmp_path / "words" / folder.name).symlink_to(folder)
    assert write_card(tmp_path).read_text() == (ROOT / CARD).read_text()


def test_the_page_of_the_words_shows_the_whole_card(root, tmp_path):
    card, page = write_card(root).read_text(), (ROOT / "book" / "learned_words.md").read_text()
    for name, text in {
        CARD: card,
        "book/learned_words.md": page,
        "conf.py": "extensions = ['myst_parser']\nroot_doc = 'book/learned_words'",
    }.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    for name in re.findall(r"{doc}`(\w+)`", page):
        (tmp_path / "site" / "book" / f"{name}.md").write_text(f"---\norphan: true\n---\n# {name}\n")
    with docutils_namespace():
        settings = {"html_sidebars": {"**": []}, "exclude_patterns": ["data"]}
        site, folders = tmp_path / "site", (tmp_path / "out", tmp_path / "trees")
        Sphinx(site, site, *folders, "html", settings, status=None, warningiserror=True).build()
    html = (tmp_path / "out" / "book" / "learned_words.html").read_text()
    headings = re.findall(r"<h(\d)>([^<]+)<", html)
    assert headings == [
        ("1", "The learned words"),
        *(("2", line[3:]) for line in card.splitlines() if line.startswith("## ")),
    ]
    assert "license: mit" not in html and all(digest in html for digest in re.findall(r"[0-9a-f]{64}", card))
