"""Local workers: as many as are asked for on the CPU, one a GPU elsewhere."""

import os
import subprocess

import pytest
import torch

from vwlib.paths import ROOT
from vwlib.settings import load_profile
from vwlib.study.run import connected, visible_gpus

PROFILE = load_profile("smoke")
pytest.importorskip("distributed")


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs, as torch reports them."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def gpu_of_worker() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_local_worker_has_a_gpu_of_its_own(two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-7")
    with connected(PROFILE, 2, None) as client:
        client.wait_for_workers(2)
        assert sorted(client.run(gpu_of_worker).values()) == ["5", "GPU-7"]
        assert [worker["resources"] for worker in client.scheduler_info()["workers"].values()] == [{"GPU": 1}] * 2


def test_more_workers_than_gpus_are_refused(two_gpus):
    with pytest.raises(ValueError, match=r"^3 workers .* there are 2"):
        connected(PROFILE, 3, None).__enter__()


def test_the_gpus_are_those_that_are_seen_or_the_one_that_is_named(two_gpus, monkeypatch):
    assert visible_gpus(PROFILE) == ["0", "1"] and visible_gpus(load_profile("smoke", device="cpu")) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert visible_gpus(load_profile("smoke", device="cuda:1")) == ["7"]


@pytest.mark.parametrize("settings,workers", [(["PROFILE=paper"], "0"), (["PROFILE=paper", "WORKERS=2"], "2")])
def test_make_starts_no_worker_a_core_for_the_papers_models(settings, workers):
    said = subprocess.run(
        ["make", "--dry-run", "study", *settings], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f"vwlib study --profile paper --workers {workers}\n" in said
