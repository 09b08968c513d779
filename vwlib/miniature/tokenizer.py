"""The miniature's byte-pair tokenizer: CLIP's scheme, with every word of the miniature's language as one token.

The file is in the format that open_clip and transformers both read, so all models share one vocabulary, as the paper's do:
512 byte entries, the merges, start of text and, as the largest id, end of text.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from vwlib.paths import MINIATURE

MERGES = MINIATURE / "bpe.txt.gz"


def build_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges under which each of `words` is a single token."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=100_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator([" ".join(sorted(words))], trainer)
    import json

    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def write_merges(words: list[str], target: Path = MERGES) -> None:
    """Write the merges of `words` in CLIP's format: a header line, then one merge a line, gzipped."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in build_merges(words))]
    # No last newline: open_clip would read it as an empty merge. A fixed time stamp keeps the bytes the same.
    target.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
