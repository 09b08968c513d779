"""`make test-full`: the paper's models at full size on the CPU, one at a time. `make test` runs the same code on small
layers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from full_size import SAVERS, SD21, clip_entries, measure
from transformers import CLIPTokenizer

from vwlib.paths import ROOT
from vwlib.study.progress import FULL_SIZE

MOST_MEMORY = 20  # GB
NAMES = [*SAVERS, "map"]
PUBLISHED = ROOT.parent / "shared" / "reference" / "hub" / "stable-diffusion-2-1"


def run(name: str, scale: str, folder: Path, timeout: float) -> dict:
    """One model in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "error::UserWarning",
        str(Path(__file__).with_name("full_size.py")),
        name,
        scale,
        str(folder),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def keep(result: dict, file: Path) -> None:
    """Add a result to the file, in place of an older one of the same name."""
    known = json.loads(file.read_text()) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known | {result["name"]: result}, indent=1) + "\n")


@pytest.mark.parametrize("name", SAVERS)
def test_small_layers_go_the_whole_way(name, tmp_path):
    result = measure(name, "tiny", tmp_path)
    assert result["words"] > 30_000 and result["seconds"]["transfer map"] > 0


def test_a_result_is_measured_in_a_process_of_its_own_and_kept(tmp_path):
    file = tmp_path / "kept" / "results.json"
    keep({"name": "other"}, file)
    keep(run("map", "tiny", tmp_path, 300), file)
    kept = json.loads(file.read_text())
    assert list(kept) == ["other", "map"] and kept["map"]["peak_gb"] > 0


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_full_size(name, tmp_path):
    try:
        result = run(name, "paper", tmp_path, 4 * 3600)
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)  # up to 5 GB, which pytest would keep
    keep(result, FULL_SIZE)
    assert result["peak_gb"] < MOST_MEMORY
    if name == "map":
        assert result["seconds"]["transfer map"] < 60


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="Stable Diffusion 2.1's published configuration is not at hand")
def test_the_configurations_are_the_published_ones():
    for file, config in SD21.items():
        published = json.loads((PUBLISHED / file).read_text())
        told = {
            key: value
            for key, value in published.items()
            if key not in ("_name_or_path", "_diffusers_version", "architectures", "torch_dtype")
        }
        assert config == {
            key: value
            for key, value in told.items()
            if key not in ("transformers_version", "_class_name") or key in config
        }, file


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="Stable Diffusion 2.1's published tokenizer is not at hand")
def test_the_tokenizer_is_the_published_one():
    tokenizer = CLIPTokenizer.from_pretrained(PUBLISHED / "tokenizer", local_files_only=True)
    assert tokenizer.get_vocab() == clip_entries()[0] and tokenizer.eos_token_id == 49407
